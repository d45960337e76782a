import gzip
import json
import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runtime.crypto.hashing import blake2b_256
from runtime.trie import trie
from runtime.trie.backend import MemoryBackend
from runtime.trie.trie_node import Branch, Leaf, NodeError, decode, encode_branch, encode_leaf
from tests.conftest import REPOSITORY

OUTSIDE = REPOSITORY.parent / "shared" / "vectors"
KEYS = st.binary(max_size=4) | st.sampled_from([b"", b"a", b"ab", b"abc", b"abd", b"\0" * 40])
VALUES = st.binary(max_size=3) | st.integers(30, 34).map(bytes) | st.integers(63, 65).map(bytes)
BATCHES = st.dictionaries(KEYS, st.none() | VALUES, max_size=8)


def apply(backend: MemoryBackend, changes: dict[bytes, bytes | None], version: int = 1) -> bytes:
    diff = trie.update(backend, sorted(changes.items()), version)
    backend.apply(changes, diff.nodes)
    return diff.root


def assert_stored_as_from_scratch(backend: MemoryBackend, root: bytes, version: int = 1) -> None:
    """The root and every stored node are those of a trie built from nothing."""
    fresh = MemoryBackend()
    assert apply(fresh, dict(backend.values), version) == root
    assert fresh.nodes == backend.nodes


@pytest.mark.skipif(not OUTSIDE.exists(), reason="the shared vectors are not beside the repository")
@pytest.mark.parametrize("chain", ["westend", "coretime-polkadot"])
def test_real_genesis_states_have_their_published_roots(chain: str) -> None:
    expected = json.loads((OUTSIDE / "expected.json").read_text())[chain]
    with gzip.open(OUTSIDE / f"{chain}.genesis.json.gz") as file:
        top = json.load(file)["top"]
    pairs = {bytes.fromhex(key[2:]): bytes.fromhex(value[2:]) for key, value in top.items()}
    root = trie.root_of(pairs, expected["state_version"])
    assert len(pairs) == expected["keys"]
    assert "0x" + root.hex() == expected["state_root"]
    header = bytes(32) + b"\0" + root + trie.EMPTY_ROOT + b"\0"
    assert "0x" + blake2b_256(header).hex() == expected["genesis_hash"]


def test_the_empty_trie_has_its_known_root() -> None:
    known = "03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314"
    assert trie.root_of({}).hex() == known
    assert trie.ordered_root([]).hex() == known
    assert trie.update(MemoryBackend(), []).nodes == {}


def test_deleting_everything_leaves_no_node() -> None:
    backend = MemoryBackend()
    keys = [bytes([byte, byte ^ 85]) * 3 for byte in range(200)]
    apply(backend, {key: key * 7 for key in keys})
    assert apply(backend, dict.fromkeys(keys)) == trie.EMPTY_ROOT
    assert backend.nodes == {}


def test_a_list_root_is_keyed_by_compact_index() -> None:
    values = [bytes([index % 251]) * 5 for index in range(70)]
    pairs = {bytes([index << 2]): values[index] for index in range(64)}
    pairs |= {(index << 2 | 1).to_bytes(2, "little"): values[index] for index in range(64, 70)}
    assert trie.ordered_root(values) == trie.root_of(pairs)


@pytest.mark.parametrize("version", [0, 1])
def test_twenty_thousand_random_updates_agree_with_building_from_scratch(version: int) -> None:
    source = random.Random(version)
    backend = MemoryBackend()
    root = trie.EMPTY_ROOT
    names: list[bytes] = []
    for number in range(100):
        changes: dict[bytes, bytes | None] = {}
        while len(changes) < 200:
            known = source.choice(names) if names and source.random() < 0.7 else b""
            action = source.random()
            if known and action < 0.35:
                changes[known] = None
            elif known and action < 0.6:
                changes[known] = source.randbytes(source.choice([0, 5, 31, 32, 33, 80]))
            else:
                # New keys extend old ones at times, so that keys are prefixes of others.
                key = (known if action < 0.8 else b"") + source.randbytes(source.choice([1, 2, 8]))
                changes[key[:60]] = source.randbytes(source.choice([0, 1, 31, 32, 33, 64, 300]))
        root = apply(backend, changes, version)
        names = sorted(backend.values)
        if number % 10 == 9:
            assert_stored_as_from_scratch(backend, root, version)
    assert_stored_as_from_scratch(backend, root, version)


class TrieMachine(RuleBasedStateMachine):
    """The trie against a dictionary; every state equals the trie built from nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = MemoryBackend()
        self.root = trie.EMPTY_ROOT

    @rule(changes=BATCHES)
    def apply_a_batch(self, changes: dict[bytes, bytes | None]) -> None:
        self.root = apply(self.backend, changes)

    @rule(value=st.none() | VALUES, data=st.data())
    def change_a_known_key(self, value: bytes | None, data: st.DataObject) -> None:
        if self.backend.values:
            key = data.draw(st.sampled_from(sorted(self.backend.values)))
            self.root = apply(self.backend, {key: value})

    @invariant()
    def the_trie_is_the_one_built_from_scratch(self) -> None:
        assert_stored_as_from_scratch(self.backend, self.root)


TrieMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
TestTrieStates = TrieMachine.TestCase


@given(BATCHES, BATCHES)
def test_a_batch_that_changes_nothing_writes_nothing(
    first: dict[bytes, bytes | None], absent: dict[bytes, bytes | None]
) -> None:
    backend = MemoryBackend()
    root = apply(backend, first)
    same: dict[bytes, bytes | None] = dict(backend.values)
    gone: dict[bytes, bytes | None] = {key: None for key in absent if key not in same}
    diff = trie.update(backend, sorted((same | gone).items()))
    assert (diff.root, diff.nodes) == (root, {})


def test_values_move_to_version_one_when_they_are_written() -> None:
    old = {bytes([byte]) * 4: bytes([byte]) * 40 for byte in range(20)}
    backend = MemoryBackend()
    apply(backend, dict(old), 0)
    written = dict(list(old.items())[:7])
    lazy = apply(backend, dict(written), 1)
    assert lazy not in (trie.root_of(old, 0), trie.root_of(old, 1))
    assert apply(backend, dict(old), 1) == trie.root_of(old, 1)
    assert_stored_as_from_scratch(backend, trie.root_of(old, 1))


@pytest.mark.parametrize(("size", "hashed"), [(31, False), (32, False), (33, True)])
def test_version_one_hashes_values_above_32_bytes(size: int, hashed: bool) -> None:
    backend = MemoryBackend()
    apply(backend, {b"key": bytes(size)})
    node = decode(backend.nodes[b""])
    assert isinstance(node, Leaf)
    assert node.cell[0] is hashed
    assert trie.root_of({b"key": bytes(size)}, 0) != trie.root_of({b"key": bytes(size)}) or (
        not hashed
    )


def test_the_longest_nested_keys_fit_the_recursion() -> None:
    # The deepest trie there is: at each nibble of the longest key another key branches off.
    longest = bytes(trie.KEY_BYTES_MAX)
    pairs: dict[bytes, bytes | None] = {longest: b"x"}
    for length in range(trie.KEY_BYTES_MAX):
        for nibble in (1, 16):
            pairs[longest[:length] + bytes([nibble])] = bytes(33)
    backend = MemoryBackend()
    apply(backend, pairs)
    root = apply(backend, {longest: b"y", longest[:100] + b"\x01": None})
    assert_stored_as_from_scratch(backend, root)


def test_a_longer_key_is_refused() -> None:
    with pytest.raises(trie.KeyTooLongError, match="longer than"):
        trie.root_of({bytes(trie.KEY_BYTES_MAX + 1): b""})


@pytest.mark.parametrize("keys", [(b"b", b"a"), (b"a", b"a")])
def test_unsorted_changes_are_refused(keys: tuple[bytes, bytes]) -> None:
    with pytest.raises(trie.UnsortedChangesError):
        trie.update(MemoryBackend(), [(key, b"") for key in keys])


def test_a_missing_node_is_named_by_its_path() -> None:
    backend = MemoryBackend()
    apply(backend, {bytes([byte]) * 8: bytes(40) for byte in range(64)})
    del backend.nodes[b"\x02"]
    with pytest.raises(trie.MissingNodeError, match="path 02 is missing"):
        trie.update(backend, [(b"\x21" * 8, b"new")])


@given(st.binary(max_size=80))
def test_arbitrary_bytes_decode_to_a_node_or_are_refused(data: bytes) -> None:
    try:
        decode(data)
    except NodeError:
        return


NIBBLES = st.lists(st.integers(0, 15), max_size=700).map(bytes)
CELLS = st.tuples(st.just(True), st.binary(min_size=32, max_size=32)) | st.binary(max_size=62).map(
    lambda value: (False, bytes([len(value) << 2]) + value)
)
CHILDREN = st.lists(
    st.none() | st.binary(min_size=1, max_size=32), min_size=16, max_size=16
).filter(any)


@given(NIBBLES, CELLS)
def test_a_leaf_survives_its_encoding(partial: bytes, cell: tuple[bool, bytes]) -> None:
    encoded = encode_leaf(partial, cell)
    assert decode(encoded) == Leaf(partial, cell)
    with pytest.raises(NodeError):
        decode(encoded + b"\0")


@given(NIBBLES, st.none() | CELLS, CHILDREN, st.data())
def test_a_branch_survives_its_encoding_and_no_part_of_it_decodes(
    partial: bytes,
    cell: tuple[bool, bytes] | None,
    children: list[bytes | None],
    data: st.DataObject,
) -> None:
    encoded = encode_branch(partial, cell, children)
    assert decode(encoded) == Branch(partial, cell, children)
    with pytest.raises(NodeError):
        decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


def test_the_example_of_the_module_is_true() -> None:
    backend = Reading()
    values = {b"\x12\x34": b"a" * 32, b"\x12\x56": b"b" * 32, b"\x20\x00": b"c" * 32}
    assert sorted(backend.change(values)) == [b"", b"\1", b"\1\2\3", b"\1\2\5", b"\2"]
    assert decode(backend.nodes[b"\1"]).partial == b"\2"
    assert decode(backend.nodes[b"\2"]).partial == b"\0\0\0"

    changed = backend.change({b"\x12\x56": b"d" * 32})
    assert sorted(changed) == sorted(backend.read) == [b"", b"\1", b"\1\2\5"]

    removed = backend.change({b"\x12\x34": None})
    assert (removed[b"\1\2\3"], removed[b"\1\2\5"]) == (None, None)
    assert b"\2" not in removed
    assert b"\2" not in backend.read
    assert decode(backend.nodes[b"\1"]) == Leaf(b"\2\5\6", (False, b"\x80" + b"d" * 32))


class Reading(MemoryBackend):
    """A state that notes which nodes a change reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[bytes] = []

    def node(self, path: bytes) -> bytes | None:
        self.read.append(path)
        return super().node(path)

    def change(self, changes: dict[bytes, bytes | None]) -> Mapping[bytes, bytes | None]:
        """Write changes and return the nodes that differ."""
        self.read = []
        nodes = trie.update(self, sorted(changes.items()), trie.V1).nodes
        self.apply(changes, nodes)
        return nodes
