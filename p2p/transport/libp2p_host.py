"""The real transport: TCP, Noise, Yamux, own frames on streams, and gossip, by libp2p.

Only this file and `compat.py` import libp2p. A peer's stay begins with its first connection and
ends with its last: two nodes that dial each other at once have two connections and one stay.

Rules:
- Each direction of a channel is a stream of its own, opened by who sends and kept open. A newer
  stream from a peer replaces the older one, so that frames keep their order.
- Requests take a stream from a pool for each peer, one request at a time on each.
- Whatever a peer sends ends at most its own stream or connection.
- No write is cut short by a cancellation: half a frame would end the whole connection.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from libp2p.custom_types import TProtocol
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from libp2p.tools.anyio_service import background_trio_service
from multiaddr.exceptions import ProtocolLookupError

from p2p.transport import compat
from p2p.transport.containment import ContainedHandler
from p2p.transport.libp2p_setup import (
    Doorbell,
    address_of,
    closing_sockets,
    connections_of,
    give_up,
    hang_up,
    is_alive,
    make_gossip,
    make_host,
    parse_address,
)
from p2p.transport.streams import FrameReader, join_frames
from p2p.transport.transport import (
    ANSWER_BYTES_MAX,
    FRAME_BYTES_MAX,
    GOSSIP_BYTES_MAX,
    REQUEST_BYTES_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    AddressError,
    Channel,
    DialError,
    FrameTooLargeError,
    Handler,
    PeerGoneError,
    PeerId,
    RequestError,
    Started,
    TransportError,
    TransportSettings,
    check_size,
    peer_id_of,
)

if TYPE_CHECKING:
    from libp2p.abc import INetStream
    from libp2p.host.basic_host import BasicHost
    from libp2p.network.swarm import Swarm
    from libp2p.pubsub.pb import rpc_pb2
    from libp2p.pubsub.pubsub import Pubsub
    from multiaddr import Multiaddr

REQUEST: Final = TProtocol("/openledger/request/1")
ANSWERS_AT_ONCE_MAX: Final = 32
"""Answers being made or sent to all peers together: their memory is bounded by it."""
SEND_LIMIT_SECONDS: Final = 10.0
STOP_LIMIT_SECONDS: Final = 3.0

ANSWERED, REFUSED = b"\x00", b"\x01"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stay:
    """A connected peer: its connections, its streams, and its requests in flight."""

    peer: PeerId
    connections: list[SwarmConn] = field(default_factory=list)
    gone: trio.Event = field(default_factory=trio.Event)
    sending: dict[Channel, INetStream] = field(default_factory=dict)
    locks: dict[Channel, trio.Lock] = field(
        default_factory=lambda: {channel: trio.Lock() for channel in Channel}
    )
    receiving: dict[Channel, trio.CancelScope] = field(default_factory=dict)
    idle: list[tuple[INetStream, FrameReader]] = field(default_factory=list)
    slots: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(REQUESTS_IN_FLIGHT_MAX))
    answering: int = 0

    @property
    def is_connected(self) -> bool:
        """Tell at once, also before the end of the last connection has been noted."""
        return any(is_alive(connection) for connection in self.connections)


class Libp2pTransport:
    """Carries out `transport.Transport`; `seed` is the 32 bytes of the node's ed25519 key."""

    def __init__(
        self, seed: bytes, listen: Sequence[str], settings: TransportSettings | None = None
    ) -> None:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._seed = seed
        self._listen = tuple(parse_address(address) for address in listen)
        self._settings = settings or TransportSettings()
        self._peer_id = peer_id_of(public)
        self._addresses: tuple[str, ...] = ()
        self._stays: dict[PeerId, _Stay] = {}
        self._dialling: dict[PeerId, trio.Lock] = {}
        self._answers = trio.CapacityLimiter(ANSWERS_AT_ONCE_MAX)
        self._handler: ContainedHandler | None = None
        self._host: BasicHost | None = None
        self._swarm: Swarm | None = None
        self._pubsub: Pubsub | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addresses(self) -> Sequence[str]:
        return self._addresses

    async def run(self, handler: Handler, *, task_status: Started) -> None:
        """Accept and keep connections until cancelled. Raises AddressError, TransportError."""
        if self._handler is not None:
            raise TransportError("A transport runs once. Make a new one to start again.")
        self._handler = ContainedHandler(handler)
        try:
            async with trio.open_nursery() as watching:
                stop = trio.Event()
                watching.start_soon(_set_when_cancelled, stop)
                # Everything below must stop in order, and a cancellation would stop it all at once:
                # connections would lose their sockets in the middle of their farewells.
                with trio.CancelScope(shield=True) as life:
                    await self._live(stop, life, task_status)
                watching.cancel_scope.cancel()
        except Exception as error:
            raise _cause_of(error) from error
        finally:
            self._host = self._swarm = self._pubsub = self._nursery = None
            for stay in tuple(self._stays.values()):
                self._part(stay)

    async def _live(self, stop: trio.Event, life: trio.CancelScope, task_status: Started) -> None:
        async with self._running_host() as swarm, trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await stop.wait()
            life.deadline = trio.current_time() + STOP_LIMIT_SECONDS
            async with trio.open_nursery() as closing:
                for connection in connections_of(swarm):
                    closing.start_soon(hang_up, connection)
            nursery.cancel_scope.cancel()

    async def dial(self, address: str) -> PeerId:
        target = parse_address(address)
        try:
            peer = PeerId(target.value_for_protocol("p2p") or "")
            peer_id = ID.from_base58(peer)
        except (ProtocolLookupError, ValueError) as error:
            raise AddressError(f"{address} does not end in /p2p/ and a peer id. Add it.") from error
        if peer == self._peer_id:
            raise DialError("The address is this node's own. Dial another.")
        if self._swarm is None:
            raise DialError("The transport does not run. Start it first.")
        lock = self._dialling.setdefault(peer, trio.Lock())
        try:
            async with lock:
                if peer not in self._stays:
                    await self._connect(self._swarm, target, peer_id)
        finally:
            if not lock.locked():
                self._dialling.pop(peer, None)
        return peer

    async def _connect(self, swarm: Swarm, target: Multiaddr, peer_id: ID) -> None:
        # The library refuses for a minute to dial a peer that it once failed to reach.
        swarm.unblock_peer(peer_id)
        connection = None
        try:
            with trio.move_on_after(self._settings.dial_limit_s):
                connection = await swarm.dial_addr(target, peer_id)
        except Exception as error:
            reason = error.__cause__ or error
            raise DialError(
                f"Nobody could be reached at {target}: {reason}. Check that the node runs."
            ) from error
        if connection is None:
            raise DialError(f"{target} did not answer in time. Check that the node runs.")
        assert isinstance(connection, SwarmConn)
        if self._welcome(connection) is None:
            raise DialError(f"{target} hung up, or no more peers fit. Disconnect one, or retry.")

    async def disconnect(self, peer: PeerId) -> None:
        stay = self._stays.get(peer)
        closed: list[SwarmConn] = []
        # One that comes meanwhile joins this stay, which its peer's end was announced for.
        while stay is not None and (left := [c for c in stay.connections if c not in closed]):
            closed.append(left[0])
            await hang_up(left[0])
        await trio.lowlevel.checkpoint()

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        for frame in frames:
            check_size("frame", frame, FRAME_BYTES_MAX)
        stay = self._stay(peer)
        content = join_frames(frames)
        try:
            with trio.fail_after(SEND_LIMIT_SECONDS):
                async with stay.locks[channel]:
                    await self._write(stay, channel, content)
        except Exception as error:
            raise PeerGoneError(
                f"{peer} takes no frames: {error!r}. Disconnect it, or try again."
            ) from error

    async def _write(self, stay: _Stay, channel: Channel, content: bytes) -> None:
        """Write on the channel's stream; on a new one where its connection is gone."""
        while True:
            stream = stay.sending.pop(channel, None)
            is_new, is_written = stream is None, False
            try:
                if stream is None:
                    stream = await self._open(stay.peer, _protocol(channel))
                await stream.write(content)
                is_written = True
                stay.sending[channel] = stream
                return
            except Exception:
                if is_new or not stay.is_connected:
                    raise
            finally:
                if not is_written:
                    await give_up(stream)

    async def request(self, peer: PeerId, request: bytes) -> bytes:
        check_size("request", request, REQUEST_BYTES_MAX)
        stay = self._stay(peer)
        answer = b""
        try:
            with trio.fail_after(self._settings.request_limit_s):
                async with stay.slots:
                    answer = await self._ask(stay, request)
        except trio.TooSlowError as error:
            raise RequestError(f"{peer} did not answer in time. Ask another peer.") from error
        except PeerGoneError:
            raise
        except Exception as error:
            if not stay.is_connected:
                raise _gone(peer) from error
            raise RequestError(f"{peer} broke off: {error!r}. Ask another peer.") from error
        if answer[:1] != ANSWERED:
            reason = answer[1:].decode(errors="replace")
            raise RequestError(f"{peer} refused the request: {reason}")
        return answer[1:]

    async def publish(self, topic: str, message: bytes) -> None:
        check_size("gossip message", message, GOSSIP_BYTES_MAX)
        if topic not in self._settings.topics:
            raise TransportError(f"{topic} is no topic of this node. Name it in its settings.")
        if self._pubsub is None:
            raise TransportError("The transport does not run. Start it first.")
        await self._pubsub.publish(topic, message)

    # The host.

    @asynccontextmanager
    async def _running_host(self) -> AsyncIterator[Swarm]:
        compat.apply()
        host, swarm = make_host(self._seed, self._settings)
        swarm.register_notifee(Doorbell(self._welcome))
        for channel in Channel:
            host.set_stream_handler(_protocol(channel), self._receive_on(channel))
        host.set_stream_handler(REQUEST, self._serve)
        pubsub, router = make_gossip(host, self._settings)
        async with host.run(self._listen), closing_sockets(swarm, pubsub):
            if len(swarm.listeners) < len(self._listen):
                wanted = ", ".join(str(address) for address in self._listen)
                raise AddressError(f"Cannot listen on {wanted}: in use? Choose another port.")
            async with background_trio_service(router), background_trio_service(pubsub):
                await pubsub.wait_until_ready()
                for topic in sorted(self._settings.topics):
                    pubsub.set_topic_validator(topic, self._hear_gossip, is_async_validator=False)
                    await pubsub.subscribe(topic)
                self._host, self._swarm, self._pubsub = host, swarm, pubsub
                self._addresses = tuple(str(address) for address in host.get_addrs())
                yield swarm

    # Peers come and go.

    def _welcome(self, connection: SwarmConn) -> _Stay | None:
        """Note a connection; its peer's stay, or None where there is no room for the peer."""
        peer = PeerId(str(connection.muxed_conn.peer_id))
        stay = self._stays.get(peer)
        if self._nursery is None or self._handler is None or connection.is_closed:
            return stay
        if stay is None and len(self._stays) >= self._settings.max_peers:
            self._nursery.start_soon(hang_up, connection)
            return None
        is_new = stay is None
        if stay is None:
            stay = self._stays[peer] = _Stay(peer)
        if connection not in stay.connections:
            stay.connections.append(connection)
            self._nursery.start_soon(self._watch, stay, connection)
        if is_new:
            is_inbound = connection.direction == Direction.INBOUND
            self._handler.connected(peer, address_of(connection), is_inbound=is_inbound)
        return stay

    async def _watch(self, stay: _Stay, connection: SwarmConn) -> None:
        await connection.event_closed.wait()
        stay.connections.remove(connection)
        if not stay.connections and not stay.gone.is_set():
            self._part(stay)

    def _part(self, stay: _Stay) -> None:
        assert self._handler is not None
        del self._stays[stay.peer]
        stay.gone.set()
        for scope in stay.receiving.values():
            scope.cancel()
        self._handler.disconnected(stay.peer)

    def _stay(self, peer: PeerId) -> _Stay:
        if peer not in self._stays:
            raise PeerGoneError(f"{peer} is not connected. Dial it first.")
        return self._stays[peer]

    async def _open(self, peer: PeerId, protocol: TProtocol) -> INetStream:
        if self._host is None:
            raise _gone(peer)
        return await self._host.new_stream(ID.from_base58(peer), [protocol])

    # What peers send.

    def _receive_on(self, channel: Channel) -> Callable[[INetStream], Awaitable[None]]:
        async def receive(stream: INetStream) -> None:
            stay = self._welcome(compat.connection_of(stream))
            if stay is None or self._handler is None:
                await give_up(stream)
                return
            reader = FrameReader(stream, FRAME_BYTES_MAX)
            with trio.CancelScope() as scope:
                if channel in stay.receiving:
                    stay.receiving[channel].cancel()
                stay.receiving[channel] = scope
                try:
                    while not scope.cancel_called:
                        frame = await reader.next()
                        self._handler.received(stay.peer, channel, frame)
                except FrameTooLargeError as error:
                    _log.warning(
                        "refuse-frame peer=%s channel=%s reason=%s", stay.peer, channel, error
                    )
                except Exception as error:  # noqa: BLE001 - see the rules of this file
                    _log.debug("end-stream peer=%s channel=%s reason=%r", stay.peer, channel, error)
            if stay.receiving.get(channel) is scope:
                del stay.receiving[channel]
            await give_up(stream)

        return receive

    def _hear_gossip(self, source: ID, message: rpc_pb2.Message) -> bool:
        """Validate and deliver in one step: the library calls it once for each new message."""
        peer, own = PeerId(str(source)), self._peer_id
        if peer == own:
            return True
        stay = self._stays.get(peer)
        is_wanted = (
            stay is not None
            and len(message.topicIDs) == 1
            and len(message.data) <= GOSSIP_BYTES_MAX
            and str(ID(message.from_id)) != own
        )
        if not is_wanted or self._handler is None:
            return False
        return self._handler.gossiped(peer, message.topicIDs[0], message.data)

    # Requests.

    async def _ask(self, stay: _Stay, request: bytes) -> bytes:
        while stay.idle:
            try:
                return await self._ask_on(stay, *stay.idle.pop(), request)
            except (TransportError, StreamError):
                if not stay.is_connected:
                    raise
        stream = await self._open(stay.peer, REQUEST)
        return await self._ask_on(stay, stream, FrameReader(stream, ANSWER_BYTES_MAX + 1), request)

    async def _ask_on(
        self, stay: _Stay, stream: INetStream, reader: FrameReader, request: bytes
    ) -> bytes:
        is_answered = False
        try:
            await stream.write(join_frames((request,)))
            answer = await reader.next()
            is_answered = True
            stay.idle.append((stream, reader))
            return answer
        finally:
            if not is_answered:
                await give_up(stream)

    async def _serve(self, stream: INetStream) -> None:
        stay = self._welcome(compat.connection_of(stream))
        if stay is None or stay.answering >= REQUESTS_IN_FLIGHT_MAX:
            await give_up(stream)
            return
        stay.answering += 1
        try:
            reader = FrameReader(stream, REQUEST_BYTES_MAX)
            while not stay.gone.is_set():
                request = await reader.next()
                with trio.fail_after(self._settings.request_limit_s):
                    async with self._answers:
                        answer = await self._answer(stay.peer, request)
                        await stream.write(join_frames((answer,)))
        except Exception as error:  # noqa: BLE001 - see the rules of this file
            _log.debug("end-requests peer=%s reason=%r", stay.peer, error)
        finally:
            stay.answering -= 1
            await give_up(stream)

    async def _answer(self, peer: PeerId, request: bytes) -> bytes:
        assert self._handler is not None
        try:
            answer = await self._handler.answer(peer, request)
            check_size("answer", answer, ANSWER_BYTES_MAX)
        except (RequestError, FrameTooLargeError) as error:
            return REFUSED + str(error).encode()
        return ANSWERED + answer


def _protocol(channel: Channel) -> TProtocol:
    return TProtocol(f"/openledger/{channel}/1")


def _gone(peer: PeerId) -> PeerGoneError:
    return PeerGoneError(f"{peer} went away. Ask another peer.")


async def _set_when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()


def _cause_of(error: Exception) -> TransportError:
    """Find in groups of exceptions the one of ours, or say that the host broke down."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, TransportError):
        return error
    return TransportError(f"The network host broke down: {error!r}. Start it again.")
