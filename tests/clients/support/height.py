"""A node that has just started has no block yet, and some clients look at the last two."""

from __future__ import annotations

from node.client import Client


def wait_for_blocks(url: str, count: int = 2) -> None:
    """Wait until a node has made so many more blocks."""
    with Client(url) as client, client.new_blocks() as heads:
        for _ in range(count):
            heads.next(None)
