"""A network in memory: the transport of tests, with latency, loss, duplicates and partitions.

What it does: carries out `transport.Transport` between nodes of one process, under any trio
clock. Every delay and every loss is drawn from the network's seed, the two ends and the count of
what went between them, so that a seed repeats a run however trio orders its tasks.

Rules:
- Everything arrives through the one pump of the node it is meant for, in the order of its time.
- What goes from one node to another keeps its order. Loss and duplicates strike frames and gossip;
  that is harsher than TCP, as full queues and broken connections are.
- A partition drops in silence what crosses it and ends no connection, as a cut cable does: only
  keepalive finds out that a peer is gone. Dials and requests across it end at their time limits.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from p2p.transport.containment import ContainedHandler
from p2p.transport.transport import (
    ANSWER_BYTES_MAX,
    FRAME_BYTES_MAX,
    GOSSIP_BYTES_MAX,
    REQUEST_BYTES_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    AddressError,
    Channel,
    DialError,
    Handler,
    PeerGoneError,
    PeerId,
    RequestError,
    Started,
    TransportError,
    TransportSettings,
    check_size,
    check_topic,
    connection_to,
    peer_id_of,
)

SEEN_GOSSIP_MAX: Final = 65_536
"""Messages of which a node remembers that it had them."""

MessageId = tuple[PeerId, int]


@dataclass(frozen=True, slots=True)
class LinkConditions:
    """The conditions between two nodes: a delay in seconds, the odds of loss and duplication."""

    latency_s: tuple[float, float] = (0.001, 0.005)
    loss: float = 0.0
    duplication: float = 0.0


@dataclass(order=True, slots=True)
class _Delivery:
    due: float
    source: PeerId
    count: int
    act: Callable[[], None] = field(compare=False)


@dataclass(slots=True)
class _Link:
    """One direction between two nodes."""

    draw: Random
    count: int = 0
    latest: float = -math.inf


@dataclass(slots=True)
class _Connection:
    """One end's view of a connection; `number` is the same at both ends."""

    number: int
    slots: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(REQUESTS_IN_FLIGHT_MAX))
    gone: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True)
class _Reply:
    """The result that wakes a waiting request or dial."""

    event: trio.Event = field(default_factory=trio.Event)
    answer: bytes | TransportError | None = None

    def give(self, answer: bytes | TransportError | None) -> None:
        if not self.event.is_set():
            self.answer = answer
            self.event.set()


class MemoryNetwork:
    """The network between nodes: which run, which reach which, and how long it takes."""

    def __init__(self, seed: int = 0, conditions: LinkConditions | None = None) -> None:
        self.conditions = conditions or LinkConditions()
        self.running: dict[PeerId, MemoryTransport] = {}
        self._seed = seed
        self._sides: dict[PeerId, int] | None = None
        self._links: dict[tuple[PeerId, PeerId], _Link] = {}
        self._open: dict[frozenset[PeerId], int] = {}
        self._connections = 0

    def transport(self, seed: bytes, settings: TransportSettings | None = None) -> MemoryTransport:
        """Make a node's transport; `seed` is the 32 bytes of its ed25519 key."""
        return MemoryTransport(self, seed, settings or TransportSettings())

    def partition(self, *sides: Collection[PeerId]) -> None:
        """Let only nodes of one side reach one another; nodes of no side reach none."""
        self._sides = {peer: number for number, side in enumerate(sides) for peer in side}

    def heal(self) -> None:
        """Let all nodes reach one another again."""
        self._sides = None

    def can_reach(self, source: PeerId, target: PeerId) -> bool:
        """Return whether anything passes from one node to another now."""
        if self._sides is None:
            return True
        side = self._sides.get(source)
        return side is not None and side == self._sides.get(target)

    def connection_between(self, one: PeerId, other: PeerId) -> int:
        """Number the connection of two nodes: a new number unless both dialled at once."""
        pair = frozenset((one, other))
        if pair not in self._open:
            self._connections += 1
            self._open[pair] = self._connections
        return self._open[pair]

    def close_between(self, one: PeerId, other: PeerId, number: int) -> None:
        """Forget a connection's number, unless a newer one took its place."""
        pair = frozenset((one, other))
        if self._open.get(pair) == number:
            del self._open[pair]

    def carry(
        self, source: PeerId, target: PeerId, act: Callable[[], None], *, is_lossy: bool = False
    ) -> None:
        """Let `act` happen at the target after the latency, in order; it may be lost or doubled."""
        link = self._links.get((source, target))
        if link is None:
            link = _Link(Random(f"{self._seed}/{source}/{target}"))  # noqa: S311 - repeatable
            self._links[source, target] = link
        delay_s = link.draw.uniform(*self.conditions.latency_s)
        is_lost = link.draw.random() < self.conditions.loss and is_lossy
        is_doubled = link.draw.random() < self.conditions.duplication and is_lossy
        node = self.running.get(target)
        if node is None or is_lost or not self.can_reach(source, target):
            return
        link.latest = max(trio.current_time() + delay_s, link.latest)
        for _ in range(2 if is_doubled else 1):
            link.count += 1
            node.expect(_Delivery(link.latest, source, link.count, act))


class MemoryTransport:
    """One node's end of the network in memory."""

    def __init__(self, network: MemoryNetwork, seed: bytes, settings: TransportSettings) -> None:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._network = network
        self._settings = settings
        self._peer_id = peer_id_of(public)
        self._connections: dict[PeerId, _Connection] = {}
        self._due: list[_Delivery] = []
        self._wake = trio.Event()
        self._seen: dict[MessageId, None] = {}
        self._published = 0
        self._handler: ContainedHandler | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addresses(self) -> Sequence[str]:
        return (f"/memory/1/p2p/{self._peer_id}",)

    async def run(self, handler: Handler, *, task_status: Started) -> None:
        """Deliver what is due until cancelled."""
        if self._handler is not None:
            raise TransportError("A transport runs once. Make a new one to start again.")
        if self._peer_id in self._network.running:
            raise TransportError(f"{self._peer_id} runs already. Stop it before you start another.")
        self._handler = ContainedHandler(handler)
        self._network.running[self._peer_id] = self
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await self._pump()
        finally:
            self._nursery = None
            del self._network.running[self._peer_id]
            for peer in tuple(self._connections):
                self._hang_up(peer)

    async def dial(self, address: str) -> PeerId:
        peer = PeerId(address.rpartition("/p2p/")[2])
        if not address.startswith("/memory/1/p2p/"):
            raise AddressError(f"{address} is not a memory address. Take it from addresses.")
        if peer == self._peer_id:
            raise DialError("The address is this node's own. Dial another.")
        if peer in self._connections:
            return peer
        reply = _Reply()
        hello = partial(self._receive_dial, peer, reply)
        self._network.carry(self._peer_id, peer, hello)
        with trio.move_on_after(self._settings.dial_limit_s):
            await reply.event.wait()
        if isinstance(reply.answer, TransportError):
            raise reply.answer
        if not reply.event.is_set():
            raise DialError(f"Nobody answers at {address}. Check that the node runs, then retry.")
        return peer

    async def disconnect(self, peer: PeerId) -> None:
        self._hang_up(peer)
        await trio.lowlevel.checkpoint()

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        for frame in frames:
            check_size("frame", frame, FRAME_BYTES_MAX)
        number = connection_to(self._connections, peer).number
        for frame in frames:
            self._deliver(
                peer, partial(_receive_frame, self._peer_id, number, channel, frame), is_lossy=True
            )
        await trio.lowlevel.checkpoint()

    async def request(self, peer: PeerId, request: bytes) -> bytes:
        check_size("request", request, REQUEST_BYTES_MAX)
        connection, reply = connection_to(self._connections, peer), _Reply()
        with trio.move_on_after(self._settings.request_limit_s):
            async with connection.slots, trio.open_nursery() as nursery:
                nursery.start_soon(_give_up_when, connection.gone, reply, peer)
                self._deliver(
                    peer,
                    partial(_receive_request, self._peer_id, connection.number, request, reply),
                )
                await reply.event.wait()
                nursery.cancel_scope.cancel()
        if isinstance(reply.answer, TransportError):
            raise reply.answer
        if reply.answer is None:
            raise RequestError(f"{peer} did not answer in time. Ask another peer.")
        return reply.answer

    async def publish(self, topic: str, message: bytes) -> None:
        check_size("gossip message", message, GOSSIP_BYTES_MAX)
        check_topic(topic, self._settings)
        self._published += 1
        message_id = (self._peer_id, self._published)
        self._seen[message_id] = None
        self._relay(message_id, topic, message)
        await trio.lowlevel.checkpoint()

    def expect(self, delivery: _Delivery) -> None:
        """Queue a delivery for its time; called by the network."""
        heapq.heappush(self._due, delivery)
        self._wake.set()

    async def _pump(self) -> None:
        while True:
            self._wake = trio.Event()
            while self._due and self._due[0].due <= trio.current_time():
                heapq.heappop(self._due).act()
            with trio.move_on_at(self._due[0].due if self._due else math.inf):
                await self._wake.wait()

    def _deliver(
        self, peer: PeerId, act_on: Callable[[MemoryTransport], None], *, is_lossy: bool = False
    ) -> None:
        """Let `act_on` happen at the peer's transport, if that runs when it arrives."""

        def act() -> None:
            node = self._network.running.get(peer)
            if node is not None:
                act_on(node)

        self._network.carry(self._peer_id, peer, act, is_lossy=is_lossy)

    def _receive_dial(self, peer: PeerId, reply: _Reply) -> None:
        """Arrive at the dialled node: it accepts, or refuses because it is full."""
        node = self._network.running.get(peer)
        if node is None:
            return
        if (
            self._peer_id not in node._connections
            and len(node._connections) >= node._settings.max_peers
        ):
            refusal = DialError(f"{peer} has as many peers as it takes. Dial another.")
            node._deliver(self._peer_id, lambda _: reply.give(refusal))
            return
        number = self._network.connection_between(self._peer_id, peer)
        node._connect(self._peer_id, number, self.addresses[0], is_inbound=True)
        node._deliver(self._peer_id, lambda dialer: dialer._finish_dial(peer, number, reply))

    def _finish_dial(self, peer: PeerId, number: int, reply: _Reply) -> None:
        self._connect(peer, number, f"/memory/1/p2p/{peer}", is_inbound=False)
        reply.give(None)

    def _connect(self, peer: PeerId, number: int, address: str, *, is_inbound: bool) -> None:
        assert self._handler is not None
        connection = self._connections.get(peer)
        if connection is not None and connection.number == number:
            return
        if connection is not None:
            self._disconnect(peer)
        self._connections[peer] = _Connection(number)
        self._handler.connected(peer, address, is_inbound=is_inbound)

    def _hang_up(self, peer: PeerId) -> None:
        connection = self._connections.get(peer)
        if connection is None:
            return
        self._network.close_between(self._peer_id, peer, connection.number)
        self._deliver(peer, partial(_lose_connection, self._peer_id, connection.number))
        self._disconnect(peer)

    def _disconnect(self, peer: PeerId) -> None:
        assert self._handler is not None
        self._connections.pop(peer).gone.set()
        self._handler.disconnected(peer)

    def _is_current(self, peer: PeerId, number: int) -> bool:
        connection = self._connections.get(peer)
        return connection is not None and connection.number == number

    def _relay(
        self, message_id: MessageId, topic: str, message: bytes, besides: PeerId | None = None
    ) -> None:
        while len(self._seen) > SEEN_GOSSIP_MAX:
            del self._seen[next(iter(self._seen))]
        for peer in self._connections:
            if peer not in (besides, message_id[0]):
                gossip = partial(_receive_gossip, self._peer_id, message_id, topic, message)
                self._deliver(peer, gossip, is_lossy=True)


def _receive_frame(
    source: PeerId, number: int, channel: Channel, frame: bytes, node: MemoryTransport
) -> None:
    if node._is_current(source, number) and node._handler is not None:
        node._handler.received(source, channel, frame)


def _lose_connection(source: PeerId, number: int, node: MemoryTransport) -> None:
    if node._is_current(source, number):
        node._disconnect(source)


def _receive_gossip(
    source: PeerId, message_id: MessageId, topic: str, message: bytes, node: MemoryTransport
) -> None:
    """Arrive as gossip: taken once, and passed on where the handler finds it valid."""
    is_wanted = topic in node._settings.topics and source in node._connections
    if not is_wanted or message_id in node._seen or node._handler is None:
        return
    node._seen[message_id] = None
    if node._handler.gossiped(source, topic, message):
        node._relay(message_id, topic, message, besides=source)


def _receive_request(
    source: PeerId, number: int, request: bytes, reply: _Reply, node: MemoryTransport
) -> None:
    if node._is_current(source, number) and node._nursery is not None:
        node._nursery.start_soon(_answer, source, request, reply, node)


async def _answer(source: PeerId, request: bytes, reply: _Reply, node: MemoryTransport) -> None:
    assert node._handler is not None
    answer: bytes | TransportError
    try:
        with trio.fail_after(node._settings.request_limit_s):
            answer = await node._handler.answer(source, request)
            check_size("answer", answer, ANSWER_BYTES_MAX)
    except trio.TooSlowError:
        return
    except TransportError as error:
        answer = RequestError(f"{node.peer_id} refused the request: {error}")
    node._deliver(source, lambda _: reply.give(answer))


async def _give_up_when(gone: trio.Event, reply: _Reply, peer: PeerId) -> None:
    await gone.wait()
    reply.give(PeerGoneError(f"{peer} went away before it answered. Ask another peer."))
