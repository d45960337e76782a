"""Connections to programs that are no node, or that end the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from node.client import Client, UnreachableError


@contextmanager
def neighbour(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A program that listens and does something else than a node."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                answer(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"
    thread.join(5)


def silent(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.settimeout(5)
    connection.recv(1)


def closing(connection: socket.socket) -> None:
    connection.recv(65_536)


def rude(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"SSH-2.0-OpenSSH\r\n")


@pytest.mark.parametrize("answer", [silent, closing, rude])
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_what_is_no_node_is_unreachable(
    answer: Callable[[socket.socket], None], scheme: str
) -> None:
    with neighbour(answer) as url, Client(url.replace("ws", scheme), timeout_s=0.3) as client:
        with pytest.raises(UnreachableError):
            client.info()
        client.close()


def saying_goodbye(connection: socket.socket) -> None:
    """Speak WebSocket, answer the first message with a close, and stay on the line."""
    protocol = WSConnection(ConnectionType.SERVER)
    while data := connection.recv(65_536):
        protocol.receive_data(data)
        for event in protocol.events():
            if isinstance(event, Request):
                connection.sendall(protocol.send(AcceptConnection()))
            elif isinstance(event, TextMessage):
                connection.sendall(protocol.send(CloseConnection(code=1001)))


def test_a_node_that_said_goodbye_stays_unreachable() -> None:
    with neighbour(saying_goodbye) as url, Client(url, timeout_s=5) as client:
        for _ in range(2):
            with pytest.raises(UnreachableError):
                client.call("system_chain")


def test_nobody_listening_is_unreachable() -> None:
    with Client("ws://127.0.0.1:1") as client, pytest.raises(UnreachableError, match="dev"):
        client.info()
