"""Inherents: every block has them, first, once and unsigned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.frame import block
from runtime.frame.executive import InvalidBlockError
from runtime.frame.validity import (
    MandatoryValidation,
)
from runtime.trie.trie import ordered_root
from tests.runtime.support.blocks import ALICE, Blocks, with_root
from tests.runtime.support.refusals import (
    assert_refused,
    refusal,
)


def test_a_block_without_a_timestamp_is_refused(blocks: Blocks) -> None:
    built = blocks.build()
    empty = with_root(built.header, ordered_root(()))
    with pytest.raises(InvalidBlockError, match="Timestamp: a block sets its timestamp"):
        blocks.execute(empty, ())
    with pytest.raises(InvalidBlockError, match="timestamp"):
        blocks.build(inherents=())


def test_a_second_timestamp_is_refused(blocks: Blocks) -> None:
    stamps = (blocks.timestamp(), blocks.timestamp(now=10**9))
    with pytest.raises(InvalidBlockError, match="set already"):
        blocks.build(inherents=stamps)


def test_a_timestamp_that_does_not_advance_is_refused(blocks: Blocks) -> None:
    blocks.add()
    with pytest.raises(InvalidBlockError, match="not after"):
        blocks.build(inherents=(blocks.timestamp(number=1),))


def test_an_inherent_after_a_signed_extrinsic_is_refused(blocks: Blocks) -> None:
    built = blocks.build(blocks.transfer())
    body = (built.extrinsics[1], built.extrinsics[0])
    header = with_root(built.header, ordered_root(body))
    with pytest.raises(InvalidBlockError, match="inherent follows"):
        blocks.execute(header, body)


def test_an_unsigned_call_that_is_no_inherent_is_refused(blocks: Blocks) -> None:
    call = blocks.machine.call("System", "remark", remark=b"free of charge")
    raw = blocks.machine.extrinsics.inherent(call)
    assert_refused(blocks, raw, "no inherent")
    with pytest.raises(InvalidBlockError, match="no inherent"):
        blocks.build(inherents=(blocks.timestamp(), raw))


def test_garbage_as_an_inherent_is_an_invalid_block(blocks: Blocks) -> None:
    with pytest.raises(InvalidBlockError):
        blocks.build(inherents=(b"garbage",))


def test_a_signed_transaction_is_no_inherent(blocks: Blocks) -> None:
    raw = blocks.sign("Timestamp", "set", now=10**9)
    with pytest.raises(InvalidBlockError, match="signed"):
        blocks.build(inherents=(raw,))


def test_an_inherent_is_no_transaction(blocks: Blocks) -> None:
    assert refusal(blocks, blocks.timestamp()) == MandatoryValidation()


def test_a_signed_timestamp_fails_and_pays(blocks: Blocks) -> None:
    before = blocks.free(ALICE)
    blocks.add(blocks.sign("Timestamp", "set", now=10**9))
    assert "ExtrinsicFailed" in [type(event).__name__ for event in blocks.events()]
    assert blocks.free(ALICE) < before


def test_inherents_are_held_to_the_blocks_weight(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = blocks.build()
    inherent = blocks.machine.weight_of(blocks.decode(built.extrinsics[0]).call)
    monkeypatch.setattr(block, "BLOCK_WEIGHT_MAX", inherent)
    assert blocks.execute(built.header, built.extrinsics).header == built.header
    monkeypatch.setattr(
        block, "BLOCK_WEIGHT_MAX", replace(inherent, ref_time=inherent.ref_time - 1)
    )
    with pytest.raises(InvalidBlockError, match="too heavy"):
        blocks.execute(built.header, built.extrinsics)
    with pytest.raises(InvalidBlockError, match="too heavy"):
        blocks.build()
