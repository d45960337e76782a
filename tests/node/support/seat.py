"""A seat in a network of validators, in one process: all of a node but its network and its RPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio

from consensus.messages import Message, Proposal
from consensus.settings import EngineSettings
from genesis.devnet import devnet_spec, validator_uri
from genesis.spec import ChainSpec
from node.authoring.author import timestamp_inherent, wall_clock_ms
from node.authoring.evidence_pool import EvidencePool
from node.authoring.proposer import Proposer
from node.chain.chain import Chain
from node.chain.epochs import Epochs
from node.finality.codec import read_message, write_message
from node.finality.participant import Participant
from node.finality.runner_context import RunnerContext
from node.finality.write_ahead_log import WriteAheadLog
from node.keys.vote_signer import LocalSigner, SigningHistory
from node.storage.database import Database
from node.sync.block_sync import FetchError
from node.transactions.pool import Pool
from p2p.protocols.reputation import Fault
from p2p.protocols.status import Roles
from p2p.service.service import Inbound
from p2p.transport.transport import PeerId, RequestError
from p2p.transport.wire import MessageKind, RequestKind
from runtime.codec.scale import codec
from runtime.crypto.keys import Keypair
from runtime.frame.executive import ExecutedBlock
from runtime.shared.finality import (
    ENGINE,
    Ballot,
    Certificate,
    Claim,
    Kind,
    Vote,
    payload,
    skips_hash,
)
from runtime.shared.leaders import schedule_of
from runtime.types.primitives import Hash, PreRuntime
from tests.node.support.small_node import composed

WAIT_SECONDS = 20.0
SECRET = bytes([9]) * 32
HONEST, OTHER, HOSTILE = PeerId("honest"), PeerId("other"), PeerId("hostile")


@cache
def spec_of(validators: int, epoch_blocks: int) -> ChainSpec:
    """A devnet's chain, its storage written out."""
    return devnet_spec(validators, epoch_blocks=epoch_blocks).raw()


@dataclass(frozen=True)
class Peer:
    """A connected peer."""

    peer: PeerId
    roles: Roles = Roles.FULL | Roles.VALIDATOR
    finalized: int = 0


Answer = Callable[[PeerId, RequestKind, bytes], Awaitable[bytes]]


async def refuse(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
    raise RequestError("It is refused.")


@dataclass
class FakeService:
    """What a participant and its runner need of the network; it writes down what they do."""

    connected: tuple[Peer, ...] = (Peer(HONEST), Peer(OTHER), Peer(HOSTILE))
    answer: Answer = refuse
    said: list[tuple[Message, PeerId | None]] = field(default_factory=list)
    bodies: list[tuple[bytes, ...] | None] = field(default_factory=list)
    sent: list[tuple[PeerId, MessageKind, bytes]] = field(default_factory=list)
    blamed: list[tuple[PeerId, Fault, str]] = field(default_factory=list)
    asked: list[PeerId] = field(default_factory=list)
    refused_seconds: float = 0.0
    configured: tuple[Peer, ...] = ()
    """Those of the configured peers that are connected."""
    has_configured_peers: bool = False

    def __post_init__(self) -> None:
        self.inbound, self.consensus = trio.open_memory_channel[Inbound](1_000)

    def peers(self) -> Sequence[Peer]:
        return self.connected

    def configured_peers(self) -> Sequence[Peer]:
        return self.configured

    def seconds_refused(self) -> float:
        return self.refused_seconds

    def broadcast(self, kind: MessageKind, body: bytes, *, besides: PeerId | None = None) -> None:
        message, extrinsics = read_message(kind, body)
        self.said.append((message, besides))
        self.bodies.append(extrinsics)

    def send(self, peer: PeerId, kind: MessageKind, body: bytes) -> None:
        self.sent.append((peer, kind, body))

    def penalize(self, peer: PeerId, fault: Fault, reason: str) -> None:
        self.blamed.append((peer, fault, reason))

    async def request(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        self.asked.append(peer)
        return await self.answer(peer, kind, body)

    @property
    def own_votes(self) -> list[Ballot]:
        """The ballots of the votes that were said to all."""
        return [m.ballot for m, besides in self.said if isinstance(m, Vote) and besides is None]

    @property
    def relayed(self) -> list[Message]:
        """The messages of peers that were said to all others."""
        return [message for message, besides in self.said if besides is not None]


@dataclass
class FakeFetcher:
    """Adds a block to the chain after some failed attempts; without one it brings nothing."""

    chain: Chain
    brings: ExecutedBlock | None = None
    failures: int = 0
    highest_final: int = 0

    async def fetch(self, block: Hash, peer: PeerId | None) -> None:
        self.failures -= 1
        if self.brings is None or self.failures >= 0:
            raise FetchError("There is nobody to fetch it from.")
        self.chain.add(self.brings)


@dataclass
class Seat:
    """One node of a network whose other validators are the test."""

    chain: Chain
    pool: Pool
    epochs: Epochs
    proposer: Proposer
    log: WriteAheadLog
    signer: LocalSigner | None
    service: FakeService
    fetcher: FakeFetcher
    context: RunnerContext
    participant: Participant

    def hear(self, source: PeerId, message: Message, body: tuple[bytes, ...] | None = None) -> None:
        """Let a message of a peer come in."""
        self.service.inbound.send_nowait(Inbound(source, *write_message(message, body)))

    def pair(self, voter: int) -> Keypair:
        """The session key of a validator of the current epoch."""
        key = self.participant.epoch.authorities.authorities[voter].key
        pairs = (Keypair.from_uri(validator_uri(index)) for index in range(8))
        return next(pair for pair in pairs if pair.account == key)

    def vote(self, voter: int, ballot: Ballot) -> Vote:
        """Sign a ballot for a validator."""
        signed = payload(self.chain.genesis_hash, ballot)
        return Vote(ballot, voter, self.pair(voter).sign(signed))

    def certificate(self, ballot: Ballot, voters: Sequence[int] | None = None) -> Certificate:
        """Certify a ballot, by three others than this node unless voters are named."""
        if voters is None:
            voters = [voter for voter in range(4) if voter != self.participant.me][:3]
        votes = tuple((voter, self.vote(voter, ballot).signature) for voter in voters)
        return Certificate(ballot, votes)

    def leader(self, view: int) -> int:
        """Who leads a view of the current epoch."""
        return schedule_of(self.participant.epoch.authorities).leader(view)

    async def block(
        self,
        view: int,
        parent: Hash,
        *,
        skips: tuple[Certificate, ...] = (),
        now_ms: int = 0,
        candidates: Sequence[Any] = (),
    ) -> ExecutedBlock:
        """Build the block of a view's leader."""
        epoch = self.participant.epoch
        claim = Claim(epoch.number, view, skips_hash(skips))
        author = epoch.authorities.authorities[self.leader(view)].account
        machine = self.chain.machine
        stamp = max(now_ms or wall_clock_ms(), self.epochs.timestamp_ms(parent) + 1)
        calls = self.epochs.contribution(parent, author, SECRET)
        inherents = (
            timestamp_inherent(machine, stamp),
            *map(machine.extrinsics.inherent, calls),
        )
        logs = (PreRuntime(ENGINE, codec(Claim).encode(claim)),)
        return await self.chain.build(logs, inherents, candidates, parent)

    def proposal(
        self,
        built: ExecutedBlock,
        view: int,
        parent: Certificate | None = None,
        skips: tuple[Certificate, ...] = (),
    ) -> Proposal:
        """Sign a block as its view's leader."""
        epoch = self.participant.epoch.number
        ballot = Ballot(epoch, view, Kind.NOTARIZE, built.hash)
        vote = self.vote(self.leader(view), ballot)
        return Proposal(header=built.header, parent=parent, skips=skips, vote=vote)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something holds."""
        with trio.fail_after(WAIT_SECONDS):
            while not is_so():
                await trio.sleep(0.005)


def signer_of(me: int, genesis: Hash, history: Path) -> LocalSigner:
    """The signer of a devnet's validator."""
    return LocalSigner(Keypair.from_uri(validator_uri(me)), genesis, SigningHistory(history))


@asynccontextmanager
async def seat(
    folder: Path,
    validators: int = 4,
    me: int | None = None,
    *,
    epoch_blocks: int = 5,
    block_time_ms: int = 50,
    delay_ms: int = 1_500,
    is_listening_first: bool = False,
    is_instant: bool = False,
    clock_ms: Callable[[], int] = wall_clock_ms,
    service: FakeService | None = None,
) -> AsyncIterator[Seat]:
    """Open a seat; `me` is the number of the devnet's validator whose key it has."""
    spec = spec_of(validators, epoch_blocks)
    folder.mkdir(parents=True, exist_ok=True)
    with Database.open(folder / "db") as database, patch("node.chain.chain.compose", composed):
        chain = Chain(spec, database)
        pool = Pool(chain)
        epochs = Epochs(chain)
        evidence = EvidencePool(folder / "evidence")
        proposer = Proposer(
            chain,
            epochs,
            pool,
            block_time_ms,
            SECRET,
            evidence,
            is_instant=is_instant,
            clock_ms=clock_ms,
        )
        log = WriteAheadLog(folder / "log")
        signer = None if me is None else signer_of(me, chain.genesis_hash, folder / "history")
        network = service or FakeService()
        fetcher = FakeFetcher(chain)
        context = RunnerContext(chain, network, fetcher, proposer, log, signer, clock_ms)
        participant = Participant(
            context,
            epochs,
            network,  # type: ignore[arg-type]
            EngineSettings(delay_ms),
            is_listening_first=is_listening_first,
        )
        try:
            yield Seat(
                chain,
                pool,
                epochs,
                proposer,
                log,
                signer,
                network,
                fetcher,
                context,
                participant,
            )
        finally:
            log.close()
            if signer is not None:
                signer.close()
            chain.close()


@asynccontextmanager
async def seated(folder: Path, validators: int = 4, **options: Any) -> AsyncIterator[Seat]:
    """Open a seat and let it take part."""
    async with seat(folder, validators, **options) as made, trio.open_nursery() as nursery:
        nursery.start_soon(made.participant.run)
        await made.until(
            lambda: made.participant.view > 0 or options.get("is_listening_first", False)
        )
        yield made
        nursery.cancel_scope.cancel()


def replace_signature(vote: Vote) -> Vote:
    """Return a vote that its voter has not signed."""
    return replace(vote, signature=bytes(64))
