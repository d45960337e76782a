"""Patches for the defects of libp2p 0.8.1, each as narrow as possible.

Each patch is named after its effect; its docstring states the defect, and tests/p2p/attacks shows
that defect from outside. The version is asserted, because a patch for other code than the one read
is a new defect. Defects are numbered; those without a patch (6 the negative cache of dials, 7
sequence numbers, 8 keepalive, 10 long messages, 12 configuration) are avoided by how `libp2p_host`,
`libp2p_setup` and `service` use the library.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.io.exceptions import ConnectionClosedError, MessageTooLarge
from libp2p.io.trio import TrioTCPStream
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.stream.net_stream import NetStream
from libp2p.network.swarm import Swarm
from libp2p.peer.peerstore import env_to_send_in_RPC
from libp2p.pubsub import gossipsub as gossipsub_module
from libp2p.pubsub import pubsub as pubsub_module
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import DefaultMaxMessageSize, RpcQueue
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.stream_muxer.yamux import yamux as yamux_module
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from libp2p.transport.tcp import tcp as tcp_module
from libp2p.utils.varint import decode_uvarint

if TYPE_CHECKING:
    from libp2p.abc import IHost
    from libp2p.io.abc import ReadWriteCloser
    from libp2p.peer.id import ID
    from libp2p.pubsub.pb import rpc_pb2
    from multiaddr import Multiaddr

VERSION: Final = "0.8.1"
GOSSIP_QUEUE_MAX: Final = 1024
"""Gossip messages that wait for one slow peer; the library's 32 lose most of a burst."""
STREAMS_MAX: Final = 64
"""Streams of one connection, of both sides; own use needs about two dozen."""
WINDOW_BYTES_MAX: Final = 1 << 20
"""What a peer may send on a stream before it is read; the library's 16 MiB fill the memory."""
RECORDS_MAX: Final = 256
"""Signed records of peers that are remembered as checked."""
VARINT_BYTES_MAX: Final = 10
GOSSIP_READ_BYTES: Final = 64 << 10
SOCKET_READ_BYTES: Final = 64 << 10
WRITE_LIMIT_SECONDS: Final = 5.0
"""A connection that takes nothing for so long is closed."""

_log = logging.getLogger(__name__)
_is_applied = False


class VersionError(RuntimeError):
    """Another libp2p is installed than the one that the patches were written for."""


class WindowExceededError(trio.TooSlowError):
    """A peer sent more than it was allowed to: of the kind that makes Yamux close a connection."""


class Reader(Protocol):
    """The operation on a stream that reading gossip needs."""

    async def read(self, n: int | None = None) -> bytes: ...


def apply(skip: Collection[str] = ()) -> None:
    """Apply every patch once; `skip` is for tests that show a defect. Raises VersionError."""
    global _is_applied
    installed = version("libp2p")
    if installed != VERSION:
        raise VersionError(
            f"libp2p {installed} is installed, and its patches are for {VERSION}. "
            f"Install libp2p=={VERSION}, or read the new code and renew the patches."
        )
    assert set(skip) <= set(PATCHES), skip
    if _is_applied:
        return
    _is_applied = True
    # Without a handler, Python prints the library's warnings, and any peer can cause them.
    logging.getLogger("libp2p").addHandler(logging.NullHandler())
    for name, patch in PATCHES.items():
        if name not in skip:
            patch()


def connection_of(stream: object) -> SwarmConn:
    """Return the connection of a stream that the library gave to a handler."""
    assert isinstance(stream, NetStream), stream
    assert stream.swarm_conn is not None
    return stream.swarm_conn


def _replace(owner: type | ModuleType, name: str, by: object) -> None:
    assert hasattr(owner, name), name
    setattr(owner, name, by)


def _contain_streams() -> None:
    """1, 4: an exception in a stream's handler ends the process; it shall end the stream."""
    original = BasicHost._swarm_stream_handler

    async def handle(host: BasicHost, stream: NetStream) -> None:
        if len(connection_of(stream).streams) > STREAMS_MAX:
            await stream.reset()
            return
        try:
            await original(host, stream)
        except Exception as error:  # noqa: BLE001 - whatever bytes of a peer raise
            _log.debug("contain-stream peer=%s reason=%r", stream.muxed_conn.peer_id, error)
            await stream.reset()

    _replace(BasicHost, "_swarm_stream_handler", handle)


def _contain_messages() -> None:
    """2, 3: a gossip message with a bad key, or a raising validator, ends the process."""
    original = Pubsub.push_msg

    async def push(pubsub: Pubsub, forwarder: ID, message: rpc_pb2.Message) -> None:
        try:
            await original(pubsub, forwarder, message)
        except Exception as error:  # noqa: BLE001 - whatever bytes of a peer raise
            _log.debug("contain-message peer=%s reason=%r", forwarder, error)

    _replace(Pubsub, "push_msg", push)


def _return_inbound_slots() -> None:
    """5: the slot of an inbound connection was held until the host stops, not until it closes."""

    async def handle(swarm: Swarm, raw: ReadWriteCloser, address: Multiaddr, _: object) -> None:
        connection = RawConnection(raw, False)
        try:
            muxed = await swarm.upgrade_inbound_raw_conn(connection, address)
            for connected in swarm.get_connections(muxed.peer_id):
                if connected.muxed_conn is muxed and isinstance(connected, SwarmConn):
                    await connected.event_closed.wait()
        except Exception as error:  # noqa: BLE001 - whatever an unknown peer's handshake raises
            _log.debug("end-inbound reason=%r", error)
        finally:
            with trio.CancelScope(shield=True):
                await connection.close()

    _replace(Swarm, "_do_handle_inbound_connection", handle)


def _lengthen_queues() -> None:
    """9: of a burst of gossip all but 32 messages were lost, on each side."""
    original = RpcQueue.__init__

    def make(
        queue: RpcQueue,
        max_size: int = GOSSIP_QUEUE_MAX,
        max_message_size: int = DefaultMaxMessageSize,
    ) -> None:
        original(queue, max_size, max_message_size)

    def notify(_: Pubsub, __: rpc_pb2.Message) -> None:
        """Queue nothing for subscribers: the topic's validator has delivered the message."""

    _replace(RpcQueue, "__init__", make)
    _replace(Pubsub, "notify_subscriptions", notify)


def _refuse_shared_ports() -> None:
    """11: two processes listen on one port by SO_REUSEPORT, each unreachable for half its peers."""

    def set_flags(listening: trio.socket.SocketType) -> None:
        # A node that was killed gets its port back at once, and shares it with no other process.
        listening.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)

    _replace(tcp_module, "_set_reuse_flags", set_flags)


def _buffer_gossip() -> None:
    """13: each byte of a length was a read of its own, answered by a window update."""
    buffers: WeakKeyDictionary[Reader, bytearray] = WeakKeyDictionary()

    async def read(stream: Reader, max_length: int) -> bytes:
        buffer = buffers.setdefault(stream, bytearray())
        while (start := _varint_end(buffer)) is None:
            buffer += await stream.read(GOSSIP_READ_BYTES)
        size = decode_uvarint(bytes(buffer[:start]))
        if size > max_length:
            raise MessageTooLarge(f"A peer announces {size} bytes of gossip.")
        while len(buffer) < start + size:
            buffer += await stream.read(GOSSIP_READ_BYTES)
        message = bytes(memoryview(buffer)[start : start + size])
        del buffer[: start + size]
        return message

    _replace(pubsub_module, "read_varint_prefixed_bytes_limited", read)


def _varint_end(buffer: bytearray) -> int | None:
    for place, byte in enumerate(buffer[:VARINT_BYTES_MAX]):
        if byte < 0x80 or place == VARINT_BYTES_MAX - 1:
            return place + 1
    return None


def _remember_records() -> None:
    """13: a signed record of the sender was checked, and one's own made, for each message."""
    checked: WeakKeyDictionary[IHost, OrderedDict[ID, bytes]] = WeakKeyDictionary()
    own: WeakKeyDictionary[IHost, tuple[tuple[str, ...], bytes]] = WeakKeyDictionary()

    def consume(message: rpc_pb2.RPC, host: IHost, peer: ID) -> bool:
        records = checked.setdefault(host, OrderedDict())
        if message.HasField("senderRecord") and records.get(peer) == message.senderRecord:
            return True
        if not maybe_consume_signed_record(message, host, peer):
            return False
        records[peer] = message.senderRecord
        if len(records) > RECORDS_MAX:
            records.popitem(last=False)
        return True

    def envelope(host: IHost) -> tuple[bytes, bool]:
        listening = tuple(host.get_network().listeners)
        if host not in own or own[host][0] != listening:
            own[host] = listening, env_to_send_in_RPC(host)[0]
        return own[host][1], False

    for module in (pubsub_module, gossipsub_module):
        _replace(module, "maybe_consume_signed_record", consume)
        _replace(module, "env_to_send_in_RPC", envelope)


def _ignore_unknown_topics() -> None:
    """14: state of any topic that a peer invents is stored, and peers it names are dialled."""
    original = GossipSub.handle_rpc

    async def handle(router: GossipSub, message: rpc_pb2.RPC, peer: ID) -> None:
        control, known = message.control, getattr(router.pubsub, "allowed_topics", None) or ()
        for notes in (control.ihave, control.graft, control.prune):
            for place in reversed(range(len(notes))):
                if notes[place].topicID not in known:
                    del notes[place]
        for note in control.prune:
            del note.peers[:]
        await original(router, message, peer)

    def forget(_: GossipSub, __: rpc_pb2.Message) -> bool:
        """Store no message to compare another of its id with: a seen id is dropped before."""
        return True

    _replace(GossipSub, "handle_rpc", handle)
    _replace(GossipSub, "_check_equivocation", forget)


def _enforce_windows() -> None:
    """15: a peer that ignores flow control fills the memory; resets did not free the buffer."""
    slot = "_openledger_recv_window"
    original = YamuxStream.reset

    def get(stream: YamuxStream) -> int:
        return int(getattr(stream, slot))

    def put(stream: YamuxStream, size: int) -> None:
        setattr(stream, slot, size)
        if size < 0:
            raise WindowExceededError("The peer ignores flow control.")

    async def reset(stream: YamuxStream) -> None:
        stream.conn.stream_buffers.pop(stream.stream_id, None)
        await original(stream)

    YamuxStream.recv_window = property(get, put)  # type: ignore[assignment]
    _replace(YamuxStream, "reset", reset)
    _replace(yamux_module, "MAX_WINDOW_SIZE", WINDOW_BYTES_MAX)


def _gather_windows() -> None:
    """18: each read was answered by a window update: half of all frames, each one encrypted."""
    original = YamuxStream._auto_tune_and_send_window_update

    async def update(stream: YamuxStream, *, bytes_read: int = 0) -> None:
        """Acknowledge half a window at once; so early that a sender never waits for it."""
        stream._pending_recv_release += bytes_read
        if stream._pending_recv_release >= stream.target_recv_window // 2:
            await original(stream)

    _replace(YamuxStream, "_auto_tune_and_send_window_update", update)


def _read_ahead() -> None:
    """19: the length of each encrypted message was read from the socket by itself."""
    buffers: WeakKeyDictionary[TrioTCPStream, bytearray] = WeakKeyDictionary()
    original = TrioTCPStream.read

    async def read(stream: TrioTCPStream, n: int | None = None) -> bytes:
        if n == 0:
            return b""
        buffer = buffers.setdefault(stream, bytearray())
        if not buffer:
            buffer += await original(stream, SOCKET_READ_BYTES)
        start = bytes(memoryview(buffer)[:n])
        del buffer[: len(start)]
        return start

    _replace(TrioTCPStream, "read", read)


def _name_ipv6_peers() -> None:
    """20: the address of an IPv6 peer was unknown: four items where two were expected."""
    original = TrioTCPStream.get_remote_address

    def get(stream: TrioTCPStream) -> tuple[str, int] | None:
        known: tuple[str, int] | None = original(stream)
        socket = getattr(stream.stream, "socket", None)
        if known is not None or socket is None:
            return known
        try:
            host, port = socket.getpeername()[:2]
        except (OSError, ValueError):
            return None
        stream._cached_remote_address = (str(host), int(port))
        return stream._cached_remote_address

    _replace(TrioTCPStream, "get_remote_address", get)


def _disable_auto_dial() -> None:
    """17: the library's own connector dials every peer it ever learned of, banned ones too."""

    async def connect(_: AutoConnector) -> None:
        """Dial nothing: the dialer decides which peers are dialled."""

    _replace(AutoConnector, "maybe_connect", connect)


def _write_whole_frames() -> None:
    """16: a cancelled write leaves half a frame and ends the connection; a stuck one never ends."""

    async def write(connection: Yamux, frame: bytes) -> None:
        async with connection._write_lock:
            deadline = trio.current_time() + WRITE_LIMIT_SECONDS
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                await connection.secured_conn.write(frame)
            if scope.cancelled_caught:
                await connection.secured_conn.close()
                raise ConnectionClosedError("The peer takes nothing; the connection is closed.")
        await trio.lowlevel.checkpoint()

    _replace(Yamux, "_write_frame", write)


PATCHES: Final[Mapping[str, Callable[[], None]]] = {
    "contain-streams": _contain_streams,
    "contain-messages": _contain_messages,
    "return-inbound-slots": _return_inbound_slots,
    "lengthen-queues": _lengthen_queues,
    "refuse-shared-ports": _refuse_shared_ports,
    "buffer-gossip": _buffer_gossip,
    "remember-records": _remember_records,
    "ignore-unknown-topics": _ignore_unknown_topics,
    "enforce-windows": _enforce_windows,
    "gather-windows": _gather_windows,
    "read-ahead": _read_ahead,
    "disable-auto-dial": _disable_auto_dial,
    "name-ipv6-peers": _name_ipv6_peers,
    "write-whole-frames": _write_whole_frames,
}
