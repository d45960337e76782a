"""JSON-RPC over HTTP and WebSocket, beside an echo of hypercorn and starlette."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Ping, Request, TextMessage

from benchmarks.figures import CannotRunError, Effort, Figure, Measured, faster, version_of
from benchmarks.timing import Samples, median_ratio, medians

WORK: Final = (
    "one client asks `system_chain` again and again on one connection; CPU time of the server "
    "process for a request"
)
GOAL: Final = 0.7
TIMEOUT_SECONDS: Final = 60.0
QUESTION: Final = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "system_chain", "params": []})
ROOT: Final = Path(__file__).parents[2]


def run(effort: Effort) -> Measured:
    """Ask both servers in turns."""
    # hypercorn ends a connection after 1,000 requests, so a turn is shorter.
    requests, repeats = effort.pick((900, 21), (500, 5), (5, 1))
    other = f"{version_of('hypercorn')} + {version_of('starlette')} echo"
    figures: list[Figure] = []
    with _Server("node") as node, _Server("echo") as echo:
        for name, connect in (("HTTP", _http), ("WebSocket", _websocket)):
            samples: Samples = {"node": [], "echo": []}
            for repeat in range(repeats + 1):
                for key, server in (("node", node), ("echo", echo)):
                    with connect(server.port) as ask:
                        _check(key, ask())
                        started = server.cpu_seconds()
                        for _ in range(requests):
                            ask()
                        if repeat:
                            samples[key].append((server.cpu_seconds() - started) / requests)
            cost = medians(samples)
            ours, theirs = cost["node"] * 1e6, cost["echo"] * 1e6
            ratio = median_ratio(samples, "node", "echo")
            figures.append(
                faster(
                    f"request over {name}",
                    ours=ours,
                    unit="us",
                    other=other,
                    theirs=theirs,
                    goal=GOAL,
                    ratio=ratio,
                )
            )
    return Measured(tuple(figures))


def _check(key: str, answer: str) -> None:
    if key == "echo":
        assert answer == QUESTION, answer
    else:
        assert json.loads(answer)["result"], answer


class _Server:
    """A process of benchmarks.servers."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-m", "benchmarks.servers", kind),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = _pipe(self._process.stdout).readline()
        if not line:
            error = _pipe(self._process.stderr).read().strip().rpartition("\n")[2]
            self._end()
            raise CannotRunError(f"The {kind} server did not start: {error}")
        self.port = int(line)

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used so far."""
        source = _pipe(self._process.stdin)
        source.write("\n")
        source.flush()
        return float(_pipe(self._process.stdout).readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            _pipe(pipe).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "all three pipes were asked for"
    return pipe


@contextmanager
def _http(port: int) -> Iterator[Callable[[], str]]:
    """Connect and yield a function that sends the question and returns the response."""
    request = (
        f"POST / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(QUESTION)}\r\n\r\n{QUESTION}"
    ).encode()
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:

        def ask() -> str:
            connection.sendall(request)
            data = b""
            while b"\r\n\r\n" not in data:
                data += _received(connection)
            head, _, body = data.partition(b"\r\n\r\n")
            fields = dict(
                line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line
            )
            while len(body) < int(fields[b"content-length"]):
                body += _received(connection)
            return body.decode()

        yield ask


@contextmanager
def _websocket(port: int) -> Iterator[Callable[[], str]]:
    """Connect and yield a function that sends the question and returns the response."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        protocol = WSConnection(ConnectionType.CLIENT)
        connection.sendall(protocol.send(Request(host=f"127.0.0.1:{port}", target="/")))
        accepted = False
        while not accepted:
            protocol.receive_data(_received(connection))
            accepted = any(isinstance(event, AcceptConnection) for event in protocol.events())

        def ask() -> str:
            connection.sendall(protocol.send(TextMessage(data=QUESTION)))
            text = ""
            while True:
                protocol.receive_data(_received(connection))
                for event in protocol.events():
                    if isinstance(event, Ping):
                        connection.sendall(protocol.send(event.response()))
                        continue
                    assert isinstance(event, TextMessage), f"{event} instead of an answer"
                    text += event.data
                    if event.message_finished:
                        return text

        yield ask


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise CannotRunError("A server closed the connection in the middle of the measurement.")
    return data
