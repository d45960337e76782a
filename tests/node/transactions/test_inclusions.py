"""Inclusions: what blocks include, lose and finalize, and what watchers receive of it."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio

from node.transactions import inclusions
from node.transactions.entry import Entry
from node.transactions.inclusions import Inclusions
from node.transactions.status import FinalityTimeout, InBlock, InFinalBlock, Retracted, Status
from runtime.types.primitives import AccountId, Hash

BLOCK, OTHER = Hash(b"\1" * 32), Hash(b"\2" * 32)


def watched(name: int) -> tuple[Entry, trio.MemoryReceiveChannel[Status]]:
    item = Entry(
        extrinsic=cast(Any, None),
        hash=Hash(bytes((name,)) * 32),
        account=AccountId(bytes(32)),
        nonce=0,
        priority=0,
        arrival=0,
        birth=None,
        dies_at=9,
    )
    send, receive = trio.open_memory_channel[Status](8)
    item.watchers.append(send)
    return item, receive


def received(statuses: trio.MemoryReceiveChannel[Status]) -> list[Status]:
    found: list[Status] = []
    while True:
        try:
            found.append(statuses.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return found


def test_a_retracted_transaction_may_be_included_again_and_become_final() -> None:
    blocks, (item, statuses) = Inclusions(), watched(7)
    blocks.include(item, BLOCK, 1)
    assert item.hash in blocks
    assert item.block == BLOCK
    assert blocks.retract(BLOCK) == [item]
    assert item.block is None
    assert item.hash not in blocks
    blocks.include(item, OTHER, 1)
    blocks.finalize(OTHER)
    assert received(statuses) == [
        InBlock(BLOCK),
        Retracted(BLOCK),
        InBlock(OTHER),
        InFinalBlock(OTHER),
    ]
    assert item.watchers == []
    assert not blocks.blocks


def test_an_unknown_block_included_nothing() -> None:
    assert Inclusions().retract(BLOCK) == []


def test_only_blocks_far_below_the_best_one_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inclusions, "FINALITY_BLOCKS_MAX", 10)
    blocks, (old, lost), (new, waiting) = Inclusions(), watched(1), watched(2)
    blocks.include(old, BLOCK, 1)
    blocks.include(new, OTHER, 2)
    blocks.time_out(11)
    assert received(lost) == [InBlock(BLOCK), FinalityTimeout(BLOCK)]
    assert received(waiting) == [InBlock(OTHER)]
