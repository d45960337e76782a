"""The tree of unfinalized blocks against a model, its bounds, and how deep its states lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain import fork_tree
from node.chain.fork_tree import SPAN, ForkTree, TreeFullError
from runtime.frame.executive import ExecutedBlock
from runtime.trie.backend import Backend, DiffBackend, MemoryBackend
from runtime.types.primitives import ZERO_HASH, Digest, Hash, Header, Other

ROOT = Header(ZERO_HASH, 0, ZERO_HASH, ZERO_HASH, Digest(()))


def block(parent: Header, note: int, changes: dict[bytes, bytes | None]) -> ExecutedBlock:
    digest = Digest((Other(note.to_bytes(4, "big")),))
    header = Header(parent.hash, parent.number + 1, ZERO_HASH, ZERO_HASH, digest)
    nodes = {b"n" + key: value for key, value in changes.items()}
    return ExecutedBlock(header, (b"extrinsic",), changes, nodes)


def grow(tree: ForkTree, parent: Header, count: int, note: int = 0) -> list[ExecutedBlock]:
    made = []
    for number in range(count):
        executed = block(parent, note, {b"last": b"%d" % number, b"%d" % number: b"x"})
        tree.add(executed, executed.header.parent_hash)
        made.append(executed)
        parent = executed.header
    return made


def depth(state: Backend) -> int:
    count = 0
    while isinstance(state, DiffBackend):
        state, count = state.parent, count + 1
    return count


def contents(state: Backend) -> dict[bytes, bytes | None]:
    return {key: state.get(key) for key in state.keys(b"")}


KEYS = [b"a", b"b", b"c"]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from([b"1", b"2", None]), max_size=3),
        st.booleans(),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_block_has_the_state_of_its_own_branch(
    steps: list[tuple[int, dict[bytes, bytes | None], bool]],
) -> None:
    tree, root_state = ForkTree(ROOT), MemoryBackend({b"a": b"0"})
    states: dict[Hash, dict[bytes, bytes]] = {ROOT.hash: dict(root_state.values)}
    alive = [ROOT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fork_tree, "SPAN", 3)
        for note, (choice, changes, is_final) in enumerate(steps):
            parent = alive[choice % len(alive)]
            executed = block(parent, note, changes)
            state = dict(states[parent.hash])
            for key, value in changes.items():
                state.pop(key, None)
                state |= {} if value is None else {key: value}
            states[executed.hash] = state
            tree.add(executed, parent.hash)
            alive.append(executed.header)
            if is_final:
                final = alive[(choice // 2) % len(alive)]
                if final.hash in tree:
                    for each in tree.branch(final.hash) or ():
                        root_state.apply(each.changes, each.nodes)
                    known = {header.hash for header in alive}
                    path = {each.hash for each in tree.branch(final.hash) or ()}
                    old = tree.root.hash
                    pruned = tree.settle(final.hash)
                    alive = [final, *tree.headers()]
                    assert known == {old, *path, *pruned, *(each.hash for each in alive)}
            for header in alive:
                for state_of in (tree.tip, tree.state):
                    assert contents(state_of(header.hash, root_state)) == states[header.hash]


@pytest.mark.parametrize("root_number", [0, 5])
def test_a_deep_branch_is_read_through_few_layers(root_number: int) -> None:
    root = Header(ZERO_HASH, root_number, ZERO_HASH, ZERO_HASH, Digest(()))
    tree, base = ForkTree(root), MemoryBackend({b"base": b"0"})
    branch = grow(tree, root, 1_000)
    for state in (tree.tip(branch[-1].hash, base), tree.state(branch[-1].hash, base)):
        assert depth(state) <= 2 * SPAN + 1_000 // SPAN
        assert state.get(b"base") == b"0"
        assert state.get(b"last") == b"999"
        assert state.node(b"nlast") == b"999"
        assert state.get(b"17") == b"x"
        assert len(list(state.keys(b""))) == 1_002


def test_the_way_between_two_blocks_leads_over_their_common_ancestor() -> None:
    tree = ForkTree(ROOT)
    stem = grow(tree, ROOT, 2)
    left = grow(tree, stem[-1].header, 2, 1)
    right = grow(tree, stem[-1].header, 3, 2)
    hashes = [[each.hash for each in branch] for branch in (stem, left, right)]
    assert tree.route(hashes[1][-1], hashes[2][-1]) == (tuple(hashes[1][::-1]), tuple(hashes[2]))
    assert tree.route(ROOT.hash, hashes[0][-1]) == ((), tuple(hashes[0]))
    assert tree.route(hashes[0][-1], ROOT.hash) == (tuple(hashes[0][::-1]), ())
    assert tree.route(ROOT.hash, ROOT.hash) == ((), ())


def test_the_lowest_leaf_of_another_branch_leaves_for_a_new_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fork_tree, "BLOCKS_MAX", 5)
    tree = ForkTree(ROOT)
    best = grow(tree, ROOT, 2)
    low, high = grow(tree, ROOT, 2, 1)
    other = grow(tree, ROOT, 1, 2)[0]
    new = block(best[-1].header, 3, {})
    assert tree.add(new, best[-1].hash) == (other.hash,)
    newer = block(new.header, 3, {})
    assert tree.add(newer, new.hash) == (high.hash,)
    # A parent becomes a leaf when its child has left.
    newest = block(newer.header, 3, {})
    assert tree.add(newest, newer.hash) == (low.hash,)
    with pytest.raises(TreeFullError, match="5 blocks"):
        tree.add(block(newest.header, 3, {}), newest.hash)


def test_the_bytes_of_the_tree_are_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ForkTree(ROOT)
    first, second = grow(tree, ROOT, 2)
    monkeypatch.setattr(fork_tree, "BYTES_MAX", tree.size_bytes)
    with pytest.raises(TreeFullError):
        tree.add(block(second.header, 0, {b"key": b"value"}), second.hash)
    tree.settle(first.hash)
    tree.add(block(second.header, 0, {}), second.hash)
    tree.settle(second.hash)
    assert tree.size_bytes == len(b"extrinsic")
    assert len(tree) == 1
