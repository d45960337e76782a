"""A log file: framed records that are only ever appended, each append durable when it returns.

The framing, and how a torn tail differs from damage, is `consensus/write_ahead_log.py`; here are
the file and its syncs. A crash in the middle of an append leaves a torn tail, which is cut when the
file is opened; a rewrite leaves the old file or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from consensus.write_ahead_log import frame, read_log, write_log
from ml.durable_file import write_durably

FILE_MODE: Final = 0o600


class ShortWriteError(OSError):
    """The disk took only a part of a record: it is full, or a limit is reached."""


class LogFile:
    """The records of one file, in order."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; a torn tail is cut. Raises DamagedLogError."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        _, intact = read_log(data)
        if intact < len(data) or not path.exists():
            write_durably(path, data[:intact], FILE_MODE)
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self.size_bytes = intact

    def append(self, records: Sequence[bytes]) -> None:
        """Add records; when it returns they survive a power cut. Raises OSError."""
        frames = bytearray()
        for record in records:
            frames += frame(record, self.size_bytes + len(frames))
        self._append_bytes(bytes(frames))
        self.size_bytes += len(frames)

    def read(self) -> tuple[bytes, ...]:
        """Return the records that the file has now, oldest first. Raises DamagedLogError."""
        return read_log(self.path.read_bytes())[0]

    def rewrite(self, records: Sequence[bytes]) -> None:
        """Replace all records by these. Raises OSError; the file is then as before."""
        data = write_log(records)
        # Written before the old file is closed: where the disk is full, appending goes on there.
        write_durably(self.path, data, FILE_MODE)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        self.size_bytes = len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append_bytes(self, data: bytes) -> None:
        """Append and sync. Raises OSError; the file is as long as before then.

        A system may take a part and report no error; that part is cut off again, so that no later
        record follows a torn one.
        """
        try:
            written = self._file.write(data)
            if written != len(data):
                raise ShortWriteError(
                    f"The disk took {written} of {len(data)} bytes of {self._file.name}. Free some "
                    "space, then start again."
                )
            os.fdatasync(self._file.fileno())
        except OSError:
            os.truncate(self._file.fileno(), self.size_bytes)
            raise
