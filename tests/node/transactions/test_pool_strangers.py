"""The pool and the bytes of strangers: what each check costs, and in which order they come."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NoReturn

import pytest

from node.authoring.author import Author
from node.operations.config import Sealing
from node.transactions.errors import (
    BadFormatError,
    ImmediatelyDroppedError,
    InvalidTransactionError,
    PoolError,
)
from node.transactions.pool import FUTURE_NONCES_MAX, Pool
from runtime.crypto.keys import Keypair
from runtime.frame.extrinsic import Additional, Envelope, Extra, ExtrinsicCodec
from runtime.types.era import IMMORTAL
from runtime.types.primitives import AccountId
from tests.node.support.small_node import ALICE, BOB, SmallNode
from tests.node.transactions.support.pool_scenarios import drive

REMARKS = 60_000


def batch_of_remarks(node: SmallNode, pair: Keypair, nonce: int = 0) -> bytes:
    """Sign a batch of 180 KB, whose call takes hundreds of milliseconds to decode."""
    machine = node.chain.machine
    remark = machine.call("System", "remark", remark=b"")
    call = machine.call("Utility", "batch", calls=(remark,) * REMARKS)
    version, genesis = machine.version, node.chain.genesis_hash
    additional = Additional(version.spec_version, version.transaction_version, genesis, genesis)
    return machine.extrinsics.sign(call, pair, Extra(IMMORTAL, nonce, 0), additional)


def refuse_to_decode(codec: ExtrinsicCodec, envelope: Envelope) -> NoReturn:
    pytest.fail("the call of a transaction that is invalid anyway was decoded")


async def refusals(pool: Pool, *raws: bytes) -> list[PoolError]:
    results = await pool.submit_many(raws)
    return [result for result in results if isinstance(result, PoolError)]


def test_a_call_is_not_decoded_before_its_signer_can_pay_and_has_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        good = batch_of_remarks(node, ALICE)
        stranger = good.replace(ALICE.account, os.urandom(32), 1)
        forged = good.replace(ALICE.account, BOB.account, 1)
        far = batch_of_remarks(node, ALICE, FUTURE_NONCES_MAX + 1)
        monkeypatch.setattr(ExtrinsicCodec, "decode_call", refuse_to_decode)
        found = await refusals(node.pool, stranger, forged, far, b"\1" + good[1:])
        wrong = InvalidTransactionError
        assert list(map(type, found)) == [wrong, wrong, ImmediatelyDroppedError, BadFormatError]
        assert "pay" in found[0].detail
        assert "signature" in found[1].detail
        for raw in (stranger, far):
            with pytest.raises(PoolError):
                await node.pool.submit_untrusted(raw)
            with pytest.raises(PoolError):
                async with node.pool.watch(raw):
                    pass

    drive(tmp_path, scenario)


def test_a_stranger_without_an_account_costs_no_check_of_a_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        stranger = node.sign(ALICE).replace(ALICE.account, os.urandom(32), 1)
        monkeypatch.setattr(Envelope, "is_verified", lambda *_: pytest.fail("it was checked"))
        (found,) = await refusals(node.pool, stranger)
        assert "pay" in found.detail

    drive(tmp_path, scenario)


def test_an_unsigned_extrinsic_is_refused_by_its_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        machine = node.chain.machine
        remark = machine.call("System", "remark", remark=b"")
        batch = machine.call("Utility", "batch", calls=(remark,) * 1_000)
        raw = machine.extrinsics.inherent(batch)
        inherent = machine.extrinsics.inherent(machine.call("Timestamp", "set", now=1))
        monkeypatch.setattr(ExtrinsicCodec, "decode_call", refuse_to_decode)
        unknown, mandatory = await refusals(node.pool, raw, inherent)
        assert unknown.message == "Unknown Transaction Validity"
        assert "mandatory" in mandatory.detail

    drive(tmp_path, scenario)


def test_a_refusal_knows_how_long_it_was_worked_on(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        ticks = itertools.count()
        pool = Pool(node.chain, work_clock=lambda: float(next(ticks)))
        poor = node.sign(Keypair.from_uri("//Poor"), 0)
        forged = node.sign(ALICE, 0)[:-1] + b"\7"
        good = node.sign(BOB, 0)
        garbage, unpaid, unsigned = await refusals(pool, b"?", poor, good, forged)
        # One tick for each stage: the cheap checks, the thread, the entering.
        assert [garbage.checking_seconds, unpaid.checking_seconds] == [1.0, 1.0]
        assert unsigned.checking_seconds == 3.0
        assert pool.pending() == [good]

    drive(tmp_path, scenario)


def test_a_valid_transaction_of_a_client_enters_as_those_of_the_node(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        raw = node.sign(ALICE, 0)
        found = await node.pool.submit_untrusted(raw)
        assert node.pool.pending() == [raw]
        assert found == node.decode(raw)[0].hash
        with pytest.raises(PoolError, match="already"):
            await node.pool.submit_untrusted(raw)
        sealed = await Author(node.chain, node.pool, Sealing.MANUAL).seal()
        assert raw in sealed.extrinsics
        assert node.chain.nonce(AccountId(ALICE.account)) == 1

    drive(tmp_path, scenario)
