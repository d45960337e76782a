"""The transactional overlay through which all state is read and written, and what a block knows.

Values are decoded once, stay Python objects, and are encoded again only when the block is sealed.
A transaction is an undo journal: rolling back restores the former objects, nothing is copied.
Reads cost one dictionary look-up; there are no layers to search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from runtime.codec.scale import Codec
from runtime.trie.backend import Backend

TRANSACTION_DEPTH_MAX: Final = 32

_UNREAD: Final = object()


class TransactionDepthError(Exception):
    """Calls nest more transactions than allowed; the call fails and its writes are undone."""


class Overlay:
    """Decoded state over a backend, with nested transactions."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._values: dict[bytes, Any] = {}
        self._written: dict[bytes, Codec[Any]] = {}
        self._journals: list[list[tuple[bytes, Any, Codec[Any] | None]]] = []

    @property
    def size(self) -> int:
        """The number of values that were read or written."""
        return len(self._values)

    def read(self, key: bytes, codec: Codec[Any]) -> Any | None:
        """Return the value at a key, or None where there is none."""
        value = self._values.get(key, _UNREAD)
        if value is _UNREAD:
            raw = self.backend.get(key)
            value = None if raw is None else codec.decode(raw)
            self._values[key] = value
        return value

    def write(self, key: bytes, value: Any | None, codec: Codec[Any]) -> None:
        """Set the value at a key; None removes it. Undone if the open transaction rolls back."""
        if self._journals:
            former = self._values.get(key, _UNREAD)
            self._journals[-1].append((key, former, self._written.get(key)))
        self._values[key] = value
        self._written[key] = codec

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        """Yield the present keys with a prefix, sorted; a snapshot of the written ones is taken."""
        values = self._values
        fresh = sorted(key for key in self._written if key.startswith(prefix))
        fresh.reverse()
        for key in self.backend.keys(prefix):
            while fresh and fresh[-1] < key:
                new = fresh.pop()
                if self._present(new):
                    yield new
            if fresh and fresh[-1] == key:
                fresh.pop()
            if key not in self._written or values.get(key) is not None:
                yield key
        yield from (key for key in reversed(fresh) if self._present(key))

    def _present(self, key: bytes) -> bool:
        value = self._values.get(key, _UNREAD)
        return value is not None and value is not _UNREAD

    def begin(self) -> None:
        """Open a transaction, to be ended by `commit` or `undo`. They nest up to a limit."""
        if len(self._journals) >= TRANSACTION_DEPTH_MAX:
            raise TransactionDepthError(f"more than {TRANSACTION_DEPTH_MAX} nested transactions")
        self._journals.append([])

    def commit(self) -> None:
        """End the innermost transaction; its writes belong to the one around it."""
        journal = self._journals.pop()
        if self._journals:
            self._journals[-1].extend(journal)

    def undo(self) -> None:
        """End the innermost transaction and undo its writes."""
        for key, former, written in reversed(self._journals.pop()):
            self._restore(key, former, written)

    def transaction(self, records: list[Any] | None = None) -> Transaction:
        """Undo every write of the body when it raises, and what it appended to `records`."""
        return Transaction(self, [] if records is None else records)

    def _restore(self, key: bytes, former: Any, written: Codec[Any] | None) -> None:
        if former is _UNREAD:
            del self._values[key]
        else:
            self._values[key] = former
        if written is None:  # the key was only read before: it must not be in the block's changes
            self._written.pop(key, None)

    def changes(self) -> Mapping[bytes, bytes | None]:
        """Encode what was written since the backend: key -> bytes, or None where removed."""
        assert not self._journals, "a block is sealed outside of transactions"
        changes: dict[bytes, bytes | None] = {}
        for key in sorted(self._written):
            value = self._values[key]
            changes[key] = None if value is None else self._written[key].encode(value)
        return changes


class Transaction:
    """The context of an overlay's transaction.

    A class and no generator: every extrinsic opens several, and this takes half the time.
    """

    __slots__ = ("_mark", "_overlay", "_records")

    def __init__(self, overlay: Overlay, records: list[Any]) -> None:
        self._overlay = overlay
        self._records = records
        self._mark = len(records)

    def __enter__(self) -> None:
        self._overlay.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._overlay.commit()
        else:
            self._overlay.undo()
            del self._records[self._mark :]
