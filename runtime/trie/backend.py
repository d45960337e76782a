"""Backends: the sources of state, a flat store of keys beside the encoded trie nodes.

A backend answers for one state, the one after some block. The database serves finalized states,
`DiffBackend` puts the changes of one unfinalized block over its parent, and `MemoryBackend` holds
a whole state in memory for genesis and tests. Nothing here hashes or knows what a value means.

Trie nodes are addressed by nibble path: one byte (0 to 15) for each nibble on the way from the root
to the node, the child index of the last branch included and the node's own partial key not. So the
root is at b"", and a node's address never changes when the partial key above it is split.
Nodes shorter than 32 bytes are inlined in their parent and have no address.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Backend(Protocol):
    """Read access to one state."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        ...

    def node(self, path: bytes) -> bytes | None:
        """Return the encoded trie node at a nibble path, None when there is none."""
        ...

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys that start with `prefix`, sorted, strictly after `after`."""
        ...


class MemoryBackend:
    """A state held in two dictionaries; the only backend that changes in place."""

    def __init__(self, values: Mapping[bytes, bytes] | None = None) -> None:
        self.values: dict[bytes, bytes] = dict(values or {})
        self.nodes: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        return self.values.get(key)

    def node(self, path: bytes) -> bytes | None:
        """Return the encoded trie node at a nibble path, None when there is none."""
        return self.nodes.get(path)

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys that start with `prefix`, sorted, strictly after `after`."""
        if self._sorted is None:
            self._sorted = sorted(self.values)
        return _within(self._sorted, prefix, after)

    def apply(
        self, changes: Mapping[bytes, bytes | None], nodes: Mapping[bytes, bytes | None]
    ) -> None:
        """Write a block's changes; None deletes."""
        _write(self.values, changes)
        _write(self.nodes, nodes)
        # A new list, not a changed one: a running iterator goes on over the keys it began with.
        self._sorted = None


@dataclass(frozen=True, slots=True)
class Former:
    """The values and nodes that a block replaced, by key and by path, as far as they were read."""

    values: Mapping[bytes, bytes | None] = field(default_factory=dict, repr=False)
    nodes: Mapping[bytes, bytes | None] = field(default_factory=dict, repr=False)


class Recorder:
    """A state that remembers what was read of it, so that a commit need not read it again."""

    def __init__(self, parent: Backend) -> None:
        self._parent = parent
        self._values: dict[bytes, bytes | None] = {}
        self._nodes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        value = self._values[key] = self._parent.get(key)
        return value

    def node(self, path: bytes) -> bytes | None:
        """Return the encoded trie node at a nibble path, None when there is none."""
        node = self._nodes[path] = self._parent.node(path)
        return node

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys that start with `prefix`, sorted, strictly after `after`."""
        return self._parent.keys(prefix, after)

    def former(self, changes: Iterable[bytes], nodes: Iterable[bytes]) -> Former:
        """Return what was read where these changes are written."""
        return Former(
            {key: self._values[key] for key in changes if key in self._values},
            {path: self._nodes[path] for path in nodes if path in self._nodes},
        )


class DiffBackend:
    """An unfinalized block's state: its changes over its parent. Never changed once made."""

    def __init__(
        self,
        parent: Backend,
        changes: Mapping[bytes, bytes | None],
        nodes: Mapping[bytes, bytes | None],
    ) -> None:
        self.parent = parent
        self.changes = changes
        self.nodes = nodes
        self._sorted: list[bytes] | None = None

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        # A loop and not a call to the parent: with finality stuck there may be thousands of layers.
        state: Backend = self
        while isinstance(state, DiffBackend):
            if key in state.changes:
                return state.changes[key]
            state = state.parent
        return state.get(key)

    def node(self, path: bytes) -> bytes | None:
        """Return the encoded trie node at a nibble path, None when there is none."""
        state: Backend = self
        while isinstance(state, DiffBackend):
            if path in state.nodes:
                return state.nodes[path]
            state = state.parent
        return state.node(path)

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys that start with `prefix`, sorted, strictly after `after`."""
        changed: dict[bytes, bytes | None] = {}
        state: Backend = self
        while isinstance(state, DiffBackend):
            for key in state._changed(prefix, after):
                changed.setdefault(key, state.changes[key])
            state = state.parent
        return merge_changes(state.keys(prefix, after), iter(sorted(changed)), changed.__getitem__)

    def _changed(self, prefix: bytes, after: bytes | None) -> Iterator[bytes]:
        if self._sorted is None:
            self._sorted = sorted(self.changes)
        return _within(self._sorted, prefix, after)


def merge_changes(
    older: Iterator[bytes], changed: Iterator[bytes], value_of: Callable[[bytes], bytes | None]
) -> Iterator[bytes]:
    """Merge two sorted key sequences; a `changed` key exists if `value_of` gives it a value."""
    old = next(older, None)
    for key in changed:
        while old is not None and old < key:
            yield old
            old = next(older, None)
        if old == key:
            old = next(older, None)
        if value_of(key) is not None:
            yield key
    if old is not None:
        yield old
        yield from older


def _within(ordered: list[bytes], prefix: bytes, after: bytes | None) -> Iterator[bytes]:
    start = bisect_left(ordered, prefix)
    if after is not None:
        start = max(start, bisect_right(ordered, after))
    for position in range(start, len(ordered)):
        key = ordered[position]
        if not key.startswith(prefix):
            return
        yield key


def _write(store: dict[bytes, bytes], changes: Mapping[bytes, bytes | None]) -> None:
    for key, value in changes.items():
        if value is None:
            store.pop(key, None)
        else:
            store[key] = value
