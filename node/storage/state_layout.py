"""How the current state lies in a sorted store of bytes; knows nothing of LevelDB itself.

It lies flat (`v` ++ storage key -> value) and as a trie (`n` ++ nibble path -> node); or in `w` and
`o`, since a state that comes from peers is put together in the space that is not in use
(node/storage/staging.py). Former states are in node/storage/state_history.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Space:
    """Where a whole state lies: what the names of its values and of its trie nodes begin with."""

    values: bytes
    nodes: bytes


SPACES: Final = (Space(b"v", b"n"), Space(b"w", b"o"))
"""One is in use; the other is empty, or a state is being put together there."""

Writes = dict[bytes, bytes | None]
"""New values of a sorted store of bytes, by name; None deletes."""


class Reader(Protocol):
    """A consistent sorted store of bytes."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        ...

    def keys(self, start: bytes, stop: bytes) -> Iterator[bytes]:
        """Yield the keys from `start` up to and without `stop`, sorted."""
        ...

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """Return the first key from `start` up to and without `stop`, and its value."""
        ...


class HeadState:
    """The state after the last commit, as a Backend."""

    def __init__(self, reader: Reader, space: Space) -> None:
        self._reader = reader
        self._space = space

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        return self._reader.get(self._space.values + key)

    def node(self, path: bytes) -> bytes | None:
        """Return the encoded trie node at a nibble path, None when there is none."""
        return self._reader.get(self._space.nodes + path)

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys that start with `prefix`, sorted, strictly after `after`."""
        values = self._space.values
        start = values + prefix
        if after is not None:
            # No key lies between a key and the same key with a zero byte added.
            start = max(start, values + after + b"\0")
        for key in self._reader.keys(start, end_of(values + prefix)):
            yield key[1:]


def height_bytes(height: int) -> bytes:
    """Return a height in the form that names end in; its first byte is always zero."""
    return height.to_bytes(8, "big")


def state_range(space: Space, *, nodes: bool) -> tuple[bytes, bytes]:
    """Return the first name and the end of the values of a space, or of its trie nodes."""
    first = space.nodes if nodes else space.values
    return first, end_of(first)


def end_of(prefix: bytes) -> bytes:
    """Return the smallest name above all that start with `prefix`."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1])
