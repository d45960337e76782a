"""The status of finality: which validators count as silent."""

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
