"""The chain: forks, finality, states of every kind of block, and the folder it lives in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from genesis.spec import ChainSpec, load_spec
from node.chain import chain as chain_module
from node.chain.chain import Chain
from node.chain.errors import (
    ForkTooOldError,
    StatePrunedError,
    UnfinalizedLimitError,
    UnknownBlockError,
    WrongChainError,
)
from node.chain.events import BestChanged, ChainEvent, FinalChanged, NewBlock
from node.storage.database import Database
from node.storage.errors import DatabaseInUseError
from runtime.frame.executive import InvalidBlockError
from runtime.trie.backend import Former
from runtime.types.primitives import ZERO_HASH, AccountId, Hash
from tests.node.support.small_node import ALICE, BOB, dev_spec, run, small_node


def test_a_new_folder_begins_with_genesis(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            assert chain.best == chain.finalized
            assert chain.best.hash == chain.genesis_hash == chain.hash_of(0)
            assert chain.body(chain.genesis_hash) == ()
            assert chain.name == "OpenLedger Development"
            for number in (-1, 1, 10**9):
                assert chain.hash_of(number) is None
            assert chain.header(ZERO_HASH) is None
            assert chain.body(ZERO_HASH) is None
            assert chain.justification(ZERO_HASH) is None

    run(scenario)


def test_a_restart_on_the_same_folder_goes_on_from_the_finalized_block(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            node.pool.submit(node.sign())
            await node.author.seal()
            node.grow(node.chain.best.hash, [b"not final"])
            last, bob = node.chain.finalized, node.free(BOB)
        async with small_node(tmp_path) as node:
            assert node.chain.best == node.chain.finalized == last
            assert node.free(BOB) == bob
            assert node.chain.nonce(AccountId(ALICE.account)) == 1
            await node.author.seal()
            assert node.chain.best.parent_hash == last.hash

    run(scenario)


def test_the_folder_of_another_chain_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path):
            pass
        other = load_spec("dev")
        assert other.pallets is not None
        config = {**other.pallets, "sudo": {"key": "//Bob"}}
        spec = ChainSpec("Other", "other", "Development", pallets=config)
        with Database.open(tmp_path) as database:
            with pytest.raises(WrongChainError, match="Name another folder"):
                Chain(spec, database)
            assert Chain(dev_spec(), database).best.number == 0

    run(scenario)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path):
            with pytest.raises(DatabaseInUseError):
                Database.open(tmp_path)

    run(scenario)


def test_the_longest_branch_is_best_and_the_first_of_equal_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            left = node.grow(chain.genesis_hash, [b"l1", b"l2"])
            right = node.grow(chain.genesis_hash, [b"r1", b"r2"])
            assert chain.best.hash == left[1].hash
            assert chain.hash_of(1) == left[0].hash
            right += node.grow(right[1].hash, [b"r3"])
            assert chain.best.hash == right[2].hash
            assert [chain.hash_of(n) for n in (1, 2, 3)] == [each.hash for each in right]
            assert chain.finalized.number == 0

    run(scenario)


def test_finality_prunes_the_branches_that_lose(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node, node.chain.events() as events:
            chain = node.chain
            left = node.grow(chain.genesis_hash, [b"l1", b"l2", b"l3"])
            right = node.grow(chain.genesis_hash, [b"r1", b"r2"])
            await chain.finalize(right[0].hash)
            assert chain.finalized.hash == right[0].hash
            for lost in left:
                assert chain.header(lost.hash) is None
                with pytest.raises(UnknownBlockError):
                    chain.state(lost.hash)
            seen = received(events)
            told, moved = [NewBlock, BestChanged], [BestChanged, FinalChanged]
            assert [type(event) for event in seen] == told * 3 + [NewBlock] * 2 + moved
            changed, final = seen[-2:]
            assert changed == BestChanged(
                right[0].header, tuple(each.hash for each in reversed(left)), (right[0].hash,)
            )
            assert isinstance(final, FinalChanged)
            assert set(final.pruned) == {each.hash for each in left}

    run(scenario)


def received(events: trio.MemoryReceiveChannel[ChainEvent]) -> list[ChainEvent]:
    seen = []
    while True:
        try:
            seen.append(events.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return seen


def test_after_finality_of_another_branch_its_final_block_is_best(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            node.grow(chain.genesis_hash, [b"l1", b"l2", b"l3"])
            right = node.grow(chain.genesis_hash, [b"r1", b"r2"])
            await chain.finalize(right[0].hash)
            assert chain.best.hash == right[0].hash
            chain.set_best(right[1].hash)
            await node.author.seal()
            assert chain.best.parent_hash == right[1].hash

    run(scenario)


def test_a_branch_below_the_finalized_block_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            chain = node.chain
            await node.author.seal()
            old = node.fork(chain.genesis_hash, b"old")
            await node.author.seal()
            best = chain.best
            with pytest.raises(ForkTooOldError, match="never reverted"):
                chain.extend(old)
            with pytest.raises(ForkTooOldError):
                await chain.execute(old.header, old.extrinsics)
            assert chain.best == best

    run(scenario)


def test_finalizing_a_block_makes_its_ancestors_final_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node, node.chain.events() as events:
            branch = node.grow(node.chain.genesis_hash, [b"1", b"2", b"3"])
            await node.chain.finalize(branch[2].hash, b"certificate")
            finals = [event for event in received(events) if isinstance(event, FinalChanged)]
            assert [event.header.number for event in finals] == [1, 2, 3]
            assert node.chain.justification(branch[2].hash) == b"certificate"
            assert node.chain.justification(branch[1].hash) is None
            await node.chain.finalize(branch[0].hash)
            assert received(events) == []

    run(scenario)


def test_an_unknown_block_is_neither_finalized_nor_built_upon(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            first = node.fork(node.chain.genesis_hash, b"1")
            node.chain.extend(first)
            second = node.fork(first.hash, b"2")
        async with small_node(tmp_path / "other") as node:
            for attempt in (
                node.chain.finalize(second.hash),
                node.chain.execute(second.header, second.extrinsics),
            ):
                with pytest.raises(UnknownBlockError):
                    await attempt
            with pytest.raises(UnknownBlockError):
                node.chain.extend(second)

    run(scenario)


def test_states_are_those_of_pending_finalized_pruned_and_unknown_blocks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path, history_blocks=2) as node:
            before = node.free(BOB)
            blocks = []
            for _ in range(4):
                node.pool.submit(node.sign())
                blocks.append(await node.author.seal())
            pending = node.fork(node.chain.best.hash, b"p", node.sign())
            node.chain.extend(pending)
            balances = [node.free(BOB, each.hash) for each in (*blocks[2:], pending)]
            assert balances == [before + n * 10**18 for n in (3, 4, 5)]
            with pytest.raises(StatePrunedError, match="archive"):
                node.chain.state(blocks[0].hash)
            with pytest.raises(UnknownBlockError):
                node.chain.state(Hash(b"?" * 32))

    run(scenario)


def test_a_state_once_returned_stays_whatever_becomes_final(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            key = node.chain.machine.pallets["Timestamp"].now.prefix  # type: ignore[attr-defined]
            branch = node.grow(node.chain.genesis_hash, [b"1", b"2", b"3"])
            states = [node.chain.state(each.hash) for each in branch]
            values = [state.get(key) for state in states]
            assert len(set(values)) == 3
            await node.chain.finalize(branch[2].hash)
            assert [state.get(key) for state in states] == values

    run(scenario)


def test_a_block_of_another_author_is_executed_and_checked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            made = node.fork(node.chain.genesis_hash, b"1", node.sign())
            executed = await node.chain.execute(made.header, made.extrinsics)
            assert executed.header == made.header
            with pytest.raises(InvalidBlockError):
                await node.chain.execute(made.header, made.extrinsics[:1])
            node.chain.extend(executed)
            node.chain.extend(made)
            assert node.chain.unfinalized() == (made.header,)
            await node.chain.finalize(made.hash)
            node.chain.extend(made)
            assert not node.chain.unfinalized()

    run(scenario)


def test_unfinalized_blocks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "UNFINALIZED_MAX", 2)

    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            branch = node.grow(node.chain.genesis_hash, [b"1", b"2"])
            third = node.fork(branch[1].hash, b"3")
            with pytest.raises(UnfinalizedLimitError):
                node.chain.extend(third)
            await node.chain.finalize(branch[0].hash)
            node.chain.extend(third)
            assert node.chain.best.number == 3

    run(scenario)


def test_a_commit_keeps_the_same_history_whether_or_not_it_is_told_what_stood_there(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path / "told") as told, small_node(tmp_path / "reads") as reads:
            raws = [told.sign(), told.sign(BOB), told.sign(nonce=1)]
            for number, raw in enumerate(raws):
                parent = told.chain.best.hash
                executed = told.fork(parent, b"%d" % number, raw)
                assert executed.former.values
                assert executed.former.nodes
                told.chain.extend(executed)
                reads.chain.extend(replace(executed, former=Former()))
            # One by one and as a branch: what stood there may itself wait to be committed.
            for number in (1, 3):
                block = told.chain.hash_of(number)
                assert block is not None
                await told.chain.finalize(block)
                await reads.chain.finalize(block)
            stores = [node.chain.database._store._source for node in (told, reads)]
            assert list(stores[0]) == list(stores[1])

    run(scenario)
