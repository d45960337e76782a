"""A handler that writes down what it hears, and nodes under test on either transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

from p2p.transport.transport import Channel, PeerId, RequestError, Transport

TOPIC = "/openledger/01234567/transactions/1"
PATIENCE_SECONDS = 20.0


@dataclass
class Recorder:
    """Hears everything, answers requests backwards, finds gossip valid unless it says `bad`."""

    came: list[tuple[PeerId, str, bool]] = field(default_factory=list)
    went: list[PeerId] = field(default_factory=list)
    frames: list[tuple[PeerId, Channel, bytes]] = field(default_factory=list)
    gossip: list[tuple[PeerId, str, bytes]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    answer_by: Callable[[bytes], Awaitable[bytes]] | None = None
    _news: trio.Event = field(default_factory=trio.Event)

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None:
        self.came.append((peer, address, is_inbound))
        self._note("connected")

    def disconnected(self, peer: PeerId) -> None:
        self.went.append(peer)
        self._note("disconnected")

    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None:
        self.frames.append((peer, channel, frame))
        self._note("received")

    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        self.gossip.append((source, topic, message))
        self._note("gossiped")
        if message == b"raise":
            raise ValueError("the handler breaks its promise")
        return not message.startswith(b"bad")

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        if self.answer_by is not None:
            return await self.answer_by(request)
        if request == b"refuse me":
            raise RequestError("not today")
        if request == b"raise":
            raise ValueError("the handler breaks its promise")
        return request[::-1]

    @property
    def here(self) -> list[PeerId]:
        """Who is connected, by what was heard."""
        peers = [peer for peer, _, _ in self.came]
        for peer in self.went:
            peers.remove(peer)
        return peers

    async def wait_until(self, is_true: Callable[[Recorder], bool]) -> None:
        """Wait for news until something holds."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not is_true(self):
                await self._news.wait()

    def _note(self, event: str) -> None:
        self.order.append(event)
        self._news.set()
        self._news = trio.Event()


@dataclass
class NodeUnderTest:
    """A running transport, what it heard, and how to stop it."""

    transport: Transport
    heard: Recorder
    stop: Callable[[], Awaitable[None]]

    @property
    def peer(self) -> PeerId:
        return self.transport.peer_id

    @property
    def address(self) -> str:
        return self.transport.addresses[0]

    async def meet(self, other: NodeUnderTest) -> None:
        """Dial another node, and wait until both know of it."""
        await self.transport.dial(other.address)
        await self.heard.wait_until(lambda heard: other.peer in heard.here)
        await other.heard.wait_until(lambda heard: self.peer in heard.here)


@asynccontextmanager
async def running(transport: Transport) -> AsyncIterator[NodeUnderTest]:
    """Run a transport for the length of a block."""
    heard, stopped = Recorder(), trio.Event()
    scope = trio.CancelScope()

    async def live(*, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await transport.run(heard, task_status=task_status)
        stopped.set()

    async def stop() -> None:
        scope.cancel()
        await stopped.wait()

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(live))
        yield NodeUnderTest(transport, heard, stop)
        await stop()
