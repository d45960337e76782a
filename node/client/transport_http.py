"""HTTP to a node: JSON-RPC calls by POST, and the other routes of the port (files, answers)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from node.client.endpoint import Endpoint
from node.client.errors import RequestRefusedError, UnreachableError
from node.client.recording import Recording
from node.client.transport_websocket import result_of, too_late, unreachable

RESPONSE_BYTES_MAX: Final = 64 << 20
SENTENCE_CHARACTERS_MAX: Final = 1_000
"""Of what a node says in a refusal."""


class HttpTransport:
    """Requests over connections that stay open. Raises UnreachableError."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            base_url=endpoint.http_url, timeout=timeout_s, trust_env=False, follow_redirects=False
        )
        self._number = 0
        self.recording: Recording | None = None

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC method. Raises RequestRefusedError."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        answer = self.request("POST", "/", json=request)
        message = json_of(answer)
        if not isinstance(message, dict):
            raise RequestRefusedError(f"The node answered {method} with no JSON-RPC.")
        return result_of(message, method)

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Return the answer to a request, whatever its status. Raises UnreachableError."""
        if self.recording is None or method != "GET":
            return self._request(method, path, arguments)
        question = f"GET {path} {json.dumps(arguments, sort_keys=True)}"
        status, _, content = self.recording.response(
            question, lambda: _with_status(self._request(method, path, arguments))
        ).partition(b"\n")
        return httpx.Response(int(status), content=content)

    def _request(self, method: str, path: str, arguments: dict[str, Any]) -> httpx.Response:
        try:
            with self._client.stream(method, path, **arguments) as answer:
                return read_bounded(answer)
        except httpx.TimeoutException as error:
            raise too_late(self._endpoint.http_url, self._timeout_s) from error
        except httpx.HTTPError as error:
            raise unreachable(self._endpoint.http_url, error) from error

    @contextmanager
    def stream(self, method: str, path: str, **arguments: Any) -> Iterator[httpx.Response]:
        """Yield an answer whose body is read piece by piece. Raises UnreachableError."""
        try:
            with self._client.stream(method, path, **arguments) as answer:
                yield answer
        except httpx.TimeoutException as error:
            raise too_late(self._endpoint.http_url, self._timeout_s) from error
        except httpx.HTTPError as error:
            raise unreachable(self._endpoint.http_url, error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def read_bounded(answer: httpx.Response) -> httpx.Response:
    """Return an answer that is read to its end, unless it has none. Raises UnreachableError."""
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > RESPONSE_BYTES_MAX:
            raise UnreachableError(
                f"The answer of the node has more than {RESPONSE_BYTES_MAX} bytes. Ask for less."
            )
    return httpx.Response(answer.status_code, content=bytes(content))


def _with_status(answer: httpx.Response) -> bytes:
    return b"%d\n%s" % (answer.status_code, answer.content)


def json_of(answer: httpx.Response) -> Any:
    """Return the JSON body of an answer. Raises UnreachableError for anything else."""
    try:
        return answer.json()
    except (ValueError, RecursionError) as error:
        raise UnreachableError(
            f"What answers is no node (HTTP {answer.status_code}, no JSON). Check the address."
        ) from error


def refusal_of(answer: httpx.Response) -> str:
    """Return the sentence in an HTTP error of a node."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return answer.text[:200] or f"HTTP {answer.status_code}"
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error)[:SENTENCE_CHARACTERS_MAX]
