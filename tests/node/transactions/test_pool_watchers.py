"""Statuses of submitted transactions: what watchers receive, over blocks and forks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.transactions import pool as pool_module
from node.transactions import queues
from node.transactions.errors import (
    AlreadyImportedError,
    BadFormatError,
    PoolError,
)
from node.transactions.status import (
    Dropped,
    InBlock,
    InFinalBlock,
    Invalidated,
    NotReady,
    Ready,
    Retracted,
    Status,
    Usurped,
)
from runtime.types.era import mortal
from runtime.types.primitives import OPEN, Hash
from tests.node.support.small_node import (
    DAVE,
    EVE,
    SmallNode,
)
from tests.node.transactions.support.pool_scenarios import drive, received


def kinds(statuses: trio.MemoryReceiveChannel[Status]) -> list[type]:
    """The classes of what arrived so far."""
    return [type(status) for status in received(statuses)]


# -------------------------------------------------------------------------------------- watchers


def test_a_watcher_hears_the_whole_life_of_a_transaction(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        async with node.pool.watch(node.sign()) as statuses:
            executed = await node.author.seal()
            heard = [status async for status in statuses]
        assert heard == [Ready(), InBlock(executed.hash), InFinalBlock(executed.hash)]

    drive(tmp_path, scenario)


def test_a_future_transaction_is_ready_once_the_gap_is_filled(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        async with (
            node.pool.watch(node.sign(nonce=2)) as second,
            node.pool.watch(node.sign(nonce=1)) as first,
        ):
            assert received(first) == received(second) == [NotReady()]
            assert not node.pool.has_ready
            node.pool.submit(node.sign(nonce=0))
            assert received(first) == received(second) == [Ready()]

    drive(tmp_path, scenario)


def test_a_watcher_hears_how_a_transaction_ended_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        better = node.sign(nonce=0, tip=OPEN)
        async with node.pool.watch(node.sign(nonce=0)) as statuses:
            node.pool.submit(better)
            heard = [status async for status in statuses]
            assert heard == [Ready(), Usurped(node.decode(better)[0].hash)]
        async with node.pool.watch(node.sign(nonce=1)) as statuses:
            node.pool.remove(node.decode(node.sign(nonce=1))[0].hash)
            assert [status async for status in statuses] == [Ready(), Dropped()]
        monkeypatch.setattr(queues, "TRANSACTIONS_MAX", 2)
        async with node.pool.watch(node.sign(EVE, 0)) as statuses:
            node.pool.submit(node.sign(DAVE, 0, 9 * OPEN))
            assert [status async for status in statuses] == [Ready(), Dropped()]

    drive(tmp_path, scenario)


def test_a_refused_transaction_has_no_watch(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        with pytest.raises(BadFormatError):
            async with node.pool.watch(b"garbage"):
                pass

    drive(tmp_path, scenario)


def test_a_watcher_that_lags_or_left_does_not_hold_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "WATCH_BACKLOG_MAX", 1)

    async def scenario(node: SmallNode) -> None:
        async with node.pool.watch(node.sign(nonce=0)) as lagging:
            async with node.pool.watch(node.sign(nonce=1)) as left:
                await left.aclose()
            await node.author.seal()
            assert received(lagging) == [Ready()]
            assert received(lagging) == []
        assert len(node.pool) == 0

    drive(tmp_path, scenario)


def test_waiting_for_a_change_ends_when_a_transaction_enters(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        heard: list[bytes] = []
        node.pool.on_accepted.append(heard.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.pool.wait_changed)
            await trio.testing.wait_all_tasks_blocked()
            node.pool.submit(node.sign())
        assert len(heard) == 1

    drive(tmp_path, scenario)


# ------------------------------------------------------------------------------- blocks and forks


def test_a_mortal_transaction_leaves_the_pool_when_its_era_is_over(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        era = mortal(4, 0)
        raw = node.sign(nonce=1, era=era)
        async with node.pool.watch(raw) as statuses:
            while node.chain.best.number + 1 < era.death(0):
                assert len(node.pool) == 1
                await node.author.seal()
            assert received(statuses) == [NotReady(), Invalidated()]
        await node.author.seal()
        with pytest.raises(PoolError):
            node.pool.submit(raw)

    drive(tmp_path, scenario)


def test_a_foreign_block_takes_out_what_it_made_stale(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis = node.chain.genesis_hash
        block = node.fork(genesis, b"1", node.sign(nonce=0, value=7))
        async with node.pool.watch(node.sign(nonce=0)) as statuses:
            node.pool.submit(node.sign(nonce=1))
            node.take(block)
            assert received(statuses) == [Ready(), Invalidated()]
        assert len(node.pool) == 1
        assert node.pool.has_ready

    drive(tmp_path, scenario)


def test_a_retracted_transaction_comes_back_and_is_included_again(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis, raw = node.chain.genesis_hash, node.sign()
        async with node.pool.watch(raw) as statuses:
            lost = node.fork(genesis, b"lost", raw)
            node.take(lost)
            assert len(node.pool) == 0
            with pytest.raises(AlreadyImportedError):
                node.pool.submit(raw)
            won = node.fork(genesis, b"won")
            await win(node, won)
            assert node.pool.pending() == [raw]
            await node.author.seal()
            assert kinds(statuses) == [Ready, InBlock, Retracted, Ready, InBlock, InFinalBlock]

    drive(tmp_path, scenario)


async def win(node: SmallNode, *branch: Any) -> None:
    """Make a branch final."""
    for executed in branch:
        node.take(executed)
    await node.chain.finalize(branch[-1].hash)


def test_a_transaction_that_both_branches_include_is_final_with_the_one_that_wins(
    tmp_path: Path,
) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis, raw = node.chain.genesis_hash, node.sign()
        async with node.pool.watch(raw) as statuses:
            node.take(node.fork(genesis, b"lost", raw))
            won = node.fork(genesis, b"won", raw)
            await win(node, won)
            heard = [status async for status in statuses]
        assert heard[-1] == InFinalBlock(won.hash)
        assert Invalidated() not in heard
        assert not node.pool._inclusions.blocks
        assert not node.pool._inclusions.transactions

    drive(tmp_path, scenario)


def test_a_retracted_transaction_whose_era_began_on_the_lost_branch_is_invalid(
    tmp_path: Path,
) -> None:
    async def scenario(node: SmallNode) -> None:
        lost = node.fork(node.chain.genesis_hash, b"lost")
        node.take(lost)
        raw = node.sign(era=mortal(64, 1), birth=lost.hash)
        async with node.pool.watch(raw) as statuses:
            child = node.fork(lost.hash, b"child", raw)
            node.take(child)
            branch = [node.fork(node.chain.genesis_hash, b"won")]
            await win(node, *branch)
            assert kinds(statuses) == [Ready, InBlock, Retracted, Invalidated]
        assert len(node.pool) == 0
        await node.author.seal()

    drive(tmp_path, scenario)


def test_a_retracted_transaction_whose_nonce_the_winner_used_is_invalid(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        genesis, raw = node.chain.genesis_hash, node.sign(nonce=0)
        async with node.pool.watch(raw) as statuses:
            node.take(node.fork(genesis, b"lost", raw))
            await win(node, node.fork(genesis, b"won", node.sign(nonce=0, value=3)))
            assert kinds(statuses) == [Ready, InBlock, Retracted, Invalidated]
        assert len(node.pool) == 0

    drive(tmp_path, scenario)


def test_an_unknown_transaction_is_not_removed(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        assert not node.pool.remove(Hash(bytes(32)))

    drive(tmp_path, scenario)
