"""Transactions of the client, against a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.client import (
    Client,
    Finalized,
    Included,
    InsufficientFundsError,
    MayStillLandError,
    RejectedError,
    Submitted,
    Wait,
    WrongNodeError,
)
from node.operations.config import Sealing
from pallets import PALLETS, VERSION
from pallets.datanets.records import Verdict
from runtime.crypto.keys import KeyKind, Keypair
from runtime.frame.machine import Machine
from runtime.types.primitives import OPEN, AccountId, Hash, Id
from tests.node.client.support.transfers import ALICE, BOB, transfer
from tests.node.support.live_node import LiveNode, live_node


@pytest.mark.parametrize("kind", list(KeyKind))
def test_both_key_kinds_sign(client: Client, kind: KeyKind) -> None:
    pair = Keypair.from_uri("//Charlie", kind)
    call = client.make_call("System", "remark", remark=b"hello")
    landed = client.submit(client.sign(call, pair))
    assert isinstance(landed, Included)
    assert landed.error is None


def test_each_wait_returns_what_it_promises(client: Client) -> None:
    assert isinstance(transfer(client, wait=Wait.NONE), Submitted)
    included = transfer(client, wait=Wait.INCLUDED)
    assert isinstance(included, Included)
    assert not isinstance(included, Finalized)
    final = transfer(client, wait=Wait.FINAL)
    assert isinstance(final, Finalized)
    assert client.header(client.finalized_hash()).number >= final.block_number


def test_immortal_transactions_are_valid_too(client: Client) -> None:
    call = client.make_call("System", "remark", remark=b"for ever")
    assert isinstance(client.submit(client.sign(call, ALICE, era_blocks=0)), Included)


def test_a_quote_and_a_dry_run_tell_the_fee_that_is_paid(client: Client) -> None:
    call = client.make_call("Balances", "transfer_keep_alive", dest=Id(BOB), value=OPEN)
    account = AccountId(ALICE.account)
    quote, dry = client.fee(call, account), client.dry_run(call, account)
    landed = client.submit(client.sign(call, ALICE))
    assert isinstance(landed, Included)
    assert quote.fee_planck == dry.fee_planck == landed.fee_planck
    assert [type(record.event) for record in dry.events] == [
        type(record.event) for record in landed.events
    ]
    assert dry.before.free - dry.after.free == OPEN + dry.fee_planck
    assert client.balance(account).free == dry.after.free


def test_a_failed_dispatch_comes_with_the_pallets_sentence(client: Client) -> None:
    call = client.make_call("Datanets", "review", datanet=9, batch=0, verdict=Verdict.Accept)
    landed = client.submit(client.sign(call, ALICE))
    assert isinstance(landed, Included)
    assert landed.error is not None
    assert landed.error.startswith("Datanets.UnknownDatanet: There is no datanet")
    assert not landed.needs_funds
    dry = client.dry_run(call, AccountId(ALICE.account))
    assert dry.error == landed.error


def test_too_little_money_is_told_apart(client: Client) -> None:
    call = client.make_call("Balances", "transfer_keep_alive", dest=Id(BOB), value=10**27)
    landed = client.submit(client.sign(call, ALICE))
    assert isinstance(landed, Included)
    assert landed.needs_funds


def test_who_cannot_pay_the_fee_is_refused(client: Client) -> None:
    poor = Keypair.from_uri("//Nobody")
    call = client.make_call("System", "remark", remark=b"")
    with pytest.raises(InsufficientFundsError):
        client.dry_run(call, AccountId(poor.account))
    with pytest.raises(InsufficientFundsError):
        client.submit(client.sign(call, poor))


def test_a_used_nonce_is_refused(client: Client) -> None:
    call = client.make_call("System", "remark", remark=b"again")
    with pytest.raises(RejectedError, match="Nothing was spent"):
        client.submit(client.sign(call, ALICE, nonce=0))


def test_another_chain_is_refused_before_anything_is_signed(node: LiveNode) -> None:
    with Client(node.rpc_url, genesis_hash=Hash(bytes(32))) as client:
        call = client.make_call("System", "remark", remark=b"")
        with pytest.raises(WrongNodeError, match="another chain"):
            client.sign(call, ALICE)


def test_another_runtime_version_is_refused(node: LiveNode) -> None:
    from dataclasses import replace

    machine = Machine(PALLETS, replace(VERSION, spec_version=VERSION.spec_version + 1))
    with Client(node.rpc_url, machine=machine) as client:
        call = client.make_call("System", "remark", remark=b"")
        with pytest.raises(WrongNodeError, match="Install the version of the chain"):
            client.sign(call, ALICE)
        with pytest.raises(WrongNodeError):
            client.dry_run(call, AccountId(ALICE.account))


def test_a_wait_without_a_block_ends_with_the_hash(tmp_path: Path) -> None:
    with live_node(tmp_path, Sealing.MANUAL) as sleeping, Client(sleeping.rpc_url) as client:
        signed = client.sign(client.make_call("System", "remark", remark=b""), ALICE)
        with pytest.raises(MayStillLandError) as caught:
            client.submit(signed, wait_s=0.05)
        assert caught.value.extrinsic_hash == signed.hash
        assert len(sleeping.pool) == 1


def test_statuses_are_told_as_they_come(client: Client) -> None:
    told: list[str] = []
    call = client.make_call("System", "remark", remark=b"told")
    client.submit(client.sign(call, ALICE), Wait.FINAL, on_status=told.append)
    assert told[0] == "submitted"
    assert told[-1] == "finalized"
