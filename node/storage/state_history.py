"""The history of the state: what blocks overwrote, so that former states can be read.

What a block overwrites is kept in reverse records, whose names end in the block's height: the state
after block H holds the first record above H, or the current value when there is none. So a historic
read is one seek. `P` ++ height lists a block's reverse records, for node/storage/pruning.py.

A storage key inside a reverse name is escaped (00 -> 00 FF) and ended by 00, which keeps names in
the order of the keys whatever their lengths; a nibble path is led by its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from node.storage.state_layout import HeadState, Reader, Space, Writes, end_of, height_bytes
from runtime.codec import scale
from runtime.trie.backend import Former, merge_changes

_REVERSE_VALUE: Final = b"R"
_REVERSE_NODE: Final = b"N"
_REVERSE_NAMES: Final = b"P"
_ABSENT: Final = b"\0"
_PRESENT: Final = b"\1"
_NAMES: Final = scale.codec(tuple[bytes, ...])


class HistoricState:
    """The state after one block of the kept history, as a Backend over a snapshot."""

    def __init__(self, reader: Reader, space: Space, height: int) -> None:
        self._reader = reader
        self._now = HeadState(reader, space)
        self._next = height_bytes(height + 1)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        found, old = self._before(_reverse_value(key))
        return old if found else self._now.get(key)

    def node(self, path: bytes) -> bytes | None:
        """Return the encoded trie node at a nibble path, None when there is none."""
        found, old = self._before(_reverse_node(path))
        return old if found else self._now.node(path)

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys that start with `prefix`, sorted, strictly after `after`."""
        now, changed = self._now.keys(prefix, after), self._changed(prefix, after)
        return merge_changes(now, changed, self._old_value)

    def _old_value(self, key: bytes) -> bytes | None:
        """Return the value that a key changed since then had."""
        return self._before(_reverse_value(key))[1]

    def _before(self, group: bytes) -> tuple[bool, bytes | None]:
        """Return whether something changed since then, and what it was before."""
        entry = self._reader.first(group + self._next, group + b"\xff")
        if entry is None:
            return False, None
        old = entry[1]
        return True, old[1:] if old[:1] == _PRESENT else None

    def _changed(self, prefix: bytes, after: bytes | None) -> Iterator[bytes]:
        """Yield the keys that changed since then, sorted."""
        start = _REVERSE_VALUE + _escape(prefix)
        stop = end_of(start)
        if after is not None:
            start = max(start, _reverse_value(after) + b"\xff")
        while True:
            # One seek for each key and not for each record: a key may change in every block.
            entry = self._reader.first(start, stop)
            if entry is None:
                return
            group = entry[0][:-8]
            if self._reader.first(group + self._next, group + b"\xff") is not None:
                yield _unescape(group[1:-1])
            # Heights begin with a zero byte and escaped zeros with 00 FF: no other key is skipped.
            start = group + b"\x01"


class CommitPlan:
    """The writes of a commit while it is put together; reads see them already."""

    def __init__(self, reader: Reader, space: Space) -> None:
        self.writes: Writes = {}
        self._reader = reader
        self._space = space

    def get(self, name: bytes) -> bytes | None:
        """Return what a name will hold after the writes so far."""
        if name in self.writes:
            return self.writes[name]
        return self._reader.get(name)

    def change_state(
        self,
        height: int,
        changes: Mapping[bytes, bytes | None],
        nodes: Mapping[bytes, bytes | None],
        former: Former,
        *,
        keep_old: bool,
    ) -> None:
        """Write one block's changes and, if `keep_old`, the reverse records that undo them.

        What `former` does not have of the state before is read.
        """
        names: list[bytes] = []
        at = height_bytes(height)
        for key, value in changes.items():
            name = self._space.values + key
            old = former.values[key] if key in former.values else self.get(name)
            if value != old:
                self._change(name, value, old, names, _reverse_value(key) + at)
        for path, node in nodes.items():
            name = self._space.nodes + path
            old = former.nodes[path] if path in former.nodes else self.get(name)
            if node != old:
                self._change(name, node, old, names, _reverse_node(path) + at)
        if keep_old:
            self.writes[_REVERSE_NAMES + at] = _NAMES.encode(tuple(names))
        else:
            for name in names:
                del self.writes[name]

    def forget(self, height: int) -> None:
        """Delete the reverse records of one block."""
        for name in self._names(height):
            self.writes[name] = None
        self.writes[_REVERSE_NAMES + height_bytes(height)] = None

    def _change(
        self,
        name: bytes,
        new: bytes | None,
        old: bytes | None,
        names: list[bytes],
        reverse: bytes,
    ) -> None:
        self.writes[name] = new
        self.writes[reverse] = _ABSENT if old is None else _PRESENT + old
        names.append(reverse)

    def _names(self, height: int) -> tuple[bytes, ...]:
        encoded = self.get(_REVERSE_NAMES + height_bytes(height))
        return () if encoded is None else _NAMES.decode(encoded)


def _reverse_value(key: bytes) -> bytes:
    return _REVERSE_VALUE + _escape(key) + b"\0"


def _reverse_node(path: bytes) -> bytes:
    return _REVERSE_NODE + len(path).to_bytes(2, "big") + path


def _escape(key: bytes) -> bytes:
    return key.replace(b"\0", b"\0\xff")


def _unescape(name: bytes) -> bytes:
    return name.replace(b"\0\xff", b"\0")
