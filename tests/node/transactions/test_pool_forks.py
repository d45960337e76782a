"""The pool while branches compete, and floods of transactions from peers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from node.chain.checked_signatures import CheckedSignatures
from node.transactions import inclusions, queues
from node.transactions.errors import (
    AlreadyImportedError,
    BadFormatError,
    ImmediatelyDroppedError,
    InvalidTransactionError,
    TemporarilyBannedError,
)
from node.transactions.status import (
    FinalityTimeout,
    InBlock,
    InFinalBlock,
    Invalidated,
    NotReady,
    Ready,
    Retracted,
)
from runtime.crypto.hashing import blake2b_256
from runtime.frame.executive import ExecutedBlock
from runtime.frame.extrinsic import Envelope
from runtime.types.era import IMMORTAL, mortal
from runtime.types.primitives import Hash
from tests.node.support.small_node import ALICE, BOB, CHARLIE, SmallNode
from tests.node.transactions.support.pool_scenarios import drive, received


def grow(
    node: SmallNode, parent: Hash, note: bytes, *bodies: tuple[bytes, ...]
) -> list[ExecutedBlock]:
    """Add a branch, one block for each body; best stays where it is."""
    branch = []
    for number, body in enumerate(bodies):
        branch.append(node.fork(parent, note + b"%d" % number, *body))
        node.chain.add(branch[-1])
        parent = branch[-1].hash
    return branch


def test_a_transaction_of_both_branches_is_retracted_and_in_the_other_block(
    tmp_path: Path,
) -> None:
    async def scenario(node: SmallNode) -> None:
        raw, genesis = node.sign(), node.chain.genesis_hash
        (left,) = grow(node, genesis, b"left", (raw,))
        empty, right = grow(node, genesis, b"right", (), (raw,))
        async with node.pool.watch(raw) as statuses:
            node.chain.set_best(left.hash)
            node.chain.set_best(right.hash)
            node.chain.set_best(empty.hash)
            assert node.pool.pending() == [raw]
            node.chain.set_best(left.hash)
            await node.chain.finalize(left.hash)
            assert received(statuses) == [
                Ready(),
                InBlock(left.hash),
                Retracted(left.hash),
                InBlock(right.hash),
                Retracted(right.hash),
                Ready(),
                InBlock(left.hash),
                InFinalBlock(left.hash),
            ]
        assert not node.pool._inclusions.transactions
        assert not node.pool._inclusions.blocks
        assert len(node.pool) == 0

    drive(tmp_path, scenario)


def test_what_a_retracted_branch_held_waits_again_in_order(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis = node.chain.genesis_hash
        raws = [node.sign(nonce=nonce) for nonce in range(4)]
        left = grow(node, genesis, b"left", (raws[0], raws[1]), (raws[2],))
        (right,) = grow(node, genesis, b"right", (raws[0],))
        for raw in raws:
            node.pool.submit(raw)
        node.chain.set_best(left[-1].hash)
        assert node.pool.pending() == [raws[3]]
        node.chain.set_best(right.hash)
        assert [each.raw for each in node.pool.candidates(9)] == raws[1:]
        node.chain.set_best(genesis)
        assert [each.raw for each in node.pool.candidates(9)] == raws
        assert node.pool.size_bytes == sum(map(len, raws))

    drive(tmp_path, scenario)


def test_what_only_a_retracted_block_held_comes_in(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis = node.chain.genesis_hash
        heard: list[bytes] = []
        raws = (node.sign(), node.sign(BOB), node.sign(CHARLIE))
        (left,) = grow(node, genesis, b"left", raws)
        (right,) = grow(node, genesis, b"right", raws[2:])
        node.pool.on_accepted.append(heard.append)
        node.chain.set_best(left.hash)
        assert len(node.pool) == 0
        node.chain.set_best(right.hash)
        assert set(node.pool.pending()) == set(raws[:2])
        # Everyone retracts it: it is no news to gossip.
        assert heard == []

    drive(tmp_path, scenario)


def test_a_gap_that_another_authors_block_fills_makes_followers_ready(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis = node.chain.genesis_hash
        (other,) = grow(node, genesis, b"other", (node.sign(nonce=0),))
        async with node.pool.watch(node.sign(nonce=1)) as statuses:
            assert not node.pool.has_ready
            node.chain.set_best(other.hash)
            assert received(statuses) == [NotReady(), Ready()]
            assert node.pool.has_ready
            node.chain.set_best(genesis)
            # The block's own transaction waits here now, so the follower stays ready.
            assert len(node.pool.candidates(9)) == 2

    drive(tmp_path, scenario)


def test_a_waiting_mortal_transaction_is_judged_by_the_new_branch(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis = node.chain.genesis_hash
        left = grow(node, genesis, b"left", (), ())
        (right,) = grow(node, genesis, b"right", ())
        node.chain.set_best(left[-1].hash)
        lost = node.sign(era=mortal(64, 1), birth=left[0].hash)
        kept = node.sign(BOB, era=mortal(64, 0), birth=genesis)
        async with node.pool.watch(lost) as of_lost, node.pool.watch(kept) as of_kept:
            node.chain.set_best(left[0].hash)
            assert received(of_lost) == received(of_kept) == [Ready()]
            node.chain.set_best(right.hash)
            assert received(of_lost) == [Invalidated()]
            assert received(of_kept) == []
        assert node.pool.pending() == [kept]

    drive(tmp_path, scenario)


def test_a_retracted_transaction_that_the_new_branch_cannot_take_is_invalid(
    tmp_path: Path,
) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis = node.chain.genesis_hash
        raw, rival = node.sign(nonce=0), node.sign(nonce=0, value=7)
        (left,) = grow(node, genesis, b"left", (raw,))
        (right,) = grow(node, genesis, b"right", (rival,))
        async with node.pool.watch(raw) as statuses:
            node.chain.set_best(left.hash)
            node.chain.set_best(right.hash)
            told = [Ready(), InBlock(left.hash), Retracted(left.hash), Invalidated()]
            assert received(statuses) == told
        assert len(node.pool) == 0

    drive(tmp_path, scenario)


def test_watchers_are_told_when_finality_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inclusions, "FINALITY_BLOCKS_MAX", 2)

    async def scenario(node: SmallNode) -> None:
        genesis, raw = node.chain.genesis_hash, node.sign()
        async with node.pool.watch(raw) as statuses:
            branch = grow(node, genesis, b"long", (raw,), (), ())
            node.chain.set_best(branch[1].hash)
            assert received(statuses) == [Ready(), InBlock(branch[0].hash)]
            node.chain.set_best(branch[2].hash)
            assert [status async for status in statuses] == [FinalityTimeout(branch[0].hash)]
        # It is still known: it waits again when its block is retracted.
        node.chain.set_best(genesis)
        assert node.pool.pending() == [raw]

    drive(tmp_path, scenario)


STEPS = st.lists(
    st.tuples(st.sampled_from(["submit", "fork", "prefer", "finalize"]), st.integers(0, 40)),
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(STEPS)
def test_whatever_branch_is_best_the_pool_fits_it(steps: list[tuple[str, int]]) -> None:
    async def scenario(node: SmallNode) -> None:
        chain, submitted = node.chain, set[bytes]()
        for number, (step, choice) in enumerate(steps):
            alive = [chain.finalized, *chain.unfinalized()]
            chosen = alive[choice % len(alive)]
            if step == "submit":
                pair = (ALICE, BOB, CHARLIE)[choice % 3]
                era = mortal(64, chain.best.number) if choice % 2 else IMMORTAL
                raw = node.sign(pair, value=10**15 + number, era=era)
                node.pool.submit(raw)
                submitted.add(raw)
            elif step == "fork":
                fitting = [each.raw for each in node.pool.candidates(choice % 4)]
                chain.add(node.fork(chosen.hash, b"%d" % number, *fitting))
            elif step == "prefer":
                chain.set_best(chosen.hash)
            else:
                await chain.finalize(chosen.hash)
            check(node, submitted)

    with TemporaryDirectory() as folder:
        drive(Path(folder), scenario)


def check(node: SmallNode, submitted: set[bytes]) -> None:
    """Waiting ones are not on the best branch, and all of them can be built into a block."""
    chain, pool = node.chain, node.pool
    included = {
        raw
        for number in range(1, chain.best.number + 1)
        for raw in chain.body(chain.hash_of(number) or chain.genesis_hash) or ()
    }
    waiting = pool.pending()
    assert not set(waiting) & included
    assert set(waiting) <= submitted
    assert pool.size_bytes == sum(map(len, waiting))
    candidates = [each.raw for each in pool.candidates(100)]
    built = node.fork(chain.best.hash, b"check", *candidates)
    assert built.refused == ()
    assert {entry.extrinsic.raw for entry in pool._inclusions.transactions.values()} <= included
    assert not set(pool._inclusions.transactions) & {entry.hash for entry in pool._queues}
    assert set(pool._next_nonces) <= {entry.account for entry in pool._queues}
    for account, nonce in pool._next_nonces.items():
        assert nonce == chain.nonce(account)


# ------------------------------------------------------------------------------ from the network


def test_many_transactions_are_entered_in_order_and_refused_one_by_one(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        heard: list[bytes] = []
        node.pool.on_accepted.append(heard.append)
        good = [node.sign(nonce=nonce) for nonce in range(150)]
        forged = bytearray(node.sign(BOB))
        forged[-1] ^= 1
        stale_birth = node.sign(BOB, era=mortal(64, 0), birth=Hash(b"?" * 32))
        raws = [*good, good[3], b"?", bytes(forged), stale_birth]
        results = await node.pool.submit_many(raws)
        assert results[:150] == [Hash(blake2b_256(raw)) for raw in good]
        errors = [type(result) for result in results[150:]]
        wrong = InvalidTransactionError
        assert errors == [AlreadyImportedError, BadFormatError, wrong, wrong]
        assert heard == node.pool.pending() == good
        again = await node.pool.submit_many(raws[-1:])
        assert isinstance(again[0], TemporarilyBannedError)
        assert await node.pool.submit_many([]) == []

    drive(tmp_path, scenario)


def test_signatures_of_many_transactions_are_checked_once_and_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify, seen = Envelope.is_verified, []

    def count(self: Envelope, additional: Any) -> bool:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            seen.append(self.hash)
        else:
            pytest.fail("a signature is checked on the event loop")
        return verify(self, additional)

    async def scenario(node: SmallNode) -> None:
        raws = [node.sign(nonce=nonce) for nonce in range(100)]
        monkeypatch.setattr(Envelope, "is_verified", count)
        results = await node.pool.submit_many([*raws, raws[0]])
        assert seen == results[:100]
        sealed = await node.author.seal()
        assert set(raws) <= set(sealed.extrinsics)
        assert len(seen) == 100

    drive(tmp_path, scenario)


def test_one_sender_fills_no_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "PER_ACCOUNT_MAX", 3)

    async def scenario(node: SmallNode) -> None:
        raws = [node.sign(ALICE, nonce) for nonce in range(5)]
        results = await node.pool.submit_many([*raws, node.sign(BOB)])
        dropped = [isinstance(result, ImmediatelyDroppedError) for result in results]
        assert dropped == [False, False, False, True, True, False]

    drive(tmp_path, scenario)


def test_what_is_remembered_of_signatures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.chain.checked_signatures.SIGNATURES_MAX", 2)
    signatures = CheckedSignatures()
    first, second, third = (Hash(bytes((number,)) * 32) for number in range(3))
    for found in (first, second, first, third):
        signatures.note(found, first)
    assert [signatures.holds(found, first) for found in (first, second, third)] == [
        True,
        False,
        True,
    ]
    assert not signatures.holds(first, second)
    assert not signatures.holds(second, None)
