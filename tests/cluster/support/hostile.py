"""A peer that speaks the protocols of real nodes over libp2p, and keeps no rule of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from p2p.protocols.status import PROTOCOL_VERSION, Roles, Status, encode_status
from p2p.protocols.transactions import encode_batch, topic_of
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.transport import (
    Channel,
    DialError,
    PeerGoneError,
    PeerId,
    RequestError,
    Started,
    TransportSettings,
)
from p2p.transport.wire import (
    CHANNELS,
    VERSION,
    MessageKind,
    RequestKind,
    decode,
    decode_request,
    encode,
)
from runtime.types.primitives import Hash

PATIENCE_SECONDS: Final = 15.0
AGENT: Final = "hostile"

Reply = Callable[[RequestKind, bytes], Awaitable[bytes]]


async def refuse(kind: RequestKind, body: bytes) -> bytes:
    """Answer nothing."""
    raise RequestError("No.")


@dataclass
class Hostile:
    """Carries out transport.Handler: notes what it hears, says what a test wants."""

    transport: Libp2pTransport
    genesis: Hash
    reply: Reply = refuse
    claims: int = 0
    """The final height that it says it has."""
    answers_pings: bool = True
    heard: list[tuple[MessageKind, bytes]] = field(default_factory=list)
    asked: list[RequestKind] = field(default_factory=list)
    here: set[PeerId] = field(default_factory=set)
    target: PeerId = PeerId("")  # noqa: RUF009 - a name
    nursery: trio.Nursery | None = None

    @property
    def peer(self) -> PeerId:
        """Its name."""
        return self.transport.peer_id

    # ------------------------------------------------------------------ transport.Handler

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None:
        self.here.add(peer)
        if is_inbound and self.nursery is not None:
            self.nursery.start_soon(self._greet, peer)

    def disconnected(self, peer: PeerId) -> None:
        self.here.discard(peer)

    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None:
        envelope = decode(frame)
        self.heard.append((envelope.kind, envelope.body))
        if envelope.kind is MessageKind.PING and self.answers_pings and self.nursery is not None:
            self.nursery.start_soon(
                self._send, peer, Channel.CONTROL, [encode(MessageKind.PONG, envelope.body)]
            )

    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        return False

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        asked = decode_request(request)
        self.asked.append(asked.kind)
        return await self.reply(asked.kind, asked.body)

    # ------------------------------------------------------------------ what it does

    def status(self, genesis: Hash | None = None, version: int = PROTOCOL_VERSION) -> bytes:
        """A STATUS frame."""
        known = genesis or self.genesis
        roles = Roles.FULL | Roles.VALIDATOR
        said = Status(
            version=version,
            genesis_hash=known,
            best_number=self.claims,
            best_hash=known,
            finalized_number=self.claims,
            finalized_hash=known,
            roles=roles,
            agent=AGENT,
        )
        return encode(MessageKind.STATUS, encode_status(said))

    async def dial(self, address: str) -> bool:
        """Connect; False where the node hangs up at once."""
        try:
            self.target = await self.transport.dial(address)
        except DialError:
            return False
        return True

    async def meet(self, address: str) -> None:
        """Connect and shake hands."""
        assert await self.dial(address), "the node refuses the connection"
        await self._greet(self.target)
        await self.until(lambda: self.has_heard(MessageKind.WELCOME))

    async def _greet(self, peer: PeerId) -> None:
        await self._send(peer, Channel.CONTROL, [self.status(), encode(MessageKind.WELCOME, b"")])

    async def say(self, kind: MessageKind, *bodies: bytes) -> bool:
        """Send messages on their channel; False where the node hung up."""
        return await self.frames(CHANNELS[kind], *[encode(kind, body) for body in bodies])

    async def frames(self, channel: Channel, *frames: bytes) -> bool:
        """Send frames; False where the node hung up."""
        return await self._send(self.target, channel, list(frames))

    async def gossip(self, *transactions: bytes) -> None:
        """Gossip a batch of transactions."""
        message = encode(MessageKind.TRANSACTIONS, encode_batch(transactions))
        await self.transport.publish(topic_of(self.genesis), message)

    async def _send(self, peer: PeerId, channel: Channel, frames: list[bytes]) -> bool:
        try:
            await self.transport.send(peer, channel, frames)
        except PeerGoneError:
            return False
        return True

    def has_heard(self, kind: MessageKind) -> bool:
        """Return whether a message of a kind came."""
        return any(each is kind for each, _ in self.heard)

    def bodies(self, kind: MessageKind) -> list[bytes]:
        """The bodies of all messages of a kind that came."""
        return [body for each, body in self.heard if each is kind]

    @property
    def is_connected(self) -> bool:
        """Return whether the node keeps the connection."""
        return self.target in self.here

    async def until(self, is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something holds."""
        with trio.fail_after(seconds):
            while not is_so():
                await trio.sleep(0.01)


def raw_frame(kind: int, body: bytes) -> bytes:
    """An envelope that `encode` would refuse to make."""
    import msgpack

    packed: bytes = msgpack.packb([VERSION, kind, body], use_bin_type=True)
    return packed


@asynccontextmanager
async def hostile(
    genesis: Hash, *, seed: bytes | None = None, **options: object
) -> AsyncIterator[Hostile]:
    """Run a hostile peer for the length of a block."""
    settings = TransportSettings(topics=frozenset({topic_of(genesis)}))
    transport = Libp2pTransport(seed or os.urandom(32), ["/ip4/127.0.0.1/tcp/0"], settings)
    made = Hostile(transport, genesis, **options)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        made.nursery = nursery
        await nursery.start(partial(_run, made))
        yield made
        nursery.cancel_scope.cancel()


async def _run(made: Hostile, *, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
    await made.transport.run(made, task_status=task_status)
