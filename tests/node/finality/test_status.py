"""The status of finality: which validators count as silent, and how old it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from node.authoring.author import wall_clock_ms
from node.finality.status import finality_status
from runtime.shared.finality import NO_DIGEST, Ballot, Kind
from runtime.types.primitives import Hash
from tests.node.support.seat import (
    HONEST,
    HOSTILE,
    seat,
    seated,
)
from tests.node.support.small_node import run

ANY = Hash(bytes([5]) * 32)


async def settle() -> None:
    """Let everything that was said be taken."""
    await trio.testing.wait_all_tasks_blocked(0.02)


def test_old_votes_do_not_make_a_validator_look_alive_in_an_old_view(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None) as made:
            made.hear(HONEST, made.vote(1, Ballot(0, 5, Kind.NULLIFY, NO_DIGEST)))
            await made.until(lambda: 1 in made.participant.activity)
            heard = made.participant.activity[1]
            heard.at_seconds -= 100
            before = heard.at_seconds
            made.hear(HOSTILE, made.vote(1, Ballot(0, 2, Kind.NULLIFY, NO_DIGEST)))
            await settle()
            assert (heard.view, heard.at_seconds) == (5, before)
            status = finality_status(made.chain, made.participant)
            assert status.validators[1].is_silent
            assert status.active_weight == 0

    run(scenario)


def test_with_long_block_times_a_validator_is_silent_only_after_views_of_that_length(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None, delay_ms=10_000) as made:
            for voter in range(4):
                made.hear(HONEST, made.vote(voter, Ballot(0, 5, Kind.NOTARIZE, ANY)))
            await made.until(lambda: len(made.participant.activity) == 4)
            for ago, is_silent in ((30, False), (61, True)):
                for heard in made.participant.activity.values():
                    heard.at_seconds = trio.current_time() - ago
                status = finality_status(made.chain, made.participant)
                assert {state.is_silent for state in status.validators} == {is_silent}

    run(scenario)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_node_that_starts_again_in_a_stall_knows_how_long_it_lasts(
    tmp_path: Path, hours: int
) -> None:
    """Where this machine's clock is behind that of the block's author, no age is negative."""
    elapsed_ms = hours * 3_600_000

    async def scenario() -> None:
        async with seat(tmp_path, 4, me=None) as made:
            built = await made.block(1, made.chain.genesis_hash)
            made.chain.add(built)
            await made.chain.finalize(built.hash)
        clock_ms = lambda: wall_clock_ms() + elapsed_ms
        async with seated(tmp_path, 4, me=None, clock_ms=clock_ms) as made:
            status = finality_status(made.chain, made.participant)
            assert status.finalized_number == 1
            assert status.is_standing == (hours > 0)
            assert round(status.finalized_seconds_ago, -2) == max(0, hours * 3_600)
            # What becomes final from now on is not old, whatever the clocks say.
            following = await made.block(2, built.hash)
            made.chain.add(following)
            await made.chain.finalize(following.hash)
            assert not finality_status(made.chain, made.participant).is_standing

    run(scenario)
