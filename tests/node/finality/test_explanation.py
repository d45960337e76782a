"""The sentence about finality: progress first, then the causes that a node sees."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.finality import voter_activity
from node.finality.doppelganger import Waiting
from node.finality.explanation import explain
from node.finality.status import finality_status
from node.finality.voter_activity import SKIPPING_VIEWS_MIN, VoterActivity
from runtime.shared.finality import NO_DIGEST, Ballot, Kind
from runtime.types.primitives import Hash
from tests.node.storage.test_disk_space import disk_of
from tests.node.support.seat import (
    HONEST,
    FakeService,
    Peer,
    Seat,
    seated,
)
from tests.node.support.small_node import run

ANY = Hash(bytes([5]) * 32)


def block_vote(made: Seat, voter: int, view: int) -> None:
    made.hear(HONEST, made.vote(voter, Ballot(0, view, Kind.NOTARIZE, ANY)))


def skip_vote(made: Seat, voter: int, view: int) -> None:
    made.hear(HONEST, made.vote(voter, Ballot(0, view, Kind.NULLIFY, NO_DIGEST)))


NOBODY = VoterActivity()


async def all_vote(made: Seat, voters: Sequence[int] = (0, 1, 2, 3)) -> None:
    for voter in voters:
        block_vote(made, voter, 5)
    await made.until(lambda: len(made.participant.activity) == len(voters))


def sentence_of(made: Seat) -> str:
    return explain(made.participant, finality_status(made.chain, made.participant))


def test_finality_that_stands_with_all_heard_is_not_said_to_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None) as made:
            await all_vote(made)
            assert sentence_of(made) == "All validators vote."
            made.participant._final_at -= 100
            assert sentence_of(made).startswith("Finality stands: block 0 became final 100 s ago.")
            assert finality_status(made.chain, made.participant).is_standing

    run(scenario)


def test_a_validator_that_only_skips_is_named_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of five clocks is wrong and one node is down: with three of five nothing is final."""
    monkeypatch.setattr(voter_activity, "VERIFY_AGAIN_SECONDS", 0.0)

    async def scenario() -> None:
        async with seated(tmp_path, 5, me=None) as made:
            await all_vote(made, (0, 1, 2))
            for view in range(6, 6 + SKIPPING_VIEWS_MIN):
                skip_vote(made, 3, view)
            await made.until(lambda: made.participant.activity.get(3, NOBODY).is_skipping)
            assert sentence_of(made).startswith("Finality is slow or stops.")
            made.participant._final_at -= 100
            said = sentence_of(made)
            skipping = finality_status(made.chain, made.participant).validators[3].account
            assert "Finality stands" in said
            assert f"Skipping most views: {skipping} (20.0 %)" in said
            assert "never heard" in said

    run(scenario)


def test_what_is_wrong_at_this_node_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None) as made:
            await all_vote(made)
            faults = made.participant.faults
            faults.log_failure = "No space left on device"
            faults.signing_failure = "The signer does not answer."
            faults.unfinalized_limit = "1024 blocks await finality."
            faults.note_ahead(600_000)
            faults.missing_blocks[ANY] = 17
            for standing in (False, True):
                said = sentence_of(made)
                assert said.startswith("Finality stands" if standing else "Finality goes on.")
                assert "cannot write its log of consensus: No space left on device" in said
                assert "signer refuses to sign: The signer does not answer." in said
                assert "takes no more proposed blocks: 1024 blocks await finality." in said
                assert "can write no final block" not in said
                assert "clock is 600 s behind" in said
                assert "No peer has given 1 of the proposed blocks, from height 17" in said
                made.participant._final_at -= 100

    run(scenario)


def test_a_network_that_is_cut_is_named_by_the_nodes_that_are_connected(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = FakeService(connected=(Peer(HONEST),))
        async with seated(tmp_path, 4, me=None, service=service) as made:
            await all_vote(made, (0, 1))
            made.participant._final_at -= 100
            assert "connected with 1 of the nodes of 4 other validators" in sentence_of(made)
            assert "Finality lacks 16.6 % of the voting power" in sentence_of(made)

    run(scenario)


def test_a_validator_that_listens_says_what_it_waits_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=0, is_listening_first=True) as made:
            await made.until(lambda: made.participant.waits_for is Waiting.VOTES)
            assert "does not vote yet" in sentence_of(made)
            assert "waits for votes of other validators" in sentence_of(made)

    run(scenario)


def test_a_database_and_a_log_that_are_not_written_are_said_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with seated(tmp_path, 4, me=None) as made:
            await all_vote(made)
            made.participant.faults.log_failure = "The quota is used up."
            monkeypatch.setattr(os, "statvfs", disk_of(1 << 40, 0))
            said = sentence_of(made)
            assert "can write no final block, so it votes for none: 0 MiB are free" in said
            # A log that takes a write again says nothing about the database.
            await made.participant.faults.write_until_done(lambda: None)
            assert "can write no final block" in sentence_of(made)
            assert "log of consensus" not in sentence_of(made)

    run(scenario)
