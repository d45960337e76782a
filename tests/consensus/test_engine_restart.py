"""A restart: what the log holds is signed again and never contradicted."""

from __future__ import annotations

from consensus.messages import (
    BlockExecuted,
    Broadcast,
    Built,
    Commit,
    Execute,
    Persist,
    Propose,
    Sign,
    Signed,
    Start,
    TimerKind,
)
from runtime.shared.finality import Ballot, Kind
from tests.consensus.support.network import (
    certificate,
    proposal_of,
    vote,
)
from tests.consensus.support.single_engine import (
    BLOCK,
    FIRST,
    LEADER,
    NOTARIZATION,
    SET,
    actions_of,
    ballots,
    engine_of,
    other_than,
    receive,
    run_valid,
    started,
    time_out,
)


def test_what_was_voted_is_signed_again_and_never_contradicted() -> None:
    me = other_than(1)
    engine = started(me)
    log = [one.record for one in actions_of(Persist, run_valid(engine, FIRST))]
    again = engine_of(me)
    actions = again.step(Start(tuple(log)))
    assert actions_of(Sign, actions) == [Sign(Ballot(0, 1, Kind.NOTARIZE, BLOCK))]
    assert actions_of(Execute, actions) == [Execute(FIRST.header, None)]
    mine = vote(me, Kind.NOTARIZE, 1, BLOCK)
    assert again.step(Signed(mine)) == [Broadcast(mine)]
    rival = proposal_of(SET, 1, mark=b"rival")
    assert not ballots(
        [*receive(again, rival), *again.step(BlockExecuted(rival.header.hash, True))]
    )


def test_a_leader_repeats_its_proposal_after_a_restart() -> None:
    me = LEADER(1)
    log = [one.record for one in actions_of(Persist, started(me).step(Built(1, FIRST.header)))]
    again = engine_of(me)
    actions = again.step(Start(tuple(log)))
    assert not actions_of(Propose, actions)
    assert again.step(Signed(FIRST.vote)) == [Broadcast(FIRST)]


def test_a_restart_after_a_skip_never_notarizes() -> None:
    me = other_than(1)
    log = [one.record for one in actions_of(Persist, time_out(started(me), TimerKind.LEADER))]
    again = started(me, tuple(log))
    assert not ballots(run_valid(again, FIRST))


def test_a_restart_goes_on_in_the_view_that_its_certificates_reached() -> None:
    me = other_than(1, 2)
    engine = started(me)
    final = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    log = [one.record for one in actions_of(Persist, receive(engine, NOTARIZATION))]
    log += [one.record for one in actions_of(Persist, receive(engine, final))]
    again = engine_of(me)
    actions = again.step(Start(tuple(log)))
    assert again.view == 2
    assert actions_of(Commit, actions) == [Commit(final)]
    assert not actions_of(Sign, actions)
