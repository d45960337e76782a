"""TCP connections of clients: counted, bounded, timed, and each isolated from the node.

Hypercorn speaks HTTP and WebSocket on each of them. Its own `serve` puts all connections into one
nursery, in which one damaged frame ends them all; it shields sends from cancellation, so one client
that reads nothing holds up a shutdown; it keeps a closed connection until its idle or ping timer
has run out; and a connection whose queues are full when a send fails waits for itself. So its
per-connection server is used here, over a transport that gives up on a peer which takes nothing
and ends timers and tasks with the stream, behind a handler that no exception leaves.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.protocol import ws_stream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from wsproto.extensions import Extension

from node.operations.metrics import Metrics
from node.rpc.limits import Limits
from runtime.errors import ExitCode, OpenLedgerError, first_cause

logger = logging.getLogger(__name__)

SEND_BYTES_MAX: Final = 256 * 1024
"""How much of an answer must go out within one send timeout."""
BACKLOG_MAX: Final = 512
HEADER_BYTES_MAX: Final = 64 * 1024
KEEPALIVE_IDLE_SECONDS: Final = 30
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 3
ENDED_PING_SECONDS: Final = 0.05
ABORT: Final = struct.pack("ii", 1, 0)
TOO_MANY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n"
    b"retry-after: 10\r\n\r\n"
)


class ListenError(OpenLedgerError):
    """The server cannot listen where it was told to."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class ServerEndpoint:
    """Where the server listens."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The WebSocket address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}"


def is_loopback(address: str) -> bool:
    """Return whether a numeric address is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


class Life(WorkerContext):
    """Hypercorn's context, one for each connection: `terminated` once its stream has ended."""

    def __init__(self) -> None:
        super().__init__(None)

    async def sleep(self, wait: float | int) -> None:  # type: ignore[override]
        """Sleep, but not for long once the connection has ended: the ping timer's sleep."""
        with trio.move_on_after(wait):
            await self.terminated.wait()
            await trio.sleep(ENDED_PING_SECONDS)


class ClientStream:
    """A client's byte stream for Hypercorn that gives up on a peer which takes nothing."""

    def __init__(
        self, stream: trio.SocketStream, peer: str, limits: Limits, metrics: Metrics
    ) -> None:
        self._stream = stream
        self._peer = peer
        self._timeout_s = limits.send_timeout_s
        self._metrics = metrics
        self.life = Life()
        self.scope = trio.CancelScope()
        self.socket = stream.socket

    async def send_all(self, data: bytes) -> None:
        """Send, or raise BrokenResourceError when the peer takes nothing for too long."""
        view = memoryview(data)
        for start in range(0, len(view), SEND_BYTES_MAX):
            with trio.move_on_after(self._timeout_s) as scope:
                try:
                    await self._stream.send_all(view[start : start + SEND_BYTES_MAX])
                except trio.BrokenResourceError:
                    self.abort()
                    raise
            if scope.cancelled_caught:
                logger.warning("connection-dropped peer=%s reason=takes-nothing", self._peer)
                self._metrics.rpc_dropped.inc()
                self.abort()
                raise trio.BrokenResourceError("the peer takes nothing")

    async def receive_some(self, size_max: int) -> bytes:
        """Receive; ends the connection's life with its stream."""
        data = b""
        try:
            data = bytes(await self._stream.receive_some(size_max))
        finally:
            if not data:
                await self.life.terminated.set()
        return data

    async def send_eof(self) -> None:
        """Close the sending half of the stream."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()

    def abort(self) -> None:
        """Close at once and end all tasks of the connection."""
        self.scope.cancel()
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        except OSError:
            logger.debug("connection-gone peer=%s", self._peer)
        self.socket.close()


class Connections:
    """All connections of one server."""

    def __init__(self, app: Any, limits: Limits, metrics: Metrics) -> None:
        self._app = ASGIWrapper(app)
        self._limits = limits
        self._metrics = metrics
        self._config = _config(limits)
        self._transports: set[ClientStream] = set()
        self._peers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._transports)

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Accept connections until cancelled; then all of them are cut."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cut_at_end)
            await trio.serve_listeners(self._handle, listeners, handler_nursery=nursery)

    async def _cut_at_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            for transport in list(self._transports):
                transport.abort()

    async def _handle(self, stream: trio.SocketStream) -> None:
        peer = "unknown"
        try:
            peer = str(stream.socket.getpeername()[0])
            await self._admit(stream, peer)
        except Exception as error:  # noqa: BLE001 - a client's failure is not the node's
            logger.warning("connection-failed peer=%s error=%r", peer, first_cause(error))
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _admit(self, stream: trio.SocketStream, peer: str) -> None:
        limits = self._limits
        if len(self) >= limits.connections or self._peers[peer] >= limits.connections_per_peer:
            logger.warning("connection-refused peer=%s open=%d", peer, len(self))
            self._metrics.rpc_refused.inc()
            with trio.move_on_after(1):
                await stream.send_all(TOO_MANY)
            return
        _watch_peer(stream.socket, limits.send_timeout_s)
        transport = ClientStream(stream, peer, limits, self._metrics)
        self._transports.add(transport)
        self._peers[peer] += 1
        self._metrics.rpc_connections.set(len(self))
        try:
            with transport.scope:
                await TCPServer(
                    self._app,
                    self._config,
                    transport.life,
                    ConnectionState({}),
                    cast(Any, transport),
                )
        finally:
            self._transports.discard(transport)
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]
            self._metrics.rpc_connections.set(len(self))


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Open the listening sockets; port 0 lets the system choose. Raises ListenError."""
    try:
        return list(await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG_MAX))
    except OSError as error:
        raise ListenError(
            f"The JSON-RPC server cannot listen on {host}:{port}: {error}. {_remedy(error)}"
        ) from error


async def check_can_listen(host: str, port: int) -> None:
    """Refuse an address on which `listen` would fail. Raises ListenError."""
    for listener in await listen(host, port):
        await listener.aclose()


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "Choose a host name or address of this machine."
    if error.errno == errno.EADDRNOTAVAIL:
        return "Choose an address of this machine; 0.0.0.0 and :: are all of them."
    return "Choose another port, or stop who uses this one."


def endpoint_of(listeners: list[trio.SocketListener]) -> ServerEndpoint:
    """Return where listeners listen; the first one's where there are several."""
    host, port = listeners[0].socket.getsockname()[:2]
    return ServerEndpoint(str(host), int(port))


class _Uncompressed(Extension):
    """Stands where hypercorn offers to inflate messages: a message of kilobytes would else become
    one of megabytes, which is read while nothing else runs."""

    name = "uncompressed"

    def offer(self) -> bool:
        return False


ws_stream.PerMessageDeflate = _Uncompressed  # type: ignore[attr-defined, assignment]


def _config(limits: Limits) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger(f"{__name__}.http")
    config.include_server_header = False
    config.keep_alive_timeout = limits.idle_timeout_s
    config.websocket_ping_interval = limits.ping_interval_s
    config.websocket_max_message_size = limits.request_bytes
    config.h11_max_incomplete_size = HEADER_BYTES_MAX
    return config


def _watch_peer(sock: trio.socket.SocketType, timeout_s: float) -> None:
    """Let the system find peers that vanished without a word: half-open connections end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", max(1, int(timeout_s * 1_000))),
    ):
        # Not every system has every option.
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
