"""The engine runner against peers that lie about bodies, stall, flood, and certify two chains."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from consensus import messages as m
from node.authoring.author import wall_clock_ms
from node.chain import chain as chain_module
from node.chain.import_checks import TIMESTAMP_AHEAD_MS_MAX
from node.finality import block_bodies as proposed_bodies
from node.finality import engine_runner
from node.storage import leveldb
from p2p.protocols.reputation import Fault
from p2p.transport.transport import PeerId, RequestError
from p2p.transport.wire import RequestKind
from runtime.codec.scale import codec
from runtime.shared.finality import NO_DIGEST, Ballot, Certificate, Claim, Kind, skips_hash
from runtime.types.primitives import Hash
from tests.node.storage.test_disk_space import disk_of
from tests.node.support.seat import HONEST, HOSTILE, OTHER, Answer, FakeService, Seat, seat, seated
from tests.node.support.small_node import run

OTHER_BODY = (b"another body",)


def notarized(made: Seat) -> list[Hash]:
    return [one.digest for one in made.service.own_votes if one.kind == Kind.NOTARIZE]


def seat_that_does_not_lead_first(tmp_path: Path) -> int:
    """The number of a devnet validator that does not lead view 1."""
    found: list[int] = []

    async def scenario() -> None:
        for me in range(2):
            async with seat(tmp_path / f"probe{me}", me=me) as made:
                if made.leader(1) != made.participant.me:
                    found.append(me)
                    return

    run(scenario)
    return found[0]


def test_a_body_of_another_block_is_blamed_on_its_giver_and_the_block_is_voted_for(
    tmp_path: Path,
) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            built = await made.block(1, made.chain.genesis_hash)
            proposal = made.proposal(built, 1)
            made.service.answer = answering({HONEST: built.extrinsics})
            made.hear(HOSTILE, proposal, OTHER_BODY)
            made.hear(HONEST, proposal, built.extrinsics)
            await made.until(lambda: notarized(made) == [built.hash])
            assert [each[:2] for each in made.service.blamed] == [(HOSTILE, Fault.BAD_ANSWER)]

    run(scenario)


def test_a_later_body_of_another_block_harms_nobody(tmp_path: Path) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            built = await made.block(1, made.chain.genesis_hash)
            proposal = made.proposal(built, 1)
            made.hear(HONEST, proposal, built.extrinsics)
            made.hear(HOSTILE, proposal, OTHER_BODY)
            await made.until(lambda: notarized(made) == [built.hash])
            assert made.service.blamed == []

    run(scenario)


def answering(bodies: dict[PeerId, tuple[bytes, ...] | None]) -> Answer:
    """Peers that answer with a body, or never where it is None."""

    async def answer(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        if peer not in bodies:
            raise RequestError("It is not known here.")
        found = bodies[peer]
        if found is None:
            await trio.sleep_forever()
        return codec(tuple[bytes, ...]).encode(found)

    return answer


@pytest.mark.parametrize("lie", [OTHER_BODY, None, ()], ids=["another", "never", "empty"])
def test_a_body_that_one_peer_withholds_is_pulled_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: tuple[bytes, ...] | None
) -> None:
    me = seat_that_does_not_lead_first(tmp_path)
    monkeypatch.setattr(proposed_bodies, "HEAD_START_SECONDS", 0.02)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            built = await made.block(1, made.chain.genesis_hash)
            made.service.answer = answering({HOSTILE: lie, OTHER: built.extrinsics})
            made.hear(HOSTILE, made.proposal(built, 1))
            await made.until(lambda: notarized(made) == [built.hash])
            wanted = [] if lie is None else [(HOSTILE, Fault.BAD_ANSWER)]
            assert [each[:2] for each in made.service.blamed] == wanted

    run(scenario)


def test_a_certified_block_is_fetched_however_long_its_body_is_lost_and_over_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = seat_that_does_not_lead_first(tmp_path)
    monkeypatch.setattr(proposed_bodies, "HEAD_START_SECONDS", 0.0)
    bodies: dict[PeerId, tuple[bytes, ...] | None] = {}

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me, delay_ms=10) as made:
            built = await made.block(1, made.chain.genesis_hash)
            proposal = made.proposal(built, 1)
            certificate = made.certificate(Ballot(0, 1, Kind.NOTARIZE, built.hash))
            made.hear(HOSTILE, proposal)
            made.hear(HOSTILE, certificate)
            await made.until(lambda: len(made.service.asked) > 12 * 3)
            assert {HONEST, OTHER, HOSTILE} <= set(made.service.asked)
        async with seated(tmp_path / "node", me=me, delay_ms=10) as made:
            made.service.answer = answering(bodies)
            made.hear(HOSTILE, proposal)
            await made.until(lambda: len(made.service.asked) > 12 * 3)
            assert made.chain.best.number == 0
            bodies[OTHER] = built.extrinsics
            await made.until(lambda: made.chain.best.hash == built.hash)

    run(scenario)


def test_a_final_block_is_fetched_until_it_is_there(tmp_path: Path) -> None:
    """The last block of an epoch has no later certificate that would stand for it."""
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me, delay_ms=10) as made:
            built = await made.block(1, made.chain.genesis_hash)
            made.fetcher.brings, made.fetcher.failures = built, 12
            made.hear(HONEST, made.certificate(Ballot(0, 1, Kind.FINALIZE, built.hash)))
            await made.until(lambda: made.chain.finalized.hash == built.hash)
            assert made.fetcher.failures == -1, "the thirteenth attempt brought it"

    run(scenario)


def test_a_body_that_comes_while_another_is_awaited_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = seat_that_does_not_lead_first(tmp_path)
    monkeypatch.setattr(proposed_bodies, "HEAD_START_SECONDS", 0.05)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            built = await made.block(1, made.chain.genesis_hash)
            proposal = made.proposal(built, 1)
            made.service.answer = answering({HOSTILE: None, HONEST: None, OTHER: None})
            made.hear(HOSTILE, proposal)
            await made.until(lambda: bool(made.service.asked))
            made.hear(HONEST, proposal, built.extrinsics)
            await made.until(lambda: notarized(made) == [built.hash])
            assert made.service.blamed == []

    run(scenario)


def test_a_block_of_the_future_is_not_voted_for(tmp_path: Path) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            late = wall_clock_ms() + TIMESTAMP_AHEAD_MS_MAX + 60_000
            built = await made.block(1, made.chain.genesis_hash, now_ms=late)
            made.hear(HONEST, made.proposal(built, 1), built.extrinsics)
            nullify = Ballot(0, 1, Kind.NULLIFY, NO_DIGEST)
            await made.until(lambda: nullify in made.service.own_votes)
            assert notarized(made) == []
            assert made.service.blamed == [], "whose clock is wrong nobody can tell"

    run(scenario)


def test_an_invalid_block_is_nullified_at_once(tmp_path: Path) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me, delay_ms=60_000) as made:
            built = await made.block(1, made.chain.genesis_hash)
            header = replace(built.header, state_root=Hash(bytes(32)))
            lie = replace(built, header=header)
            made.hear(HONEST, made.proposal(lie, 1), built.extrinsics)
            nullify = Ballot(0, 1, Kind.NULLIFY, NO_DIGEST)
            await made.until(lambda: nullify in made.service.own_votes)

    run(scenario)


def test_a_leader_that_cannot_have_the_parent_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A final block may be certified before anybody can be asked for it."""
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            runner = made.participant._runner
            assert runner is not None
            wanted = m.Propose(1, Hash(bytes([1]) * 32), Claim(0, 1, skips_hash(())))
            await runner._propose(wanted)
            assert "proposal-given-up" in caplog.text

    with caplog.at_level("INFO"):
        run(scenario)


def test_a_backlog_of_messages_ends_nothing_when_blocks_become_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synchronization may finalize a block just when a peer floods."""
    monkeypatch.setattr(engine_runner, "EVENTS_MAX", 3)
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            built = await made.block(1, made.chain.genesis_hash)
            made.chain.add(built)
            final = made.certificate(Ballot(0, 1, Kind.FINALIZE, built.hash))
            flood = made.vote(0, Ballot(0, 900, Kind.NULLIFY, NO_DIGEST))
            justification = codec(Certificate).encode(final)
            await made.chain.finalize(built.hash, justification)
            for _ in range(20):
                made.hear(HOSTILE, flood)
            await made.until(lambda: made.participant.view == 2)

    run(scenario)


def test_a_node_that_starts_again_executes_again_what_it_voted_for(tmp_path: Path) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            built = await made.block(1, made.chain.genesis_hash)
            made.hear(HONEST, made.proposal(built, 1), built.extrinsics)
            await made.until(lambda: notarized(made) == [built.hash])
        async with seat(tmp_path / "node", me=me) as made:
            assert made.chain.header(built.hash) is None
        async with seated(tmp_path / "node", me=me) as made:
            await made.until(lambda: notarized(made) == [built.hash])
            assert made.chain.header(built.hash) == built.header
            assert made.service.asked == [], "its body is in the log"

    run(scenario)


def test_a_log_that_is_lost_makes_nobody_vote_twice(tmp_path: Path) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            first = await made.block(1, made.chain.genesis_hash)
            made.hear(HONEST, made.proposal(first, 1), first.extrinsics)
            await made.until(lambda: notarized(made) == [first.hash])
        (tmp_path / "node" / "log").unlink()
        async with seated(tmp_path / "node", me=me) as made:
            second = await made.block(1, made.chain.genesis_hash, now_ms=wall_clock_ms() + 5)
            made.hear(HONEST, made.proposal(second, 1), second.extrinsics)
            await made.until(lambda: made.chain.header(second.hash) is not None)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert notarized(made) == []

    run(scenario)


def test_two_certified_chains_end_all_signing(tmp_path: Path) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            root = made.chain.genesis_hash
            first = await made.block(1, root)
            second = await made.block(1, root, now_ms=wall_clock_ms() + 5)
            for built in (first, second):
                made.hear(HONEST, made.proposal(built, 1), built.extrinsics)
                made.hear(HONEST, made.certificate(Ballot(0, 1, Kind.FINALIZE, built.hash)))
            await made.until(lambda: made.participant.is_halted)
            voted = len(made.service.own_votes)
            made.hear(HONEST, made.certificate(Ballot(0, 2, Kind.NULLIFY, NO_DIGEST)))
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(made.service.own_votes) == voted

    run(scenario)


def test_the_log_shrinks_while_an_epoch_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.finality.write_ahead_log.REWRITE_BYTES", 4_096)

    async def scenario() -> None:
        sizes = []
        async with seated(tmp_path / "node", 1, me=0, epoch_blocks=40, block_time_ms=10) as made:
            for height in range(5, 40, 5):
                await made.until(lambda height=height: made.chain.finalized.number >= height)  # type: ignore[misc]
                sizes.append((tmp_path / "node" / "log").stat().st_size)
        print(sizes)
        assert max(sizes) < 4 * 4_096
        async with seated(tmp_path / "node", 1, me=0, epoch_blocks=40, block_time_ms=10) as made:
            await made.until(lambda: made.chain.finalized.number >= 42)

    run(scenario)


def test_a_node_without_room_for_final_blocks_votes_for_none_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me, delay_ms=100) as made:
            built = await made.block(1, made.chain.genesis_hash)
            with monkeypatch.context() as full:
                full.setattr(os, "statvfs", disk_of(1 << 40, 0))
                made.hear(HONEST, made.proposal(built, 1), built.extrinsics)
                await made.until(lambda: made.chain.header(built.hash) is not None)
                await trio.sleep(0.5)
                assert made.service.own_votes == []
            await made.until(lambda: len(made.service.own_votes) > 0)

    run(scenario)


class BrokenDisk:
    """A LevelDB whose writes the system refuses."""

    def __init__(self, source: Any, cause: bytes) -> None:
        self._source = source
        self._cause = cause

    def write_batch(self, **_: object) -> None:
        raise leveldb.plyvel.IOError(self._cause)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@pytest.mark.parametrize("cause", [b"No space left on device", b"Input/output error"])
def test_a_write_of_the_database_that_fails_ends_votes_but_not_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: bytes
) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me, delay_ms=100) as made:
            database = made.chain.database
            monkeypatch.setattr(
                database._store, "_source", BrokenDisk(database._store._source, cause)
            )
            built = await made.block(1, made.chain.genesis_hash)
            made.hear(HONEST, made.proposal(built, 1), built.extrinsics)
            made.hear(HONEST, made.certificate(Ballot(0, 1, Kind.FINALIZE, built.hash)))
            await made.until(lambda: "restart the node" in made.participant.database_failure)
            voted = len(made.service.own_votes)
            made.hear(HONEST, made.certificate(Ballot(0, 2, Kind.NULLIFY, NO_DIGEST)))
            await made.until(lambda: made.participant.view == 3)
            await trio.sleep(0.5)
            assert len(made.service.own_votes) == voted
            assert made.chain.best.hash == built.hash, "it goes on answering"
            assert (database.head, database.fault != "") == (0, True)

    run(scenario)


def test_a_signer_that_refuses_is_a_fault_of_this_node_until_it_signs(tmp_path: Path) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me, delay_ms=100) as made:
            faults, signer = made.participant.faults, made.signer
            assert signer is not None
            with pytest.MonkeyPatch.context() as full:
                full.setattr(signer._history._file, "append", refuse_disk)
                await made.until(lambda: "No space left" in faults.signing_failure)
                assert made.service.own_votes == []
            await made.until(lambda: len(made.service.own_votes) > 0)
            assert faults.signing_failure == ""

    run(scenario)


def test_a_node_that_left_the_validators_has_no_signer_that_refuses(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with seat(tmp_path, me=None) as made, trio.open_nursery() as nursery:
            made.participant.faults.signing_failure = "of the epoch before"
            nursery.start_soon(made.participant.run)
            await made.until(lambda: made.participant.view > 0)
            assert made.participant.faults.signing_failure == ""
            nursery.cancel_scope.cancel()

    run(scenario)


def refuse_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_block_beyond_the_limit_of_unfinalized_ones_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = seat_that_does_not_lead_first(tmp_path)

    async def scenario() -> None:
        async with seated(tmp_path / "node", me=me) as made:
            built = await made.block(1, made.chain.genesis_hash)
            faults = made.participant.faults
            with monkeypatch.context() as low:
                low.setattr(chain_module, "UNFINALIZED_MAX", 0)
                made.hear(HONEST, made.proposal(built, 1), built.extrinsics)
                await made.until(lambda: faults.unfinalized_limit != "")
                assert faults.missing_blocks == {}
            made.chain.add(built)
            await made.chain.finalize(built.hash)
            await made.until(lambda: faults.unfinalized_limit == "")

    run(scenario)


def test_the_service_of_these_tests_is_what_a_runner_needs() -> None:
    network: engine_runner.ConsensusNetwork = FakeService()
    assert network.peers()
