"""Claims: the largest shares are credited by settlement, all others by their proof."""

from __future__ import annotations

from pathlib import Path

import pytest

import node.client
from node.client import RequestRefusedError
from node.client.shares import EPOCHS_DEFAULT
from node.commands.datanet.claim import SHARES_PER_CLAIM_MAX
from pallets.attribution import Attribution
from pallets.attribution.records import Epoch, EpochState, Ledger
from pallets.utility import Utility
from runtime.codec.scale import Bytes4, codec
from runtime.crypto.keys import Keypair
from runtime.errors import ExitCode
from runtime.frame.dispatch import Call, ModuleError
from runtime.frame.events import ApplyExtrinsic, EventRecord
from runtime.shared.documents import EpochShares, Share
from runtime.trie.merkle import blob_id, sum_root, verify_sum
from runtime.types.primitives import AccountId, Hash
from tests.node.commands.support.answering import AnsweringClient, arguments_of
from tests.node.commands.support.calling import Called, OpenLedger
from tests.node.support.paid_answers import MODEL, SERVER_ACCOUNT

WHO = AccountId(Keypair.from_uri("//Contributor").account)
OTHERS = tuple(AccountId(bytes([number]) * 32) for number in range(1, 250, 40))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> AnsweringClient:
    made = AnsweringClient()
    monkeypatch.setattr(node.client, "Client", made)
    return made


def settle(client: AnsweringClient, epoch: int, *accounts: AccountId, credited: int = 0) -> None:
    """Settle an epoch with shares of these accounts."""
    shares = tuple(Share(account, 10 + at) for at, account in enumerate(sorted(accounts)))
    data = codec(EpochShares).encode(EpochShares(shares))
    root, total = sum_root([(Hash(share.contributor), share.planck) for share in shares])
    client.files[blob_id(data)] = data
    client.epochs[epoch] = Epoch(
        state=EpochState.Settled,
        job=0,
        closed_at=1,
        receipts_root=Hash(bytes(32)),
        receipts=1,
        fees_planck=total,
        pool_planck=total,
        receipts_blob=Hash(bytes(32)),
        shares=blob_id(data),
        shares_root=root,
        shares_count=len(shares),
        shares_planck=total,
        claimed_planck=credited,
    )
    count = max(client.epochs) + 1
    client.ledgers[MODEL, SERVER_ACCOUNT] = Ledger(epoch=count)


def claim(client: AnsweringClient, *words: str) -> tuple[Called, Call]:
    openledger = OpenLedger("ws://nowhere:1", Path("nowhere"))
    called = openledger("claim", *words, "--from", "//Contributor", "--dry-run")
    assert called.exit_code == 0, called.err
    return called, client.calls[-1]


def epochs_of(call: Call) -> list[int]:
    return [arguments_of(each)["epoch"] for each in arguments_of(call)["calls"][:-1]]


def test_shares_are_credited_by_proofs_and_paid_at_once(client: AnsweringClient) -> None:
    settle(client, 0, WHO, *OTHERS)
    settle(client, 1, *OTHERS)
    settle(client, 2, WHO)
    settle(client, 3, WHO, OTHERS[0])
    client.credited = {3}
    _, call = claim(client)
    assert (call.pallet, call.name) == ("Utility", "force_batch")
    assert epochs_of(call) == [0, 2]
    first, *_, last = arguments_of(call)["calls"]
    assert (last.pallet, last.name) == ("Attribution", "claim")
    record, arguments = client.epochs[0], arguments_of(first)
    share = arguments["share"]
    assert share.contributor == WHO
    assert (arguments["model"], arguments["server"]) == (MODEL, SERVER_ACCOUNT)
    assert verify_sum(
        root=record.shares_root,
        total=record.shares_planck,
        leaf=Hash(WHO),
        amount=share.planck,
        proof=arguments["proof"],
    )


def test_the_shares_of_every_server_are_found_however_many_there_are(
    client: AnsweringClient,
) -> None:
    settle(client, 0, WHO)
    for number in range(300):
        client.ledgers[MODEL, AccountId(number.to_bytes(32))] = Ledger()
    assert epochs_of(claim(client)[1]) == [0]


def test_without_shares_only_what_is_credited_is_paid(client: AnsweringClient) -> None:
    settle(client, 0, *OTHERS)
    settle(client, 1, WHO, credited=10)
    _, call = claim(client)
    assert (call.pallet, call.name) == ("Attribution", "claim")
    _, call = claim(client, "//Bob")
    assert call.name == "claim_for"


def test_shares_are_claimed_for_others_to_their_account(client: AnsweringClient) -> None:
    settle(client, 0, WHO)
    openledger = OpenLedger("ws://nowhere:1", Path("nowhere"))
    openledger("claim", "//Contributor", "--from", "//Bob", "--dry-run")
    assert epochs_of(client.calls[-1]) == [0]
    assert arguments_of(arguments_of(client.calls[-1])["calls"][-1]) == {"account": WHO}


def test_only_the_newest_epochs_are_searched(client: AnsweringClient) -> None:
    for epoch in range(4):
        settle(client, epoch, WHO)
    assert EPOCHS_DEFAULT > 4
    assert epochs_of(claim(client)[1]) == [0, 1, 2, 3]
    assert epochs_of(claim(client, "--epochs", "2")[1]) == [2, 3]
    assert claim(client, "--epochs", "0")[1].name == "claim"


def test_a_file_that_the_node_has_not_is_said_and_left_out(
    client: AnsweringClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(client, 0, WHO)

    def missing(_: Hash) -> bytes:
        raise RequestRefusedError("The node does not have the file.")

    monkeypatch.setattr(client, "download", missing)
    called, call = claim(client)
    assert "Epoch 0 of model 3 is left out" in called.err
    assert call.name == "claim"


def test_one_claim_credits_a_bounded_number_of_shares(client: AnsweringClient) -> None:
    for epoch in range(SHARES_PER_CLAIM_MAX + 2):
        settle(client, epoch, WHO)
    called, call = claim(client, "--epochs", "1000")
    assert len(epochs_of(call)) == SHARES_PER_CLAIM_MAX
    assert "Claim again" in called.err


FAILED = EventRecord(
    ApplyExtrinsic(0), Utility.ItemFailed(ModuleError(Attribution.index, Bytes4(bytes(4))))
)
DONE = EventRecord(ApplyExtrinsic(0), Utility.ItemCompleted())


@pytest.mark.parametrize(
    ("events", "exit_code"), [((FAILED, DONE), ExitCode.OK), ((FAILED, FAILED), ExitCode.REJECTED)]
)
def test_a_claim_of_which_nothing_succeeds_is_no_success(
    client: AnsweringClient, events: tuple[EventRecord, ...], exit_code: ExitCode
) -> None:
    settle(client, 0, WHO)
    client.events = events
    openledger = OpenLedger("ws://nowhere:1", Path("nowhere"))
    called = openledger("claim", "--from", "//Contributor", "--dry-run")
    assert called.exit_code == exit_code
    assert "A call of the batch failed. Attribution." in called.err
