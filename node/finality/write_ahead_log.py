"""The journal: the consensus write-ahead log as a file, synced before anything it says is acted on.

The format, and what a torn or damaged log means, is `consensus/write_ahead_log.py`; here are only
the file, its syncs, its rewriting once most of it is no longer needed, and its repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from consensus.write_ahead_log import (
    DamagedLogError,
    frame,
    intact_prefix,
    read_log,
    still_needed,
    write_log,
)
from ml.durable_file import write_durably
from node.storage.log_file import append_durably

REWRITE_BYTES: Final = 16 << 20
"""A log beyond this size is rewritten with what is still needed."""
REPAIR_COMMAND: Final = "openledger chain repair-log"
FILE_MODE: Final = 0o600


class RepairableLogError(DamagedLogError):
    """The log of this node is damaged; the message names the command that repairs it."""

    def __init__(self, damage: DamagedLogError) -> None:
        super().__init__(
            damage.offset,
            damage.following,
            f" To keep what precedes the damage run `{REPAIR_COMMAND}`; the signer's own mark still"
            " refuses to contradict an earlier vote.",
        )


class Journal:
    """The records of one node's consensus, in order."""

    def __init__(self, path: Path) -> None:
        """Open or make the log; a torn tail is cut. Raises RepairableLogError."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        try:
            records, intact = read_log(data)
        except DamagedLogError as error:
            raise RepairableLogError(error) from error
        self.records = records
        """What the log held when it was opened, oldest first."""
        if intact < len(data) or not path.exists():
            write_durably(path, data[:intact], FILE_MODE)
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self._size = intact
        self._rewrite_bytes = REWRITE_BYTES

    def append(self, records: Sequence[bytes]) -> None:
        """Add records; when it returns they survive a power cut. Raises OSError."""
        frames = bytearray()
        for record in records:
            frames += frame(record, self._size + len(frames))
        append_durably(self._file, bytes(frames), self._size)
        self._size += len(frames)

    def compact(self, epoch: int, final_view: int) -> None:
        """Once the log is large, drop what a durably final view of an epoch made superfluous."""
        if self._size > self._rewrite_bytes:
            records, _ = read_log(self._path.read_bytes())
            self._rewrite(still_needed(records, epoch, final_view))
            # Where most is still needed, rewriting it at every block would help nobody.
            self._rewrite_bytes = max(REWRITE_BYTES, 2 * self._size)

    def clear(self) -> None:
        """Drop everything: the epoch is over and its last block is in the database."""
        self._rewrite(())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rewrite(self, records: Sequence[bytes]) -> None:
        """Keep only these records; a crash leaves the old log or the new one."""
        data = write_log(records)
        self._file.close()
        write_durably(self._path, data, FILE_MODE)
        self._file = self._path.open("ab", buffering=0)
        self._size = len(data)


@dataclass(frozen=True, slots=True)
class LogRepair:
    """The result of a repair. `saved_as` holds the damaged log, None if it was not damaged."""

    kept_records: int
    kept_bytes: int
    lost_bytes: int
    saved_as: Path | None


def repair_log(path: Path) -> LogRepair:
    """Replace a damaged log by the records before its damage, and save the damaged log beside it.

    A log that is whole, or torn at its end by a crash, is left as it is: the node cuts a torn tail
    itself, and no vote was lost. A crash leaves the damaged log or the repaired one.
    """
    data = path.read_bytes()
    records, intact = intact_prefix(data)
    saved_as: Path | None = None
    try:
        read_log(data)
    except DamagedLogError:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        saved_as = path.with_name(f"{path.name}.damaged-{stamp}")
        write_durably(saved_as, data, FILE_MODE)
        write_durably(path, data[:intact], FILE_MODE)
    return LogRepair(len(records), intact, len(data) - intact, saved_as)
