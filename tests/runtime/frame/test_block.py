"""Fees, and the limits on the length, weight and number of a block's extrinsics."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pallets.balances import EXISTENTIAL_DEPOSIT
from runtime.crypto.keys import Keypair
from runtime.frame import block, executive
from runtime.frame.executive import InvalidBlockError
from runtime.frame.fees import (
    BLOCK_LENGTH_MAX,
    EXTRINSIC_BASE_WEIGHT,
    EXTRINSIC_PERCENT,
    NORMAL_PERCENT,
)
from runtime.frame.validity import (
    ExhaustsResources,
    Future,
    Payment,
)
from runtime.trie.trie import ordered_root
from runtime.types.primitives import (
    OPEN,
    AccountId,
    Id,
    Weight,
)
from tests.runtime.support.blocks import ALICE, BOB, Blocks, with_root
from tests.runtime.support.refusals import (
    assert_refused,
    refusal,
    refusal_in_build,
    validate,
)

LENGTH_MAX = BLOCK_LENGTH_MAX * EXTRINSIC_PERCENT // 100


def test_who_cannot_pay_is_refused(blocks: Blocks) -> None:
    poor = Keypair.from_uri("//Poor")
    raw = blocks.transfer(poor)
    assert refusal(blocks, raw) == Payment()
    assert isinstance(refusal_in_build(blocks, raw), Payment)
    assert_refused(blocks, raw, "fee")


def test_a_tip_beyond_the_balance_is_refused(blocks: Blocks) -> None:
    raw = blocks.transfer(tip=blocks.free(ALICE) - EXISTENTIAL_DEPOSIT)
    assert refusal(blocks, raw) == Payment()


def test_a_higher_tip_has_a_higher_priority(blocks: Blocks) -> None:
    low, high = (validate(blocks, blocks.transfer(tip=tip)) for tip in (OPEN, 2 * OPEN))
    assert low.priority < high.priority
    assert validate(blocks, blocks.transfer()).priority == 0


def test_an_overlong_transaction_is_refused_before_it_waits_for_ever(blocks: Blocks) -> None:
    size = LENGTH_MAX - len(blocks.remark(0)) - 5
    assert validate(blocks, blocks.remark(size))
    assert blocks.build(blocks.remark(size)).refused == ()
    assert refusal(blocks, blocks.remark(size + 1)) == ExhaustsResources()


def test_an_overweight_transaction_is_refused_before_it_waits_for_ever(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = batch_of_transfers(blocks, 900)
    weight = blocks.machine.weight_of(blocks.decode(raw).call) + EXTRINSIC_BASE_WEIGHT
    percent = EXTRINSIC_PERCENT
    exact = Weight(-(-weight.ref_time * 100 // percent), -(-weight.proof_size * 100 // percent))
    monkeypatch.setattr(block, "BLOCK_WEIGHT_MAX", exact)
    assert validate(blocks, raw)
    assert blocks.build(raw).refused == ()
    for less in (
        replace(exact, ref_time=exact.ref_time - 2),
        replace(exact, proof_size=exact.proof_size - 2),
    ):
        monkeypatch.setattr(block, "BLOCK_WEIGHT_MAX", less)
        assert refusal(blocks, raw) == ExhaustsResources()


def batch_of_transfers(blocks: Blocks, count: int) -> bytes:
    dest = Id(AccountId(BOB.account))
    call = blocks.machine.call("Balances", "transfer_keep_alive", dest=dest, value=1)
    return blocks.sign("Utility", "batch", calls=(call,) * count)


def test_a_block_takes_no_more_than_its_length(blocks: Blocks) -> None:
    raws = [blocks.remark(1 << 20, nonce=nonce) for nonce in range(6)]
    built = blocks.build(*raws)
    assert 0 < len(built.extrinsics) - 1 < 6
    assert sum(map(len, built.extrinsics)) <= BLOCK_LENGTH_MAX * NORMAL_PERCENT // 100
    assert {type(refused.reason) for _, refused in built.refused} <= {ExhaustsResources, Future}
    body = (*built.extrinsics, *raws)
    header = with_root(built.header, ordered_root(body))
    with pytest.raises(InvalidBlockError, match="at most"):
        blocks.execute(header, body)


def test_a_block_takes_no_more_than_its_weight(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [blocks.transfer(nonce=nonce) for nonce in range(8)]
    built = blocks.build(*raws)
    monkeypatch.setattr(block, "BLOCK_WEIGHT_MAX", Weight(3 * 10**9, 10**9))
    small = blocks.build(*raws)
    assert 1 < len(small.extrinsics) < 9
    with pytest.raises(InvalidBlockError, match="fit"):
        blocks.execute(built.header, built.extrinsics)
    assert blocks.execute(small.header, small.extrinsics).header == small.header


def test_a_block_of_others_is_held_to_the_length_that_authors_may_fill(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [blocks.remark(1 << 20, nonce=nonce) for nonce in range(4)]
    monkeypatch.setattr(block, "NORMAL_PERCENT", 100)
    long = blocks.build(*raws)
    assert sum(map(len, long.extrinsics)) < BLOCK_LENGTH_MAX
    assert blocks.execute(long.header, long.extrinsics).header == long.header
    monkeypatch.undo()
    with pytest.raises(InvalidBlockError, match=r"extrinsic 4: .*fit"):
        blocks.execute(long.header, long.extrinsics)


def test_a_block_of_others_is_held_to_the_size_of_one_extrinsic(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = blocks.remark(LENGTH_MAX)
    monkeypatch.setattr(block, "EXTRINSIC_PERCENT", 100)
    long = blocks.build(raw)
    assert len(long.extrinsics) == 2
    monkeypatch.undo()
    with pytest.raises(InvalidBlockError, match="extrinsic 1"):
        blocks.execute(long.header, long.extrinsics)
    assert blocks.build(raw).refused


def test_a_block_takes_no_more_than_its_number_of_extrinsics(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [blocks.transfer(nonce=nonce) for nonce in range(3)]
    built = blocks.build(*raws)
    monkeypatch.setattr(block, "BLOCK_EXTRINSICS_MAX", 2)
    monkeypatch.setattr(executive, "BLOCK_EXTRINSICS_MAX", 2)
    assert len(blocks.build(*raws).extrinsics) == 2
    with pytest.raises(InvalidBlockError, match="at most 2 extrinsics"):
        blocks.execute(built.header, built.extrinsics)
