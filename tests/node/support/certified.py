"""Chains of blocks that four validators certified, and a network of providers: what sync meets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

import trio

from node.chain.broadcast import Broadcast
from node.chain.chain import Chain
from node.storage.blob_store import BlobStore
from node.sync.epoch_archive import EpochArchive
from node.sync.peer_requests import Provider
from p2p.protocols.reputation import Fault
from p2p.transport.transport import PeerGoneError, PeerId, RequestError
from p2p.transport.wire import RequestKind
from pallets.system import System
from runtime.codec.scale import codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.finality import (
    ENGINE,
    Authority,
    AuthoritySet,
    Ballot,
    Boundary,
    Certificate,
    payload,
)
from runtime.types.primitives import AccountId, Consensus, Hash, Header
from tests.node.support.small_node import SmallNode

EPOCH_BLOCKS = 8
QUORUM = 3


@cache
def validators(epoch: int) -> tuple[Keypair, ...]:
    """The keys of an epoch: one of four is new in each."""
    return tuple(Keypair.from_uri(f"//Validator{epoch + n}", KeyKind.ED25519) for n in range(4))


@cache
def set_of(epoch: int) -> AuthoritySet:
    authorities = tuple(
        Authority(AccountId(pair.account), pair.account, 10) for pair in validators(epoch)
    )
    return AuthoritySet(epoch, Hash(bytes([epoch % 256]) * 32), authorities)


def certify(genesis: Hash, header: Header, *, epoch: int | None = None, kind: int = 2) -> bytes:
    """The SCALE of a certificate of the header's epoch."""
    number = (header.number - 1) // EPOCH_BLOCKS if epoch is None else epoch
    ballot = Ballot(number, header.number, kind, header.hash)
    signed = payload(genesis, ballot)
    votes = tuple((n, validators(number)[n].sign(signed)) for n in range(QUORUM))
    return codec(Certificate).encode(Certificate(ballot, votes))


@dataclass(frozen=True)
class View:
    """The epoch of a block's children."""

    authorities: AuthoritySet
    root_number: int
    last_number: int


def epoch_after(chain: Chain) -> Callable[[Hash], View]:
    def view(block: Hash) -> View:
        header = chain.header(block)
        assert header is not None
        chain.state(block)  # raises where it is pruned, as reading it does
        epoch = header.number // EPOCH_BLOCKS
        return View(set_of(epoch), epoch * EPOCH_BLOCKS, (epoch + 1) * EPOCH_BLOCKS)

    return view


def set_after(chain: Chain) -> Callable[[Hash], AuthoritySet]:
    return lambda block: epoch_after(chain)(block).authorities


@contextmanager
def boundaries() -> Iterator[None]:
    """Let the last block of each epoch name the next set, as the pallet Session does."""
    finalize = System.finalize

    def with_boundary(system: System, *arguments: Any) -> Any:
        number = system.current_number()
        if number and number % EPOCH_BLOCKS == 0:
            next_set = set_of(number // EPOCH_BLOCKS)
            system.deposit_log(Consensus(ENGINE, codec(Boundary).encode(Boundary(next_set.hash))))
        return finalize(system, *arguments)

    with patch.object(System, "finalize", with_boundary):
        yield


async def grow(
    node: SmallNode, count: int, *, every: int = 1, note: bytes = b"", size: int = 0
) -> None:
    """Add final blocks; one of `every`, each boundary and the last have a justification."""
    chain = node.chain
    last = chain.finalized.number + count
    while chain.finalized.number < last:
        number = chain.best.number + 1
        extrinsics = [node.sign(size=size)] if size else []
        executed = node.fork(chain.best.hash, note, *extrinsics)
        chain.add(executed)
        chain.set_best(executed.hash)
        if number % every == 0 or number == last or number % EPOCH_BLOCKS == 0:
            await chain.finalize(executed.hash, certify(chain.genesis_hash, executed.header))


Answer = Callable[[PeerId, RequestKind, bytes], Awaitable[bytes]]


@dataclass
class FakePeer:
    """A peer as the service shows it; it answers with what `answer` says."""

    peer: PeerId
    answer: Answer
    chain: Chain | None = None
    claims: int = 0

    @property
    def finalized(self) -> int:
        return self.claims if self.chain is None else self.chain.finalized.number

    @property
    def best(self) -> int:
        return self.claims if self.chain is None else self.chain.best.number


@dataclass
class FakeNetwork:
    """Peers in memory; what they were asked and blamed for is kept."""

    known: dict[PeerId, FakePeer] = field(default_factory=dict)
    asked: list[tuple[PeerId, RequestKind]] = field(default_factory=list)
    blamed: list[tuple[PeerId, Fault, str]] = field(default_factory=list)
    news: Broadcast[object] = field(default_factory=lambda: Broadcast("test"))
    bans_after: int = 3
    limit_s: float = 20.0

    def add(
        self,
        name: str,
        node: SmallNode | None = None,
        *,
        blobs: BlobStore | None = None,
        answer: Answer | None = None,
        claims: int = 0,
    ) -> PeerId:
        """Connect a peer that serves a node's chain, or answers as it is told."""
        peer = PeerId(name)
        if node is not None and answer is None:
            answer = provider(node, blobs).answer
        assert answer is not None
        chain = node.chain if node is not None and not claims else None
        self.known[peer] = FakePeer(peer, answer, chain, claims)
        self.changed()
        return peer

    def drop(self, peer: PeerId) -> None:
        del self.known[peer]
        self.changed()

    def changed(self) -> None:
        self.news.publish(None)

    def peers(self) -> Sequence[FakePeer]:
        return list(self.known.values())

    async def request(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        self.asked.append((peer, kind))
        await trio.lowlevel.checkpoint()
        if peer not in self.known:
            raise PeerGoneError(f"{peer} is gone")
        try:
            with trio.fail_after(self.limit_s):
                return await self.known[peer].answer(peer, kind, body)
        except trio.TooSlowError as error:
            self.penalize(peer, Fault.NO_ANSWER, "too slow")
            raise RequestError(f"{peer} is too slow") from error

    def penalize(self, peer: PeerId, fault: Fault, reason: str) -> None:
        self.blamed.append((peer, fault, reason))
        times = sum(name == peer and why is Fault.BAD_ANSWER for name, why, _ in self.blamed)
        if times >= self.bans_after and peer in self.known:
            self.drop(peer)

    def changes(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[object]]:
        return self.news.subscribe()


class NoBlobs(BlobStore):
    """A blob store that nothing was put into."""

    def __init__(self) -> None:
        pass

    def has(self, blob: Hash) -> bool:
        return False


def provider(node: SmallNode, blobs: BlobStore | None = None) -> Provider:
    archive = EpochArchive(node.chain, epoch_after(node.chain))
    return Provider(node.chain, blobs or NoBlobs(), archive)


async def refuse(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
    raise RequestError("no")


async def hang(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
    await trio.sleep_forever()
    raise AssertionError("never")
