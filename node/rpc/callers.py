"""Who calls: a program on this machine, or a stranger. The one place where that is decided.

A web page that a person on this machine looks at comes from loopback as well, and so do all callers
of a proxy on this machine: an address says nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from node.rpc.connections import is_loopback

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def is_program_here(peer: str, headers: Mapping[str, str]) -> bool:
    """Return whether a caller is a program on this machine: no page (by its Origin or, with a
    rebound name, its Host) and no proxy stands between."""
    if not is_loopback(peer) or any(name in headers for name in PROXY_HEADERS):
        return False
    if not _is_local(f"//{headers.get('host', '')}"):
        return False
    origin = headers.get("origin")
    return origin is None or _is_local(origin)


def _is_local(url: str) -> bool:
    """Return whether a URL names this machine; what is no URL names nothing."""
    try:
        return urlsplit(url).hostname in LOCAL_NAMES
    except ValueError:
        return False
