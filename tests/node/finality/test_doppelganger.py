"""The doppelganger check: a vote of this node's key that was signed elsewhere stops the node."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from node.finality.doppelganger import DoppelgangerError
from node.keys.vote_signer import REMEMBERED_VIEWS, ConflictingBallotError, RecentBallots
from runtime.shared.finality import NO_DIGEST, Ballot, Kind
from runtime.types.primitives import Hash
from tests.node.support.seat import (
    HONEST,
    HOSTILE,
    replace_signature,
    seated,
)
from tests.node.support.small_node import run

ANY = Hash(bytes([5]) * 32)


async def settle() -> None:
    """Let everything that was said be taken."""
    await trio.testing.wait_all_tasks_blocked(0.02)


def raised_by(scenario: object) -> BaseException:
    """The first cause of what a scenario raises."""
    try:
        run(scenario)  # type: ignore[arg-type]
    except BaseException as error:  # noqa: BLE001 - looked at by the test
        found: BaseException = error
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        return found
    raise AssertionError("nothing was raised")


def test_old_votes_that_are_said_again_stop_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, delay_ms=40) as made:
            me = made.participant.me
            assert me is not None
            await made.until(lambda: len(made.service.own_votes) >= 1)
            for view in range(1, 6):
                made.hear(HONEST, made.certificate(Ballot(0, view, Kind.NULLIFY, NO_DIGEST)))
            await made.until(lambda: made.participant.view >= 6)
            await made.until(lambda: any(one.view >= 6 for one in made.service.own_votes))
            for ballot in made.service.own_votes:
                made.hear(HOSTILE, made.vote(me, ballot))
            await settle()
        async with seated(tmp_path, 4, me=0, delay_ms=40) as made:
            for ballot in made.service.own_votes:
                made.hear(HOSTILE, made.vote(me, ballot))
            await settle()
            assert made.service.blamed == []

    run(scenario)


def test_a_forged_vote_in_this_nodes_name_stops_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0) as made:
            me = made.participant.me
            assert me is not None
            vote = made.vote(me, Ballot(0, 2, Kind.NOTARIZE, ANY))
            made.hear(HOSTILE, replace_signature(vote))
            made.hear(HOSTILE, made.vote(me, Ballot(9, 2, Kind.NOTARIZE, ANY)))
            await settle()
            await made.until(lambda: made.participant.view > 0)

    run(scenario)


@pytest.mark.parametrize("listen_seconds", [0.0, 5.0])
def test_a_vote_that_was_signed_elsewhere_stops_the_node(
    tmp_path: Path, listen_seconds: float
) -> None:
    said_by_this: list[Ballot] = []

    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, listen_seconds=listen_seconds) as made:
            me = made.participant.me
            assert me is not None
            if listen_seconds:
                assert made.participant.view == 0
            made.hear(HOSTILE, made.vote(me, Ballot(0, 1, Kind.NOTARIZE, ANY)))
            try:
                await trio.sleep(10)
            finally:
                said_by_this.extend(made.service.own_votes)

    error = raised_by(scenario)
    assert isinstance(error, DoppelgangerError)
    assert "give this one a key of its own" in str(error)
    if listen_seconds:
        assert said_by_this == [], "it had not voted yet"


def test_a_mark_that_was_lost_stops_the_node_before_it_votes_anew(tmp_path: Path) -> None:
    """Its own former votes are then as good as foreign: what else was signed nobody knows."""
    votes: list[Ballot] = []

    async def before() -> None:
        async with seated(tmp_path, 4, me=0, delay_ms=40) as made:
            await made.until(lambda: bool(made.service.own_votes))
            votes.extend(made.service.own_votes)

    async def after() -> None:
        async with seated(tmp_path, 4, me=0, listen_seconds=5.0) as made:
            me = made.participant.me
            assert me is not None
            made.hear(HOSTILE, made.vote(me, votes[0]))
            await trio.sleep(10)

    run(before)
    (tmp_path / "history").unlink()
    (tmp_path / "log").unlink()
    assert isinstance(raised_by(after), DoppelgangerError)


ballots = st.builds(
    Ballot,
    st.integers(0, 3),
    st.integers(1, 3 * REMEMBERED_VIEWS),
    st.sampled_from([int(kind) for kind in Kind]),
    st.sampled_from([NO_DIGEST, ANY, Hash(bytes(31) + b"\1")]),
)


@given(st.lists(ballots, max_size=60))
def test_nothing_that_was_ever_signed_here_is_foreign(tried: list[Ballot]) -> None:
    window, signed = RecentBallots(), []
    for ballot in tried:
        try:
            window.check(ballot)
        except ConflictingBallotError:
            continue
        window.add(ballot)
        signed.append(ballot)
        assert not any(map(window.is_foreign, signed))
