"""Storage differences as archive_v1_storageDiff asks for them: two states walked side by side.

Both tries are read in the order of their keys, node by node. Where both have the same node at the
same path, everything below is the same and is skipped, so a difference costs what has changed and
not what the states hold. Knows nothing of blocks or subscriptions.

Source: https://paritytech.github.io/json-rpc-interface-spec/api/archive_v1_storageDiff.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from node.rpc.errors import InvalidParamsError
from node.rpc.parameters import Json, read_bytes
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.hashing import blake2b_256
from runtime.trie.backend import Backend
from runtime.trie.trie_node import HASH_BYTES, Branch, Leaf, decode, nibbles_of, pack

PAGE_ITEMS_MAX: Final = 128
ITEMS_MAX: Final = 1_024
RETURN_TYPES: Final = ("value", "hash")
ITEM_MEMBERS: Final = ("key", "returnType", "childTrieKey")


@dataclass(frozen=True, slots=True, order=True)
class DiffQuery:
    """The keys to compare, by their prefix, and whether their values are answered by hash."""

    prefix: bytes
    as_hash: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """A part of the state to compare, and the items that ask for it or for a part of it."""

    prefix: bytes
    queries: tuple[DiffQuery, ...]


WHOLE_STATE: Final = DiffQuery(b"", as_hash=False)


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value is not the same in both states; None where a state lacks it."""

    key: bytes
    before: bytes | None
    after: bytes | None


def read_diff_queries(items: Sequence[Json] | None) -> list[DiffQuery]:
    """Read the parameter `items`; without any, the whole state. Raises InvalidParamsError."""
    if items is None:
        return [WHOLE_STATE]
    if len(items) > ITEMS_MAX:
        raise InvalidParamsError(f"At most {ITEMS_MAX} items are answered at once.")
    return [_read_query(item) for item in items]


def _read_query(item: Json) -> DiffQuery:
    if not isinstance(item, dict):
        raise InvalidParamsError("An item is an object with `returnType`, and `key` if you like.")
    unknown = sorted(set(item) - set(ITEM_MEMBERS))
    if unknown:
        raise InvalidParamsError(f"An item has no `{unknown[0][:80]}`: `key` and `returnType`.")
    if item.get("childTrieKey") is not None:
        raise InvalidParamsError("This chain has no child tries. Leave `childTrieKey` out.")
    kind = item.get("returnType")
    if kind not in RETURN_TYPES:
        raise InvalidParamsError("The `returnType` of an item is value or hash.")
    key = item.get("key")
    return DiffQuery(b"" if key is None else read_bytes(key), kind == "hash")


def walks_of(queries: Sequence[DiffQuery]) -> list[Walk]:
    """Return the walks that give each difference once, whatever items ask for it.

    The specification: an event "is generated for each storage difference between the two blocks".
    """
    walks: list[list[DiffQuery]] = []
    for query in sorted(set(queries)):
        # Sorted, a prefix comes right before all that begin with it.
        if walks and query.prefix.startswith(walks[-1][0].prefix):
            walks[-1].append(query)
        else:
            walks.append([query])
    return [Walk(walk[0].prefix, tuple(walk)) for walk in walks]


def page_of_changes(
    before: Backend, after: Backend, prefix: bytes, start: bytes | None
) -> list[Change]:
    """Return the next changes strictly after the key `start`; fewer than a page ends them."""
    found = (
        change
        for change in changes(before, after, prefix, start)
        if start is None or change.key > start
    )
    return list(islice(found, PAGE_ITEMS_MAX))


def change_json(change: Change, walk: Walk) -> dict[str, Json]:
    """Return a change as the event storageDiff, by value, hash or both; a deleted key has none."""
    kind = "modified"
    if change.before is None:
        kind = "added"
    elif change.after is None:
        kind = "deleted"
    event: dict[str, Json] = {"event": "storageDiff", "key": to_hex(change.key), "type": kind}
    if change.after is not None:
        asked = {query.as_hash for query in walk.queries if change.key.startswith(query.prefix)}
        for as_hash in sorted(asked):
            value = blake2b_256(change.after) if as_hash else change.after
            event["hash" if as_hash else "value"] = to_hex(value)
    return event


def changes(
    before: Backend, after: Backend, prefix: bytes, start: bytes | None
) -> Iterator[Change]:
    """Yield the changes below a prefix, sorted by key, from a key on."""
    old, new = _Cursor(before, prefix, start), _Cursor(after, prefix, start)
    while old.node is not None or new.node is not None:
        if old.node == new.node:
            old.skip()
            new.skip()
            continue
        path = min(cursor.node.path for cursor in (old, new) if cursor.node is not None)
        had = old.has_value_at(path)
        has = new.has_value_at(path)
        for cursor in (old, new):
            if cursor.node is not None and cursor.node.path == path:
                cursor.descend()
        key = pack(path)
        if not (had or has) or not key.startswith(prefix):
            continue
        was = before.get(key) if had else None
        now = after.get(key) if has else None
        if was != now:
            yield Change(key, was, now)


@dataclass(frozen=True, slots=True)
class _Node:
    """A trie node: the path to its end, partial key included, and its encoding."""

    path: bytes
    encoded: bytes


class _Cursor:
    """A walk over a trie in the order of its keys, parents first; it may leave out subtrees."""

    def __init__(self, backend: Backend, prefix: bytes, start: bytes | None) -> None:
        self._backend = backend
        self._prefix = nibbles_of(prefix)
        self._start = nibbles_of(start or b"")
        self._waiting: list[_Node] = []
        """Nodes that are not visited yet, the last one first."""
        root = backend.node(b"")
        if root is not None:
            self._push(b"", root)

    @property
    def node(self) -> _Node | None:
        """The node at which the walk is, None at its end."""
        return self._waiting[-1] if self._waiting else None

    def has_value_at(self, path: bytes) -> bool:
        """Return whether the walk is at this path, and the node there has a value."""
        node = self.node
        if node is None or node.path != path:
            return False
        decoded = decode(node.encoded)
        return isinstance(decoded, Leaf) or decoded.cell is not None

    def skip(self) -> None:
        """Go past the node and everything below it."""
        self._waiting.pop()

    def descend(self) -> None:
        """Go to the first child of the node, or past it where there is none."""
        node = self._waiting.pop()
        decoded = decode(node.encoded)
        if isinstance(decoded, Branch):
            for index in reversed(range(len(decoded.children))):
                child = decoded.children[index]
                if child is not None:
                    self._push_child(node.path + bytes((index,)), child)

    def _push_child(self, address: bytes, child: bytes) -> None:
        if not self._is_wanted(address):
            return
        encoded = self._backend.node(address) if len(child) == HASH_BYTES else child
        assert encoded is not None, "a child that is referred to by its hash is stored"
        self._push(address, encoded)

    def _push(self, address: bytes, encoded: bytes) -> None:
        path = address + decode(encoded).partial
        if self._is_wanted(path):
            self._waiting.append(_Node(path, encoded))

    def _is_wanted(self, path: bytes) -> bool:
        """Return whether keys below a path may have the prefix and come after the start."""
        size = min(len(path), len(self._prefix))
        return path[:size] == self._prefix[:size] and path >= self._start[: len(path)]
