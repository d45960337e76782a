"""Operational calls: they have room that nothing else fills, so none that fails may be in it."""

from __future__ import annotations

from typing import Any

import pytest

from pallets.jobs import Parameters
from runtime.frame import block
from runtime.frame.fees import OPERATIONAL_PRIORITY
from runtime.frame.validity import CallInvalid, TransactionRefused
from runtime.types.primitives import OPEN, Hash, Weight
from tests.runtime.support.blocks import ALICE, EVE, Blocks
from tests.runtime.support.refusals import assert_refused, refusal, refusal_in_build, validate

USELESS: dict[str, dict[str, Any]] = {
    "heartbeat": {},
    "commit": {"job": 7, "attempt": 0, "commitment": Hash(bytes(32))},
    "decline": {"job": 7, "attempt": 0},
    "set_parameters": {"parameters": Parameters()},
}


@pytest.fixture
def talkative(blocks: Blocks, monkeypatch: pytest.MonkeyPatch) -> Blocks:
    """Give a chain whose executor may show itself in each block."""
    monkeypatch.setattr("pallets.jobs.executors.HEARTBEAT_PARTS", 14_400)
    return blocks


@pytest.mark.parametrize("name", USELESS)
def test_an_operational_call_that_cannot_succeed_is_in_no_pool_and_no_block(
    blocks: Blocks, name: str
) -> None:
    raw = blocks.sign("Jobs", name, EVE, **USELESS[name])
    assert refusal(blocks, raw) == CallInvalid()
    assert refusal_in_build(blocks, raw) == CallInvalid()
    assert_refused(blocks, raw, "extrinsic 1")


def test_a_refusal_says_what_the_pallet_says(blocks: Blocks) -> None:
    raw = blocks.sign("Jobs", "heartbeat", EVE)
    with pytest.raises(TransactionRefused, match="is no executor"):
        validate(blocks, raw)


def test_a_call_that_succeeds_once_is_in_a_block_once(talkative: Blocks) -> None:
    first, second = (talkative.sign("Jobs", "heartbeat", nonce=nonce) for nonce in (0, 1))
    executed = talkative.build(first, second)
    assert executed.extrinsics[1:] == (first,)
    assert isinstance(executed.refused[0][1].reason, CallInvalid)


def test_normal_transactions_leave_room_for_operational_ones(
    talkative: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "BLOCK_WEIGHT_MAX", Weight(4 * 10**9, 10**9))
    transfers = [talkative.transfer(EVE, nonce=nonce) for nonce in range(8)]
    beat = talkative.sign("Jobs", "heartbeat")
    full = talkative.build(*transfers)
    assert len(full.extrinsics) < 9
    executed = talkative.build(*transfers, beat)
    assert executed.extrinsics == (*full.extrinsics, beat)


def test_no_tip_stands_above_an_operational_transaction(talkative: Blocks) -> None:
    beat = validate(talkative, talkative.sign("Jobs", "heartbeat"))
    tipped = validate(talkative, talkative.transfer(ALICE, tip=1_000_000 * OPEN))
    assert beat.priority >= OPERATIONAL_PRIORITY > tipped.priority
