"""How transactions and blocks are refused, for tests of the executive."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.frame.executive import InvalidBlockError
from runtime.frame.state import Overlay
from runtime.frame.validity import (
    InvalidTransaction,
    TransactionRefused,
    UnknownTransaction,
    ValidTransaction,
)
from runtime.trie.trie import ordered_root
from runtime.types.primitives import (
    Header,
)
from tests.runtime.support.blocks import Blocks, with_root


def refusal(blocks: Blocks, raw: bytes) -> InvalidTransaction | UnknownTransaction:
    with pytest.raises(TransactionRefused) as refused:
        blocks.executive.validate(blocks.state, blocks.best, blocks.decode(raw))
    return refused.value.reason


def validate(blocks: Blocks, raw: bytes) -> ValidTransaction:
    return blocks.executive.validate(blocks.state, blocks.best, blocks.decode(raw))


def refusal_in_build(blocks: Blocks, raw: bytes) -> object:
    executed = blocks.build(raw)
    assert executed.extrinsics == (blocks.timestamp(),)
    return executed.refused[0][1].reason


def seal_unchecked(blocks: Blocks, *extrinsics: bytes) -> tuple[Header, tuple[bytes, ...]]:
    """A block that names extrinsics which its author should not have included."""
    empty = blocks.build()
    body = (*empty.extrinsics, *extrinsics)
    return with_root(empty.header, ordered_root(body)), body


def assert_refused(blocks: Blocks, raw: bytes, reason: str) -> None:
    header, body = seal_unchecked(blocks, raw)
    with pytest.raises(InvalidBlockError, match=reason):
        blocks.execute(header, body)


def fee_of(blocks: Blocks, raw: bytes) -> int:
    extrinsic = blocks.decode(raw)
    payment: Any = blocks.machine.pallets["TransactionPayment"]
    with blocks.machine.on(Overlay(blocks.state)):
        total: int = payment.query_info(extrinsic, len(raw)).partial_fee
    return total
