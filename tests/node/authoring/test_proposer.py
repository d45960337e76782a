"""The proposer: when it builds a block, and what it puts in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from node.authoring.author import wall_clock_ms
from node.chain.import_checks import timestamp_of
from runtime.frame.executive import ExecutedBlock
from runtime.shared.finality import NO_DIGEST, Ballot, Claim, Equivocation, Kind, skips_hash
from runtime.types.primitives import Hash
from tests.node.support.seat import Seat, seat
from tests.node.support.small_node import ALICE, SmallNode, run

LONG_MS = 60_000
FIRST, SECOND = Hash(bytes([1]) * 32), Hash(bytes([2]) * 32)


async def propose(made: Seat, view: int = 1) -> ExecutedBlock:
    """Propose on the last final block."""
    claim = Claim(made.participant.epoch.number, view, skips_hash(()))
    author = made.participant.epoch.authorities.authorities[made.leader(view)].account
    return await made.proposer.propose(made.chain.finalized, claim, author)


async def finalized(made: Seat, executed: ExecutedBlock) -> None:
    made.chain.add(executed)
    made.chain.set_best(executed.hash)
    await made.chain.finalize(executed.hash)


async def pay(made: Seat) -> None:
    """Let a transaction come into the pool."""
    node = SmallNode(made.chain, made.pool, None)  # type: ignore[arg-type]
    made.pool.submit(node.sign(ALICE))


def equivocation(made: Seat, view: int, voter: int = 1) -> Equivocation:
    first = made.vote(voter, Ballot(0, view, Kind.NOTARIZE, FIRST))
    return Equivocation(first, made.vote(voter, Ballot(0, view, Kind.NOTARIZE, SECOND)))


def convictions(made: Seat, executed: ExecutedBlock) -> list[Equivocation]:
    """The evidence in a block."""
    calls = [made.chain.machine.extrinsics.decode(raw).call for raw in executed.extrinsics]
    return [
        call.arguments[0] for call in calls if (call.pallet, call.name) == ("Offences", "convict")
    ]


@pytest.mark.parametrize("clock_is_behind_ms", [0, 3_600_000])
def test_the_block_time_passes_between_blocks_and_no_more(
    tmp_path: Path, clock_is_behind_ms: int
) -> None:
    """A clock that was set back must not stop a leader for an hour."""

    async def scenario() -> None:
        shift = 0

        def clock() -> int:
            return wall_clock_ms() - shift

        async with seat(tmp_path, 1, me=0, block_time_ms=300, clock_ms=clock) as made:
            await finalized(made, await propose(made))
            shift = clock_is_behind_ms
            began = trio.current_time()
            second = await propose(made, 2)
            assert 0.2 < trio.current_time() - began < 5
            before = made.epochs.timestamp_ms(made.chain.finalized.hash)
            stamp = timestamp_of(made.chain.machine, second.extrinsics)
            assert stamp is not None
            assert stamp > before

    run(scenario)


def test_without_work_an_instant_proposer_waits_and_with_work_it_does_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seat(tmp_path, 1, me=0, block_time_ms=LONG_MS, is_instant=True) as made:
            await pay(made)
            await finalized(made, await propose(made))
            with trio.move_on_after(0.1) as waiting:
                await propose(made, 2)
            assert waiting.cancelled_caught
            async with trio.open_nursery() as nursery:
                nursery.start_soon(propose, made, 2)
                await trio.lowlevel.checkpoint()
                await pay(made)

    run(scenario)


def test_an_inherent_that_fails_does_not_cost_the_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with seat(tmp_path, 1, me=0, block_time_ms=10) as made:
            bad = made.chain.machine.call("Randomness", "reveal", link=FIRST)
            monkeypatch.setattr(made.epochs, "contribution", lambda *_: (bad,))
            executed = await propose(made)
            assert len(executed.extrinsics) == 1, "its time alone"

    run(scenario)


def test_a_proposer_that_is_not_instant_waits_with_work_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seat(tmp_path, 1, me=0, block_time_ms=LONG_MS) as made:
            made.proposer.propose_immediately(1)
            await finalized(made, await propose(made))
            await pay(made)
            with trio.move_on_after(0.1) as waiting:
                await propose(made, 2)
            assert waiting.cancelled_caught

    run(scenario)


def test_a_proposer_does_not_wait_up_to_the_height_it_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seat(tmp_path, 1, me=0, block_time_ms=LONG_MS) as made:
            made.proposer.propose_immediately(3)
            for view in (1, 2, 3):
                await finalized(made, await propose(made, view))
            with trio.move_on_after(0.1) as waiting:
                await propose(made, 4)
            assert waiting.cancelled_caught

    run(scenario)


def test_a_waiting_proposer_proposes_at_once_when_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seat(tmp_path, 1, me=0, block_time_ms=LONG_MS) as made:
            made.proposer.propose_immediately(1)
            await finalized(made, await propose(made))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(propose, made, 2)
                await trio.testing.wait_all_tasks_blocked(0.01)
                made.proposer.propose_immediately(2)

    run(scenario)


def test_evidence_is_put_on_chain_once_and_then_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seat(tmp_path, 4, me=0, block_time_ms=1) as made:
            evidence = equivocation(made, 1)
            made.proposer.evidence.add(evidence)
            await finalized(made, await propose(made))
            assert made.proposer.evidence.all() == (evidence,), "genesis cannot judge it yet"
            first = await propose(made, 2)
            assert convictions(made, first) == [evidence]
            again = await propose(made, 3)
            assert convictions(made, again) == [evidence], "the first one may be skipped"
            await finalized(made, first)
            assert convictions(made, await propose(made, 4)) == []
            assert made.proposer.evidence.all() == ()

    run(scenario)


def test_evidence_that_convicts_nobody_is_not_put_on_chain(tmp_path: Path) -> None:
    """The file that keeps it may have been changed by anybody."""

    async def scenario() -> None:
        async with seat(tmp_path, 4, me=0, block_time_ms=1) as made:
            good = equivocation(made, 1)
            forged = replace(good, second=replace(good.second, signature=bytes(64)))
            unknown = replace(
                good, first=replace(good.first, voter=77), second=replace(good.second, voter=77)
            )
            far = Ballot(9, 1, Kind.NULLIFY, NO_DIGEST)
            other_epoch = replace(good, first=replace(good.first, ballot=far))
            await finalized(made, await propose(made))
            for evidence in (forged, unknown, other_epoch):
                made.proposer.evidence.add(evidence)
                assert convictions(made, await propose(made, 2)) == []
            assert made.proposer.evidence.all() == ()

    run(scenario)
