"""Storage items against a model: a sorted dictionary and a trie of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.rpc import storage_queries
from node.rpc.errors import InvalidParamsError
from node.rpc.storage_queries import (
    CODE,
    Query,
    QueryKind,
    answer,
    closest_descendant_merkle_value,
    read_queries,
)
from runtime.crypto.hashing import blake2b_256
from runtime.trie.backend import MemoryBackend
from runtime.trie.trie import V1, update

KEYS = st.binary(max_size=3)
STATES = st.dictionaries(KEYS, st.binary(min_size=1, max_size=40), max_size=20)


def backend_of(state: dict[bytes, bytes]) -> MemoryBackend:
    backend = MemoryBackend()
    difference = update(backend, sorted(state.items()), V1)
    backend.apply(state, difference.nodes)
    return backend


@given(STATES, KEYS, st.sampled_from([QueryKind.DESCENDANTS_VALUES, QueryKind.DESCENDANTS_HASHES]))
def test_descendants_come_whole_and_sorted_page_by_page(
    state: dict[bytes, bytes], prefix: bytes, kind: QueryKind
) -> None:
    backend, found = backend_of(state), []
    rest: Query | None = Query(prefix, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage_queries, "PAGE_ITEMS_MAX", 3)
        while rest is not None:
            page = answer(backend, rest, b"")
            assert len(page.items) <= 3
            found += page.items
            rest = page.rest
    assert [item["key"] for item in found] == [
        "0x" + key.hex() for key in sorted(state) if key.startswith(prefix)
    ]


@given(STATES, KEYS)
def test_a_merkle_value_exists_where_a_key_has_descendants_and_depends_on_them_alone(
    state: dict[bytes, bytes], prefix: bytes
) -> None:
    backend = backend_of(state)
    merkle_value = closest_descendant_merkle_value(backend, prefix)
    below = [key for key in state if key.startswith(prefix)]
    assert (merkle_value is not None) == bool(below)
    if not below:
        return
    changed = backend_of({**state, below[0]: state[below[0]] + b"!"})
    assert closest_descendant_merkle_value(changed, prefix) != merkle_value
    root = backend.node(b"")
    assert root is not None
    assert closest_descendant_merkle_value(backend, b"") == blake2b_256(root)


def test_the_code_of_a_native_runtime_is_its_version() -> None:
    backend = backend_of({b"a": b"1"})
    assert answer(backend, Query(CODE, QueryKind.VALUE), b"v1").items[0]["value"] == "0x7631"
    own = backend_of({CODE: b"own"})
    assert answer(own, Query(CODE, QueryKind.VALUE), b"v1").items[0]["value"] == "0x" + b"own".hex()


def test_a_start_key_goes_with_descendants_alone() -> None:
    item = {"key": "0x", "type": "descendantsValues", "paginationStartKey": "0x01"}
    assert read_queries([item], None) == [Query(b"", QueryKind.DESCENDANTS_VALUES, b"\1")]
    with pytest.raises(InvalidParamsError):
        read_queries([{**item, "type": "value"}], None)
    with pytest.raises(InvalidParamsError):
        read_queries([], "0x01")
