"""A WebSocket to a node over a blocking socket: JSON-RPC calls and subscriptions.

wsproto knows the protocol and this file knows the socket, so Ctrl-C and timeouts work as for any
blocking read. Not for use from several threads.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, ProtocolError, RemoteProtocolError

from node.client.endpoint import DEFAULT_URL, Endpoint, parse_endpoint
from node.client.errors import RequestRefusedError, UnreachableError

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
NOTIFICATIONS_MAX: Final = 4_096
RECEIVE_BYTES: Final = 64 * 1024


class WaitEndedError(Exception):
    """Nothing came in the time allowed; the caller decides what that means."""


class Subscription:
    """The notifications of one subscription."""

    def __init__(self, transport: WebSocketTransport, identity: str) -> None:
        self._transport = transport
        self.identity = identity

    def next(self, deadline: float | None) -> Any:
        """Return the next notification's result. Raises WaitEndedError, UnreachableError."""
        return self._transport.notification(self.identity, deadline)


class WebSocketTransport:
    """One connection. Raises UnreachableError when it cannot be made or is lost."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._number = 0
        self._parts: list[str] = []
        self._texts: deque[str] = deque()
        self._notifications: dict[str, deque[Any]] = {}
        self._protocol = WSConnection(ConnectionType.CLIENT)
        try:
            self._socket = _connect(endpoint, timeout_s)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise too_late(endpoint.websocket_url, timeout_s) from error
            raise unreachable(endpoint.websocket_url, error) from error
        try:
            self._open(time.monotonic() + timeout_s)
        except UnreachableError:
            self._socket.close()
            raise

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the result of a method. Raises RequestRefusedError, UnreachableError."""
        self._number += 1
        number = self._number
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self._send(TextMessage(data=json.dumps(request)))
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                message = self._message(deadline)
            except WaitEndedError as error:
                raise UnreachableError(
                    f"The node at {self._endpoint.websocket_url} did not answer {method} within "
                    f"{self._timeout_s:g} s. Try again, or allow more with --timeout."
                ) from error
            if message.get("id") == number:
                return result_of(message, method)
            self._store_notification(message)

    @contextmanager
    def subscribe(self, method: str, params: list[Any], unsubscribe: str) -> Iterator[Subscription]:
        """Receive notifications within the body."""
        identity = str(self.call(method, params))
        self._notifications.setdefault(identity, deque())
        try:
            yield Subscription(self, identity)
        finally:
            self._notifications.pop(identity, None)
            # It may have ended by itself, or with the connection.
            with suppress(RequestRefusedError, UnreachableError):
                self.call(unsubscribe, [identity])

    def notification(self, identity: str, deadline: float | None) -> Any:
        """Return the next notification of a subscription. Raises WaitEndedError."""
        waiting = self._notifications[identity]
        while not waiting:
            self._store_notification(self._message(deadline))
        return waiting.popleft()

    def close(self) -> None:
        """Send a close frame and close the socket."""
        with suppress(OSError, ProtocolError):  # the other side may have closed first
            self._socket.sendall(self._protocol.send(CloseConnection(code=1000)))
        self._socket.close()

    # ------------------------------------------------------------------------------- internal

    def _open(self, deadline: float) -> None:
        endpoint = self._endpoint
        self._send(Request(host=endpoint.authority, target=endpoint.path))
        try:
            while not self._receive(deadline):
                continue
        except WaitEndedError as error:
            raise UnreachableError(
                f"Something listens at {endpoint.websocket_url} but did not open a WebSocket "
                f"within {self._timeout_s:g} s. Check the port, or allow more with --timeout."
            ) from error

    def _store_notification(self, message: dict[str, Any]) -> None:
        params = message.get("params")
        if not isinstance(params, dict) or "subscription" not in params:
            return
        # A notification may overtake the answer with its id, so those of unknown ids are stored.
        waiting = self._notifications.setdefault(str(params["subscription"]), deque())
        if len(waiting) < NOTIFICATIONS_MAX:
            waiting.append(params.get("result"))

    def _message(self, deadline: float | None) -> dict[str, Any]:
        while not self._texts:
            self._receive(deadline)
        text = self._texts.popleft()
        try:
            message = json.loads(text)
        except ValueError as error:
            raise UnreachableError(
                f"What answers at {self._endpoint.websocket_url} is no JSON-RPC node. "
                "Check the address."
            ) from error
        return message if isinstance(message, dict) else {}

    def _send(self, event: Event) -> None:
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(self._protocol.send(event))
        except TimeoutError as error:
            raise too_late(self._endpoint.websocket_url, self._timeout_s) from error
        except (OSError, LocalProtocolError) as error:  # the latter: the node said goodbye before
            raise unreachable(self._endpoint.websocket_url, error) from error

    def _receive(self, deadline: float | None) -> bool:
        """Read once from the socket; return whether the connection was accepted."""
        remaining = None if deadline is None else deadline - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise WaitEndedError
        try:
            self._socket.settimeout(remaining)
            data = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError as error:
            raise WaitEndedError from error
        except OSError as error:
            raise unreachable(self._endpoint.websocket_url, error) from error
        try:
            self._protocol.receive_data(data or None)
            accepted = False
            for event in self._protocol.events():
                accepted = self._handle(event) or accepted
            return accepted
        except RemoteProtocolError as error:
            raise unreachable(self._endpoint.websocket_url, error) from error

    def _handle(self, event: Event) -> bool:
        if isinstance(event, TextMessage):
            self._parts.append(event.data)
            if sum(map(len, self._parts)) > MESSAGE_BYTES_MAX:
                raise UnreachableError(
                    f"The node at {self._endpoint.websocket_url} sent more than "
                    f"{MESSAGE_BYTES_MAX} bytes in one message. Ask for less."
                )
            if event.message_finished:
                self._texts.append("".join(self._parts))
                self._parts.clear()
        elif isinstance(event, Ping):
            self._send(event.response())
        elif isinstance(event, RejectConnection | CloseConnection):
            raise UnreachableError(
                f"The node at {self._endpoint.websocket_url} closed the connection. "
                "Try again; its log says why."
            )
        return isinstance(event, AcceptConnection)


def result_of(message: dict[str, Any], method: str) -> Any:
    """Return the result in a JSON-RPC answer. Raises RequestRefusedError."""
    error = message.get("error")
    if not isinstance(error, dict):
        return message.get("result")
    text, data, code = str(error.get("message")), error.get("data"), error.get("code")
    details = f"{text}: {data}" if isinstance(data, str) else text
    raise RequestRefusedError(
        f"The node refused {method}: {details}", code if isinstance(code, int) else 0, data
    )


def unreachable(url: str, error: Exception) -> UnreachableError:
    """Return the error for an address where no node answers."""
    endpoint = parse_endpoint(url)
    if endpoint.host not in LOOPBACK:
        return UnreachableError(
            f"No node answers at {url} ({error}). See that one runs there, or name another with "
            "--url."
        )
    is_default = endpoint.port == parse_endpoint(DEFAULT_URL).port
    port = "" if is_default else f" --port {endpoint.port}"
    return UnreachableError(
        f"No node answers at {url} ({error}). Start one with `openledger dev{port}`, or name "
        "another with --url."
    )


def too_late(url: str, timeout_s: float) -> UnreachableError:
    """Return the error for an address where nobody answers in time, which may be a slow node."""
    return UnreachableError(
        f"No node answered at {url} within {timeout_s:g} s. Check the address, or allow more with "
        "--timeout."
    )


def _connect(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    plain = socket.create_connection((endpoint.host, endpoint.port), timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not endpoint.is_secure:
        return plain
    return ssl.create_default_context().wrap_socket(plain, server_hostname=endpoint.host)
