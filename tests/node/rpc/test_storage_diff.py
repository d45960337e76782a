"""Storage differences against a model: two dictionaries, each with a trie of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.rpc import storage_diff
from node.rpc.errors import InvalidParamsError
from node.rpc.storage_diff import (
    WHOLE_STATE,
    Change,
    DiffQuery,
    Walk,
    change_json,
    changes,
    page_of_changes,
    read_diff_queries,
    walks_of,
)
from runtime.crypto.hashing import blake2b_256
from runtime.trie.backend import MemoryBackend
from runtime.trie.trie import V1, update

KEYS = st.binary(max_size=3)
STATES = st.dictionaries(KEYS, st.binary(min_size=1, max_size=40), max_size=20)


def backend_of(state: dict[bytes, bytes]) -> MemoryBackend:
    backend = MemoryBackend()
    backend.apply(state, update(backend, sorted(state.items()), V1).nodes)
    return backend


def model(before: dict[bytes, bytes], after: dict[bytes, bytes], prefix: bytes) -> list[Change]:
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if key.startswith(prefix) and before.get(key) != after.get(key)
    ]


@given(STATES, STATES, KEYS)
def test_the_changes_below_a_prefix_are_those_of_the_model_page_by_page(
    before: dict[bytes, bytes], after: dict[bytes, bytes], prefix: bytes
) -> None:
    old, new = backend_of(before), backend_of({**before, **after})
    found: list[Change] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage_diff, "PAGE_ITEMS_MAX", 3)
        while True:
            start = found[-1].key if found else None
            page = page_of_changes(old, new, prefix, start)
            found += page
            if len(page) < 3:
                break
    assert found == model(before, {**before, **after}, prefix)


@given(STATES, STATES)
def test_any_two_states_differ_as_their_dictionaries_do(
    before: dict[bytes, bytes], after: dict[bytes, bytes]
) -> None:
    found = list(changes(backend_of(before), backend_of(after), b"", None))
    assert found == model(before, after, b"")


def test_what_is_the_same_is_not_read() -> None:
    class Counting(MemoryBackend):
        reads = 0

        def node(self, path: bytes) -> bytes | None:
            Counting.reads += 1
            return super().node(path)

    state = {blake2b_256(bytes([number, 0])): b"v" * 40 for number in range(250)}
    old, new = Counting(), Counting()
    for backend, extra in ((old, {}), (new, {b"changed": b"1"})):
        whole = {**state, **extra}
        backend.apply(whole, update(backend, sorted(whole.items()), V1).nodes)
    Counting.reads = 0
    assert [change.key for change in changes(old, new, b"", None)] == [b"changed"]
    assert Counting.reads < 100


def test_a_change_is_written_by_value_or_by_hash_and_a_deleted_key_has_neither() -> None:
    event = {"event": "storageDiff", "key": "0x6b"}
    added, deleted = Change(b"k", None, b"v"), Change(b"k", b"v", None)
    modified = Change(b"k", b"u", b"v")
    by_value, by_hash = WHOLE_STATE, DiffQuery(b"", as_hash=True)
    walk = Walk(b"", (by_value,))
    assert change_json(added, walk) == {**event, "type": "added", "value": "0x76"}
    assert change_json(deleted, walk) == {**event, "type": "deleted"}
    hashed = {**event, "type": "modified", "hash": "0x" + blake2b_256(b"v").hex()}
    assert change_json(modified, Walk(b"", (by_hash,))) == hashed
    both = change_json(modified, Walk(b"", (by_value, by_hash)))
    assert both == {**hashed, "value": "0x76"}
    assert change_json(modified, Walk(b"", (by_hash, DiffQuery(b"l", as_hash=False)))) == hashed


QUERIES = st.lists(st.builds(DiffQuery, KEYS, st.booleans()), min_size=1, max_size=12)


@given(QUERIES, st.sets(KEYS, max_size=20))
def test_each_difference_that_items_ask_for_is_given_once(
    queries: list[DiffQuery], keys: set[bytes]
) -> None:
    walks = walks_of(queries)
    for key in keys:
        asked = {query for query in queries if key.startswith(query.prefix)}
        found = [walk for walk in walks if key.startswith(walk.prefix)]
        assert len(found) == bool(asked)
        if found:
            assert {query for query in found[0].queries if key.startswith(query.prefix)} == asked


def test_items_say_what_is_compared() -> None:
    assert read_diff_queries(None) == [WHOLE_STATE]
    items = [{"returnType": "hash"}, {"key": "0x01", "returnType": "value"}]
    assert read_diff_queries(items) == [DiffQuery(b"", True), DiffQuery(b"\1", False)]


@pytest.mark.parametrize(
    "item",
    [
        7,
        {},
        {"key": "0x"},
        {"returnType": "values"},
        {"returnType": "value", "key": "0xz"},
        {"returnType": "value", "childTrieKey": "0x01"},
        {"returnType": "value", "keys": "0x01"},
    ],
)
def test_a_malformed_item_is_refused(item: object) -> None:
    with pytest.raises(InvalidParamsError):
        read_diff_queries([item])  # type: ignore[list-item]
