"""What a node asks of others' blocks besides the runtime's rules."""

from __future__ import annotations

import pytest

from node.chain import import_checks as block_checks
from node.chain.import_checks import (
    TIMESTAMP_AHEAD_MS_MAX,
    InvalidBlocks,
    TimestampAheadError,
    check_timestamp,
    timestamp_of,
)
from runtime.frame.executive import BodyRefusedError, InvalidBlockError
from runtime.types.primitives import ZERO_HASH, Digest, Hash, Header
from tests.runtime.support.blocks import Blocks

NOW = 1_700_000_000_000


def test_a_block_too_far_ahead_of_the_clock_is_refused_until_its_time_comes() -> None:
    blocks = Blocks()
    limit = NOW + TIMESTAMP_AHEAD_MS_MAX
    check_timestamp(blocks.machine, [blocks.timestamp(now=limit)], lambda: NOW)
    late = [blocks.timestamp(now=limit + 1), blocks.transfer()]
    with pytest.raises(TimestampAheadError, match="30001 ms ahead"):
        check_timestamp(blocks.machine, late, lambda: NOW)
    check_timestamp(blocks.machine, late, lambda: NOW + 1)


def test_the_time_of_a_block_is_that_of_its_inherent_alone() -> None:
    blocks = Blocks()
    assert timestamp_of(blocks.machine, [blocks.timestamp(now=5), blocks.transfer()]) == 5
    assert timestamp_of(blocks.machine, [blocks.transfer(), blocks.timestamp(now=5)]) is None
    assert timestamp_of(blocks.machine, [b"?", blocks.timestamp(now=5)]) is None
    assert timestamp_of(blocks.machine, []) is None


def header(number: int, parent: Hash = ZERO_HASH) -> Header:
    return Header(parent, number, ZERO_HASH, ZERO_HASH, Digest(()))


def test_an_invalid_block_and_its_descendants_are_refused_at_once() -> None:
    invalid = InvalidBlocks()
    bad = header(1)
    child = header(2, bad.hash)
    invalid.check(bad)
    invalid.note(bad, InvalidBlockError("it is wrong"))
    with pytest.raises(InvalidBlockError, match="it is wrong"):
        invalid.check(bad)
    with pytest.raises(InvalidBlockError, match="parent of block 2"):
        invalid.check(child)
    with pytest.raises(InvalidBlockError, match="parent of block 3"):
        invalid.check(header(3, child.hash))
    invalid.check(header(2))


def test_a_wrong_body_does_not_condemn_the_header() -> None:
    invalid = InvalidBlocks()
    invalid.note(header(1), BodyRefusedError("another body"))
    invalid.check(header(1))


def test_what_is_remembered_of_invalid_blocks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_checks, "INVALID_MAX", 2)
    invalid = InvalidBlocks()
    for number in range(3):
        invalid.note(header(number), InvalidBlockError("wrong"))
    invalid.check(header(0))
    for number in (1, 2):
        with pytest.raises(InvalidBlockError):
            invalid.check(header(number))
