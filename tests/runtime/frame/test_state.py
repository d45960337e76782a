"""The overlay: nested transactions against copied dictionaries, and what a block seals."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runtime.codec.scale import DecodeError, codec, u32
from runtime.frame.state import TRANSACTION_DEPTH_MAX, Overlay, TransactionDepthError
from runtime.trie.backend import MemoryBackend

U32 = codec(u32)
KEYS = st.binary(min_size=1, max_size=2)
VALUES = st.one_of(st.none(), st.integers(0, 5))


class Undo(Exception):
    """Rolls a transaction back."""


class Transactions(RuleBasedStateMachine):
    """Overlay transactions against a stack of copied dictionaries."""

    @initialize(stored=st.dictionaries(KEYS, st.integers(0, 5), max_size=8))
    def start(self, stored: dict[bytes, int]) -> None:
        self.stored = stored
        encoded = {key: U32.encode(value) for key, value in stored.items()}
        self.overlay = Overlay(MemoryBackend(encoded))
        self.model = dict(stored)
        self.copies: list[dict[bytes, int]] = []
        self.open: list[object] = []

    @rule(key=KEYS, value=VALUES)
    def write(self, key: bytes, value: int | None) -> None:
        self.overlay.write(key, value, U32)
        if value is None:
            self.model.pop(key, None)
        else:
            self.model[key] = value

    @rule(key=KEYS)
    def read(self, key: bytes) -> None:
        assert self.overlay.read(key, U32) == self.model.get(key)

    @precondition(lambda self: len(self.copies) < 6)
    @rule()
    def begin(self) -> None:
        transaction = self.overlay.transaction()
        transaction.__enter__()
        self.open.append(transaction)
        self.copies.append(dict(self.model))

    @precondition(lambda self: bool(self.copies))
    @rule()
    def commit(self) -> None:
        self.open.pop().__exit__(None, None, None)  # type: ignore[attr-defined]
        self.copies.pop()

    @precondition(lambda self: bool(self.copies))
    @rule()
    def roll_back(self) -> None:
        undo = Undo()
        with pytest.raises(Undo):  # noqa: PT012
            if not self.open.pop().__exit__(Undo, undo, None):  # type: ignore[attr-defined]
                raise undo
        self.model = self.copies.pop()

    @rule(prefix=st.binary(max_size=1))
    def list_keys(self, prefix: bytes) -> None:
        expected = sorted(key for key in self.model if key.startswith(prefix))
        assert list(self.overlay.keys(prefix)) == expected

    @rule(prefix=st.binary(max_size=1))
    def remove_while_listing(self, prefix: bytes) -> None:
        for key in self.overlay.keys(prefix):
            self.write(key, None)
        assert not any(key.startswith(prefix) for key in self.model)

    @precondition(lambda self: not self.copies)
    @rule()
    def seal(self) -> None:
        changes = self.overlay.changes()
        assert list(changes) == sorted(changes)
        sealed = {key: U32.encode(value) for key, value in self.stored.items()}
        for key, value in changes.items():
            if value is None:
                sealed.pop(key, None)
            else:
                sealed[key] = value
        assert sealed == {key: U32.encode(value) for key, value in self.model.items()}

    @invariant()
    def every_key_reads_as_the_model(self) -> None:
        for key in getattr(self, "model", {}):
            assert self.overlay.read(key, U32) == self.model[key]


def test_transactions_behave_like_copied_dictionaries() -> None:
    run_state_machine_as_test(Transactions, settings=settings(max_examples=60))


def test_a_rolled_back_write_is_no_change() -> None:
    overlay = Overlay(MemoryBackend({b"read": U32.encode(1)}))
    assert overlay.read(b"read", U32) == 1
    assert overlay.read(b"absent", U32) is None
    with pytest.raises(Undo), overlay.transaction():  # noqa: PT012
        for key in (b"read", b"absent", b"unread"):
            overlay.write(key, 2, U32)
        raise Undo
    assert overlay.changes() == {}


def test_an_inner_transaction_is_undone_with_the_outer_one() -> None:
    overlay = Overlay(MemoryBackend())
    with pytest.raises(Undo), overlay.transaction():  # noqa: PT012
        with overlay.transaction():
            overlay.write(b"key", 1, U32)
        raise Undo
    assert overlay.read(b"key", U32) is None


def test_transactions_nest_up_to_a_limit() -> None:
    overlay = Overlay(MemoryBackend())

    def nest(depth: int) -> None:
        with overlay.transaction():
            if depth > 1:
                nest(depth - 1)

    nest(TRANSACTION_DEPTH_MAX)
    with pytest.raises(TransactionDepthError):
        nest(TRANSACTION_DEPTH_MAX + 1)
    nest(TRANSACTION_DEPTH_MAX)


def test_a_block_is_not_sealed_within_a_transaction() -> None:
    overlay = Overlay(MemoryBackend())
    with overlay.transaction(), pytest.raises(AssertionError, match="outside"):
        overlay.changes()


def test_a_damaged_stored_value_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        Overlay(MemoryBackend({b"key": b"12345"})).read(b"key", U32)
