"""The faults that keep this node from taking part in finality, for whoever asks why it stands.

The engine runner and the participant note them as they meet them; nothing is decided by them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from runtime.types.primitives import Hash

RECENT_SECONDS: Final = 60.0
"""A refused block tells of the clock for so long."""
MISSING_MAX: Final = 64
WRITE_AGAIN_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LocalFaults:
    """What is wrong at this node now."""

    missing_blocks: dict[Hash, int] = field(default_factory=dict)
    """The heights of blocks whose bodies or ancestors no peer gave, by hash."""
    log_failure: str = ""
    """Why the log of consensus takes no write; empty while it does. The database says itself."""
    signing_failure: str = ""
    """Why the last ballot was not signed; empty where it was."""
    unfinalized_limit: str = ""
    """Why no more blocks are taken before some become final; empty while they are."""
    _ahead_ms: int = 0
    _ahead_at: float = -RECENT_SECONDS

    async def write_until_done(self, write: Callable[..., None], *arguments: object) -> None:
        """Write the log, again and again while the disk refuses: nothing may happen before.

        There is no last attempt: a validator that gave up would have to be started again by hand
        after any full disk, and one whose disk is broken is no worse off waiting, for it says so.
        """
        while True:
            try:
                await trio.to_thread.run_sync(write, *arguments)
                break
            except OSError as error:
                if not self.log_failure:
                    logger.critical("consensus-waits-for-disk cause=%r", str(error))
                self.log_failure = str(error)
                await trio.sleep(WRITE_AGAIN_SECONDS)
        self.log_failure = ""

    def note_missing(self, block: Hash, number: int) -> None:
        """Note a block that could not be had; of too many the lowest are told."""
        self.missing_blocks[block] = number
        if len(self.missing_blocks) > MISSING_MAX:
            del self.missing_blocks[max(self.missing_blocks, key=self.missing_blocks.__getitem__)]

    def forget_blocks(self, height: int) -> None:
        """Forget missing blocks that finality has overtaken, and that there were too many."""
        self.unfinalized_limit = ""
        for block, number in list(self.missing_blocks.items()):
            if number <= height:
                del self.missing_blocks[block]

    def note_ahead(self, ahead_ms: int) -> None:
        """Note a block that was refused because its time is ahead of this machine's."""
        self._ahead_ms, self._ahead_at = ahead_ms, trio.current_time()

    @property
    def ahead_ms(self) -> int:
        """By how much the last block that was refused for its time was ahead; 0 for none lately."""
        is_recent = trio.current_time() - self._ahead_at < RECENT_SECONDS
        return self._ahead_ms if is_recent else 0
