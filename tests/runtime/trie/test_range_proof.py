"""Range proofs: whole states copied in chunks, and adversaries that leave out, add or change."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.trie import trie
from runtime.trie.backend import MemoryBackend
from runtime.trie.proof import ProofError
from runtime.trie.range_proof import Chunk, prove_range, verify_range

KEYS = st.binary(max_size=3) | st.binary(min_size=30, max_size=34)
VALUES = st.binary(max_size=3) | st.sampled_from([bytes(32), bytes(33), b"\x01" * 90])
STATES = st.dictionaries(KEYS, VALUES, max_size=40)
SIZES = st.integers(0, 200)


def backend_of(values: dict[bytes, bytes]) -> tuple[MemoryBackend, bytes]:
    backend = MemoryBackend(values)
    diff = trie.update(backend, sorted(values.items()))
    backend.apply({}, diff.nodes)
    return backend, diff.root


@settings(deadline=None)
@given(STATES, SIZES)
def test_the_chunks_of_a_state_are_its_keys_and_its_trie(
    values: dict[bytes, bytes], size: int
) -> None:
    backend, root = backend_of(values)
    pairs: list[tuple[bytes, bytes]] = []
    nodes: dict[bytes, bytes] = {}
    start: bytes | None = b""
    while start is not None:
        chunk = prove_range(backend, start, size)
        verified = verify_range(root, start, chunk)
        pairs += chunk.pairs
        nodes |= verified.nodes
        start = verified.next_start
    assert pairs == sorted(values.items())
    assert nodes == backend.nodes


@settings(deadline=None)
@given(STATES.filter(bool), KEYS, SIZES)
def test_a_chunk_begins_at_any_start(values: dict[bytes, bytes], start: bytes, size: int) -> None:
    backend, root = backend_of(values)
    chunk = prove_range(backend, start, size)
    verified = verify_range(root, start, chunk)
    expected = [pair for pair in sorted(values.items()) if pair[0] >= start]
    assert list(chunk.pairs) == expected[: len(chunk.pairs)]
    assert bool(expected) == bool(chunk.pairs)
    assert (verified.next_start is None) == (len(expected) == len(chunk.pairs))


@settings(max_examples=400, deadline=None)
@given(STATES.filter(bool), KEYS, SIZES, st.data())
def test_keys_left_out_added_or_changed_are_detected(
    values: dict[bytes, bytes], start: bytes, size: int, data: st.DataObject
) -> None:
    backend, root = backend_of(values)
    chunk = prove_range(backend, start, size)
    pairs = dict(chunk.pairs)
    change = data.draw(st.sampled_from(["drop", "value", "insert", "rename"]))
    if change in ("drop", "value", "rename") and pairs:
        key = data.draw(st.sampled_from(sorted(pairs)))
        if change == "drop":
            del pairs[key]
        elif change == "value":
            pairs[key] = data.draw(VALUES)
        else:
            pairs[data.draw(KEYS)] = pairs.pop(key)
    else:
        pairs.setdefault(data.draw(KEYS), data.draw(VALUES))
    forged = Chunk(tuple(sorted(pairs.items())), chunk.proof)
    if forged == chunk:
        return
    honest = dict(sorted(values.items()))
    try:
        verified = verify_range(root, start, forged)
    except ProofError:
        return
    # What is accepted may be a shorter range, but never a false one.
    upto = [pair for pair in sorted(honest.items()) if pair[0] >= start][: len(forged.pairs)]
    assert list(forged.pairs) == upto
    if verified.next_start is None:
        assert len(upto) == sum(key >= start for key in honest)


@settings(max_examples=400, deadline=None)
@given(STATES.filter(bool), SIZES, st.data())
def test_changed_nodes_are_detected(
    values: dict[bytes, bytes], size: int, data: st.DataObject
) -> None:
    backend, root = backend_of(values)
    chunk = prove_range(backend, b"", size)
    proof = list(chunk.proof)
    place = data.draw(st.integers(0, len(proof) - 1))
    change = data.draw(st.sampled_from(["flip", "drop", "replace", "cut", "double", "extra"]))
    entry = bytearray(proof[place])
    if change == "flip":
        entry[data.draw(st.integers(0, len(entry) - 1))] ^= data.draw(st.integers(1, 255))
        proof[place] = bytes(entry)
    elif change == "drop":
        del proof[place]
    elif change == "replace":
        proof[place] = data.draw(st.binary(max_size=60))
    elif change == "cut":
        proof[place] = bytes(entry[:-1])
    elif change == "double":
        proof.append(bytes(entry))
    else:
        proof.append(data.draw(st.binary(max_size=60)))
    if proof == list(chunk.proof):
        return
    with pytest.raises(ProofError):
        verify_range(root, b"", Chunk(chunk.pairs, tuple(proof)))


def test_the_end_of_a_state_cannot_be_hidden() -> None:
    values = {bytes([n]) * 8: bytes([n]) * 40 for n in range(20)}
    backend, root = backend_of(values)
    with pytest.raises(ProofError):
        verify_range(root, b"", Chunk((), ()))
    with pytest.raises(ProofError, match="missing"):
        verify_range(root, b"", Chunk((), prove_range(backend, b"", 10).proof))
    behind = prove_range(backend, b"\xff", 10)
    assert behind.pairs == ()
    assert verify_range(root, b"\xff", behind).next_start is None


def test_an_empty_state_has_one_empty_chunk() -> None:
    chunk = prove_range(MemoryBackend(), b"", 100)
    assert verify_range(trie.EMPTY_ROOT, b"", chunk).next_start is None
    with pytest.raises(ProofError):
        verify_range(trie.EMPTY_ROOT, b"", Chunk(((b"a", b"b"),), ()))


def test_what_is_too_long_or_out_of_order_is_refused_before_any_work() -> None:
    backend, root = backend_of({b"a": b"1", b"b": b"2"})
    proof = prove_range(backend, b"", 100).proof
    for pairs in (((b"b", b"2"), (b"a", b"1")), ((b"a", b"1"), (b"a", b"1"))):
        with pytest.raises(ProofError, match="order"):
            verify_range(root, b"", Chunk(pairs, proof))
    with pytest.raises(ProofError, match="bytes"):
        verify_range(root, b"", Chunk(((bytes(200), b""),), proof))
    with pytest.raises(ProofError, match="before"):
        verify_range(root, b"b", Chunk(((b"a", b"1"), (b"b", b"2")), proof))
    with pytest.raises(ProofError, match="at most"):
        verify_range(root, b"", Chunk((), (b"x",) * 2000))
