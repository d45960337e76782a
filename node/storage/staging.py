"""Staging: where a state that comes from peers is put together before it becomes the current one.

It lies in the space of the database that is not in use, so the current state is untouched, and what
was put there survives a crash: each chunk is one synced batch together with the note that says
where to go on. Database.install makes it the current state.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Final, Protocol

from node.storage.state_layout import Reader, Space, Writes, state_range
from runtime.crypto.hashing import blake2b_256
from runtime.trie.trie import EMPTY_ROOT

CLEARED_PER_BATCH_MAX: Final = 20_000
_TARGET: Final = b"mstaging_target"
_NOTE: Final = b"mstaging_note"

Pairs = tuple[tuple[bytes, bytes], ...]


class Write(Protocol):
    """Writes one synced batch."""

    def __call__(self, writes: Writes, /) -> None: ...


class Staging:
    """The state that is being put together in one space."""

    def __init__(self, reader: Reader, space: Space, write: Write) -> None:
        self.space = space
        self._reader = reader
        self._write = write

    @property
    def target(self) -> bytes | None:
        """The argument of `begin`; None where nothing is staged."""
        return self._reader.get(_TARGET)

    @property
    def note(self) -> bytes:
        """The note of the last chunk; empty before the first."""
        return self._reader.get(_NOTE) or b""

    def begin(self, target: bytes | None) -> None:
        """Throw away what is staged and begin for a target; None begins nothing."""
        self._write({_TARGET: None, _NOTE: None})
        for nodes in (False, True):
            names = self._reader.keys(*state_range(self.space, nodes=nodes))
            while batch := list(islice(names, CLEARED_PER_BATCH_MAX)):
                self._write(dict.fromkeys(batch))
        self._write({_TARGET: target})

    def put(self, pairs: Pairs, nodes: Mapping[bytes, bytes], note: bytes) -> None:
        """Add proven values and trie nodes, and note how far it is: all or nothing."""
        writes: Writes = {self.space.values + key: value for key, value in pairs}
        writes |= {self.space.nodes + path: node for path, node in nodes.items()}
        writes[_NOTE] = note
        self._write(writes)

    def root(self) -> bytes:
        """Return the state root of what is staged."""
        node = self._reader.get(self.space.nodes)
        return EMPTY_ROOT if node is None else blake2b_256(node)

    def end(self) -> Writes:
        """Return the writes that forget target and note."""
        return {_TARGET: None, _NOTE: None}
