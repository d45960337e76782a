import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.trie.backend import Backend, DiffBackend, Former, MemoryBackend, Recorder

KEYS = st.binary(max_size=3)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=12)


def visible(values: dict[bytes, bytes], prefix: bytes, after: bytes | None) -> list[bytes]:
    return sorted(
        key for key in values if key.startswith(prefix) and (after is None or key > after)
    )


@given(st.lists(CHANGES, max_size=4), KEYS, st.none() | KEYS)
def test_diffs_over_memory_read_like_one_dictionary(
    blocks: list[dict[bytes, bytes | None]], prefix: bytes, after: bytes | None
) -> None:
    model: dict[bytes, bytes] = {b"\x01": b"one", b"\x01\x02": b"two", b"\xff": b"last"}
    whole = MemoryBackend(model)
    top: Backend = MemoryBackend(model)
    for changes in blocks:
        whole.apply(changes, changes)
        top = DiffBackend(top, changes, changes)
        for key, value in changes.items():
            model.pop(key, None)
            if value is not None:
                model[key] = value
    for backend in (whole, top):
        assert list(backend.keys(prefix, after)) == visible(model, prefix, after)
        for key in [*model, prefix, b"none"]:
            assert backend.get(key) == model.get(key)
        for changes in blocks[-1:]:
            for path, node in changes.items():
                assert backend.node(path) == node


def test_a_running_iteration_keeps_the_keys_that_it_began_with() -> None:
    backend = MemoryBackend({b"a": b"1", b"b": b"2"})
    keys = backend.keys(b"")
    assert next(keys) == b"a"
    backend.apply({b"b": None, b"c": b"3"}, {})
    assert list(keys) == [b"b"]
    assert list(backend.keys(b"")) == [b"a", b"c"]


@pytest.mark.parametrize("after", [b"a", b"ab"])
def test_after_is_exclusive(after: bytes) -> None:
    backend = MemoryBackend({b"a": b"", b"ab": b"", b"abc": b"", b"b": b""})
    assert after not in list(backend.keys(b"a", after))


def test_thousands_of_unfinalized_blocks_are_read_through() -> None:
    top: Backend = MemoryBackend({b"base": b"value"})
    for number in range(3_000):
        top = DiffBackend(top, {b"%04d" % number: b"new"}, {b"": b"%d" % number})
    assert top.get(b"base") == b"value"
    assert top.get(b"0000") == b"new"
    assert top.node(b"") == b"2999"
    assert top.node(b"\1") is None
    assert len(list(top.keys(b""))) == 3_001


def test_a_recorder_tells_what_was_read_where_a_block_writes() -> None:
    state = MemoryBackend({b"a": b"1", b"b": b"2"})
    state.apply({}, {b"": b"root"})
    recorder = Recorder(state)
    assert (recorder.get(b"a"), recorder.get(b"none"), recorder.node(b"")) == (b"1", None, b"root")
    assert list(recorder.keys(b"")) == [b"a", b"b"]
    former = recorder.former([b"a", b"b", b"none"], [b"", b"\x01"])
    assert former == Former({b"a": b"1", b"none": None}, {b"": b"root"})
    assert recorder.former([], []) == Former()
