"""The address of a node: one port that speaks JSON-RPC over HTTP and WebSocket, and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from node.client.errors import UsageError

DEFAULT_URL: Final = "ws://127.0.0.1:9944"
_SECURE: Final = {"ws": False, "http": False, "wss": True, "https": True}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host and port of a node, and whether TLS is spoken there."""

    host: str
    port: int
    is_secure: bool
    path: str
    prefers_http: bool

    @property
    def websocket_url(self) -> str:
        """The URL for WebSocket."""
        return f"ws{'s' if self.is_secure else ''}://{self.authority}{self.path.rstrip('/')}"

    @property
    def http_url(self) -> str:
        """The URL for HTTP, without a slash at its end."""
        return f"http{'s' if self.is_secure else ''}://{self.authority}{self.path.rstrip('/')}"

    @property
    def authority(self) -> str:
        """Host and port as a URL writes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_endpoint(url: str) -> Endpoint:
    """Return the endpoint of a ws, wss, http or https URL. Raises UsageError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}. Write for example {DEFAULT_URL}.") from error
    if parts.scheme not in _SECURE or not parts.hostname:
        raise UsageError(
            f"{url!r} names no node. Write ws://HOST:PORT or http://HOST:PORT, "
            f"for example {DEFAULT_URL}."
        )
    secure = _SECURE[parts.scheme]
    default_port = 443 if secure else 80
    is_http = parts.scheme.startswith("http")
    return Endpoint(
        host=parts.hostname,
        port=port or default_port,
        is_secure=secure,
        path=parts.path or "/",
        prefers_http=is_http,
    )
