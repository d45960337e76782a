"""A peer that keeps no rules: it sends what a test wants it to send."""

from __future__ import annotations

from dataclasses import replace

import trio

from p2p.protocols.status import encode_status
from p2p.service.service import Service
from p2p.transport.transport import Channel, PeerGoneError, PeerId, Started, Transport
from p2p.transport.wire import MessageKind, decode, encode
from runtime.types.primitives import Hash
from tests.p2p.support.cluster import GENESIS, Node, World


class Stranger:
    """Carries out transport.Handler over a bare transport, and notes what it hears."""

    def __init__(self, transport: Transport, genesis_hash: Hash = GENESIS) -> None:
        self.transport = transport
        self.heard: list[tuple[MessageKind, bytes]] = []
        self.is_connected = False
        self.visits = 0
        self._genesis_hash = genesis_hash

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None:
        self.is_connected = True
        self.visits += 1

    def disconnected(self, peer: PeerId) -> None:
        self.is_connected = False

    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None:
        envelope = decode(frame)
        self.heard.append((envelope.kind, envelope.body))

    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        return False

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def run(self, *, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
        await self.transport.run(self, task_status=task_status)

    async def visit(self, service: Service) -> None:
        """Dial a node."""
        await self.transport.dial(service.addresses[0])

    async def say(self, service: Service, channel: Channel, *frames: bytes) -> None:
        """Send frames; a node that hung up hears none of them."""
        try:
            await self.transport.send(service.peer_id, channel, frames)
        except PeerGoneError:
            self.is_connected = False

    async def shake_hands(self, service: Service) -> None:
        """Visit a node and finish the handshake with it."""
        await self.visit(service)
        status = replace(Node(self._genesis_hash).status(), agent="stranger")
        frames = encode(MessageKind.STATUS, encode_status(status)), encode(MessageKind.WELCOME, b"")
        await self.say(service, Channel.CONTROL, *frames)
        await trio.sleep(0.1)

    async def vote(self, service: Service, *bodies: bytes) -> None:
        """Send votes."""
        frames = [encode(MessageKind.VOTE, body) for body in bodies]
        await self.say(service, Channel.CONSENSUS, *frames)


async def stranger_in(world: World, number: int, genesis_hash: Hash = GENESIS) -> Stranger:
    """Start a stranger."""
    stranger = Stranger(world.transport(number), genesis_hash)
    await world.nursery.start(stranger.run)
    return stranger
