"""Datanets: contribute, curate, publish; each call's good path and each error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pallets.balances import Balances, HoldReason
from pallets.datanets import Datanets, records
from pallets.datanets.records import (
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    BYTE_DEPOSIT,
    CREATION_DEPOSIT,
    CURATORS_MAX,
    ROW_BOND,
    TAGS_MAX,
    Access,
    BatchStatus,
    Verdict,
)
from pallets.system import System
from runtime.crypto.hashing import blake2b_256
from runtime.trie.merkle import merkle_proof, merkle_root, verify_merkle
from runtime.types.primitives import AccountId, Hash, Id
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, DAVE, ENDOWMENT, Ledger

PROFILE = {
    "summary": "One row per public function.",
    "description": "",
    "tags": ("python",),
    "licence": "PSF-2.0",
    "source": "the standard library",
    "purpose": "answering questions",
    "schema": "jsonl: prompt, completion",
    "access": Access.Public,
}
BLOB = Hash(blake2b_256(b"blob"))
SIZE_BYTES = 1_000


@pytest.fixture
def net() -> Iterator[Ledger]:
    """A ledger with Alice's public datanet 0; Bob contributes, Charlie curates."""
    with Ledger((System, Balances, Datanets)) as ledger:
        create(ledger)
        ledger.sign(ALICE, "Datanets", "add_curator", datanet=0, curator=Id(CHARLIE))
        yield ledger
        ledger.check()


def create(ledger: Ledger, name: str = "Python library", **changes: Any) -> None:
    ledger.sign(ALICE, "Datanets", "create", name=name, **{**PROFILE, **changes})


def edit(ledger: Ledger, who: AccountId = ALICE, **changes: Any) -> None:
    ledger.sign(who, "Datanets", "edit", datanet=0, **{**PROFILE, **changes})


def hashes(*texts: str) -> tuple[Hash, ...]:
    return tuple(Hash(blake2b_256(text.encode())) for text in texts)


def contribute(ledger: Ledger, *texts: str, who: AccountId = BOB, datanet: int = 0) -> int:
    """Contribute rows; returns the number of the batch."""
    number = ledger.pallet(Datanets).progress.get(datanet).batches
    ledger.sign(
        who,
        "Datanets",
        "contribute",
        datanet=datanet,
        blob=BLOB,
        size_bytes=SIZE_BYTES,
        row_hashes=hashes(*texts),
    )
    return number


def review(
    ledger: Ledger, batch: int, verdict: Verdict = Verdict.Accept, who: AccountId = CHARLIE
) -> None:
    ledger.sign(who, "Datanets", "review", datanet=0, batch=batch, verdict=verdict)


def publish(ledger: Ledger, who: AccountId = ALICE) -> None:
    ledger.sign(who, "Datanets", "publish", datanet=0)


def bond(ledger: Ledger) -> int:
    return ledger.pallet(Balances).held(HoldReason.DatanetBond, BOB)


# ------------------------------------------------------------------------------------- creation


def test_creating_a_datanet_holds_a_deposit_and_gives_a_draft(net: Ledger) -> None:
    info = net.pallet(Datanets).datanet(0)
    assert info is not None
    assert (info.datanet.owner, info.datanet.name) == (ALICE, "Python library")
    assert info.progress == records.Progress()
    held = net.pallet(Balances).held(HoldReason.DatanetDeposit, ALICE)
    assert held == CREATION_DEPOSIT


def test_a_name_is_unique_whatever_its_letter_case(net: Ledger) -> None:
    with pytest.raises(Datanets.NameTaken):
        create(net, "PYTHON library")
    create(net, "Other library")
    assert net.pallet(Datanets).next_id.get() == 2


@pytest.mark.parametrize("name", ["ab", "x" * 65, " padded", "end-", "naïve", "a\nb", ""])
def test_a_name_out_of_form_is_refused(net: Ledger, name: str) -> None:
    with pytest.raises(Datanets.InvalidName):
        create(net, name)


@pytest.mark.parametrize("field", ["summary", "source", "purpose", "schema"])
def test_mandatory_texts_are_demanded(net: Ledger, field: str) -> None:
    with pytest.raises(Datanets.MissingText):
        create(net, "another", **{field: " \n"})


@pytest.mark.parametrize(
    "changes",
    [{"summary": "x" * 257}, {"description": "é" * 2_049}, {"tags": ("t",) * (TAGS_MAX + 1)}],
)
def test_long_texts_are_refused(net: Ledger, changes: dict[str, Any]) -> None:
    with pytest.raises(Datanets.TextTooLong):
        create(net, "another", **changes)


@pytest.mark.parametrize("licence", ["", "proprietary", "LicenseRef-", "LicenseRef-a b", "mit"])
def test_a_licence_that_is_not_open_is_refused(net: Ledger, licence: str) -> None:
    with pytest.raises(Datanets.UnknownLicence):
        create(net, "another", licence=licence)


@pytest.mark.parametrize("licence", ["CC0-1.0", "MIT", "LicenseRef-our.own-1"])
def test_open_licences_and_own_ones_by_reference_are_taken(net: Ledger, licence: str) -> None:
    create(net, "another", licence=licence)


def test_an_owner_without_the_deposit_cannot_create(net: Ledger) -> None:
    spare = ENDOWMENT - CREATION_DEPOSIT
    net.sign(BOB, "Balances", "transfer_keep_alive", dest=Id(DAVE), value=spare)
    with pytest.raises(Balances.InsufficientBalance):
        net.sign(BOB, "Datanets", "create", name="mine", **PROFILE)
    assert net.pallet(Datanets).next_id.get() == 1


def test_the_owner_edits_all_but_the_name(net: Ledger) -> None:
    edit(net, summary="New words", licence="MIT", access=Access.Private)
    record = net.pallet(Datanets).records.get(0)
    assert record is not None
    assert record.profile.summary == "New words"
    assert (record.name, record.access) == ("Python library", Access.Private)


def test_the_licence_is_fixed_once_somebody_contributed(net: Ledger) -> None:
    contribute(net, "a")
    with pytest.raises(Datanets.LicenceFixed):
        edit(net, licence="MIT")
    edit(net, summary="the rest may change")


def test_only_the_owner_edits_publishes_and_names_curators(net: Ledger) -> None:
    with pytest.raises(Datanets.NotOwner):
        edit(net, who=CHARLIE)
    with pytest.raises(Datanets.NotOwner):
        publish(net, who=CHARLIE)
    for call in ("add_curator", "remove_curator"):
        with pytest.raises(Datanets.NotOwner):
            net.sign(CHARLIE, "Datanets", call, datanet=0, curator=Id(DAVE))


def test_every_call_refuses_an_unknown_datanet(net: Ledger) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("edit", dict(PROFILE)),
        ("request_access", {}),
        ("grant_access", {"account": Id(BOB)}),
        ("revoke_access", {"account": Id(BOB)}),
        ("add_curator", {"curator": Id(BOB)}),
        ("remove_curator", {"curator": Id(BOB)}),
        ("contribute", {"blob": BLOB, "size_bytes": 1, "row_hashes": hashes("a")}),
        ("review", {"batch": 0, "verdict": Verdict.Accept}),
        ("withdraw", {"batch": 0}),
        ("publish", {}),
    ]
    for name, arguments in calls:
        with pytest.raises(Datanets.UnknownDatanet):
            net.sign(ALICE, "Datanets", name, datanet=9, **arguments)


# --------------------------------------------------------------------------------- access, curators


def test_an_account_reads_on_request_once_a_curator_grants_it(net: Ledger) -> None:
    edit(net, access=Access.OnRequest)
    datanets = net.pallet(Datanets)
    assert not datanets.may_read(BOB, 0)
    with pytest.raises(Datanets.NoAccess):
        contribute(net, "a")
    net.sign(BOB, "Datanets", "request_access", datanet=0)
    with pytest.raises(Datanets.AlreadyRequested):
        net.sign(BOB, "Datanets", "request_access", datanet=0)
    net.sign(CHARLIE, "Datanets", "grant_access", datanet=0, account=Id(BOB))
    assert datanets.may_read(BOB, 0)
    assert (0, BOB) not in datanets.requests
    with pytest.raises(Datanets.AccessNotNeeded):
        net.sign(CHARLIE, "Datanets", "grant_access", datanet=0, account=Id(BOB))
    contribute(net, "a")


def test_access_is_revoked_and_requests_are_declined(net: Ledger) -> None:
    edit(net, access=Access.OnRequest)
    net.sign(BOB, "Datanets", "request_access", datanet=0)
    net.sign(ALICE, "Datanets", "revoke_access", datanet=0, account=Id(BOB))
    net.sign(ALICE, "Datanets", "grant_access", datanet=0, account=Id(BOB))
    net.sign(ALICE, "Datanets", "revoke_access", datanet=0, account=Id(BOB))
    assert not net.pallet(Datanets).may_read(BOB, 0)
    with pytest.raises(Datanets.NothingToRevoke):
        net.sign(ALICE, "Datanets", "revoke_access", datanet=0, account=Id(BOB))


def test_a_public_datanet_needs_no_request(net: Ledger) -> None:
    with pytest.raises(Datanets.AccessNotNeeded):
        net.sign(BOB, "Datanets", "request_access", datanet=0)


def test_a_private_datanet_is_by_invitation(net: Ledger) -> None:
    edit(net, access=Access.Private)
    with pytest.raises(Datanets.ByInvitation):
        net.sign(BOB, "Datanets", "request_access", datanet=0)
    assert net.pallet(Datanets).may_read(CHARLIE, 0)
    assert not net.pallet(Datanets).may_read(BOB, 9)


def test_strangers_neither_grant_nor_review(net: Ledger) -> None:
    with pytest.raises(Datanets.NotCurator):
        net.sign(BOB, "Datanets", "grant_access", datanet=0, account=Id(BOB))
    with pytest.raises(Datanets.NotCurator):
        review(net, contribute(net, "a"), who=BOB)


def test_curators_come_and_go(net: Ledger) -> None:
    with pytest.raises(Datanets.AlreadyCurator):
        net.sign(ALICE, "Datanets", "add_curator", datanet=0, curator=Id(CHARLIE))
    net.sign(ALICE, "Datanets", "remove_curator", datanet=0, curator=Id(CHARLIE))
    with pytest.raises(Datanets.UnknownCurator):
        net.sign(ALICE, "Datanets", "remove_curator", datanet=0, curator=Id(CHARLIE))
    for number in range(CURATORS_MAX):
        account = AccountId(bytes([number]) * 32)
        net.sign(ALICE, "Datanets", "add_curator", datanet=0, curator=Id(account))
    with pytest.raises(Datanets.TooManyCurators):
        net.sign(ALICE, "Datanets", "add_curator", datanet=0, curator=Id(DAVE))


# ------------------------------------------------------------------------------------------ batches


def test_a_contribution_holds_a_bond_per_row_and_a_deposit_per_byte(net: Ledger) -> None:
    contribute(net, "a", "b")
    assert bond(net) == 2 * ROW_BOND + SIZE_BYTES * BYTE_DEPOSIT
    batch = net.pallet(Datanets).batch(0, 0)
    assert batch is not None
    assert batch.status is BatchStatus.Pending
    assert batch.root == merkle_root(hashes("a", "b"))


@pytest.mark.parametrize("texts", [("a",), ("new", "a"), ("x", "x")])
def test_a_duplicate_row_is_refused(net: Ledger, texts: tuple[str, ...]) -> None:
    contribute(net, "a")
    with pytest.raises(Datanets.DuplicateRow):
        contribute(net, *texts, who=DAVE)
    review(net, 0)
    with pytest.raises(Datanets.DuplicateRow):
        contribute(net, *texts, who=DAVE)


def test_another_datanet_may_hold_the_same_row(net: Ledger) -> None:
    create(net, "another")
    contribute(net, "a")
    contribute(net, "a", datanet=1)


def test_empty_and_oversize_batches_are_refused(net: Ledger) -> None:
    def send(size_bytes: int, rows: int) -> None:
        row_hashes = tuple(Hash(number.to_bytes(32, "big")) for number in range(rows))
        net.sign(
            BOB,
            "Datanets",
            "contribute",
            datanet=0,
            blob=BLOB,
            size_bytes=size_bytes,
            row_hashes=row_hashes,
        )

    for size_bytes, rows in ((0, 1), (1, 0)):
        with pytest.raises(Datanets.EmptyBatch):
            send(size_bytes, rows)
    for size_bytes, rows in ((BATCH_BYTES_MAX + 1, 1), (1, BATCH_ROWS_MAX + 1)):
        with pytest.raises(Datanets.BatchTooLarge):
            send(size_bytes, rows)
    send(BATCH_BYTES_MAX, BATCH_ROWS_MAX)


def test_an_accepted_batch_is_refunded_and_its_rows_are_credited(net: Ledger) -> None:
    review(net, contribute(net, "a", "b"))
    assert bond(net) == 0
    assert net.pallet(Balances).free(BOB) == ENDOWMENT
    assert net.pallet(Datanets).rows_of(0, BOB) == 2


def test_a_rejected_batch_is_refunded_and_its_rows_are_free_again(net: Ledger) -> None:
    review(net, contribute(net, "a"), Verdict.Reject)
    assert net.pallet(Balances).free(BOB) == ENDOWMENT
    contribute(net, "a", who=DAVE)


def test_spam_burns_what_was_posted_and_frees_the_rows(net: Ledger) -> None:
    issuance = net.pallet(Balances).total_issuance.get()
    contribute(net, "a")
    posted = bond(net)
    review(net, 0, Verdict.Spam)
    assert net.pallet(Balances).free(BOB) == ENDOWMENT - posted
    assert net.pallet(Balances).total_issuance.get() == issuance - posted
    contribute(net, "a", who=DAVE)


def test_a_contributor_withdraws_a_pending_batch(net: Ledger) -> None:
    contribute(net, "a")
    with pytest.raises(Datanets.NotContributor):
        net.sign(DAVE, "Datanets", "withdraw", datanet=0, batch=0)
    net.sign(BOB, "Datanets", "withdraw", datanet=0, batch=0)
    assert net.pallet(Balances).free(BOB) == ENDOWMENT
    contribute(net, "a", who=DAVE)


def test_a_decided_batch_cannot_be_decided_again(net: Ledger) -> None:
    review(net, contribute(net, "a"))
    with pytest.raises(Datanets.NotPending):
        review(net, 0, Verdict.Spam)
    with pytest.raises(Datanets.NotPending):
        net.sign(BOB, "Datanets", "withdraw", datanet=0, batch=0)
    with pytest.raises(Datanets.UnknownBatch):
        review(net, 1)


# ----------------------------------------------------------------------------------------- versions


def test_a_version_commits_to_the_accepted_batches_in_order_of_acceptance(net: Ledger) -> None:
    for text in "abc":
        contribute(net, text)
    review(net, 2)
    review(net, 0)
    publish(net)
    version = net.pallet(Datanets).get_version(0, 1)
    assert version is not None
    assert (version.batches, version.rows) == (2, 2)
    roots = [merkle_root(hashes(text)) for text in "ca"]
    assert version.root == merkle_root(roots)
    assert verify_merkle(version.root, roots[1], merkle_proof(roots, 1))
    accepted = net.pallet(Datanets).accepted_batches(0, 0, 10)
    assert [info.number for info in accepted] == [2, 0]


def test_a_draft_and_a_version_without_news_are_not_published(net: Ledger) -> None:
    with pytest.raises(Datanets.NothingNew):
        publish(net)
    review(net, contribute(net, "a"))
    publish(net)
    contribute(net, "b")
    with pytest.raises(Datanets.NothingNew):
        publish(net)
    review(net, 1)
    publish(net)
    assert net.pallet(Datanets).version(0, 2) is not None


def test_a_full_datanet_accepts_no_more(net: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pallets.datanets.curation.ACCEPTED_BATCHES_MAX", 1)
    review(net, contribute(net, "a"))
    contribute(net, "b")
    with pytest.raises(Datanets.DatanetFull):
        review(net, 1)


# ---------------------------------------------------------------------------------------------- API


def test_pages_are_cut_and_clamped(net: Ledger) -> None:
    create(net, "another")
    for text in "abc":
        contribute(net, text)
    datanets = net.pallet(Datanets)
    assert [info.id for info in datanets.datanets(0, 2**32 - 1)] == [0, 1]
    assert [info.id for info in datanets.datanets(1, 5)] == [1]
    assert datanets.datanets(7, 5) == ()
    assert [info.number for info in datanets.batches(0, 1, 1)] == [1]
    assert datanets.datanet(9) is None
    assert datanets.version(0, 1) is None


def test_weights_grow_with_rows_and_batches(net: Ledger) -> None:
    def weight(name: str, **arguments: Any) -> int:
        call = net.call("Datanets", name, datanet=0, **arguments)
        return net.machine.weight_of(call).ref_time

    def contribution(count: int) -> int:
        rows = hashes(*map(str, range(count)))
        return weight("contribute", blob=BLOB, size_bytes=1, row_hashes=rows)

    assert contribution(100) > 10 * contribution(1) // 2
    before = weight("publish")
    contribute(net, "a")
    assert weight("review", batch=0, verdict=Verdict.Spam) > weight(
        "review", batch=1, verdict=Verdict.Spam
    )
    review(net, 0)
    assert weight("publish") > before
