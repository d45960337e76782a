"""A connection to one node: JSON-RPC by WebSocket or HTTP, made when it is first needed.

It knows requests and answers as JSON only, and records or replays them for `Recording`.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from typing import Any

from node.client.endpoint import parse_endpoint
from node.client.recording import Recording
from node.client.transport_http import HttpTransport
from node.client.transport_websocket import Subscription, WebSocketTransport


class Connection:
    """JSON-RPC calls and subscriptions. Raises RequestRefusedError, UnreachableError."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.endpoint = parse_endpoint(url)
        self.http = HttpTransport(self.endpoint, timeout_s)
        self._timeout_s = timeout_s
        self._socket: WebSocketTransport | None = None
        self._recording: Recording | None = None

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the JSON result of a JSON-RPC method, a recorded one where there is a replay."""
        if self._recording is None:
            return self._request(method, params)
        recorded = self._recording.response(
            json.dumps([method, params]), lambda: json.dumps(self._request(method, params)).encode()
        )
        return json.loads(recorded)

    def subscribe(
        self, method: str, params: list[Any], unsubscribe: str
    ) -> AbstractContextManager[Subscription]:
        """Receive notifications within the body, always by WebSocket: HTTP has none."""
        return self._websocket().subscribe(method, params, unsubscribe)

    def use_recording(self, recording: Recording) -> None:
        """Record every answer from now on, or replay recorded ones without a node."""
        self._recording = self.http.recording = recording

    def _request(self, method: str, params: list[Any]) -> Any:
        if self.endpoint.prefers_http:
            return self.http.call(method, params)
        return self._websocket().call(method, params)

    def _websocket(self) -> WebSocketTransport:
        if self._socket is None:
            self._socket = WebSocketTransport(self.endpoint, self._timeout_s)
        return self._socket
