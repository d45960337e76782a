"""The author: when blocks are made, and what time they carry."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.authoring.author import Author
from node.chain import chain as chain_module
from node.chain.events import FinalChanged
from node.operations.config import Sealing
from node.storage.errors import DiskLowError
from node.transactions import status
from pallets.authorship import AUTHOR_ENGINE
from runtime.frame import block
from runtime.frame.state import Overlay
from runtime.types.primitives import AccountId, PreRuntime, Weight
from tests.node.storage.test_disk_space import disk_of
from tests.node.support.small_node import BOB, SmallNode, run, small_node

Scenario = Callable[[SmallNode], Awaitable[None]]


def now_of(node: SmallNode) -> int:
    with node.chain.machine.on(Overlay(node.chain.best_state())):
        pallet: Any = node.chain.machine.pallets["Timestamp"]
        return int(pallet.now.get())


def run_author(folder: Path, sealing: Sealing, block_time_ms: int, scenario: Scenario) -> None:
    """Run an author on a clock that jumps to the next deadline when all tasks wait."""

    async def main() -> None:
        async with (
            small_node(folder, sealing, block_time_ms) as node,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(node.author.run)
            await scenario(node)
            nursery.cancel_scope.cancel()

    # Blocks are built in threads, which the clock must not outrun.
    trio.run(main, clock=MockClock(autojump_threshold=0.3))


async def finals(node: SmallNode, count: int) -> None:
    async with node.chain.events() as events:
        async for event in events:
            count -= isinstance(event, FinalChanged)
            if not count:
                return


def test_a_sealed_block_is_final_and_has_what_was_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            raws = [node.sign(nonce=nonce) for nonce in (1, 0)]
            for raw in raws:
                node.pool.submit(raw)
            executed = await node.author.seal()
            assert executed.extrinsics[1:] == (raws[1], raws[0])
            assert node.chain.finalized.hash == executed.hash
            assert len(node.pool) == 0

    run(scenario)


def test_the_time_advances_when_the_clock_stands_or_goes_back(tmp_path: Path) -> None:
    clock = iter((1_000_000, 1_000_000, 5_000, 1_000_900))

    async def scenario() -> None:
        async with small_node(tmp_path, clock_ms=lambda: next(clock)) as node:
            times = []
            for _ in range(4):
                await node.author.seal()
                times.append(now_of(node))
            assert times == [1_000_000, 1_000_001, 1_000_002, 1_000_900]

    run(scenario)


def test_by_interval_a_block_is_made_each_block_time(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        start = trio.current_time()
        await finals(node, 3)
        assert 30 <= trio.current_time() - start < 35

    run_author(tmp_path, Sealing.INTERVAL, 10_000, scenario)


def test_instantly_a_ready_transaction_is_sealed_at_once(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        before, start = node.free(BOB), trio.current_time()
        async with node.pool.watch(node.sign()) as statuses:
            assert [type(found) async for found in statuses] == [
                status.Ready,
                status.InBlock,
                status.InFinalBlock,
            ]
        assert trio.current_time() - start < 100
        assert node.free(BOB) > before

    run_author(tmp_path, Sealing.INSTANT, 3_600_000, scenario)


def test_instantly_an_empty_block_is_made_each_block_time(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        start = trio.current_time()
        await finals(node, 2)
        assert 20 <= trio.current_time() - start < 25

    run_author(tmp_path, Sealing.INSTANT, 10_000, scenario)


def test_a_transaction_that_fits_no_block_does_not_make_the_author_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: SmallNode) -> None:
        node.pool.submit(node.sign())
        monkeypatch.setattr(block, "BLOCK_WEIGHT_MAX", Weight(3 * 10**8, 10**9))
        start = trio.current_time()
        await finals(node, 3)
        assert trio.current_time() - start >= 20
        assert len(node.pool) == 1

    run_author(tmp_path, Sealing.INSTANT, 10_000, scenario)


def test_manually_nothing_is_made_by_itself(tmp_path: Path) -> None:
    async def scenario(node: SmallNode) -> None:
        node.pool.submit(node.sign())
        await trio.sleep(100_000)
        assert node.chain.best.number == 0
        await node.author.seal()
        assert node.chain.best.number == 1

    run_author(tmp_path, Sealing.MANUAL, 1_000, scenario)


def test_two_seals_at_a_time_make_two_blocks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node, trio.open_nursery() as nursery:
            nursery.start_soon(node.author.seal)
            nursery.start_soon(node.author.seal)
        assert node.chain.best.number == 2

    run(scenario)


def test_a_candidate_that_cannot_pay_any_more_leaves_the_pool(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            most = node.free(BOB) - 10**18
            node.pool.submit(node.sign(BOB, 0, value=1, tip=most))
            node.pool.submit(node.sign(BOB, 1, value=1, tip=most))
            executed = await node.author.seal()
            assert len(executed.extrinsics) == 2
            assert len(node.pool) == 0

    run(scenario)


def test_a_solo_author_names_itself_in_the_header(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path, Sealing.MANUAL) as node:
            author = Author(node.chain, node.pool, Sealing.MANUAL, account=AccountId(BOB.account))
            executed = await author.seal()
            named = PreRuntime(AUTHOR_ENGINE, AccountId(BOB.account))
            assert executed.header.digest.logs == (named,)
            assert node.chain.finalized == executed.header

    run(scenario)


@pytest.mark.parametrize("sealing", [Sealing.INTERVAL, Sealing.INSTANT])
def test_a_disk_that_is_full_for_long_costs_a_solo_author_no_block_and_no_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealing: Sealing
) -> None:
    monkeypatch.setattr(chain_module, "UNFINALIZED_MAX", 3)

    async def main() -> None:
        async with small_node(tmp_path, sealing, 1_000) as node, trio.open_nursery() as nursery:
            with monkeypatch.context() as full:
                full.setattr(os, "statvfs", disk_of(1 << 40, 0))
                nursery.start_soon(node.author.run_until_halted)
                node.pool.submit(node.sign())
                await trio.sleep(60)
                assert "goes on by itself" in node.author.halt_reason
                assert (node.chain.best.number, len(node.pool)) == (0, 1)
            await finals(node, 2)
            assert node.author.halt_reason == ""
            assert len(node.pool) == 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0.3))


def test_a_block_that_the_disk_refuses_becomes_final_before_another_one_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with small_node(tmp_path) as node:
            with monkeypatch.context() as full:
                node.chain.on_event.append(
                    lambda _: full.setattr(os, "statvfs", disk_of(1 << 40, 0))
                )
                for _ in range(3):
                    with pytest.raises(DiskLowError):
                        await node.author.seal()
                assert (node.chain.best.number, node.chain.finalized.number) == (1, 0)
                node.chain.on_event.clear()
            refused = node.chain.best.hash
            executed = await node.author.seal()
            assert executed.header.parent_hash == refused
            assert node.chain.finalized.hash == executed.hash

    run(scenario)
