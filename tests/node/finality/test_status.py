"""The status of finality: which validators count as silent, and the sentence about it."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from node.finality.status import finality_status
from runtime.shared.finality import NO_DIGEST, Ballot, Kind
from runtime.types.primitives import Hash
from tests.node.support.seat import (
    HONEST,
    HOSTILE,
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
            await made.until(lambda: 1 in made.participant.last_votes)
            last_vote = made.participant.last_votes[1]
            last_vote.at_seconds -= 100
            made.hear(HOSTILE, made.vote(1, Ballot(0, 2, Kind.NULLIFY, NO_DIGEST)))
            await settle()
            assert made.participant.last_votes[1] == last_vote
            status = finality_status(made.chain, made.participant)
            assert status.validators[1].is_silent
            assert "Finality lacks" in status.sentence

    run(scenario)
