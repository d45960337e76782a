"""A transaction in the pool, and those who watch what becomes of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import trio

from node.transactions.status import Ready, Status
from runtime.codec.hexadecimal import to_hex
from runtime.frame.extrinsic import Extrinsic
from runtime.types.primitives import AccountId, Hash

WATCH_BACKLOG_MAX: Final = 64

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Entry:
    """A transaction in the pool, or in a block of the best branch that is not final."""

    extrinsic: Extrinsic
    hash: Hash
    account: AccountId
    nonce: int
    priority: int
    arrival: int
    birth: Hash | None
    """The birth block that the signature covers; None for an immortal one."""
    dies_at: int
    block: Hash | None = None
    """The block of the best branch that includes it."""
    is_ready: bool = False
    """True where its last status is Ready."""
    watchers: list[trio.MemorySendChannel[Status]] = field(default_factory=list)

    def notify(self, status: Status, *, last: bool = False) -> None:
        """Send a status to all watchers; one that lags loses its watch."""
        self.is_ready = isinstance(status, Ready)
        for watcher in list(self.watchers):
            try:
                watcher.send_nowait(status)
            except (trio.WouldBlock, trio.BrokenResourceError):
                logger.warning("watcher-dropped transaction=%s reason=lagging", to_hex(self.hash))
                self.watchers.remove(watcher)
                watcher.close()
                continue
            if last:
                watcher.close()
        if last:
            self.watchers.clear()
