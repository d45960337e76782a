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
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from libp2p import new_host
from libp2p.abc import INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.rcmgr import Direction
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr
from multiaddr.exceptions import BinaryParseError, ParseError, ProtocolLookupError, StringParseError

from p2p import compat
from p2p.containment import ContainedHandler
from p2p.streams import FrameReader, join_frames
from p2p.transport import (
    MAX_ANSWER_BYTES,
    MAX_FRAME_BYTES,
    MAX_GOSSIP_BYTES,
    MAX_REQUEST_BYTES,
    MAX_REQUESTS_IN_FLIGHT,
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
    from libp2p.abc import INetConn, INetStream, INetwork
    from libp2p.host.basic_host import BasicHost
    from libp2p.network.swarm import Swarm
    from libp2p.pubsub.pb import rpc_pb2

GOSSIP = TProtocol("/meshsub/1.1.0")
REQUEST = TProtocol("/openledger/request/1")
MAX_CONNECTIONS_OF_PEER = 2
MAX_ANSWERS_AT_ONCE = 32
"""Answers being made or sent to all peers together: their memory is bounded by it."""
HANDSHAKE_LIMIT_S = 5.0
SEND_LIMIT_S = 10.0
HANG_UP_LIMIT_S = 1.0
STOP_LIMIT_S = 3.0

ANSWERED, REFUSED = b"\x00", b"\x01"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stay:
    """A connected peer: its connections, its streams, and its requests in flight."""

    peer: PeerId
    connections: list[INetConn] = field(default_factory=list)
    gone: trio.Event = field(default_factory=trio.Event)
    sending: dict[Channel, INetStream] = field(default_factory=dict)
    locks: dict[Channel, trio.Lock] = field(
        default_factory=lambda: {channel: trio.Lock() for channel in Channel}
    )
    receiving: dict[Channel, trio.CancelScope] = field(default_factory=dict)
    idle: list[tuple[INetStream, FrameReader]] = field(default_factory=list)
    slots: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(MAX_REQUESTS_IN_FLIGHT))
    answering: int = 0


class Libp2pTransport:
    """Carries out `transport.Transport`; `seed` is the 32 bytes of the node's ed25519 key."""

    def __init__(
        self, seed: bytes, listen: Sequence[str], settings: TransportSettings | None = None
    ) -> None:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._seed = seed
        self._listen = tuple(_parse(address) for address in listen)
        self._settings = settings or TransportSettings()
        self._peer_id = peer_id_of(public)
        self._addresses: tuple[str, ...] = ()
        self._stays: dict[PeerId, _Stay] = {}
        self._dialling: dict[PeerId, trio.Lock] = {}
        self._answers = trio.CapacityLimiter(MAX_ANSWERS_AT_ONCE)
        self._handler: ContainedHandler | None = None
        self._host: BasicHost | None = None
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
            self._host = self._pubsub = self._nursery = None
            for stay in tuple(self._stays.values()):
                self._part(stay)

    async def _live(self, stop: trio.Event, life: trio.CancelScope, task_status: Started) -> None:
        async with self._running_host() as swarm, trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await stop.wait()
            life.deadline = trio.current_time() + STOP_LIMIT_S
            async with trio.open_nursery() as closing:
                for connection in swarm.get_connections():
                    closing.start_soon(_hang_up, connection)
            nursery.cancel_scope.cancel()

    async def dial(self, address: str) -> PeerId:
        target = _parse(address)
        try:
            peer = PeerId(target.value_for_protocol("p2p") or "")
            peer_id = ID.from_base58(peer)
        except (ProtocolLookupError, ValueError) as error:
            raise AddressError(f"{address} does not end in /p2p/ and a peer id. Add it.") from error
        if peer == self._peer_id:
            raise DialError("The address is this node's own. Dial another.")
        swarm = self._swarm(DialError)
        async with self._dialling.setdefault(peer, trio.Lock()):
            if peer in self._stays:
                return peer
            swarm.unblock_peer(peer_id)
            connection = None
            try:
                with trio.move_on_after(self._settings.dial_limit_s):
                    connection = await swarm.dial_addr(target, peer_id)
            except Exception as error:
                reason = error.__cause__ or error
                raise DialError(
                    f"Nobody could be reached at {address}: {reason}. Check that the node runs."
                ) from error
            if connection is None:
                raise DialError(f"{address} did not answer in time. Check that the node runs.")
            if self._welcome(connection) is None:
                raise DialError("As many peers as are allowed are connected. Disconnect one first.")
        if not self._dialling[peer].locked():
            del self._dialling[peer]
        return peer

    async def disconnect(self, peer: PeerId) -> None:
        stay = self._stays.get(peer)
        if stay is not None:
            for connection in tuple(stay.connections):
                await _hang_up(connection)
        await trio.lowlevel.checkpoint()

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        for frame in frames:
            check_size("frame", frame, MAX_FRAME_BYTES)
        stay = self._stay(peer)
        content = join_frames(frames)
        async with stay.locks[channel]:
            for is_last in (False, True):
                try:
                    with trio.fail_after(SEND_LIMIT_S):
                        if channel not in stay.sending:
                            stay.sending[channel] = await self._open(peer, _protocol(channel))
                        await stay.sending[channel].write(content)
                        return
                except Exception as error:  # one connection of two may have gone: try the other
                    await _reset(stay.sending.pop(channel, None))
                    if is_last or peer not in self._stays:
                        raise PeerGoneError(
                            f"{peer} takes no frames: {error}. Disconnect it or try again."
                        ) from error

    async def request(self, peer: PeerId, request: bytes) -> bytes:
        check_size("request", request, MAX_REQUEST_BYTES)
        stay = self._stay(peer)
        answer = b""
        try:
            with trio.fail_after(self._settings.request_limit_s):
                async with stay.slots:
                    answer = await self._ask(stay, request)
        except trio.TooSlowError as error:
            raise RequestError(f"{peer} did not answer in time. Ask another peer.") from error
        except TransportError:
            raise
        except Exception as error:
            if stay.gone.is_set():
                raise _gone(peer) from error
            raise RequestError(f"{peer} broke off: {error}. Ask another peer.") from error
        if answer[:1] != ANSWERED:
            reason = answer[1:].decode(errors="replace")
            raise RequestError(f"{peer} refused the request: {reason}")
        return answer[1:]

    async def publish(self, topic: str, message: bytes) -> None:
        check_size("gossip message", message, MAX_GOSSIP_BYTES)
        if topic not in self._settings.topics:
            raise TransportError(f"{topic} is no topic of this node. Name it in its settings.")
        if self._pubsub is None:
            raise TransportError("The transport does not run. Start it first.")
        await self._pubsub.publish(topic, message)

    # The host.

    @asynccontextmanager
    async def _running_host(self) -> AsyncIterator[Swarm]:
        compat.apply()
        host = _make_host(self._seed, self._settings)
        swarm: Swarm = host.get_network()
        swarm.register_notifee(_Doorbell(self._welcome))
        for channel in Channel:
            host.set_stream_handler(_protocol(channel), self._receive_on(channel))
        host.set_stream_handler(REQUEST, self._serve)
        pubsub = _make_pubsub(host, self._settings)
        async with (
            host.run(self._listen),
            background_trio_service(pubsub.router),
            background_trio_service(pubsub),
        ):
            if len(swarm.listeners) < len(self._listen):
                wanted = ", ".join(str(address) for address in self._listen)
                raise AddressError(
                    f"Cannot listen on {wanted}: is the port in use? Choose another."
                )
            await pubsub.wait_until_ready()
            for topic in sorted(self._settings.topics):
                pubsub.set_topic_validator(topic, self._hear_gossip, is_async_validator=False)
                await pubsub.subscribe(topic)
            self._host, self._pubsub = host, pubsub
            self._addresses = tuple(str(address) for address in host.get_addrs())
            yield swarm

    def _swarm(self, error: type[TransportError]) -> Swarm:
        if self._host is None:
            raise error("The transport does not run. Start it first.")
        return self._host.get_network()

    # Peers come and go.

    def _welcome(self, connection: INetConn) -> _Stay | None:
        """Note a connection; its peer's stay, or None where there is no room for the peer."""
        peer = PeerId(str(connection.muxed_conn.peer_id))
        stay = self._stays.get(peer)
        if self._nursery is None or self._handler is None or connection.is_closed:
            return stay
        if stay is None and len(self._stays) >= self._settings.max_peers:
            self._nursery.start_soon(_hang_up, connection)
            return None
        is_new = stay is None
        if stay is None:
            stay = self._stays[peer] = _Stay(peer)
        if connection not in stay.connections:
            stay.connections.append(connection)
            self._nursery.start_soon(self._watch, stay, connection)
        if is_new:
            is_inbound = connection.direction == Direction.INBOUND
            self._handler.connected(peer, _address_of(connection), is_inbound=is_inbound)
        return stay

    async def _watch(self, stay: _Stay, connection: INetConn) -> None:
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
            stay = self._welcome(stream.swarm_conn)
            if stay is None or self._handler is None:
                await _reset(stream)
                return
            reader = FrameReader(stream, MAX_FRAME_BYTES)
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
                except Exception as error:
                    _log.debug("end-stream peer=%s channel=%s reason=%r", stay.peer, channel, error)
            if stay.receiving.get(channel) is scope:
                del stay.receiving[channel]
            await _reset(stream)

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
            and len(message.data) <= MAX_GOSSIP_BYTES
            and str(ID(message.from_id)) != own
        )
        if not is_wanted or self._handler is None:
            return False
        return self._handler.gossiped(peer, message.topicIDs[0], message.data)

    # Requests.

    async def _ask(self, stay: _Stay, request: bytes) -> bytes:
        stream: INetStream | None = None
        is_done = False
        try:
            if stay.idle:
                stream, reader = stay.idle.pop()
            else:
                stream = await self._open(stay.peer, REQUEST)
                reader = FrameReader(stream, MAX_ANSWER_BYTES + 1)
            await stream.write(join_frames((request,)))
            answer = await reader.next()
            is_done = True
            stay.idle.append((stream, reader))
            return answer
        finally:
            if not is_done:
                await _reset(stream)

    async def _serve(self, stream: INetStream) -> None:
        stay = self._welcome(stream.swarm_conn)
        if stay is None or stay.answering >= MAX_REQUESTS_IN_FLIGHT:
            await _reset(stream)
            return
        stay.answering += 1
        try:
            reader = FrameReader(stream, MAX_REQUEST_BYTES)
            while not stay.gone.is_set():
                request = await reader.next()
                with trio.fail_after(self._settings.request_limit_s):
                    async with self._answers:
                        answer = await self._answer(stay.peer, request)
                        await stream.write(join_frames((answer,)))
        except Exception as error:
            _log.debug("end-requests peer=%s reason=%r", stay.peer, error)
        finally:
            stay.answering -= 1
            await _reset(stream)

    async def _answer(self, peer: PeerId, request: bytes) -> bytes:
        assert self._handler is not None
        try:
            answer = await self._handler.answer(peer, request)
            check_size("answer", answer, MAX_ANSWER_BYTES)
        except (RequestError, FrameTooLargeError) as error:
            return REFUSED + str(error).encode()
        return ANSWERED + answer


class _Doorbell(INotifee):
    """Tells the transport of each new connection, as it is made."""

    def __init__(self, ring: Callable[[INetConn], object]) -> None:
        self._ring = ring

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        self._ring(conn)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        """Say nothing: each connection's own event is sooner."""

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Say nothing: streams come to their handlers."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Say nothing: readers find the end themselves."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Say nothing: the transport reads its addresses when all are open."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Say nothing: it closes with the transport."""


def _make_host(seed: bytes, settings: TransportSettings) -> BasicHost:
    keys = create_new_key_pair(seed)
    max_connections = max(128, MAX_CONNECTIONS_OF_PEER * settings.max_peers)
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: NoiseTransport(keys, create_noise_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        connection_config=ConnectionConfig(
            max_connections=max_connections,
            min_connections=0,
            low_watermark=0,
            high_watermark=max_connections,
            max_connections_per_peer=MAX_CONNECTIONS_OF_PEER,
            inbound_upgrade_timeout=HANDSHAKE_LIMIT_S,
            outbound_upgrade_timeout=HANDSHAKE_LIMIT_S,
        ),
        disable_identify_address_discovery=True,
    )
    swarm: Swarm = host.get_network()
    swarm.retry_config = RetryConfig(max_retries=0)
    # The library's manager of resources counts what it never gives back; our limits stand instead.
    swarm.set_resource_manager(None)
    return host


def _make_pubsub(host: BasicHost, settings: TransportSettings) -> Pubsub:
    router = GossipSub(
        [GOSSIP],
        degree=6,
        degree_low=4,
        degree_high=10,
        heartbeat_interval=1,
        prune_back_off=10,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
    )
    pubsub = Pubsub(
        host,
        router,
        strict_signing=True,
        seen_ttl=120,
        allowed_topics=settings.topics,
        max_subscriptions_per_peer=16,
    )
    # A second's clock would number the messages after a restart lower than those before it.
    pubsub.counter = time.time_ns()
    return pubsub


def _protocol(channel: Channel) -> TProtocol:
    return TProtocol(f"/openledger/{channel}/1")


def _parse(address: str) -> Multiaddr:
    try:
        return Multiaddr(address)
    except (StringParseError, BinaryParseError, ParseError, ValueError) as error:
        raise AddressError(f"{address} is not a multiaddress. Write /ip4/HOST/tcp/PORT.") from error


def _address_of(connection: INetConn) -> str:
    peer = connection.muxed_conn.peer_id
    remote = connection.muxed_conn.get_remote_address()
    if remote is None:
        return f"/p2p/{peer}"
    host, port = remote
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/p2p/{peer}"


async def _hang_up(connection: INetConn) -> None:
    """Close a connection, politely if that works at once."""
    with trio.move_on_after(HANG_UP_LIMIT_S) as scope:
        await connection.close()
    if scope.cancelled_caught:
        await connection.muxed_conn.secured_conn.close()


async def _reset(stream: INetStream | None) -> None:
    """Give a stream up, whatever state it is in."""
    if stream is None:
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + HANG_UP_LIMIT_S):
        try:
            await stream.reset()
        except Exception as error:
            _log.debug("reset-stream reason=%r", error)


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
