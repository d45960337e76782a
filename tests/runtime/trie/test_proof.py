import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.trie import trie
from runtime.trie.backend import MemoryBackend
from runtime.trie.proof import ProofError, prove, verify, verify_many

KEYS = st.binary(max_size=3)
STATES = st.dictionaries(
    KEYS, st.binary(max_size=3) | st.sampled_from([bytes(32), bytes(33), b"\x01" * 90]), max_size=30
)


def backend_of(values: dict[bytes, bytes], version: int = 1) -> tuple[MemoryBackend, bytes]:
    backend = MemoryBackend(values)
    diff = trie.update(backend, sorted(values.items()), version)
    backend.apply({}, diff.nodes)
    return backend, diff.root


@given(STATES, st.lists(KEYS, max_size=5), st.sampled_from([0, 1]), st.randoms())
def test_a_proof_shows_presence_and_absence(
    values: dict[bytes, bytes], absent: list[bytes], version: int, order: random.Random
) -> None:
    backend, root = backend_of(values, version)
    keys = sorted({*list(values)[:5], *absent})
    proof = prove(backend, root, keys)
    order.shuffle(proof)
    expected = {key: values.get(key) for key in keys}
    assert verify_many(root, proof, keys) == expected
    assert {key: verify(root, proof, key) for key in keys} == expected


@settings(max_examples=300, deadline=None)
@given(STATES.filter(bool), st.data())
def test_a_changed_proof_never_shows_another_value(
    values: dict[bytes, bytes], data: st.DataObject
) -> None:
    backend, root = backend_of(values)
    key = data.draw(st.sampled_from(sorted(values)) | KEYS)
    proof = prove(backend, root, [key])
    place = data.draw(st.integers(0, len(proof) - 1))
    change = data.draw(st.sampled_from(["flip", "drop", "replace", "cut", "double"]))
    entry = bytearray(proof[place])
    if change == "flip":
        entry[data.draw(st.integers(0, len(entry) - 1))] ^= data.draw(st.integers(1, 255))
        proof[place] = bytes(entry)
    elif change == "drop":
        del proof[place]
    elif change == "replace":
        proof[place] = data.draw(st.binary(max_size=60))
        if proof[place] == bytes(entry):
            return
    elif change == "cut":
        proof[place] = bytes(entry[:-1])
    else:
        proof.append(bytes(entry))
    with pytest.raises(ProofError):
        verify_many(root, proof, [key])


@given(st.lists(st.binary(max_size=80), max_size=6), KEYS, st.integers(0, 5))
def test_garbage_under_its_own_root_is_refused_or_read(
    proof: list[bytes], key: bytes, place: int
) -> None:
    entries = sorted(set(proof))
    root = trie.blake2b(entries[place % len(entries)], digest_size=32).digest() if entries else b""
    try:
        value = verify(root, entries, key)
    except ProofError:
        return
    assert value is None or isinstance(value, bytes)


def test_entries_that_no_key_needs_are_refused_by_verify_many_alone() -> None:
    values = {bytes([byte]) * 4: bytes([byte]) * 40 for byte in range(64)}
    backend, root = backend_of(values)
    first, second = list(values)[:2]
    proof = prove(backend, root, [first, second])
    assert verify(root, proof, first) == values[first]
    with pytest.raises(ProofError, match="no key needs"):
        verify_many(root, proof, [first])


def test_an_entry_that_comes_twice_is_refused() -> None:
    backend, root = backend_of({b"key": b"value"})
    proof = prove(backend, root, [b"key"])
    with pytest.raises(ProofError, match="twice"):
        verify(root, proof * 2, b"key")


def test_a_proof_for_another_root_is_not_made() -> None:
    backend, _ = backend_of({b"key": b"value"})
    with pytest.raises(ProofError, match="another root"):
        prove(backend, bytes(32), [b"key"])


def test_the_empty_state_proves_absence_with_no_entries() -> None:
    backend, root = backend_of({})
    assert prove(backend, root, [b"key"]) == []
    assert verify(root, [], b"key") is None


@pytest.mark.parametrize("damage", ["value", "node"])
def test_a_damaged_state_is_noticed_while_proving(damage: str) -> None:
    values = {bytes([byte]) * 4: bytes([byte]) * 40 for byte in range(64)}
    backend, root = backend_of(values)
    if damage == "value":
        backend.values[b"\x05" * 4] = b"other"
    else:
        backend.nodes[b"\x00"] = backend.nodes[b"\x01"]
    with pytest.raises(ProofError, match="damaged"):
        prove(backend, root, [b"\x05" * 4])
