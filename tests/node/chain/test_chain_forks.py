"""The chain while branches compete: best, finality, states, and what others' blocks are held to."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from node.chain import chain as chain_module
from node.chain import fork_tree
from node.chain.errors import ForkTooOldError, KnownBlockError, UnknownBlockError
from node.chain.events import BestChanged, ChainEvent, FinalChanged, NewBlock
from node.storage.errors import DiskFullError
from runtime.frame.executive import BodyRefusedError, ExecutedBlock, Executive, InvalidBlockError
from runtime.frame.validity import TransactionRefused
from runtime.types.era import mortal
from runtime.types.primitives import AccountId, Hash
from tests.node.support.small_node import ALICE, BOB, SmallNode, run, small_node


def hashes(branch: list[ExecutedBlock]) -> tuple[Hash, ...]:
    return tuple(executed.hash for executed in branch)


def two_branches(
    node: SmallNode, left: int, right: int
) -> tuple[list[ExecutedBlock], list[ExecutedBlock]]:
    """Grow two branches on genesis without saying which one is best."""
    branches: list[list[ExecutedBlock]] = []
    for name, count in ((b"left", left), (b"right", right)):
        branch: list[ExecutedBlock] = []
        parent = node.chain.genesis_hash
        for number in range(count):
            branch.append(node.fork(parent, name + b"%d" % number))
            node.chain.add(branch[-1])
            parent = branch[-1].hash
        branches.append(branch)
    return branches[0], branches[1]


def test_length_alone_makes_no_block_best(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left, right = two_branches(node, 1, 3)
            assert chain.best.number == 0
            assert [header.number for header in chain.unfinalized()] == [1, 1, 2, 3]
            chain.set_best(left[0].hash)
            assert chain.best == left[0].header
            assert chain.hash_of(1) == left[0].hash
            assert chain.hashes_at(1) == (left[0].hash, right[0].hash)
            assert chain.hash_of(2) is None
            assert chain.hashes_at(2) == (right[1].hash,)
            assert chain.hashes_at(0) == (chain.genesis_hash,)

    run(scenario)


def test_a_change_of_best_tells_what_is_retracted_and_enacted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left, right = two_branches(node, 2, 3)
            heard: list[ChainEvent] = []
            chain.on_event.append(heard.append)
            chain.set_best(left[1].hash)
            chain.set_best(left[1].hash)
            chain.set_best(right[2].hash)
            chain.set_best(right[0].hash)
            chain.set_best(chain.genesis_hash)
            back = hashes(right)[::-1]
            assert heard == [
                BestChanged(left[1].header, (), hashes(left)),
                BestChanged(right[2].header, hashes(left)[::-1], hashes(right)),
                BestChanged(right[0].header, back[:2], ()),
                BestChanged(chain.finalized, back[2:], ()),
            ]
            assert [chain.hash_of(number) for number in (1, 2, 3)] == [None] * 3

    run(scenario)


def test_blocks_are_built_on_any_unfinalized_parent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left, right = two_branches(node, 1, 1)
            chain.set_best(right[0].hash)
            stamp = chain.machine.call("Timestamp", "set", now=10**15)
            inherents = (chain.machine.extrinsics.inherent(stamp),)
            made = await chain.build((), inherents, (), left[0].hash)
            assert made.header.parent_hash == left[0].hash
            with pytest.raises(UnknownBlockError):
                await chain.build((), inherents, (), Hash(b"?" * 32))
            await chain.finalize(right[0].hash)
            for old, error in ((chain.genesis_hash, ForkTooOldError), (left[0].hash, None)):
                with pytest.raises(error or UnknownBlockError):
                    await chain.build((), inherents, (), old)
                with pytest.raises(error or UnknownBlockError):
                    chain.set_best(old)

    run(scenario)


def test_finality_of_another_branch_moves_best_before_it_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left, right = two_branches(node, 3, 2)
            chain.set_best(left[2].hash)
            heard: list[ChainEvent] = []
            chain.on_event.append(heard.append)
            await chain.finalize(right[1].hash, b"proof")
            assert heard == [
                BestChanged(right[1].header, hashes(left)[::-1], hashes(right)),
                FinalChanged(right[0].header),
                FinalChanged(right[1].header, hashes(left)),
            ]
            assert chain.best == chain.finalized == right[1].header
            assert chain.unfinalized() == ()

    run(scenario)


def test_a_best_block_below_the_final_one_moves_up_to_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left, _ = two_branches(node, 3, 0)
            chain.set_best(left[0].hash)
            await chain.finalize(left[1].hash)
            assert chain.best == chain.finalized == left[1].header
            assert chain.unfinalized() == (left[2].header,)

    run(scenario)


def test_the_best_state_is_that_of_one_branch_while_another_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            genesis, start = chain.genesis_hash, node.free(BOB)
            left = node.fork(genesis, b"left", node.sign(value=10**18))
            right = node.fork(genesis, b"right", node.sign(value=3 * 10**18))
            child = node.fork(genesis, b"other")
            for executed in (left, right, child):
                chain.add(executed)
            chain.set_best(left.hash)
            commit, written, go_on = chain.database.commit, trio.Event(), threading.Event()

            def slow(*records: object) -> None:
                commit(*records)  # type: ignore[arg-type]
                trio.from_thread.run_sync(written.set)
                assert go_on.wait(10)

            monkeypatch.setattr(chain.database, "commit", slow)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chain.finalize, right.hash)
                await written.wait()
                # On disk already, and not told: nobody may see the left branch over the right one.
                assert chain.finalized.number == 0
                assert chain.best == right.header
                assert node.free(BOB) == start + 3 * 10**18
                for other in (left.hash, child.hash, genesis):
                    with pytest.raises(ForkTooOldError, match="becomes final now"):
                        chain.set_best(other)
                grandchild = node.fork(right.hash, b"next")
                chain.add(grandchild)
                chain.set_best(grandchild.hash)
                assert node.free(BOB) == start + 3 * 10**18
                go_on.set()
            assert chain.finalized == right.header
            assert chain.best == grandchild.header
            assert node.free(BOB) == start + 3 * 10**18

    run(scenario)


def test_after_a_failed_commit_nothing_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left, right = two_branches(node, 1, 1)
            chain.set_best(left[0].hash)

            def full(*_: object) -> None:
                raise DiskFullError("There is no room left.")

            monkeypatch.setattr(chain.database, "commit", full)
            with pytest.raises(DiskFullError):
                await chain.finalize(right[0].hash)
            assert chain.finalized.number == 0
            assert len(chain.unfinalized()) == 2
            chain.set_best(left[0].hash)

    run(scenario)


def test_a_missing_justification_is_added_to_a_final_block_and_none_is_replaced(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            branch, _ = two_branches(node, 2, 0)
            await chain.finalize(branch[1].hash)
            for block in branch:
                assert chain.justification(block.hash) is None
                await chain.finalize(block.hash)
                await chain.finalize(block.hash, b"first")
                await chain.finalize(block.hash, b"second")
                assert chain.justification(block.hash) == b"first"
        async with small_node(tmp_path) as node:
            assert node.chain.justification(branch[0].hash) == b"first"

    run(scenario)


def test_a_block_in_the_tree_is_not_executed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            made = node.fork(chain.genesis_hash, b"1", node.sign())
            chain.add(await chain.execute(made.header, made.extrinsics))
            with pytest.raises(BodyRefusedError):
                await chain.execute(made.header, made.extrinsics[:1])
            monkeypatch.setattr(Executive, "execute", None)
            again = await chain.execute(made.header, made.extrinsics)
            assert again.header == made.header
            await chain.finalize(made.hash)
            with pytest.raises(KnownBlockError):
                await chain.execute(made.header, made.extrinsics)

    run(scenario)


def test_an_invalid_block_is_executed_once_and_its_children_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            made = node.fork(chain.genesis_hash, b"1")
            forged = replace(made.header, state_root=Hash(b"?" * 32))
            with pytest.raises(BodyRefusedError):
                await chain.execute(forged, ())
            with pytest.raises(InvalidBlockError, match="state root"):
                await chain.execute(forged, made.extrinsics)
            child = replace(made.header, parent_hash=forged.hash, number=2)
            monkeypatch.setattr(Executive, "execute", None)
            with pytest.raises(InvalidBlockError, match="state root"):
                await chain.execute(forged, made.extrinsics)
            with pytest.raises(InvalidBlockError, match="parent of block 2"):
                await chain.execute(child, made.extrinsics)
            monkeypatch.undo()
            with pytest.raises(InvalidBlockError, match="does not follow"):
                await chain.execute(replace(made.header, number=7), made.extrinsics)

    run(scenario)


def test_signatures_that_the_pool_has_checked_are_not_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bytes] = []

    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            known, stranger = node.sign(), node.sign(BOB)
            node.pool.submit(known)
            made = node.fork(node.chain.genesis_hash, b"1", known, stranger)
            extrinsic_type = type(node.decode(known)[0])
            verify = extrinsic_type.is_verified

            def count(self: object, additional: object) -> bool:
                checked.append(self.raw)  # type: ignore[attr-defined]
                return bool(verify(self, additional))  # type: ignore[arg-type]

            monkeypatch.setattr(extrinsic_type, "is_verified", count)
            await node.chain.execute(made.header, made.extrinsics)
            assert checked == [stranger]

    run(scenario)


def test_a_mortal_transaction_of_another_branch_is_not_built_into_a_block(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left, right = two_branches(node, 1, 1)
            chain.set_best(left[0].hash)
            raw = node.sign(era=mortal(64, 1), birth=left[0].hash)
            node.pool.submit(raw)
            candidates = node.pool.candidates(10)
            stamp = chain.machine.call("Timestamp", "set", now=10**15)
            inherents = (chain.machine.extrinsics.inherent(stamp),)
            on_left = await chain.build((), inherents, candidates, left[0].hash)
            on_right = await chain.build((), inherents, candidates, right[0].hash)
            assert raw in on_left.extrinsics
            assert raw not in on_right.extrinsics
            ((_, refusal),) = on_right.refused
            assert "signature" in str(refusal)
            # It fits the best block, so an author of another branch does not drive it out.
            node.pool.refuse(candidates[0].hash, refusal)
            assert node.pool.pending() == [raw]
            chain.set_best(right[0].hash)
            assert node.pool.pending() == []
            with pytest.raises(TransactionRefused):
                chain.check(candidates[0])

    run(scenario)


def test_a_branch_may_be_ahead_of_finality_by_a_limit_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_module, "UNFINALIZED_MAX", 2)
    monkeypatch.setattr(fork_tree, "BLOCKS_MAX", 3)

    async def scenario() -> None:
        async with small_node(tmp_path) as node, node.chain.events() as events:
            chain = node.chain
            left, right = two_branches(node, 2, 1)
            chain.set_best(left[1].hash)
            # Another fork takes the place of the lowest leaf that is not best.
            third = node.fork(chain.genesis_hash, b"third")
            chain.add(third)
            assert chain.header(right[0].hash) is None
            await chain.finalize(left[0].hash)
            told = [events.receive_nowait() for _ in range(6)]
            assert told[-2:] == [
                NewBlock(third.header),
                FinalChanged(left[0].header, (right[0].hash, third.hash)),
            ]

    run(scenario)


def test_five_hundred_blocks_deep_the_state_is_read_and_built_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            raw = node.sign()
            branch, _ = two_branches(node, 1, 0)
            parent, template = branch[0].header, branch[0]
            for _ in range(499):
                # What executing empty blocks would give, without its time.
                header = replace(parent, parent_hash=parent.hash, number=parent.number + 1)
                chain.add(replace(template, header=header))
                parent = header
            chain.set_best(parent.hash)
            top = node.fork(parent.hash, b"top", raw)
            chain.add(top)
            chain.set_best(top.hash)
            assert chain.nonce(AccountId(ALICE.account)) == 1
            await chain.finalize(top.hash)
            assert chain.finalized.number == 501
            assert chain.nonce(AccountId(ALICE.account)) == 1

    run(scenario)
