"""The write-ahead log of consensus: durable before anything that it records is acted on.

The format, and what a torn or damaged log means, is `consensus/write_ahead_log.py`; the file is
`node/storage/log_file.py`. Here are its compaction and its repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from consensus.write_ahead_log import DamagedLogError, intact_prefix, read_log, still_needed
from ml.durable_file import write_durably
from node.storage.log_file import FILE_MODE, LogFile

REWRITE_BYTES: Final = 16 << 20
"""A log beyond this size is rewritten with what is still needed."""
REPAIR_COMMAND: Final = "openledger chain repair-log"
REMEDY: Final = (
    f" To keep what precedes the damage run `{REPAIR_COMMAND}`; the signer's own mark still"
    " refuses to contradict an earlier vote."
)


class WriteAheadLog:
    """The records of one node's consensus, in order."""

    def __init__(self, path: Path) -> None:
        """Open or make the log; a torn tail is cut.

        Raises DamagedLogError, which names the repair.
        """
        try:
            self._file = LogFile(path)
        except DamagedLogError as error:
            raise DamagedLogError(error.offset, error.following, REMEDY) from error
        self._rewrite_bytes = REWRITE_BYTES

    def read(self) -> tuple[bytes, ...]:
        """Return the records that the log has now, oldest first."""
        return self._file.read()

    def append(self, records: Sequence[bytes]) -> None:
        """Add records; when it returns they survive a power cut. Raises OSError."""
        self._file.append(records)

    def compact(self, epoch: int, final_view: int) -> None:
        """Once the log is large, drop what a durably final view of an epoch made superfluous."""
        if self._file.size_bytes > self._rewrite_bytes:
            self._file.rewrite(still_needed(self._file.read(), epoch, final_view))
            # Where most is still needed, a rewrite at every block would gain nothing.
            self._rewrite_bytes = max(REWRITE_BYTES, 2 * self._file.size_bytes)

    def clear(self) -> None:
        """Drop everything: the epoch is over and its last block is in the database."""
        self._file.rewrite(())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
