"""Proposals: what a leader sends, and which of a peer's are executed and voted for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.messages import (
    BlockExecuted,
    Broadcast,
    Built,
    CertificateRequest,
    Execute,
    Persist,
    Proposal,
    Propose,
    Report,
    Send,
    Signed,
    TimerKind,
)
from consensus.write_ahead_log import decode_record
from runtime.shared.finality import NO_DIGEST, Claim, Kind
from runtime.types.primitives import Hash
from tests.consensus.support.network import (
    GENESIS,
    ROOT,
    certificate,
    header_of,
    proposal_of,
    vote,
)
from tests.consensus.support.single_engine import (
    BLOCK,
    FIRST,
    LEADER,
    NOTARIZATION,
    SECOND,
    SET,
    SKIP,
    SKIPPING,
    actions_of,
    ballots,
    other_than,
    receive,
    run_valid,
    started,
    time_out,
)


def test_the_leader_broadcasts_its_block_with_its_vote() -> None:
    me = LEADER(1)
    engine = started(me)
    actions = engine.step(Built(1, FIRST.header))
    assert ballots(actions) == [(Kind.NOTARIZE, 1, BLOCK)]
    assert FIRST.header in [decode_record(one.record) for one in actions_of(Persist, actions)]
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
    assert ballots(time_out(engine, TimerKind.LEADER)) == [(Kind.NULLIFY, 1, NO_DIGEST)]
    assert engine.step(Built(1, FIRST.header)) == []


def test_the_boundary_is_proposed_again_with_its_own_certificate() -> None:
    engine = started(LEADER(2), last_number=1)
    run_valid(engine, FIRST)
    notarization = certificate([0, 1, 2], Kind.NOTARIZE, 1, BLOCK)
    actions = receive(engine, notarization)
    assert (Kind.NOTARIZE, 2, BLOCK) in ballots(actions)
    assert not actions_of(Propose, actions)
    mine = vote(LEADER(2), Kind.NOTARIZE, 2, BLOCK)
    expected = Proposal(FIRST.header, mine, notarization, ())
    assert engine.step(Signed(mine)) == [Broadcast(expected)]
    follower = started(other_than(1, 2), last_number=1)
    run_valid(follower, FIRST)
    assert ballots(receive(follower, expected)) == [
        (Kind.FINALIZE, 1, BLOCK),
        (Kind.NOTARIZE, 2, BLOCK),
    ]


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
    actions = receive(engine, wrong_proposals()[name], source=6)
    assert [one.source for one in actions_of(Report, actions)] == [6]
    assert not actions_of(Execute, actions)


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
    actions = receive(engine, proposal, source=6)
    assert not actions_of(Report, actions)
    assert not actions_of(Execute, actions)


def test_a_certified_block_is_taken_with_other_proofs_of_its_skips() -> None:
    engine = started(other_than(1, 2, 3))
    receive(engine, certificate([0, 1, 2], Kind.NOTARIZE, 2, SKIPPING.header.hash))
    actions = receive(engine, OTHER_SKIPS[1], source=6)
    assert not actions_of(Report, actions)
    assert [one.header for one in actions_of(Execute, actions)] == [SKIPPING.header]


def test_a_proposal_brings_its_certificates_along() -> None:
    engine = started(other_than(1, 2))
    actions = receive(engine, SKIPPING)
    assert engine.view == 2
    assert actions_of(Execute, actions) == [Execute(SKIPPING.header, 9)]
    assert ballots(engine.step(BlockExecuted(SKIPPING.header.hash, True)))[-1][:2] == (
        Kind.NOTARIZE,
        2,
    )


def test_a_block_is_executed_after_its_parent_which_is_asked_for() -> None:
    engine = started(other_than(1, 2))
    actions = receive(engine, SECOND, source=4)
    assert Send(4, CertificateRequest(0, 1, 1)) in actions
    assert not actions_of(Execute, actions)
    assert actions_of(Execute, receive(engine, FIRST)) == [Execute(FIRST.header, 9)]
    assert actions_of(Execute, engine.step(BlockExecuted(BLOCK, True))) == [
        Execute(SECOND.header, 4)
    ]


def test_a_block_on_an_invalid_one_is_invalid() -> None:
    engine = started(other_than(1, 2))
    receive(engine, FIRST)
    receive(engine, SECOND)
    assert (Kind.NULLIFY, 2, NO_DIGEST) in ballots(engine.step(BlockExecuted(BLOCK, False)))


def test_a_proposal_beside_what_is_final_is_not_voted_for() -> None:
    engine = started(other_than(1, 2))
    run_valid(engine, FIRST)
    receive(engine, certificate([0, 1, 2], Kind.FINALIZE, 1, BLOCK))
    assert not ballots(run_valid(engine, SKIPPING))
