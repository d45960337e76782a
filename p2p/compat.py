"""What libp2p 0.8.1 does wrong, put right once and narrowly, at its classes.

Each patch is named by the defect that it mends; `../tests/p2p/attacks` shows each defect from
outside. The version is asserted, because a patch of other code than the one read is a new defect.
Of the defects not listed here, dialling, sequence numbers, frames, keepalive and configuration are
settled by how `libp2p_host` and `service` use the library.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import libp2p.pubsub.gossipsub as gossipsub_module
import libp2p.pubsub.pubsub as pubsub_module
import libp2p.transport.tcp.tcp as tcp_module
import trio
from libp2p.host.basic_host import BasicHost
from libp2p.io.exceptions import ConnectionClosedError, MessageTooLarge
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.peerstore import env_to_send_in_RPC
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import DefaultMaxMessageSize, RpcQueue
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.stream_muxer.yamux.yamux import Yamux

if TYPE_CHECKING:
    from libp2p.abc import IHost, INetStream
    from libp2p.io.abc import ReadWriteCloser
    from libp2p.peer.id import ID
    from libp2p.pubsub.pb import rpc_pb2
    from multiaddr import Multiaddr

VERSION = "0.8.1"
MAX_GOSSIP_QUEUE = 1024
"""Gossip messages that wait for one slow peer; the library's 32 lose most of a burst."""
MAX_INBOUND_STREAMS = 64
"""Streams that one peer's connection may have open here; own use needs about a dozen."""
WRITE_LIMIT_S = 5.0
"""A connection that takes nothing for so long is closed."""
MAX_RECORDS = 256
GOSSIP_READ_BYTES = 64 << 10
MAX_VARINT_BYTES = 10

_log = logging.getLogger(__name__)
_applied: list[str] = []


class VersionError(RuntimeError):
    """Another libp2p than the one whose code these patches were written for."""


def apply(skip: Collection[str] = ()) -> None:
    """Apply every patch once; `skip` is for tests that show a defect. Raises VersionError."""
    installed = version("libp2p")
    if installed != VERSION:
        raise VersionError(
            f"libp2p {installed} is installed, and its patches are for {VERSION}. "
            f"Install libp2p=={VERSION}, or read the new code and renew p2p/compat.py."
        )
    assert set(skip) <= set(PATCHES), skip
    if _applied:
        return
    for name, patch in PATCHES.items():
        if name not in skip:
            patch()
    _applied.extend(PATCHES)


def _contain_streams() -> None:
    """1, 4: an exception in a stream's handler ends the process; it shall end the stream."""
    original = BasicHost._swarm_stream_handler

    async def handle(host: BasicHost, stream: INetStream) -> None:
        try:
            if len(stream.swarm_conn.get_streams()) > MAX_INBOUND_STREAMS:
                await stream.reset()
                return
            await original(host, stream)
        except Exception as error:
            _log.debug("contain-stream peer=%s reason=%r", stream.muxed_conn.peer_id, error)
            await stream.reset()

    BasicHost._swarm_stream_handler = handle


def _contain_messages() -> None:
    """2, 3: a gossip message with a bad key, or a raising validator, ends the process."""
    original = Pubsub.push_msg

    async def push(pubsub: Pubsub, forwarder: ID, message: rpc_pb2.Message) -> None:
        try:
            await original(pubsub, forwarder, message)
        except Exception as error:
            _log.debug("contain-message peer=%s reason=%r", forwarder, error)

    Pubsub.push_msg = push


def _return_inbound_slots() -> None:
    """5: the place of an inbound connection is held until the host stops, not until it closes."""

    async def handle(swarm: Swarm, raw: ReadWriteCloser, address: Multiaddr, _: object) -> None:
        connection = RawConnection(raw, False)
        try:
            muxed = await swarm.upgrade_inbound_raw_conn(connection, address)
            held = [one for one in swarm.get_connections(muxed.peer_id) if one.muxed_conn is muxed]
            for one in held:
                await one.event_closed.wait()
        except Exception as error:
            _log.debug("end-inbound reason=%r", error)
        finally:
            with trio.CancelScope(shield=True):
                await connection.close()

    Swarm._do_handle_inbound_connection = handle


def _lengthen_queues() -> None:
    """9: of a burst of gossip all but 32 messages were lost; validators take them at once."""
    RpcQueue.__init__.__defaults__ = (MAX_GOSSIP_QUEUE, DefaultMaxMessageSize)

    def notify(_: Pubsub, __: rpc_pb2.Message) -> None:
        """Queue nothing for subscribers: the validator of the topic delivered the message."""

    Pubsub.notify_subscriptions = notify


def _refuse_shared_ports() -> None:
    """11: two processes listened on one port by SO_REUSEPORT, each deaf to half its peers."""

    def set_flags(_: trio.socket.SocketType) -> None:
        """Set none: a port in use is an error that the operator sees."""

    tcp_module._set_reuse_flags = set_flags


PATCHES: Mapping[str, Callable[[], None]] = {
    "contain-streams": _contain_streams,
    "contain-messages": _contain_messages,
    "return-inbound-slots": _return_inbound_slots,
    "lengthen-queues": _lengthen_queues,
    "refuse-shared-ports": _refuse_shared_ports,
}
