"""Storage items as chainHead_v1_storage and archive_v1_storage ask for them.

    value, hash                            the item of a key
    closestDescendantMerkleValue           the Merkle value of the trie node at or below a key
    descendantsValues, descendantsHashes   all items whose key starts with a key, page by page

Source: https://paritytech.github.io/json-rpc-interface-spec/
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from node.rpc.errors import InvalidParamsError
from node.rpc.parameters import Json, read_bytes
from runtime.codec.hexadecimal import to_hex
from runtime.crypto.hashing import blake2b_256
from runtime.trie.backend import Backend
from runtime.trie.trie_node import HASH_BYTES, Leaf, decode, nibbles_of

PAGE_ITEMS_MAX: Final = 128
PAGE_BYTES_MAX: Final = 512 * 1024
ITEMS_MAX: Final = 1_024
CODE: Final = b":code"
"""Where Substrate keeps the runtime. papi distinguishes runtimes by the hash of what is here, and
fails without; a native runtime has no code, so its encoded version is answered in its place."""


class QueryKind(enum.StrEnum):
    """What of an item is asked for."""

    VALUE = "value"
    HASH = "hash"
    MERKLE_VALUE = "closestDescendantMerkleValue"
    DESCENDANTS_VALUES = "descendantsValues"
    DESCENDANTS_HASHES = "descendantsHashes"


_DESCENDANTS: Final = (QueryKind.DESCENDANTS_VALUES, QueryKind.DESCENDANTS_HASHES)


@dataclass(frozen=True, slots=True)
class Query:
    """One item asked for; `after` is the last key of the page before."""

    key: bytes
    kind: QueryKind
    after: bytes | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some results of a query, and the query for the rest."""

    items: list[dict[str, Json]]
    rest: Query | None


def read_queries(items: Sequence[Json], child_trie: Json) -> list[Query]:
    """Read the parameters `items` and `childTrie`. Raises InvalidParamsError."""
    if child_trie is not None:
        raise InvalidParamsError("This chain has no child tries. Leave `childTrie` null.")
    if len(items) > ITEMS_MAX:
        raise InvalidParamsError(f"At most {ITEMS_MAX} items are answered at once.")
    return [_read_query(item) for item in items]


def _read_query(item: Json) -> Query:
    if not isinstance(item, dict):
        raise InvalidParamsError("An item is an object with `key` and `type`.")
    try:
        kind = QueryKind(str(item.get("type")))
    except ValueError as error:
        kinds = ", ".join(QueryKind)
        raise InvalidParamsError(f"The `type` of an item is one of {kinds}.") from error
    start = item.get("paginationStartKey")
    if start is not None and kind not in _DESCENDANTS:
        raise InvalidParamsError("`paginationStartKey` goes with descendants alone.")
    return Query(read_bytes(item.get("key")), kind, None if start is None else read_bytes(start))


def answer(backend: Backend, query: Query, code: bytes) -> Page:
    """Return results of a query in a state: all of them, or the next page of descendants.

    `code` is what stands for the runtime's code where the state has none.
    """
    key = query.key
    if query.kind in _DESCENDANTS:
        return _descendants(backend, query)
    if query.kind is QueryKind.MERKLE_VALUE:
        merkle_value = closest_descendant_merkle_value(backend, key)
        if merkle_value is None:
            return Page([], None)
        return Page([{"key": to_hex(key), query.kind.value: to_hex(merkle_value)}], None)
    value = backend.get(key)
    if value is None and key == CODE:
        value = code
    return Page([] if value is None else [_item(key, value, query.kind is QueryKind.HASH)], None)


def _descendants(backend: Backend, query: Query) -> Page:
    items: list[dict[str, Json]] = []
    size = 0
    after = query.after
    for key in islice(backend.keys(query.key, after), PAGE_ITEMS_MAX):
        value = backend.get(key)
        assert value is not None, "a listed key has a value"
        items.append(_item(key, value, query.kind is QueryKind.DESCENDANTS_HASHES))
        after, size = key, size + len(value)
        if size >= PAGE_BYTES_MAX:
            break
    is_full = len(items) == PAGE_ITEMS_MAX or size >= PAGE_BYTES_MAX
    more = is_full and next(backend.keys(query.key, after), None) is not None
    return Page(items, Query(query.key, query.kind, after) if more else None)


def _item(key: bytes, value: bytes, as_hash: bool) -> dict[str, Json]:
    if as_hash:
        return {"key": to_hex(key), "hash": to_hex(blake2b_256(value))}
    return {"key": to_hex(key), "value": to_hex(value)}


def closest_descendant_merkle_value(backend: Backend, key: bytes) -> bytes | None:
    """Return the Merkle value of the first trie node at or below a key, None without one.

    It is the hash of the node's encoding, or the encoding itself when that is shorter; the root
    is always hashed. Source: the Polkadot specification, definition of the Merkle value.
    """
    node = backend.node(b"")
    if node is None:
        return None
    nibbles, depth, merkle_value = nibbles_of(key), 0, blake2b_256(node)
    while True:
        decoded = decode(node)
        if decoded.partial.startswith(nibbles[depth:]):
            return merkle_value
        if not nibbles.startswith(decoded.partial, depth) or isinstance(decoded, Leaf):
            return None
        depth += len(decoded.partial)
        child = decoded.children[nibbles[depth]]
        if child is None:
            return None
        depth += 1
        stored = backend.node(nibbles[:depth]) if len(child) == HASH_BYTES else child
        assert stored is not None, "a child that is referred to by its hash is stored"
        merkle_value, node = child, stored
