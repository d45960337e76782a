"""Addresses of nodes."""

from __future__ import annotations

import pytest

from node.client import UsageError
from node.client.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("url", "websocket", "http"),
    [
        ("ws://host:99", "ws://host:99", "http://host:99"),
        ("https://host", "wss://host:443", "https://host:443"),
        ("ws://[::1]:9944/x", "ws://[::1]:9944/x", "http://[::1]:9944/x"),
    ],
)
def test_one_address_serves_both_protocols(url: str, websocket: str, http: str) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.websocket_url, endpoint.http_url) == (websocket, http)


@pytest.mark.parametrize("url", ["", "host", "ftp://host", "ws://", "ws://host:99999", "ws://[x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_endpoint(url)
