"""The transitions of one engine, one by one: what goes in, what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import pytest

from consensus.engine import Engine
from consensus.messages import (
    Action,
    BlockExecuted,
    BlockFinalized,
    Broadcast,
    Built,
    CertificateRequest,
    Commit,
    Execute,
    Halt,
    Message,
    Notarized,
    Persist,
    Proposal,
    Propose,
    Received,
    Report,
    ReportEquivocation,
    Send,
    SetTimer,
    Sign,
    Signed,
    Start,
    TimedOut,
    Timer,
    TimerKind,
)
from consensus.settings import Settings
from consensus.write_ahead_log import decode_record
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Claim, Kind, Vote, skips_hash
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import Hash
from tests.consensus.support.network import (
    GENESIS,
    ROOT,
    certificate,
    header_of,
    proposal_of,
    set_of,
    sign,
    vote,
)

SET = set_of([1, 1, 1, 1])
LEADER = schedule_of(SET).leader
FIRST = proposal_of(SET, 1)
BLOCK = FIRST.header.hash
A = TypeVar("A")


def other_than(*views: int) -> int:
    """A voter that leads none of these views."""
    leaders = [LEADER(view) for view in views]
    return next(voter for voter in range(4) if voter not in leaders)


def engine_of(me: int | None, last_number: int = 100) -> Engine:
    return Engine(GENESIS, SET, me, ROOT, last_number, Settings(delay_ms=1000))


def started(me: int | None, records: tuple[bytes, ...] = (), last_number: int = 100) -> Engine:
    engine = engine_of(me, last_number)
    engine.step(Start(records))
    return engine


def of(kind: type[A], actions: Sequence[Action]) -> list[A]:
    return [action for action in actions if isinstance(action, kind)]


def get(engine: Engine, message: Message, source: int = 9) -> list[Action]:
    return engine.step(Received(source, message))


def ballots(actions: Sequence[Action]) -> list[tuple[int, int, Hash]]:
    """What an engine wants to sign; each is durable before."""
    found = [(one.ballot.kind, one.ballot.view, one.ballot.digest) for one in of(Sign, actions)]
    records = [decode_record(one.record) for one in of(Persist, actions)]
    for kind, view, digest in found:
        assert Ballot(0, view, kind, digest) in records
    return found


def out(engine: Engine, kind: TimerKind, view: int | None = None) -> list[Action]:
    return engine.step(TimedOut(Timer(engine.view if view is None else view, kind)))


def run_valid(engine: Engine, proposal: Proposal) -> list[Action]:
    """Receive a proposal and execute its block."""
    return [*get(engine, proposal), *engine.step(BlockExecuted(proposal.header.hash, True))]


# -------------------------------------------------------------------------------- entering


def test_starting_sets_the_timers_of_the_first_view() -> None:
    actions = engine_of(other_than(1)).step(Start())
    assert of(SetTimer, actions) == [
        SetTimer(Timer(1, TimerKind.LEADER), 2000),
        SetTimer(Timer(1, TimerKind.ADVANCE), 3000),
        SetTimer(Timer(1, TimerKind.RETRY), 2000),
    ]


def test_the_leader_proposes_on_the_root() -> None:
    actions = engine_of(LEADER(1)).step(Start())
    assert of(Propose, actions) == [Propose(1, ROOT, Claim(0, 1, NO_DIGEST))]


def test_messages_before_the_start_are_kept() -> None:
    engine = engine_of(other_than(1))
    assert get(engine, FIRST) == []
    assert out(engine, TimerKind.LEADER, 1) == []
    assert of(Execute, engine.step(Start())) == [Execute(FIRST.header, 9)]


def test_a_second_start_changes_nothing() -> None:
    assert started(0).step(Start()) == []


def test_a_leader_proposes_on_the_highest_notarized_block_and_proves_the_skips() -> None:
    engine = started(LEADER(3))
    run_valid(engine, FIRST)
    get(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    skip = certificate([0, 1, 2], Kind.NULLIFY, 2)
    actions = get(engine, skip)
    assert of(Propose, actions) == [Propose(3, BLOCK, Claim(0, 3, skips_hash((skip,))))]


def test_a_leader_asks_for_the_skips_that_it_lacks() -> None:
    engine = started(LEADER(4))
    actions = get(engine, certificate([0, 1, 2], Kind.NULLIFY, 3), source=5)
    assert engine.view == 4
    assert not of(Propose, actions)
    assert Send(5, CertificateRequest(0, 1, 3)) in actions
    get(engine, certificate([0, 1, 2], Kind.NULLIFY, 1))
    assert of(Propose, get(engine, certificate([0, 1, 2], Kind.NULLIFY, 2)))


def test_a_leader_waits_until_the_parent_is_executed() -> None:
    engine = started(LEADER(2))
    get(engine, FIRST)
    assert not of(Propose, get(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK)))
    assert of(Propose, engine.step(BlockExecuted(BLOCK, True)))


# -------------------------------------------------------------------------------- proposing


def test_the_leader_broadcasts_its_block_with_its_vote() -> None:
    me = LEADER(1)
    engine = started(me)
    actions = engine.step(Built(1, FIRST.header))
    assert ballots(actions) == [(Kind.NOTARIZE, 1, BLOCK)]
    assert FIRST.header in [decode_record(one.record) for one in of(Persist, actions)]
    actions = engine.step(Signed(FIRST.vote))
    assert actions == [Broadcast(FIRST)]
    assert engine.step(Signed(FIRST.vote)) == []


@pytest.mark.parametrize(
    "header",
    [
        None,
        header_of(ROOT, 1, None),
        header_of(ROOT, 1, Claim(0, 2, NO_DIGEST)),
        header_of(GENESIS, 1, Claim(0, 1, NO_DIGEST)),
        header_of(ROOT, 101, Claim(0, 1, NO_DIGEST)),
    ],
)
def test_a_block_that_was_not_asked_for_is_not_proposed(header: object) -> None:
    assert not ballots(started(LEADER(1)).step(Built(1, header)))  # type: ignore[arg-type]


def test_a_block_that_comes_after_the_skip_is_not_proposed() -> None:
    engine = started(LEADER(1))
    assert ballots(out(engine, TimerKind.LEADER)) == [(Kind.NULLIFY, 1, NO_DIGEST)]
    assert engine.step(Built(1, FIRST.header)) == []


def test_the_boundary_is_proposed_again_with_its_own_certificate() -> None:
    engine = started(LEADER(2), last_number=1)
    run_valid(engine, FIRST)
    notarization = certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK)
    actions = get(engine, notarization)
    assert (Kind.NOTARIZE, 2, BLOCK) in ballots(actions)
    assert not of(Propose, actions)
    mine = vote(LEADER(2), Kind.NOTARIZE, 2, BLOCK)
    expected = Proposal(FIRST.header, mine, notarization, ())
    assert engine.step(Signed(mine)) == [Broadcast(expected)]
    follower = started(other_than(1, 2), last_number=1)
    run_valid(follower, FIRST)
    assert ballots(get(follower, expected)) == [
        (Kind.FINALIZE, 1, BLOCK),
        (Kind.NOTARIZE, 2, BLOCK),
    ]


# ---------------------------------------------------------------------------------- voting


def test_a_proposal_is_voted_for_once_it_is_executed() -> None:
    engine = started(other_than(1))
    actions = get(engine, FIRST, source=7)
    assert actions == [Execute(FIRST.header, 7)]
    assert ballots(engine.step(BlockExecuted(BLOCK, True))) == [(Kind.NOTARIZE, 1, BLOCK)]
    assert engine.step(BlockExecuted(BLOCK, True)) == []
    assert get(engine, FIRST) == []


def test_an_invalid_block_is_nullified_at_once() -> None:
    engine = started(other_than(1))
    get(engine, FIRST)
    assert ballots(engine.step(BlockExecuted(BLOCK, False))) == [(Kind.NULLIFY, 1, NO_DIGEST)]


def test_nothing_is_notarized_after_the_skip() -> None:
    engine = started(other_than(1))
    get(engine, FIRST)
    assert ballots(out(engine, TimerKind.ADVANCE)) == [(Kind.NULLIFY, 1, NO_DIGEST)]
    assert engine.step(BlockExecuted(BLOCK, True))[1:] == []  # its header alone is kept


def test_nothing_is_finalized_after_the_skip() -> None:
    engine = started(other_than(1))
    out(engine, TimerKind.LEADER)
    actions = get(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    assert engine.view == 2
    assert not ballots(actions)


def test_a_notarization_is_finalized_and_ends_the_view() -> None:
    engine = started(other_than(1, 2))
    actions = get(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    assert ballots(actions) == [(Kind.FINALIZE, 1, BLOCK)]
    assert engine.view == 2
    assert isinstance(decode_record(of(Persist, actions)[0].record), Certificate)


def test_nothing_is_nullified_after_it_was_finalized() -> None:
    engine = started(other_than(1, 2))
    get(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    assert out(engine, TimerKind.LEADER, 1) == []
    assert out(engine, TimerKind.ADVANCE, 1) == []


def test_the_leaders_own_skip_is_followed() -> None:
    engine = started(other_than(1))
    actions = get(engine, vote(LEADER(1), Kind.NULLIFY, 1))
    assert ballots(actions) == [(Kind.NULLIFY, 1, NO_DIGEST)]


def test_a_forged_skip_of_the_leader_is_not_followed() -> None:
    engine = started(other_than(1))
    forged = replace(vote(LEADER(1), Kind.NULLIFY, 1), signature=bytes(64))
    assert not ballots(get(engine, forged))
    assert ballots(get(engine, vote(LEADER(1), Kind.NULLIFY, 1)))


def test_the_leader_timer_is_idle_once_a_proposal_is_there() -> None:
    engine = started(other_than(1))
    get(engine, FIRST)
    assert out(engine, TimerKind.LEADER) == []
    assert ballots(out(engine, TimerKind.ADVANCE))


def test_three_votes_are_a_notarization_and_its_block_is_best() -> None:
    me = other_than(1, 2)
    engine = started(me)
    run_valid(engine, FIRST)
    engine.step(Signed(vote(me, Kind.NOTARIZE, 1, BLOCK)))
    third = next(voter for voter in range(4) if voter not in (me, LEADER(1)))
    actions = get(engine, vote(third, Kind.NOTARIZE, 1, BLOCK))
    best = of(Notarized, actions)
    assert [one.certificate.ballot.digest for one in best] == [BLOCK]
    assert Broadcast(best[0].certificate) in actions


def test_a_vote_that_was_not_asked_for_is_not_sent() -> None:
    engine = started(other_than(1))
    me = other_than(1)
    assert engine.step(Signed(vote(me, Kind.FINALIZE, 1, BLOCK))) == []


def test_a_vote_of_ours_that_the_log_has_lost_is_stood_by() -> None:
    me = other_than(1)
    engine = started(me)
    get(engine, vote(me, Kind.NULLIFY, 1))
    assert not ballots(run_valid(engine, FIRST))


def test_a_finalization_of_ours_that_the_log_has_lost_keeps_from_skipping() -> None:
    me = other_than(1)
    engine = started(me)
    get(engine, vote(me, Kind.FINALIZE, 1, BLOCK))
    assert not ballots(out(engine, TimerKind.LEADER))
    assert not ballots(out(engine, TimerKind.ADVANCE))


# ------------------------------------------------------------------------- bad proposals


SKIP = certificate([0, 1, 2], Kind.NULLIFY, 1)
NOTARIZATION = certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK)
SECOND = proposal_of(SET, 2, NOTARIZATION, number=2)
SKIPPING = proposal_of(SET, 2, None, (SKIP,))


def claiming(claim: Claim | None, parent: Hash = ROOT, number: int = 1) -> Proposal:
    header = header_of(parent, number, claim)
    return Proposal(header, vote(LEADER(1), Kind.NOTARIZE, 1, header.hash), None, ())


def wrong_proposals() -> dict[str, Proposal]:
    forged = replace(SKIP, votes=((0, bytes(64)), *SKIP.votes[1:]))
    few = certificate([0, 1], Kind.NULLIFY, 1)
    alien = certificate([0, 1, 2], Kind.NULLIFY, 1, epoch=1)
    return {
        "no claim": claiming(None),
        "another view": claiming(Claim(0, 2, NO_DIGEST)),
        "another epoch": claiming(Claim(1, 1, NO_DIGEST)),
        "another parent": claiming(Claim(0, 1, NO_DIGEST), parent=GENESIS),
        "beyond the epoch": claiming(Claim(0, 1, NO_DIGEST), number=101),
        "another voter": replace(FIRST, vote=vote(other_than(1), Kind.NOTARIZE, 1, BLOCK)),
        "forged vote": replace(FIRST, vote=replace(FIRST.vote, signature=bytes(64))),
        "another kind": replace(FIRST, vote=vote(LEADER(1), Kind.FINALIZE, 1, BLOCK)),
        "another header": replace(FIRST, header=SECOND.header),
        "missing skip": replace(SKIPPING, skips=()),
        "forged skip": proposal_of(SET, 2, None, (forged,)),
        "skip of two": proposal_of(SET, 2, None, (few,)),
        "skip of another epoch": proposal_of(SET, 2, None, (alien,)),
        "skip twice": proposal_of(SET, 3, None, (SKIP, SKIP)),
        "parent a skip": replace(SECOND, parent=SKIP),
        "forged parent": proposal_of(SET, 2, replace(NOTARIZATION, votes=NOTARIZATION.votes[:2])),
        "again, no boundary": Proposal(
            FIRST.header, vote(LEADER(2), Kind.NOTARIZE, 2, BLOCK), NOTARIZATION, ()
        ),
    }


@pytest.mark.parametrize("name", wrong_proposals())
def test_a_wrong_proposal_is_reported_and_neither_executed_nor_voted_for(name: str) -> None:
    engine = started(other_than(1, 2, 3))
    actions = get(engine, wrong_proposals()[name], source=6)
    assert [one.source for one in of(Report, actions)] == [6]
    assert not of(Execute, actions)


OTHER_SKIPS = [
    claiming(Claim(0, 1, BLOCK)),
    replace(SKIPPING, skips=(certificate([1, 2, 3], Kind.NULLIFY, 1),)),
]


@pytest.mark.parametrize("proposal", OTHER_SKIPS, ids=["bogus", "exchanged"])
def test_other_proofs_of_the_skips_are_neither_voted_on_nor_held_against_a_peer(
    proposal: Proposal,
) -> None:
    """A peer that restarted has proofs of its own of the skips before a block."""
    engine = started(other_than(1, 2, 3))
    actions = get(engine, proposal, source=6)
    assert not of(Report, actions)
    assert not of(Execute, actions)


def test_a_certified_block_is_taken_with_other_proofs_of_its_skips() -> None:
    engine = started(other_than(1, 2, 3))
    get(engine, certificate([0, 1, 2], Kind.NOTARIZE, 2, SKIPPING.header.hash))
    actions = get(engine, OTHER_SKIPS[1], source=6)
    assert not of(Report, actions)
    assert [one.header for one in of(Execute, actions)] == [SKIPPING.header]


def test_a_proposal_brings_its_certificates_along() -> None:
    engine = started(other_than(1, 2))
    actions = get(engine, SKIPPING)
    assert engine.view == 2
    assert of(Execute, actions) == [Execute(SKIPPING.header, 9)]
    assert ballots(engine.step(BlockExecuted(SKIPPING.header.hash, True)))[-1][:2] == (
        Kind.NOTARIZE,
        2,
    )


def test_a_block_is_executed_after_its_parent_which_is_asked_for() -> None:
    engine = started(other_than(1, 2))
    actions = get(engine, SECOND, source=4)
    assert Send(4, CertificateRequest(0, 1, 1)) in actions
    assert not of(Execute, actions)
    assert of(Execute, get(engine, FIRST)) == [Execute(FIRST.header, 9)]
    assert of(Execute, engine.step(BlockExecuted(BLOCK, True))) == [Execute(SECOND.header, 4)]


def test_a_block_on_an_invalid_one_is_invalid() -> None:
    engine = started(other_than(1, 2))
    get(engine, FIRST)
    get(engine, SECOND)
    assert (Kind.NULLIFY, 2, NO_DIGEST) in ballots(engine.step(BlockExecuted(BLOCK, False)))


def test_a_proposal_beside_what_is_final_is_not_voted_for() -> None:
    engine = started(other_than(1, 2))
    run_valid(engine, FIRST)
    get(engine, certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK))
    assert not ballots(run_valid(engine, SKIPPING))


# -------------------------------------------------------------------- certificates, finality


def test_a_finalization_commits_once() -> None:
    engine = started(other_than(1, 2))
    final = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    assert of(Commit, get(engine, final)) == [Commit(final)]
    assert engine.view == 2
    assert get(engine, final) == []
    assert get(engine, certificate([1, 2, 3], Kind.FINALIZE, 1, BLOCK)) == []


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
    actions = get(engine, bad, source=3)
    assert [one.source for one in of(Report, actions)] == [3]
    assert engine.view == 1


def test_what_is_of_another_epoch_is_not_looked_at() -> None:
    engine = started(0)
    assert get(engine, certificate([0, 1, 2], Kind.NULLIFY, 1, epoch=3)) == []
    assert get(engine, vote(1, Kind.NULLIFY, 1, epoch=3)) == []
    assert get(engine, CertificateRequest(3, 1, 2)) == []
    assert get(engine, proposal_of(set_of([1, 1, 1, 1], 3), 1)) == []
    assert engine.signatures.checks == 0


def test_another_finalization_of_the_same_view_halts() -> None:
    engine = started(other_than(1, 2))
    first = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    second = certificate([1, 2, 3], Kind.FINALIZE, 1, Hash(b"x" * 32))
    get(engine, first)
    actions = get(engine, second)
    assert of(Halt, actions) == [Halt(first, second)]
    assert {one.evidence.first.voter for one in of(ReportEquivocation, actions)} == {1, 2}
    assert engine.is_halted
    assert out(engine, TimerKind.LEADER) == []


def test_a_finalization_of_a_block_on_another_branch_halts() -> None:
    engine = started(other_than(1, 2, 3))
    run_valid(engine, FIRST)
    first = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    get(engine, first)
    rival = SKIPPING
    second = certificate([1, 2, 3], Kind.FINALIZE, 2, rival.header.hash)
    assert of(Halt, [*get(engine, second), *get(engine, rival)]) == [Halt(first, second)]


def test_a_halt_is_remembered_by_the_log() -> None:
    engine = started(other_than(1, 2))
    log = []
    for digest, voters in ((BLOCK, [0, 1, 2]), (Hash(b"x" * 32), [1, 2, 3])):
        actions = get(engine, certificate(voters, Kind.FINALIZE, 1, digest))
        log += [one.record for one in of(Persist, actions)]
    again = engine_of(other_than(1, 2))
    actions = again.step(Start(tuple(log)))
    assert of(Halt, actions)
    assert not of(Sign, actions)


def test_the_epoch_ends_once_its_boundary_is_final() -> None:
    engine = started(other_than(1, 2), last_number=1)
    run_valid(engine, FIRST)
    final = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    actions = get(engine, final)
    assert of(Commit, actions)
    assert engine.is_finished
    assert not of(SetTimer, actions)
    assert Send(5, final) in get(engine, vote(0, Kind.NULLIFY, 1), source=5)
    assert Send(6, final) in get(engine, CertificateRequest(0, 1, 1), source=6)


def test_a_final_block_that_came_by_sync_ends_the_epoch() -> None:
    engine = started(other_than(1, 2), last_number=1)
    get(engine, certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK))
    assert not engine.is_finished
    engine.step(BlockFinalized(FIRST.header))
    assert engine.is_finished


# -------------------------------------------------------------------------------- offences


def test_two_notarizations_of_one_voter_convict_it_once() -> None:
    engine = started(0)
    first, second, third = (
        vote(1, Kind.NOTARIZE, 1, Hash(mark * 32)) for mark in (b"1", b"2", b"3")
    )
    assert get(engine, first) == []
    assert [one.evidence.second for one in of(ReportEquivocation, get(engine, second))] == [second]
    assert get(engine, third) == []
    assert get(engine, second) == []


def test_a_skip_and_a_finalization_of_one_voter_convict_it() -> None:
    engine = started(0)
    get(engine, vote(1, Kind.NULLIFY, 1))
    assert of(ReportEquivocation, get(engine, vote(1, Kind.FINALIZE, 1, BLOCK)))


def test_a_skip_and_a_notarization_convict_nobody() -> None:
    engine = started(0)
    get(engine, vote(1, Kind.NULLIFY, 1))
    assert not of(ReportEquivocation, get(engine, vote(1, Kind.NOTARIZE, 1, BLOCK)))


def test_a_forged_vote_convicts_nobody_and_gives_way_to_the_real_one() -> None:
    engine = started(other_than(1))
    run_valid(engine, FIRST)
    voters = [voter for voter in range(4) if voter not in (LEADER(1), other_than(1))]
    forged = replace(vote(voters[0], Kind.NOTARIZE, 1, Hash(b"f" * 32)), signature=bytes(64))
    assert get(engine, forged, source=8) == []
    actions = get(engine, vote(voters[0], Kind.NOTARIZE, 1, BLOCK))
    assert [one.source for one in of(Report, actions)] == [8]
    assert not of(ReportEquivocation, actions)
    get(engine, vote(voters[1], Kind.NOTARIZE, 1, BLOCK))
    assert engine.view == 2


def test_certificates_that_exclude_each_other_convict_those_in_both() -> None:
    engine = started(0)
    get(engine, certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK))
    actions = get(engine, certificate([1, 2, 3], Kind.NOTARIZE, 1, Hash(b"x" * 32)))
    assert {one.evidence.first.voter for one in of(ReportEquivocation, actions)} == {1, 2}


# ------------------------------------------------------------------------- laziness, limits


def test_votes_are_verified_only_when_they_are_a_quorum_and_never_again() -> None:
    engine = started(3)
    for voter in (0, 1):
        get(engine, vote(voter, Kind.NULLIFY, 2))
    assert engine.signatures.checks == 0
    get(engine, vote(2, Kind.NULLIFY, 2))
    assert engine.signatures.checks == 3
    assert engine.view == 3
    get(engine, vote(3, Kind.NULLIFY, 2))
    get(engine, certificate([0, 1, 2], Kind.NULLIFY, 2))
    assert engine.signatures.checks == 4  # our own came back from outside: looked at


def test_a_forged_vote_makes_no_quorum() -> None:
    engine = started(3)
    forged = replace(vote(0, Kind.NULLIFY, 1), signature=bytes(64))
    get(engine, forged, source=5)
    get(engine, vote(1, Kind.NULLIFY, 1))
    actions = get(engine, vote(2, Kind.NULLIFY, 1))
    assert [one.source for one in of(Report, actions)] == [5]
    assert engine.view == 1
    get(engine, vote(0, Kind.NULLIFY, 1))
    assert engine.view == 2


def test_votes_far_ahead_and_far_behind_are_not_held() -> None:
    engine = started(0)
    for view in range(1, 40):
        for voter in range(4):
            get(engine, vote(voter, Kind.NULLIFY, view + 1000))
    assert engine.view == 1
    get(engine, certificate([0, 1, 2], Kind.NULLIFY, 500))
    assert engine.view == 501
    for voter in range(1, 4):
        get(engine, vote(voter, Kind.NULLIFY, 3))
    assert len(engine.state.rounds._rounds) < 10


def test_a_voter_of_no_set_is_reported() -> None:
    stranger = replace(vote(0, Kind.NULLIFY, 1), voter=4)
    assert of(Report, get(started(0), stranger))


def test_answers_to_one_peer_are_limited() -> None:
    engine = started(0)
    for view in range(1, 6):
        get(engine, certificate([0, 1, 2], Kind.NULLIFY, view))
    answers = [len(get(engine, CertificateRequest(0, 1, 5), source=2)) for _ in range(10)]
    assert answers == [5] * 4 + [0] * 6
    out(engine, TimerKind.RETRY)
    assert len(get(engine, CertificateRequest(0, 2, 1 << 60), source=2)) == 4


def test_a_peer_that_votes_in_an_old_view_gets_the_newest_certificates() -> None:
    engine = started(other_than(1, 2, 3))
    skips = [certificate([0, 1, 2], Kind.NULLIFY, view) for view in (1, 2, 3)]
    for skip in skips:
        get(engine, skip)
    assert of(Send, get(engine, vote(1, Kind.NULLIFY, 1), source=1)) == [Send(1, skips[-1])]


def test_an_answer_lets_a_newcomer_execute_the_block() -> None:
    knows = started(other_than(1, 2))
    run_valid(knows, FIRST)
    get(knows, NOTARIZATION)
    newcomer = started(3)
    for answer in of(Send, get(knows, CertificateRequest(0, 1, 1), source=3)):
        actions = get(newcomer, answer.message)
    assert of(Execute, actions) == [Execute(FIRST.header, 9)]


# --------------------------------------------------------------------------------- restart


def test_what_was_voted_is_signed_again_and_never_contradicted() -> None:
    me = other_than(1)
    engine = started(me)
    log = [one.record for one in of(Persist, run_valid(engine, FIRST))]
    again = engine_of(me)
    actions = again.step(Start(tuple(log)))
    assert of(Sign, actions) == [Sign(Ballot(0, 1, Kind.NOTARIZE, BLOCK))]
    assert of(Execute, actions) == [Execute(FIRST.header, None)]
    mine = vote(me, Kind.NOTARIZE, 1, BLOCK)
    assert again.step(Signed(mine)) == [Broadcast(mine)]
    rival = proposal_of(SET, 1, mark=b"rival")
    assert not ballots([*get(again, rival), *again.step(BlockExecuted(rival.header.hash, True))])


def test_a_leader_repeats_its_proposal_after_a_restart() -> None:
    me = LEADER(1)
    log = [one.record for one in of(Persist, started(me).step(Built(1, FIRST.header)))]
    again = engine_of(me)
    actions = again.step(Start(tuple(log)))
    assert not of(Propose, actions)
    assert again.step(Signed(FIRST.vote)) == [Broadcast(FIRST)]


def test_a_restart_after_a_skip_never_notarizes() -> None:
    me = other_than(1)
    log = [one.record for one in of(Persist, out(started(me), TimerKind.LEADER))]
    again = started(me, tuple(log))
    assert not ballots(run_valid(again, FIRST))


def test_a_restart_goes_on_in_the_view_that_its_certificates_reached() -> None:
    me = other_than(1, 2)
    engine = started(me)
    final = certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK)
    log = [one.record for one in of(Persist, get(engine, NOTARIZATION))]
    log += [one.record for one in of(Persist, get(engine, final))]
    again = engine_of(me)
    actions = again.step(Start(tuple(log)))
    assert again.view == 2
    assert of(Commit, actions) == [Commit(final)]
    assert not of(Sign, actions)


def test_the_retry_repeats_votes_certificates_and_unanswered_ballots() -> None:
    me = other_than(1, 2)
    engine = started(me)
    get(engine, NOTARIZATION)
    finalize = Ballot(0, 1, Kind.FINALIZE, BLOCK)
    assert Sign(finalize) in out(engine, TimerKind.RETRY)
    mine = sign(me, finalize)
    engine.step(Signed(mine))
    actions = out(engine, TimerKind.RETRY)
    assert Broadcast(mine) in actions
    assert Broadcast(NOTARIZATION) in actions
    assert SetTimer(Timer(2, TimerKind.RETRY), 2000) in actions


def test_an_observer_sets_no_timer_but_retry() -> None:
    actions = engine_of(None).step(Start())
    assert actions == [SetTimer(Timer(1, TimerKind.RETRY), 2000)]


def test_a_vote_has_one_form() -> None:
    bad = Vote(Ballot(0, 1, 3, BLOCK), 1, bytes(64))
    assert of(Report, get(started(0), bad))
