"""The real transport: TCP, Noise, Yamux, own frames on streams, and gossip, by libp2p.

Only the files libp2p_*.py and `compat.py` import libp2p. A peer's connection begins with its first
link and ends with its last: two nodes that dial each other at once have two links (the library's
connections) and one connection.

Rules:
- Each direction of a channel is a stream of its own, opened by its sender and held open. A newer
  stream from a peer replaces the older one, so that frames keep their order.
- Requests have streams of their own (libp2p_requests.py).
- Whatever a peer sends ends at most its own stream or link.
- A node with the key of a peer that is connected is a second one with that key, or the first one
  came back before its old link was found dead: it is told so and hung up on, as long as the old
  link lives.
- No write is cut short by a cancellation: half a frame would end the whole link.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from libp2p.custom_types import TProtocol
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2p.transport import compat
from p2p.transport.containment import ContainedHandler
from p2p.transport.libp2p_addresses import (
    check_listening,
    dial_endpoints,
    dialable_addresses,
    listening_endpoints,
)
from p2p.transport.libp2p_connection import Connection
from p2p.transport.libp2p_requests import REQUEST_PROTOCOL, RequestStreams, read_answer
from p2p.transport.libp2p_setup import (
    ConnectionNotifier,
    address_of,
    closing_sockets,
    connections_of,
    give_up,
    hang_up,
    make_gossip,
    make_host,
    open_on,
)
from p2p.transport.multiaddress import NodeAddress, parse_address, parse_peer_address
from p2p.transport.streams import FrameReader, join_frames
from p2p.transport.transport import (
    FRAME_BYTES_MAX,
    GOSSIP_BYTES_MAX,
    REQUEST_BYTES_MAX,
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
    check_topic,
    connection_to,
    gone_away,
    peer_id_of,
)

if TYPE_CHECKING:
    from libp2p.abc import INetStream
    from libp2p.host.basic_host import BasicHost
    from libp2p.network.swarm import Swarm
    from libp2p.pubsub.pb import rpc_pb2
    from libp2p.pubsub.pubsub import Pubsub

SEND_LIMIT_SECONDS: Final = 10.0
SAME_NODE_SECONDS: Final = 15.0
"""Links of one peer that come within this time are two nodes that dialled each other at once."""
REFUSAL_LIMIT_SECONDS: Final = 3.0
IDENTITY_IN_USE: Final = TProtocol("/openledger/identity-in-use/1")
"""The protocol of a stream that carries nothing: its opening refuses the link."""
STOP_LIMIT_SECONDS: Final = 3.0

_log = logging.getLogger(__name__)


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
        self._addresses: Sequence[str] = ()
        self._connections: dict[PeerId, Connection] = {}
        self._dialling: dict[PeerId, trio.Lock] = {}
        self._requests = RequestStreams(self._open, self._settings.request_limit_s)
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
        """Accept and hold links until cancelled. Raises AddressError, TransportError."""
        if self._handler is not None:
            raise TransportError("A transport runs once. Make a new one to start again.")
        self._handler = ContainedHandler(handler)
        try:
            async with trio.open_nursery() as watching:
                stop = trio.Event()
                watching.start_soon(_set_when_cancelled, stop)
                # Everything below must stop in order, and a cancellation would stop it all at once:
                # links would lose their sockets in the middle of their farewells.
                with trio.CancelScope(shield=True) as life:
                    await self._live(stop, life, task_status)
                watching.cancel_scope.cancel()
        except Exception as error:
            raise _cause_of(error) from error
        finally:
            self._host = self._swarm = self._pubsub = self._nursery = None
            for connection in tuple(self._connections.values()):
                self._disconnect(connection)

    async def _live(self, stop: trio.Event, life: trio.CancelScope, task_status: Started) -> None:
        async with self._running_host() as swarm, trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await stop.wait()
            life.deadline = trio.current_time() + STOP_LIMIT_SECONDS
            async with trio.open_nursery() as closing:
                for link in connections_of(swarm):
                    closing.start_soon(hang_up, link)
            nursery.cancel_scope.cancel()

    async def dial(self, address: str) -> PeerId:
        target = parse_peer_address(address)
        assert target.peer is not None
        peer = target.peer
        if peer == self._peer_id:
            raise DialError("The address is this node's own. Dial another.")
        if self._swarm is None:
            raise DialError("The transport does not run. Start it first.")
        lock = self._dialling.setdefault(peer, trio.Lock())
        try:
            async with lock:
                if peer not in self._connections:
                    await self._connect(self._swarm, target, peer)
        finally:
            if not lock.locked():
                self._dialling.pop(peer, None)
        return peer

    async def _connect(self, swarm: Swarm, target: NodeAddress, peer: PeerId) -> None:
        # The library refuses for a minute to dial a peer that it once failed to reach.
        swarm.unblock_peer(ID.from_base58(peer))
        link = await dial_endpoints(swarm, target, self._settings.dial_limit_s)
        if self._welcome(link) is None:
            raise DialError(f"{target} hung up, or no more peers fit. Disconnect one, or retry.")

    async def disconnect(self, peer: PeerId) -> None:
        connection = self._connections.get(peer)
        closed: list[SwarmConn] = []
        # One that comes meanwhile joins this connection, which its peer's end was announced for.
        while connection is not None and (left := [c for c in connection.links if c not in closed]):
            closed.append(left[0])
            await hang_up(left[0])
        await trio.lowlevel.checkpoint()

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        for frame in frames:
            check_size("frame", frame, FRAME_BYTES_MAX)
        connection = connection_to(self._connections, peer)
        content = join_frames(frames)
        try:
            with trio.fail_after(SEND_LIMIT_SECONDS):
                async with connection.locks[channel]:
                    await self._write(connection, channel, content)
        except Exception as error:
            raise PeerGoneError(
                f"{peer} takes no frames: {error!r}. Disconnect it, or try again."
            ) from error

    async def _write(self, connection: Connection, channel: Channel, content: bytes) -> None:
        """Write on the channel's stream, or on a new one if its link is gone."""
        while True:
            stream = connection.sending.pop(channel, None)
            is_new, is_written = stream is None, False
            try:
                if stream is None:
                    stream = await self._open(connection.peer, _protocol(channel))
                await stream.write(content)
                is_written = True
                connection.sending[channel] = stream
                return
            except Exception:
                if is_new or not connection.is_connected:
                    raise
            finally:
                if not is_written:
                    await give_up(stream)

    async def request(self, peer: PeerId, request: bytes) -> bytes:
        check_size("request", request, REQUEST_BYTES_MAX)
        connection = connection_to(self._connections, peer)
        answer = b""
        try:
            with trio.fail_after(self._settings.request_limit_s):
                async with connection.slots:
                    answer = await self._requests.ask(connection, request)
        except trio.TooSlowError as error:
            raise RequestError(f"{peer} did not answer in time. Ask another peer.") from error
        except PeerGoneError:
            raise
        except Exception as error:
            if not connection.is_connected:
                raise gone_away(peer) from error
            raise RequestError(f"{peer} broke off: {error!r}. Ask another peer.") from error
        return read_answer(peer, answer)

    async def publish(self, topic: str, message: bytes) -> None:
        check_size("gossip message", message, GOSSIP_BYTES_MAX)
        check_topic(topic, self._settings)
        if self._pubsub is None:
            raise TransportError("The transport does not run. Start it first.")
        await self._pubsub.publish(topic, message)

    # The host.

    @asynccontextmanager
    async def _running_host(self) -> AsyncIterator[Swarm]:
        compat.apply()
        host, swarm = make_host(self._seed, self._settings)
        swarm.register_notifee(ConnectionNotifier(self._welcome))
        for channel in Channel:
            host.set_stream_handler(_protocol(channel), self._receive_on(channel))
        host.set_stream_handler(REQUEST_PROTOCOL, self._serve_requests)
        host.set_stream_handler(IDENTITY_IN_USE, self._receive_refusal)
        pubsub, router = make_gossip(host, self._settings)
        wanted = await listening_endpoints(self._listen)
        endpoints = [Multiaddr(str(endpoint)) for group in wanted for endpoint in group]
        async with host.run(endpoints), closing_sockets(swarm, pubsub):
            check_listening(swarm, wanted)
            async with background_trio_service(router), background_trio_service(pubsub):
                await pubsub.wait_until_ready()
                for topic in sorted(self._settings.topics):
                    pubsub.set_topic_validator(
                        topic, self._receive_gossip, is_async_validator=False
                    )
                    await pubsub.subscribe(topic)
                self._host, self._swarm, self._pubsub = host, swarm, pubsub
                self._addresses = dialable_addresses(swarm, host.get_id())
                yield swarm

    # Peers come and go.

    def _welcome(self, link: SwarmConn) -> Connection | None:
        """Add a link; return its peer's connection, None if there is no room for the peer."""
        peer = PeerId(str(link.muxed_conn.peer_id))
        connection = self._connections.get(peer)
        if self._nursery is None or self._handler is None or link.is_closed:
            return connection
        if connection is None and len(self._connections) >= self._settings.max_peers:
            self._nursery.start_soon(hang_up, link)
            return None
        if connection is not None and _is_rival(connection, link):
            self._nursery.start_soon(self._refuse_rival, peer, link)
            return None
        is_new = connection is None
        if connection is None:
            connection = self._connections[peer] = Connection(peer, trio.current_time())
        if link not in connection.links:
            connection.links.append(link)
            self._nursery.start_soon(self._watch, connection, link)
        if is_new:
            is_inbound = link.direction == Direction.INBOUND
            self._handler.connected(peer, address_of(link), is_inbound=is_inbound)
        return connection

    async def _refuse_rival(self, peer: PeerId, link: SwarmConn) -> None:
        """Tell a node that another one with its key is connected here, and hang up."""
        _log.info("refuse-link peer=%s reason='its key is in use by a connected peer'", peer)
        try:
            if self._host is not None:
                await open_on(self._host, link, IDENTITY_IN_USE, REFUSAL_LIMIT_SECONDS)
        except Exception as error:  # noqa: BLE001 - see the rules of this file
            _log.debug("refuse-link peer=%s reason=%r", peer, error)
        await hang_up(link)

    async def _receive_refusal(self, stream: INetStream) -> None:
        peer = PeerId(str(compat.connection_of(stream).muxed_conn.peer_id))
        if self._handler is not None:
            self._handler.identity_in_use(peer)
        await give_up(stream)

    async def _watch(self, connection: Connection, link: SwarmConn) -> None:
        await link.event_closed.wait()
        connection.links.remove(link)
        if not connection.links and not connection.gone.is_set():
            self._disconnect(connection)

    def _disconnect(self, connection: Connection) -> None:
        assert self._handler is not None
        del self._connections[connection.peer]
        connection.gone.set()
        for scope in connection.receiving.values():
            scope.cancel()
        self._handler.disconnected(connection.peer)

    async def _open(self, peer: PeerId, protocol: TProtocol) -> INetStream:
        if self._host is None:
            raise gone_away(peer)
        return await self._host.new_stream(ID.from_base58(peer), [protocol])

    # What peers send.

    def _receive_on(self, channel: Channel) -> Callable[[INetStream], Awaitable[None]]:
        async def receive(stream: INetStream) -> None:
            connection = self._welcome(compat.connection_of(stream))
            if connection is None or self._handler is None:
                await give_up(stream)
                return
            reader = FrameReader(stream, FRAME_BYTES_MAX)
            with trio.CancelScope() as scope:
                if channel in connection.receiving:
                    connection.receiving[channel].cancel()
                connection.receiving[channel] = scope
                try:
                    while not scope.cancel_called:
                        frame = await reader.next()
                        self._handler.received(connection.peer, channel, frame)
                except FrameTooLargeError as error:
                    _log.warning(
                        "refuse-frame peer=%s channel=%s reason=%s", connection.peer, channel, error
                    )
                except Exception as error:  # noqa: BLE001 - see the rules of this file
                    _log.debug(
                        "end-stream peer=%s channel=%s reason=%r", connection.peer, channel, error
                    )
            if connection.receiving.get(channel) is scope:
                del connection.receiving[channel]
            await give_up(stream)

        return receive

    async def _serve_requests(self, stream: INetStream) -> None:
        connection = self._welcome(compat.connection_of(stream))
        if connection is None or self._handler is None:
            await give_up(stream)
            return
        await self._requests.serve(connection, stream, self._handler)

    def _receive_gossip(self, source: ID, message: rpc_pb2.Message) -> bool:
        """Validate and deliver in one step: the library calls it once for each new message."""
        peer, own = PeerId(str(source)), self._peer_id
        if peer == own:
            return True
        connection = self._connections.get(peer)
        is_wanted = (
            connection is not None
            and len(message.topicIDs) == 1
            and len(message.data) <= GOSSIP_BYTES_MAX
            and str(ID(message.from_id)) != own
        )
        if not is_wanted or self._handler is None:
            return False
        return self._handler.gossiped(peer, message.topicIDs[0], message.data)


def _is_rival(connection: Connection, link: SwarmConn) -> bool:
    """Return whether a link comes from another node than the one that is connected.

    A node does not dial a peer that it is connected with, except at the same moment as the peer.
    """
    is_new = link not in connection.links
    is_late = trio.current_time() - connection.since > SAME_NODE_SECONDS
    return is_new and is_late and link.direction == Direction.INBOUND and connection.is_connected


def _protocol(channel: Channel) -> TProtocol:
    return TProtocol(f"/openledger/{channel}/1")


async def _set_when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()


def _cause_of(error: Exception) -> TransportError:
    """Return the transport error in groups of exceptions, or one for a host that broke down."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, TransportError):
        return error
    return TransportError(f"The network host broke down: {error!r}. Start it again.")
