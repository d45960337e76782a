"""Certificates: finality, forks, the end of an epoch, and answers to peers."""

from __future__ import annotations

import pytest

from consensus.messages import (
    BlockFinalized,
    CertificateRequest,
    Commit,
    Execute,
    Halt,
    Persist,
    Report,
    ReportEquivocation,
    Send,
    SetTimer,
    Sign,
    Start,
    TimerKind,
)
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Kind
from runtime.types.primitives import Hash
from tests.consensus.support.network import (
    certificate,
    proposal_of,
    set_of,
    vote,
)
from tests.consensus.support.single_engine import (
    BLOCK,
    FIRST,
    NOTARIZATION,
    SKIPPING,
    actions_of,
    engine_of,
    other_than,
    receive,
    run_valid,
    started,
    time_out,
)


def test_a_finalization_commits_once() -> None:
    engine = started(other_than(1, 2))
    final = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    assert actions_of(Commit, receive(engine, final)) == [Commit(final)]
    assert engine.view == 2
    assert receive(engine, final) == []
    assert receive(engine, certificate([1, 2, 3], Kind.FINALIZE, 1, BLOCK)) == []


@pytest.mark.parametrize(
    "bad",
    [
        certificate([0, 1], Kind.FINALIZE, 1, BLOCK),
        certificate([0, 1, 1], Kind.FINALIZE, 1, BLOCK),
        certificate([2, 1, 0], Kind.FINALIZE, 1, BLOCK),
        Certificate(Ballot(0, 1, Kind.FINALIZE, BLOCK), ()),
        Certificate(Ballot(0, 1, Kind.FINALIZE, BLOCK), tuple((i, bytes(64)) for i in range(9))),
        certificate([0, 1, 2], Kind.NULLIFY, 1, BLOCK),
        certificate([0, 1, 2], Kind.FINALIZE, 0, BLOCK),
        certificate([0, 1, 2], Kind.NOTARIZE, 1, NO_DIGEST),
    ],
)
def test_a_certificate_that_proves_nothing_is_reported(bad: Certificate) -> None:
    engine = started(0)
    actions = receive(engine, bad, source=3)
    assert [one.source for one in actions_of(Report, actions)] == [3]
    assert engine.view == 1


def test_what_is_of_another_epoch_is_not_looked_at() -> None:
    engine = started(0)
    assert receive(engine, certificate([0, 1, 2], Kind.NULLIFY, 1, epoch=3)) == []
    assert receive(engine, vote(1, Kind.NULLIFY, 1, epoch=3)) == []
    assert receive(engine, CertificateRequest(3, 1, 2)) == []
    assert receive(engine, proposal_of(set_of([1, 1, 1, 1], 3), 1)) == []
    assert engine.signatures.checks == 0


def test_another_finalization_of_the_same_view_halts() -> None:
    engine = started(other_than(1, 2))
    first = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    second = certificate([1, 2, 3], Kind.FINALIZE, 1, Hash(b"x" * 32))
    receive(engine, first)
    actions = receive(engine, second)
    assert actions_of(Halt, actions) == [Halt(first, second)]
    assert {one.evidence.first.voter for one in actions_of(ReportEquivocation, actions)} == {1, 2}
    assert engine.is_halted
    assert time_out(engine, TimerKind.LEADER) == []


def test_a_finalization_of_a_block_on_another_branch_halts() -> None:
    engine = started(other_than(1, 2, 3))
    run_valid(engine, FIRST)
    first = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    receive(engine, first)
    rival = SKIPPING
    second = certificate([1, 2, 3], Kind.FINALIZE, 2, rival.header.hash)
    assert actions_of(Halt, [*receive(engine, second), *receive(engine, rival)]) == [
        Halt(first, second)
    ]


def test_a_halt_is_remembered_by_the_log() -> None:
    engine = started(other_than(1, 2))
    log = []
    for digest, voters in ((BLOCK, [0, 1, 2]), (Hash(b"x" * 32), [1, 2, 3])):
        actions = receive(engine, certificate(voters, Kind.FINALIZE, 1, digest))
        log += [one.record for one in actions_of(Persist, actions)]
    again = engine_of(other_than(1, 2))
    actions = again.step(Start(tuple(log)))
    assert actions_of(Halt, actions)
    assert not actions_of(Sign, actions)


def test_the_epoch_ends_once_its_boundary_is_final() -> None:
    engine = started(other_than(1, 2), last_number=1)
    run_valid(engine, FIRST)
    final = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    actions = receive(engine, final)
    assert actions_of(Commit, actions)
    assert engine.is_finished
    assert not actions_of(SetTimer, actions)
    assert Send(5, final) in receive(engine, vote(0, Kind.NULLIFY, 1), source=5)
    assert Send(6, final) in receive(engine, CertificateRequest(0, 1, 1), source=6)


def test_a_final_block_that_came_by_sync_ends_the_epoch() -> None:
    engine = started(other_than(1, 2), last_number=1)
    receive(engine, certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK))
    assert not engine.is_finished
    engine.step(BlockFinalized(FIRST.header))
    assert engine.is_finished


def test_answers_to_one_peer_are_limited() -> None:
    engine = started(0)
    for view in range(1, 6):
        receive(engine, certificate([0, 1, 2], Kind.NULLIFY, view))
    answers = [len(receive(engine, CertificateRequest(0, 1, 5), source=2)) for _ in range(10)]
    assert answers == [5] * 4 + [0] * 6
    time_out(engine, TimerKind.RETRY)
    assert len(receive(engine, CertificateRequest(0, 2, 1 << 60), source=2)) == 4


def test_a_peer_that_votes_in_an_old_view_gets_the_newest_certificates() -> None:
    engine = started(other_than(1, 2, 3))
    skips = [certificate([0, 1, 2], Kind.NULLIFY, view) for view in (1, 2, 3)]
    for skip in skips:
        receive(engine, skip)
    assert actions_of(Send, receive(engine, vote(1, Kind.NULLIFY, 1), source=1)) == [
        Send(1, skips[-1])
    ]


def test_an_answer_lets_a_newcomer_execute_the_block() -> None:
    knows = started(other_than(1, 2))
    run_valid(knows, FIRST)
    receive(knows, NOTARIZATION)
    newcomer = started(3)
    for answer in actions_of(Send, receive(knows, CertificateRequest(0, 1, 1), source=3)):
        actions = receive(newcomer, answer.message)
    assert actions_of(Execute, actions) == [Execute(FIRST.header, 9)]
