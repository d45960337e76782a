"""The participant: epochs in turn, whom it relays and helps, and who else votes with its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from node.finality.explanation import explain
from node.finality.status import finality_status
from p2p.protocols.reputation import Fault
from p2p.protocols.status import Roles
from p2p.service.service import Inbound
from p2p.transport.wire import MessageKind
from runtime.codec.scale import codec
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Kind, Vote
from runtime.types.primitives import Hash
from tests.node.support.seat import (
    HONEST,
    HOSTILE,
    OTHER,
    FakeService,
    Peer,
    Seat,
    replace_signature,
    seated,
)
from tests.node.support.small_node import run

ANY = Hash(bytes([5]) * 32)
PARTIAL = (Peer(HONEST), Peer(OTHER, Roles.FULL))
"""Connections by which not everybody hears everybody."""


async def settle() -> None:
    """Let everything that was said be taken."""
    await trio.testing.wait_all_tasks_blocked(0.02)


# ------------------------------------------------------------------------------------- epochs


def test_epochs_follow_one_another_and_each_has_a_log_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 1, me=0, epoch_blocks=3, block_time_ms=1) as made:
            await made.until(lambda: made.participant.epoch.number == 4)
            assert made.chain.finalized.number >= 12
            assert made.participant.me == 0

    run(scenario)


def test_messages_of_the_next_epoch_wait_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None, epoch_blocks=1) as made:
            root = made.chain.genesis_hash
            boundary = await made.block(1, root)
            for key in range(4):  # the next set may have another order
                vote = made.vote(key, Ballot(1, 1, Kind.NULLIFY, NO_DIGEST))
                for voter in range(4):
                    made.hear(HONEST, replace(vote, voter=voter))
            made.hear(HONEST, made.proposal(boundary, 1), boundary.extrinsics)
            made.hear(HONEST, made.certificate(Ballot(0, 1, Kind.FINALIZE, boundary.hash)))
            await made.until(lambda: made.participant.epoch.number == 1)
            await made.until(lambda: len(made.participant.activity) == 4)

    run(scenario)


def test_a_peer_that_is_an_epoch_late_gets_its_last_certificate_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 1, me=0, epoch_blocks=2, block_time_ms=60_000) as made:
            made.proposer.propose_immediately(3)
            await made.until(lambda: made.participant.epoch.number == 1)
            for _ in range(3):
                made.hear(HONEST, made.vote(0, Ballot(0, 9, Kind.NULLIFY, NO_DIGEST)))
            await made.until(lambda: bool(made.service.sent))
            await settle()
            (peer, kind, body), *more = made.service.sent
            assert more == []
            assert (peer, kind) == (HONEST, MessageKind.CERTIFICATE)
            assert codec(Certificate).decode(body).ballot.digest == made.chain.hash_of(2)

    run(scenario)


def test_messages_of_a_far_epoch_and_garbage_end_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0) as made:
            made.hear(HOSTILE, made.vote(1, Ballot(2**63, 1, Kind.NULLIFY, NO_DIGEST)))
            made.hear(HOSTILE, Vote(Ballot(0, 2**63, 77, ANY), 9_999, bytes(64)))
            made.hear(HOSTILE, Vote(Ballot(0, 1, Kind.NOTARIZE, ANY), 900, bytes(64)))
            for kind in (MessageKind.VOTE, MessageKind.PROPOSAL, MessageKind.CERTIFICATE_REQUEST):
                made.service.inbound.send_nowait(Inbound(HOSTILE, kind, b"\xff" * 40))
            await made.until(lambda: len(made.service.blamed) >= 5)
            assert {each[:2] for each in made.service.blamed} == {(HOSTILE, Fault.BAD_MESSAGE)}

    run(scenario)


# -------------------------------------------------------------------------------------- relays


def test_votes_are_relayed_once_and_only_where_they_are_signed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, service=FakeService(PARTIAL)) as made:
            other = next(index for index in range(4) if index != made.participant.me)
            vote = made.vote(other, Ballot(0, 1, Kind.NOTARIZE, ANY))
            made.hear(HOSTILE, replace_signature(vote))
            made.hear(HOSTILE, replace(vote, voter=99))
            for _ in range(2):
                made.hear(HONEST, vote)
            await made.until(lambda: bool(made.service.relayed))
            await settle()
            assert made.service.relayed == [vote]

    run(scenario)


def test_nothing_is_relayed_where_everybody_hears_everybody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0) as made:
            made.hear(HONEST, made.vote(1, Ballot(0, 1, Kind.NOTARIZE, ANY)))
            await settle()
            assert made.service.relayed == []

    run(scenario)


def test_a_proposal_is_relayed_when_its_block_is_executed_with_the_body_that_was_checked(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None, service=FakeService(PARTIAL)) as made:
            built = await made.block(1, made.chain.genesis_hash)
            proposal = made.proposal(built, 1)
            made.hear(HOSTILE, proposal, (b"another body",))
            made.hear(HONEST, proposal, built.extrinsics)
            made.hear(HONEST, proposal, built.extrinsics)
            await made.until(lambda: made.service.blamed != [])
            await settle()
            assert said(made) in ([], [(proposal, built.extrinsics)])
            assert {each[0] for each in made.service.blamed} == {HOSTILE}

    run(scenario)


def said(made: Seat) -> list[tuple[object, object]]:
    service = made.service
    return [
        (message, body)
        for (message, besides), body in zip(service.said, service.bodies, strict=True)
        if besides is not None
    ]


def test_a_good_proposal_is_relayed_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None, service=FakeService(PARTIAL)) as made:
            built = await made.block(1, made.chain.genesis_hash)
            proposal = made.proposal(built, 1)
            for _ in range(2):
                made.hear(HONEST, proposal, built.extrinsics)
            await made.until(lambda: made.service.relayed != [])
            await settle()
            assert said(made) == [(proposal, built.extrinsics)]

    run(scenario)


@pytest.mark.parametrize(
    "wrong", ["leader", "signature", "parent", "skips", "state root", "body", "epoch"]
)
def test_what_a_relay_would_be_blamed_for_is_not_relayed(tmp_path: Path, wrong: str) -> None:
    """A hostile peer changes a proposal on its way; whoever handed it on would be banned."""

    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None, service=FakeService(PARTIAL)) as made:
            genesis = made.chain.genesis_hash
            built = await made.block(1, genesis)
            proposal, body = made.proposal(built, 1), built.extrinsics
            forged = Certificate(
                Ballot(0, 1, Kind.NULLIFY, NO_DIGEST), tuple((n, bytes(64)) for n in range(3))
            )
            if wrong == "leader":
                other = (made.leader(1) + 1) % 4
                proposal = replace(proposal, vote=made.vote(other, proposal.vote.ballot))
            elif wrong == "signature":
                proposal = replace(proposal, vote=replace_signature(proposal.vote))
            elif wrong == "parent":
                proposal = replace(
                    proposal, parent=replace(forged, ballot=Ballot(0, 1, Kind.NOTARIZE, genesis))
                )
            elif wrong == "skips":
                built = await made.block(2, genesis, skips=(forged,))
                proposal, body = made.proposal(built, 2, skips=(forged,)), built.extrinsics
            elif wrong == "state root":
                header = replace(built.header, state_root=ANY)
                proposal = made.proposal(replace(built, header=header), 1)
            elif wrong == "body":
                body = (b"another",)
            else:
                built = await made.block(1, genesis)
                ballot = replace(proposal.vote.ballot, epoch=1)
                proposal = replace(proposal, vote=replace(proposal.vote, ballot=ballot))
            made.hear(HOSTILE, proposal, body)
            await settle()
            await trio.sleep(0.2)
            assert made.service.relayed == []

    run(scenario)


# --------------------------------------------------------------------------------------- halt


def test_a_halted_node_signs_nothing_in_later_epochs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, epoch_blocks=1) as made:
            root = made.chain.genesis_hash
            first = await made.block(1, root)
            made.chain.add(first)
            runner = made.participant._runner
            assert runner is not None
            made.log.append([b"evidence"])
            runner._halt(made.certificate(Ballot(0, 1, Kind.FINALIZE, ANY)), "two chains")
            voted = len(made.service.own_votes)
            final = made.certificate(Ballot(0, 1, Kind.FINALIZE, first.hash))
            await made.chain.finalize(first.hash, codec(Certificate).encode(final))
            await settle()
            assert made.participant.is_halted
            assert len(made.service.own_votes) == voted
            status = finality_status(made.chain, made.participant)
            assert "Halted" in explain(made.participant, status)

    run(scenario)
    assert "consensus-halted" in caplog.text
    assert (tmp_path / "log").stat().st_size, "it is evidence"
