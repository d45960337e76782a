"""Entering a view: its timers, what a leader builds on, what is repeated."""

from __future__ import annotations

from consensus.messages import (
    BlockExecuted,
    Broadcast,
    CertificateRequest,
    Execute,
    Propose,
    Send,
    SetTimer,
    Sign,
    Signed,
    Start,
    Timer,
    TimerKind,
)
from runtime.shared.finality import NO_DIGEST, Ballot, Claim, Kind, skips_hash
from tests.consensus.support.network import (
    ROOT,
    certificate,
    sign,
)
from tests.consensus.support.single_engine import (
    BLOCK,
    FIRST,
    LEADER,
    NOTARIZATION,
    actions_of,
    engine_of,
    other_than,
    receive,
    run_valid,
    started,
    time_out,
)


def test_starting_sets_the_timers_of_the_first_view() -> None:
    actions = engine_of(other_than(1)).step(Start())
    assert actions_of(SetTimer, actions) == [
        SetTimer(Timer(1, TimerKind.LEADER), 2000),
        SetTimer(Timer(1, TimerKind.ADVANCE), 3000),
        SetTimer(Timer(1, TimerKind.RETRY), 2000),
    ]


def test_the_leader_proposes_on_the_root() -> None:
    actions = engine_of(LEADER(1)).step(Start())
    assert actions_of(Propose, actions) == [Propose(1, ROOT, Claim(0, 1, NO_DIGEST))]


def test_messages_before_the_start_are_kept() -> None:
    engine = engine_of(other_than(1))
    assert receive(engine, FIRST) == []
    assert time_out(engine, TimerKind.LEADER, 1) == []
    assert actions_of(Execute, engine.step(Start())) == [Execute(FIRST.header, 9)]


def test_a_second_start_changes_nothing() -> None:
    assert started(0).step(Start()) == []


def test_a_leader_proposes_on_the_highest_notarized_block_and_proves_the_skips() -> None:
    engine = started(LEADER(3))
    run_valid(engine, FIRST)
    receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    skip = certificate([0, 1, 2], Kind.NULLIFY, 2)
    actions = receive(engine, skip)
    assert actions_of(Propose, actions) == [Propose(3, BLOCK, Claim(0, 3, skips_hash((skip,))))]


def test_a_leader_asks_for_the_skips_that_it_lacks() -> None:
    engine = started(LEADER(4))
    actions = receive(engine, certificate([0, 1, 2], Kind.NULLIFY, 3), source=5)
    assert engine.view == 4
    assert not actions_of(Propose, actions)
    assert Send(5, CertificateRequest(0, 1, 3)) in actions
    receive(engine, certificate([0, 1, 2], Kind.NULLIFY, 1))
    assert actions_of(Propose, receive(engine, certificate([0, 1, 2], Kind.NULLIFY, 2)))


def test_a_leader_waits_until_the_parent_is_executed() -> None:
    engine = started(LEADER(2))
    receive(engine, FIRST)
    assert not actions_of(Propose, receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK)))
    assert actions_of(Propose, engine.step(BlockExecuted(BLOCK, True)))


def test_the_retry_repeats_votes_certificates_and_unanswered_ballots() -> None:
    me = other_than(1, 2)
    engine = started(me)
    receive(engine, NOTARIZATION)
    finalize = Ballot(0, 1, Kind.FINALIZE, BLOCK)
    assert Sign(finalize) in time_out(engine, TimerKind.RETRY)
    mine = sign(me, finalize)
    engine.step(Signed(mine))
    actions = time_out(engine, TimerKind.RETRY)
    assert Broadcast(mine) in actions
    assert Broadcast(NOTARIZATION) in actions
    assert SetTimer(Timer(2, TimerKind.RETRY), 2000) in actions


def test_an_observer_sets_no_timer_but_retry() -> None:
    actions = engine_of(None).step(Start())
    assert actions == [SetTimer(Timer(1, TimerKind.RETRY), 2000)]
