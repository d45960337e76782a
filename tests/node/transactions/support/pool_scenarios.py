"""What the tests of the pool share: a scenario on a node of its own, and what a watcher got."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from node.transactions.status import Status
from tests.node.support.small_node import SmallNode, run, small_node


def drive(folder: Path, scenario: Callable[[SmallNode], Any]) -> None:
    async def main() -> None:
        async with small_node(folder) as node:
            await scenario(node)

    run(main)


def received(statuses: trio.MemoryReceiveChannel[Status]) -> list[Status]:
    """What arrived so far."""
    found: list[Status] = []
    while True:
        try:
            found.append(statuses.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return found
