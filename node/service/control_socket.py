"""The control socket of a devnet's node: how a test cuts the node off, slows it, sets its pace.

    {"do": "block", "peers": [...]}   neither talk nor listen to these peers   {"ok": true}
    {"do": "unblock"}                 talk to everyone again
    {"do": "latency", "ms": n}        hold every outgoing message for n milliseconds
    {"do": "propose_immediately", "until": height}
                                    propose at once, empty blocks too, up to this height
    {"do": "state"}                   what of the above holds now              {"ok": true, ...}

One JSON object a line in, one out; what cannot be done is answered {"ok": false, "error": "..."}.

Rules that hold here:
- Only a node of a development chain opens the socket, and only when its configuration says so.
- Only this user may open the socket (mode 0600), and listens only once that is so.
- Lines, connections and waits are bounded. Nothing that a caller writes ends the node.
"""

from __future__ import annotations

import json
import logging
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from node.keys.node_keys import DEVELOPMENT_TYPES
from runtime.errors import ExitCode, OpenLedgerError

SOCKET_NAME: Final = "control.sock"
LINE_BYTES_MAX: Final = 64 << 10
CONNECTIONS_MAX: Final = 8
PEERS_MAX: Final = 1_024
LATENCY_MS_MAX: Final = 60_000
HEIGHT_MAX: Final = 1 << 32
IDLE_SECONDS: Final = 30.0
_PATH_BYTES_MAX: Final = 100
"""Unix sockets have short paths: 104 to 108 bytes, by system."""
_MODE: Final = 0o600

logger = logging.getLogger(__name__)


class ControlRefusedError(OpenLedgerError):
    """The control socket cannot be opened; the message says why."""

    exit_code = ExitCode.USAGE


class _RequestError(ValueError):
    """A line is no request; the caller is told why."""


class Controlled(Protocol):
    """What is controlled; its methods return at once and keep nothing that they are given."""

    def block(self, peers: Sequence[str], /) -> None:
        """Drop these peers and refuse them, in place of those blocked before."""

    def unblock(self) -> None:
        """Refuse no peer any more."""

    def set_latency_ms(self, latency_ms: int, /) -> None:
        """Hold every outgoing message this long."""

    def propose_immediately(self, until: int, /) -> None:
        """Propose at once, empty blocks too, until this height is final."""

    def state(self) -> Mapping[str, object]:
        """Return what holds now, as JSON values."""


class Started(Protocol):
    """What trio gives to a task that is started."""

    def started(self, path: Path, /) -> None: ...


async def serve_control(
    base_path: Path,
    chain_type: str,
    controlled: Controlled,
    *,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on BASE_PATH/control.sock until cancelled; started() passes the actual path.

    Raises ControlRefusedError on a chain that is not for development.
    """
    if chain_type not in DEVELOPMENT_TYPES:
        raise ControlRefusedError(
            f"The control socket can stop a node from talking to others, so only chains of type "
            f"{' or '.join(DEVELOPMENT_TYPES)} have it; this one is {chain_type}. "
            "Start the node without --control."
        )
    with _socket_path(base_path) as path, trio.socket.socket(socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        path.chmod(_MODE)
        listening.listen(CONNECTIONS_MAX)
        listener = trio.SocketListener(listening)
        server = _Server(controlled)
        logger.info("control-opened path=%s", path)
        task_status.started(path)
        await trio.serve_listeners(server.serve, [listener])


@contextmanager
def _socket_path(base_path: Path) -> Iterator[Path]:
    """Yield a free path, in a private folder of its own when BASE_PATH is too long for a socket."""
    path = base_path / SOCKET_NAME
    if len(str(path).encode()) > _PATH_BYTES_MAX:
        with tempfile.TemporaryDirectory(prefix="openledger-") as folder:
            yield Path(folder) / SOCKET_NAME
        return
    path.unlink(missing_ok=True)  # the lock on the data folder shows that no node listens there
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


class _Server:
    """Serves a bounded number of callers."""

    def __init__(self, controlled: Controlled) -> None:
        self._controlled = controlled
        self._connections = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one caller until it goes, says something too long, or nothing for a while."""
        if self._connections == CONNECTIONS_MAX:
            await stream.aclose()
            return
        self._connections += 1
        try:
            async with stream:
                await self._answer_lines(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            logger.debug("control-caller-gone reason=%r", str(error))
        finally:
            self._connections -= 1

    async def _answer_lines(self, stream: trio.SocketStream) -> None:
        held = bytearray()
        with trio.move_on_after(IDLE_SECONDS) as idle:
            while data := await stream.receive_some(LINE_BYTES_MAX):
                idle.deadline = trio.current_time() + IDLE_SECONDS
                held += data
                while (end := held.find(b"\n")) >= 0:
                    line = bytes(held[:end])
                    del held[: end + 1]
                    await stream.send_all(json.dumps(self.answer(line)).encode() + b"\n")
                if len(held) > LINE_BYTES_MAX:
                    return

    def answer(self, line: bytes) -> Mapping[str, object]:
        """Do what a line asks and return the answer to it."""
        try:
            return {**self._do(_request(line)), "ok": True}
        except _RequestError as error:
            return {"ok": False, "error": str(error)}

    def _do(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        controlled = self._controlled
        match request:
            case {"do": "block", "peers": list(peers), **rest} if not rest:
                if len(peers) > PEERS_MAX or not all(isinstance(peer, str) for peer in peers):
                    raise _RequestError(f"`peers` is a list of at most {PEERS_MAX} peer ids")
                controlled.block(peers)
            case {"do": "unblock", **rest} if not rest:
                controlled.unblock()
            case {"do": "latency", "ms": ms, **rest} if not rest:
                controlled.set_latency_ms(_whole(ms, "ms", LATENCY_MS_MAX))
            case {"do": "propose_immediately", "until": until, **rest} if not rest:
                controlled.propose_immediately(_whole(until, "until", HEIGHT_MAX))
            case {"do": "state", **rest} if not rest:
                return controlled.state()
            case _:
                raise _RequestError(
                    "there is no such request; there are block with peers, unblock, latency with "
                    "ms, propose_immediately with until, and state"
                )
        logger.info("control-done request=%s", request["do"])
        return {}


def _request(line: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _RequestError(f"the line is no JSON: {error}") from error
    if not isinstance(request, dict):
        raise _RequestError("a JSON object is expected")
    return request


def _whole(value: object, name: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _RequestError(f"`{name}` is a whole number from 0 to {most}")
    return value
