"""Votes: which are cast, which are verified, and which prove an equivocation."""

from __future__ import annotations

from dataclasses import replace

from consensus.messages import (
    BlockExecuted,
    Broadcast,
    Execute,
    Notarized,
    Persist,
    Report,
    ReportEquivocation,
    Signed,
    TimerKind,
)
from consensus.write_ahead_log import decode_record
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Kind, Vote
from runtime.types.primitives import Hash
from tests.consensus.support.network import (
    certificate,
    vote,
)
from tests.consensus.support.single_engine import (
    BLOCK,
    FIRST,
    LEADER,
    actions_of,
    ballots,
    other_than,
    receive,
    run_valid,
    started,
    time_out,
)


def test_a_proposal_is_voted_for_once_it_is_executed() -> None:
    engine = started(other_than(1))
    actions = receive(engine, FIRST, source=7)
    assert actions == [Execute(FIRST.header, 7)]
    assert ballots(engine.step(BlockExecuted(BLOCK, True))) == [(Kind.NOTARIZE, 1, BLOCK)]
    assert engine.step(BlockExecuted(BLOCK, True)) == []
    assert receive(engine, FIRST) == []


def test_an_invalid_block_is_nullified_at_once() -> None:
    engine = started(other_than(1))
    receive(engine, FIRST)
    assert ballots(engine.step(BlockExecuted(BLOCK, False))) == [(Kind.NULLIFY, 1, NO_DIGEST)]


def test_nothing_is_notarized_after_the_skip() -> None:
    engine = started(other_than(1))
    receive(engine, FIRST)
    assert ballots(time_out(engine, TimerKind.ADVANCE)) == [(Kind.NULLIFY, 1, NO_DIGEST)]
    assert engine.step(BlockExecuted(BLOCK, True))[1:] == []  # only its header is logged


def test_nothing_is_finalized_after_the_skip() -> None:
    engine = started(other_than(1))
    time_out(engine, TimerKind.LEADER)
    actions = receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    assert engine.view == 2
    assert not ballots(actions)


def test_a_notarization_is_finalized_and_ends_the_view() -> None:
    engine = started(other_than(1, 2))
    actions = receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    assert ballots(actions) == [(Kind.FINALIZE, 1, BLOCK)]
    assert engine.view == 2
    assert isinstance(decode_record(actions_of(Persist, actions)[0].record), Certificate)


def test_nothing_is_nullified_after_it_was_finalized() -> None:
    engine = started(other_than(1, 2))
    receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    assert time_out(engine, TimerKind.LEADER, 1) == []
    assert time_out(engine, TimerKind.ADVANCE, 1) == []


def test_the_leaders_own_skip_is_followed() -> None:
    engine = started(other_than(1))
    actions = receive(engine, vote(LEADER(1), Kind.NULLIFY, 1))
    assert ballots(actions) == [(Kind.NULLIFY, 1, NO_DIGEST)]


def test_a_forged_skip_of_the_leader_is_not_followed() -> None:
    engine = started(other_than(1))
    forged = replace(vote(LEADER(1), Kind.NULLIFY, 1), signature=bytes(64))
    assert not ballots(receive(engine, forged))
    assert ballots(receive(engine, vote(LEADER(1), Kind.NULLIFY, 1)))


def test_the_leader_timer_is_idle_once_a_proposal_is_there() -> None:
    engine = started(other_than(1))
    receive(engine, FIRST)
    assert time_out(engine, TimerKind.LEADER) == []
    assert ballots(time_out(engine, TimerKind.ADVANCE))


def test_three_votes_are_a_notarization_and_its_block_is_best() -> None:
    me = other_than(1, 2)
    engine = started(me)
    run_valid(engine, FIRST)
    engine.step(Signed(vote(me, Kind.NOTARIZE, 1, BLOCK)))
    third = next(voter for voter in range(4) if voter not in (me, LEADER(1)))
    actions = receive(engine, vote(third, Kind.NOTARIZE, 1, BLOCK))
    best = actions_of(Notarized, actions)
    assert [one.certificate.ballot.digest for one in best] == [BLOCK]
    assert Broadcast(best[0].certificate) in actions


def test_a_vote_that_was_not_asked_for_is_not_sent() -> None:
    engine = started(other_than(1))
    me = other_than(1)
    assert engine.step(Signed(vote(me, Kind.FINALIZE, 1, BLOCK))) == []


def test_a_vote_of_ours_that_the_log_has_lost_is_stood_by() -> None:
    me = other_than(1)
    engine = started(me)
    receive(engine, vote(me, Kind.NULLIFY, 1))
    assert not ballots(run_valid(engine, FIRST))


def test_a_finalization_of_ours_that_the_log_has_lost_keeps_from_skipping() -> None:
    me = other_than(1)
    engine = started(me)
    receive(engine, vote(me, Kind.FINALIZE, 1, BLOCK))
    assert not ballots(time_out(engine, TimerKind.LEADER))
    assert not ballots(time_out(engine, TimerKind.ADVANCE))


def test_two_notarizations_of_one_voter_convict_it_once() -> None:
    engine = started(0)
    first, second, third = (
        vote(1, Kind.NOTARIZE, 1, Hash(mark * 32)) for mark in (b"1", b"2", b"3")
    )
    assert receive(engine, first) == []
    assert [
        one.evidence.second for one in actions_of(ReportEquivocation, receive(engine, second))
    ] == [second]
    assert receive(engine, third) == []
    assert receive(engine, second) == []


def test_a_skip_and_a_finalization_of_one_voter_convict_it() -> None:
    engine = started(0)
    receive(engine, vote(1, Kind.NULLIFY, 1))
    assert actions_of(ReportEquivocation, receive(engine, vote(1, Kind.FINALIZE, 1, BLOCK)))


def test_a_skip_and_a_notarization_convict_nobody() -> None:
    engine = started(0)
    receive(engine, vote(1, Kind.NULLIFY, 1))
    assert not actions_of(ReportEquivocation, receive(engine, vote(1, Kind.NOTARIZE, 1, BLOCK)))


def test_a_forged_vote_convicts_nobody_and_gives_way_to_the_real_one() -> None:
    engine = started(other_than(1))
    run_valid(engine, FIRST)
    voters = [voter for voter in range(4) if voter not in (LEADER(1), other_than(1))]
    forged = replace(vote(voters[0], Kind.NOTARIZE, 1, Hash(b"f" * 32)), signature=bytes(64))
    assert receive(engine, forged, source=8) == []
    actions = receive(engine, vote(voters[0], Kind.NOTARIZE, 1, BLOCK))
    assert [one.source for one in actions_of(Report, actions)] == [8]
    assert not actions_of(ReportEquivocation, actions)
    receive(engine, vote(voters[1], Kind.NOTARIZE, 1, BLOCK))
    assert engine.view == 2


def test_certificates_that_exclude_each_other_convict_those_in_both() -> None:
    engine = started(0)
    receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    actions = receive(engine, certificate([1, 2, 3], Kind.NOTARIZE, 1, Hash(b"x" * 32)))
    assert {one.evidence.first.voter for one in actions_of(ReportEquivocation, actions)} == {1, 2}


def test_votes_are_verified_only_when_they_are_a_quorum_and_never_again() -> None:
    engine = started(3)
    for voter in (0, 1):
        receive(engine, vote(voter, Kind.NULLIFY, 2))
    assert engine.signatures.checks == 0
    receive(engine, vote(2, Kind.NULLIFY, 2))
    assert engine.signatures.checks == 3
    assert engine.view == 3
    receive(engine, vote(3, Kind.NULLIFY, 2))
    receive(engine, certificate([0, 1, 2], Kind.NULLIFY, 2))
    assert engine.signatures.checks == 4  # our own came back from outside: looked at


def test_a_forged_vote_makes_no_quorum() -> None:
    engine = started(3)
    forged = replace(vote(0, Kind.NULLIFY, 1), signature=bytes(64))
    receive(engine, forged, source=5)
    receive(engine, vote(1, Kind.NULLIFY, 1))
    actions = receive(engine, vote(2, Kind.NULLIFY, 1))
    assert [one.source for one in actions_of(Report, actions)] == [5]
    assert engine.view == 1
    receive(engine, vote(0, Kind.NULLIFY, 1))
    assert engine.view == 2


def test_votes_far_ahead_and_far_behind_are_not_held() -> None:
    engine = started(0)
    for view in range(1, 40):
        for voter in range(4):
            receive(engine, vote(voter, Kind.NULLIFY, view + 1000))
    assert engine.view == 1
    receive(engine, certificate([0, 1, 2], Kind.NULLIFY, 500))
    assert engine.view == 501
    for voter in range(1, 4):
        receive(engine, vote(voter, Kind.NULLIFY, 3))
    assert len(engine.state.rounds._rounds) < 10


def test_a_voter_of_no_set_is_reported() -> None:
    stranger = replace(vote(0, Kind.NULLIFY, 1), voter=4)
    assert actions_of(Report, receive(started(0), stranger))


def test_a_vote_has_one_form() -> None:
    bad = Vote(Ballot(0, 1, 3, BLOCK), 1, bytes(64))
    assert actions_of(Report, receive(started(0), bad))
