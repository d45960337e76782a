"""A host of libp2p as this node configures it, and small operations on its objects.

The library's defaults offer plain text, wait two minutes between heartbeats, and limit gossip to
ten messages in a second; nothing here is left to a default that matters.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import trio
from libp2p import new_host
from libp2p.abc import INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from p2p.transport.name_resolution import unmapped
from p2p.transport.transport import TransportSettings

if TYPE_CHECKING:
    from libp2p.abc import INetConn, INetStream, INetwork

GOSSIP: Final = TProtocol("/meshsub/1.1.0")
"""Not 1.2: it announces each message to each peer before it sends it."""
CONNECTIONS_MAX: Final = 128
CONNECTIONS_OF_PEER_MAX: Final = 2
"""Two nodes that dial each other at once have one each way."""
STATISTICS_MAX: Final = 64
HANDSHAKE_LIMIT_SECONDS: Final = 5.0
HANG_UP_LIMIT_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


def make_host(seed: bytes, settings: TransportSettings) -> tuple[BasicHost, Swarm]:
    """Make a host that speaks only Noise and Yamux over TCP; ed25519 key of `seed`."""
    keys = create_new_key_pair(seed)
    max_connections = max(CONNECTIONS_MAX, CONNECTIONS_OF_PEER_MAX * settings.max_peers)
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: NoiseTransport(keys, create_noise_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        connection_config=ConnectionConfig(
            max_connections=max_connections,
            min_connections=0,
            low_watermark=0,
            # The library would close connections of its own choice above it.
            high_watermark=max_connections,
            max_connections_per_peer=CONNECTIONS_OF_PEER_MAX,
            inbound_upgrade_timeout=HANDSHAKE_LIMIT_SECONDS,
            outbound_upgrade_timeout=HANDSHAKE_LIMIT_SECONDS,
        ),
        disable_identify_address_discovery=True,
    )
    assert isinstance(host, BasicHost)
    swarm = host.get_network()
    assert isinstance(swarm, Swarm)
    # The dialer decides when to dial again.
    swarm.retry_config = RetryConfig(max_retries=0)
    # The library's resource manager counts what it does not give back; our limits stand instead.
    swarm.set_resource_manager(None)
    return host, swarm


def make_gossip(host: BasicHost, settings: TransportSettings) -> tuple[Pubsub, GossipSub]:
    """Make the gossip of a host: signed messages on the settings' topics only."""
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
    # Lists that only the adaptive mode empties.
    router.recent_message_deliveries = cast(
        "dict[str, list[float]]", defaultdict(lambda: deque(maxlen=STATISTICS_MAX))
    )
    router.recent_peer_connections = cast("list[float]", deque(maxlen=STATISTICS_MAX))
    router.recent_peer_disconnections = cast("list[float]", deque(maxlen=STATISTICS_MAX))
    pubsub = Pubsub(
        host,
        router,
        strict_signing=True,
        seen_ttl=120,
        allowed_topics=settings.topics,
        max_subscriptions_per_peer=16,
    )
    # A clock of seconds would number the messages after a restart lower than those before it, and
    # peers would drop them as seen.
    pubsub.counter = time.time_ns()
    return pubsub, router


class ConnectionNotifier(INotifee):
    """Calls `on_connection` for each new connection of the library."""

    def __init__(self, on_connection: Callable[[SwarmConn], object]) -> None:
        self._on_connection = on_connection

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        assert isinstance(conn, SwarmConn)
        self._on_connection(conn)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        """Do nothing: each connection's own event is sooner."""

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Do nothing: streams come to their handlers."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Do nothing: readers find the end themselves."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Do nothing: the transport reads its addresses when all are open."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Do nothing: it closes with the transport."""


@asynccontextmanager
async def closing_sockets(swarm: Swarm, pubsub: Pubsub) -> AsyncIterator[None]:
    """Close what would outlive a host: connections, sockets that listen, a cache's thread."""
    try:
        yield
    finally:
        # The library closes its sockets in a cancelled task, which closes nothing: listeners would
        # accept, deaf, until the process ends, and peers would wait for a host that broke down.
        with trio.CancelScope(shield=True):
            for connection in connections_of(swarm):
                assert isinstance(connection.muxed_conn, Yamux)
                await connection.muxed_conn.secured_conn.close()
            for listener in tuple(swarm.listeners.values()):
                await listener.close()
        pubsub.seen_messages.stop()


def connections_of(swarm: Swarm) -> list[SwarmConn]:
    """List the connections to all peers."""
    connections = swarm.get_connections()
    return [connection for connection in connections if isinstance(connection, SwarmConn)]


def is_alive(connection: SwarmConn) -> bool:
    """Return whether a connection can still carry something."""
    assert isinstance(connection.muxed_conn, Yamux)
    return not connection.is_closed and not connection.muxed_conn.event_shutting_down.is_set()


def address_of(connection: SwarmConn) -> str:
    """Write where the other end of a connection is, with its peer id."""
    muxed = connection.muxed_conn
    assert isinstance(muxed, Yamux)
    remote = muxed.get_remote_address()
    if remote is None:
        return f"/p2p/{muxed.peer_id}"
    host, port = unmapped(remote[0]), remote[1]
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}/p2p/{muxed.peer_id}"


async def open_on(
    host: BasicHost, connection: SwarmConn, protocol: TProtocol, seconds: float
) -> INetStream:
    """Open a stream on one of a peer's connections, where the library would choose another."""
    stream = await connection.new_stream()
    communicator = MultiselectCommunicator(stream)
    await host.multiselect_client.select_one_of([protocol], communicator, max(1, int(seconds)))
    stream.set_protocol(protocol)
    return stream


async def hang_up(connection: SwarmConn) -> None:
    """Close a connection: politely if that works at once, else by its socket."""
    with trio.move_on_after(HANG_UP_LIMIT_SECONDS) as scope:
        await connection.close()
    if scope.cancelled_caught:
        assert isinstance(connection.muxed_conn, Yamux)
        await connection.muxed_conn.secured_conn.close()


async def give_up(stream: INetStream | None) -> None:
    """Reset a stream, whatever state it is in, even while being cancelled."""
    if stream is None:
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + HANG_UP_LIMIT_SECONDS):
        try:
            await stream.reset()
        except Exception as error:  # noqa: BLE001 - a stream that cannot be reset is gone already
            _log.debug("reset-stream reason=%r", error)
