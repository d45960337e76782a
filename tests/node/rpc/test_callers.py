"""Who is a program on this machine, and who only comes from its address."""

from __future__ import annotations

import pytest

from node.rpc.callers import is_program_here


@pytest.mark.parametrize(
    ("peer", "headers", "is_here"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:9944"}, True),
        ("::1", {"host": "[::1]:9944"}, True),
        ("127.0.0.1", {"host": "localhost", "origin": "http://localhost:3000"}, True),
        ("203.0.113.7", {"host": "127.0.0.1"}, False),
        ("127.0.0.1", {}, False),
        ("127.0.0.1", {"host": "["}, False),
        ("127.0.0.1", {"host": "localhost", "origin": "http://["}, False),
        ("127.0.0.1", {"host": "rebound.example:9944"}, False),
        ("127.0.0.1", {"host": "127.0.0.1", "origin": "https://evil.example"}, False),
        ("127.0.0.1", {"host": "127.0.0.1", "origin": "null"}, False),
        ("127.0.0.1", {"host": "127.0.0.1", "via": "1.1 proxy"}, False),
        ("127.0.0.1", {"host": "127.0.0.1", "x-forwarded-for": "127.0.0.1"}, False),
    ],
)
def test_a_caller_is_here_where_no_page_and_no_proxy_stands_between(
    peer: str, headers: dict[str, str], is_here: bool
) -> None:
    assert is_program_here(peer, headers) is is_here
