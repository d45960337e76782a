"""Whatever the chain does, a follower's tree stays whole: the rules of chainHead_v1_follow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.events import BestChanged, ChainEvent, FinalChanged, NewBlock
from node.rpc.follow import Follow, PinLimitError
from node.rpc.interfaces import ChainView
from node.rpc.limits import Limits
from node.rpc.session import Session
from runtime.types.primitives import ZERO_HASH, Digest, Hash, Header, Other, RuntimeVersion

VERSION = RuntimeVersion("spec", "impl", 1, 1, 1, (), 1, 1)


class Tree:
    """A chain of headers alone, which tells its events like node/chain/chain.py."""

    def __init__(self) -> None:
        genesis = Header(ZERO_HASH, 0, ZERO_HASH, ZERO_HASH, Digest(()))
        self.headers = {genesis.hash: genesis}
        self.best = self.finalized = genesis
        self.alive = [genesis]
        self.events: list[ChainEvent] = []
        self.made = 0

    def header(self, block_hash: Hash) -> Header | None:
        return self.headers.get(block_hash)

    def grow(self, choice: int) -> None:
        parent = self.alive[choice % len(self.alive)]
        self.made += 1
        digest = Digest((Other(self.made.to_bytes(4, "big")),))
        header = Header(parent.hash, parent.number + 1, ZERO_HASH, ZERO_HASH, digest)
        self.headers[header.hash] = header
        self.alive.append(header)
        self.events.append(NewBlock(header))

    def prefer(self, choice: int) -> None:
        """Make any block best: which one is, consensus says."""
        self._set_best(self.alive[choice % len(self.alive)])

    def _set_best(self, header: Header) -> None:
        if header != self.best:
            self.best = header
            self.events.append(BestChanged(header, (), ()))

    def unfinalized(self) -> list[Header]:
        return sorted(self.alive[1:], key=lambda header: header.number)

    def finalize(self, choice: int) -> None:
        chosen = self.alive[choice % len(self.alive)]
        branch = []
        while chosen.hash != self.finalized.hash:
            branch.append(chosen)
            chosen = self.headers[chosen.parent_hash]
        if not branch:
            return
        if not self._descends(self.best, branch[0]):
            self._set_best(branch[0])
        self.finalized = branch[0]
        kept, former = {self.finalized.hash}, self.alive
        self.alive = [self.finalized]
        for header in sorted(former, key=lambda header: header.number):
            if header.parent_hash in kept:
                kept.add(header.hash)
                self.alive.append(header)
        on_branch = {header.hash for header in branch}
        pruned = tuple(
            header.hash
            for header in former
            if header.hash not in kept
            and header.hash not in on_branch
            and header.hash != branch[-1].parent_hash
        )
        for lost in pruned:
            del self.headers[lost]
        self.events += [FinalChanged(header) for header in reversed(branch[1:])]
        self.events.append(FinalChanged(self.finalized, pruned))

    def _descends(self, header: Header, ancestor: Header) -> bool:
        while header.number > ancestor.number:
            header = self.headers[header.parent_hash]
        return header == ancestor


class Follower:
    """Checks what it is told against the specification."""

    def __init__(self) -> None:
        self.told: set[str] = set()
        self.finalized = self.best = ""

    def hear(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "initialized":
                self.finalized = event["finalizedBlockHashes"][-1]
            case "newBlock":
                assert event["blockHash"] not in self.told
                assert event["parentBlockHash"] in self.told | {self.finalized}
                self.told.add(event["blockHash"])
            case "bestBlockChanged":
                assert event["bestBlockHash"] in self.told | {self.finalized}
                self.best = event["bestBlockHash"]
            case "finalized":
                final, pruned = event["finalizedBlockHashes"], event["prunedBlockHashes"]
                assert final
                assert set(final) | set(pruned) <= self.told
                assert not set(final) & set(pruned)
                assert self.best == final[-1] or self.best in self.told - {*final, *pruned}
                self.told -= {*final, *pruned}
                self.finalized = final[-1]


def _follow(tree: Tree, limits: Limits) -> Follow:
    session = cast(Session, SimpleNamespace())
    return Follow(session, cast(ChainView, tree), limits, with_runtime=True)


STEPS = st.lists(
    st.tuples(st.sampled_from(["grow", "grow", "prefer", "finalize", "hear"]), st.integers(0, 50)),
    max_size=60,
)


@given(STEPS, STEPS)
def test_a_follower_that_lags_behind_the_chain_is_told_a_whole_tree(
    before: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    tree, follower = Tree(), Follower()
    for name, choice in before:
        if name != "hear":
            getattr(tree, name)(choice)
    tree.events.clear()
    follow = _follow(tree, Limits())
    for event in follow.start(VERSION):
        follower.hear(event)
    for name, choice in [*after, ("hear", 1_000)]:
        if name != "hear":
            getattr(tree, name)(choice)
            continue
        for _ in range(min(choice, len(tree.events))):
            for event in follow.events_of(tree.events.pop(0)):
                follower.hear(event)
    assert follower.finalized == "0x" + tree.finalized.hash.hex()
    assert follower.best == "0x" + tree.best.hash.hex()
    assert follower.told == {"0x" + header.hash.hex() for header in tree.alive[1:]}


def _finalize_one(tree: Tree, follow: Follow) -> None:
    tree.grow(0)
    tree.finalize(1)
    for event in tree.events:
        list(follow.events_of(event))
    tree.events.clear()


def test_final_blocks_count_against_the_pin_limit_until_they_are_unpinned() -> None:
    tree = Tree()
    follow = _follow(tree, Limits(pinned_finalized_blocks=3))
    list(follow.start(VERSION))
    for _ in range(5):
        _finalize_one(tree, follow)
        follow.unpin(min(follow.pinned, key=lambda found: follow.pinned[found].number))
    _finalize_one(tree, follow)
    _finalize_one(tree, follow)
    with pytest.raises(PinLimitError):
        _finalize_one(tree, follow)
