"""The solo author: makes blocks of a node without a network, and finalizes them at once.

When it makes one is `Sealing`. A block's timestamp is the wall clock, or one millisecond after
the parent's when the clock lags.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import trio

from node.chain.chain import Chain
from node.operations.config import BLOCK_TIME_MS, Sealing
from node.storage.errors import DatabaseError, DiskLowError
from node.transactions.pool import Pool
from pallets.authorship import AUTHOR_ENGINE
from pallets.timestamp import Timestamp
from runtime.frame.executive import ExecutedBlock
from runtime.frame.machine import Machine
from runtime.frame.state import Overlay
from runtime.types.primitives import AccountId, PreRuntime

CANDIDATES_MAX: Final = 8_192
SEAL_AGAIN_SECONDS: Final = 1.0
"""How long the author waits for room on the disk before it tries again."""
INHERENTS: Final = 1
"""How many inherents a block has: its timestamp."""

logger = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Author:
    """Makes and finalizes blocks from the pool."""

    def __init__(
        self,
        chain: Chain,
        pool: Pool,
        sealing: Sealing = Sealing.INSTANT,
        block_time_ms: int = BLOCK_TIME_MS,
        clock_ms: Callable[[], int] = wall_clock_ms,
        *,
        account: AccountId | None = None,
    ) -> None:
        self._chain = chain
        self._pool = pool
        self._sealing = sealing
        self._block_time_ms = block_time_ms
        self._clock_ms = clock_ms
        # A solo author claims no view, so the runtime cannot tell who it is: it says so itself.
        self._logs = () if account is None else (PreRuntime(AUTHOR_ENGINE, account),)
        self._sealing_lock = trio.Lock()
        self.on_sealed: list[Callable[[ExecutedBlock, float], None]] = []
        """Called with each block and the seconds that making it took."""
        self.halt_reason = ""
        """Why no more blocks are made; empty while they are."""

    async def run_until_halted(self) -> None:
        """Make blocks until cancelled; when the disk fails, stop making them and say so.

        The node goes on answering from what is stored. Nothing that was published as final is
        lost: it is published after the write. Where the disk is only short of room, blocks go on
        when there is some; what was built and could not be written becomes final first.
        """
        while True:
            try:
                await self.run()
            except DiskLowError as error:
                if not self.halt_reason:
                    logger.critical("sealing-halted reason=%r", str(error))
                self.halt_reason = str(error)
                await trio.sleep(SEAL_AGAIN_SECONDS)
            except DatabaseError as error:
                self.halt_reason = f"{type(error).__name__}: {error} Then start the node again."
                logger.critical("sealing-halted reason=%r", self.halt_reason)
                await trio.sleep_forever()

    async def run(self) -> None:
        """Make blocks until cancelled."""
        if self._sealing in (Sealing.MANUAL, Sealing.CONSENSUS):
            await trio.sleep_forever()
        async with self._sealing_lock:
            await self._make_ready()
        seconds = self._block_time_ms / 1_000
        while True:
            if self._sealing is Sealing.INTERVAL:
                await trio.sleep(seconds)
            else:
                with trio.move_on_after(seconds):
                    while not self._pool.has_ready:
                        await self._pool.wait_changed()
            executed = await self.seal()
            if len(executed.extrinsics) == INHERENTS and self._pool.has_ready:
                # What is ready did not fit even an empty block; trying again at once would spin.
                await trio.sleep(seconds)

    async def seal(self) -> ExecutedBlock:
        """Make one block from what is ready, finalize it, and call the listeners.

        Raises DatabaseWriteError; then no other block is built before this one is final.
        """
        async with self._sealing_lock:
            chain, pool = self._chain, self._pool
            await self._make_ready()
            began = trio.current_time()
            candidates = pool.candidates(CANDIDATES_MAX)
            executed = await chain.build(self._logs, (self._timestamp(),), candidates)
            chain.extend(executed)
            for transaction, refusal in executed.refused:
                pool.refuse(transaction, refusal)
            await chain.finalize(executed.hash)
            for listener in self.on_sealed:
                listener(executed, trio.current_time() - began)
            logger.info(
                "block-sealed number=%d hash=0x%s extrinsics=%d",
                executed.header.number,
                executed.hash.hex(),
                len(executed.extrinsics),
            )
            return executed

    async def _make_ready(self) -> None:
        """Finalize the block that the disk refused, if any, and check that it takes another one.

        Raises DatabaseWriteError. A block that cannot be written is not to be built: it would be
        shown as best, and attempt after attempt would pile up blocks that are not final.
        """
        best = self._chain.best
        await self._chain.finalize(best.hash)
        await trio.to_thread.run_sync(self._chain.database.check_writable)
        if self.halt_reason:
            logger.info("sealing-resumed number=%d", best.number)
            self.halt_reason = ""

    def _timestamp(self) -> bytes:
        chain = self._chain
        machine = chain.machine
        with machine.on(Overlay(chain.best_state())):
            former = machine.pallet(Timestamp).now.get()
        return timestamp_inherent(machine, max(self._clock_ms(), former + 1))


def timestamp_inherent(machine: Machine, now_ms: int) -> bytes:
    """Return the inherent that says a block's time."""
    return machine.extrinsics.inherent(machine.call("Timestamp", "set", now=now_ms))
