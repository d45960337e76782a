"""Runs a node in this process until Ctrl-C or SIGTERM, with a callback when it is ready."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from node.commands.base import suggestions
from node.commands.base.hangup import heeded
from node.commands.base.output import Output
from node.operations import logs
from node.operations.config import NodeConfig
from runtime.codec.hexadecimal import to_hex
from runtime.errors import first_cause

if TYPE_CHECKING:
    from node.service.service import RunningNode


@dataclass(frozen=True, slots=True)
class ReadyDocument:
    """A node that accepts connections."""

    url: str
    http_url: str
    chain: str
    genesis_hash: str
    base_path: str
    best_number: int


def run_until_stopped(
    output: Output, config: NodeConfig, on_ready: Callable[[RunningNode], None]
) -> None:
    """Run a node; returns after a graceful stop."""
    suggestions.remember({"--base-path": str(config.base_path), "--chain": config.chain})
    logs.set_up(config.log_format, config.log_level)
    try:
        trio.run(_run, config, on_ready)
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    output.note("Stopped.")


async def _run(config: NodeConfig, on_ready: Callable[[RunningNode], None]) -> None:
    from node.service.service import run_node  # a second and more, which help need not wait for

    async with trio.open_nursery() as nursery:
        heard = (signal.SIGINT, *heeded(signal.SIGHUP, signal.SIGTERM))
        with trio.open_signal_receiver(*heard) as signals:
            node = await nursery.start(functools.partial(run_node, config))
            on_ready(node)
            async for number in signals:
                with suppress(OSError):  # a closed terminal has no place for it
                    print(f"Stopping ({signal.Signals(number).name}).", file=sys.stderr)
                break
            nursery.cancel_scope.cancel()


def ready_document(node: RunningNode) -> ReadyDocument:
    """Return the document of a node that is ready."""
    return ReadyDocument(
        url=node.rpc_url,
        http_url=node.http_url,
        chain=node.chain.name,
        genesis_hash=to_hex(node.chain.genesis_hash),
        base_path=str(node.config.base_path),
        best_number=node.chain.best.number,
    )
