"""The space on the disk of a folder, of which a node leaves a reserve.

A database that meets a full disk in the middle of a write has to be opened again before it writes
another time. So no block is written when little is left, and no blob and no new question is taken:
the node goes on by itself as soon as there is room. What goes on writing is small, or is not this
node's to refuse: the log of consensus and signing histories (no vote is signed meanwhile), receipts
of answers that were begun, logs, files of a job that runs, other programs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from node.storage.errors import DiskLowError

RESERVE_BYTES_MAX: Final = 64 << 20
RESERVE_SHARE: Final = 20
"""Of a small disk the reserve is one part in so many."""


class DiskSpace:
    """The free space that one folder can use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def free_bytes(self) -> int:
        """The bytes that this user can still write; 0 where the system does not say."""
        try:
            return self._measure()[0]
        except OSError:
            return 0

    @property
    def reserve_bytes(self) -> int:
        """The bytes that are left free."""
        return self._measure()[1]

    def check(self) -> None:
        """Check that there is room for another write. Raises DiskLowError."""
        try:
            free, reserve = self._measure()
        except OSError as error:
            raise DiskLowError(
                f"The system does not say how much room the disk of {self._folder} has ({error}), "
                "so no block, blob or receipt is written. Check the disk; the node then goes on by "
                "itself."
            ) from error
        if free < reserve:
            raise DiskLowError(
                f"{free >> 20} MiB are free on the disk of {self._folder}, and {reserve >> 20} MiB "
                "are kept in reserve, so no block, blob or receipt is written. Free space; the "
                "node then goes on by itself."
            )

    def _measure(self) -> tuple[int, int]:
        """Return the free bytes and the reserve, from one question to the system."""
        found = os.statvfs(self._folder)
        total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        return free, min(RESERVE_BYTES_MAX, total // RESERVE_SHARE)
