"""A log file: framed records that are only ever appended, each append durable when it returns.

The framing, and how a torn tail differs from damage, is `consensus/write_ahead_log.py`; here are
the file and its syncs. A crash in the middle of an append leaves a torn tail, which is cut when the
file is opened; a rewrite leaves the old file or the new one.

After a failure the file is opened again before the next append. A rename may have happened although
its sync failed, so the handle of before may belong to a file that no restart would read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from consensus.write_ahead_log import frame, read_log, write_log
from ml.durable_file import sync_folder, write_durably

FILE_MODE: Final = 0o600


class ShortWriteError(OSError):
    """The disk took only a part of a record: it is full, or a limit is reached."""


class LogFile:
    """The records of one file, in order."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; a torn tail is cut. Raises DamagedLogError."""
        self.path = path
        self.size_bytes = 0
        self._file: IO[bytes] | None = None
        self._is_closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._opened()

    def append(self, records: Sequence[bytes]) -> None:
        """Add records; when it returns they survive a power cut.

        Raises OSError; DamagedLogError where the file is opened again and found damaged.
        """
        file = self._opened()
        frames = bytearray()
        for record in records:
            frames += frame(record, self.size_bytes + len(frames))
        try:
            self._append_bytes(file, bytes(frames))
        except OSError:
            self._let_go()
            raise
        self.size_bytes += len(frames)

    def read(self) -> tuple[bytes, ...]:
        """Return the records that the file has now, oldest first. Raises DamagedLogError."""
        return read_log(self.path.read_bytes())[0]

    def rewrite(self, records: Sequence[bytes]) -> None:
        """Replace all records by these. Raises OSError; the file has the old or the new ones then.

        Whichever it has, the next append goes there.
        """
        data = write_log(records)
        try:
            write_durably(self.path, data, FILE_MODE)
        finally:
            self._let_go()
        self.size_bytes = len(data)

    def close(self) -> None:
        """Close the file for good."""
        self._is_closed = True
        self._let_go()

    def _opened(self) -> IO[bytes]:
        """Return the file that a restart would read, its name durable and a torn tail cut."""
        assert not self._is_closed, "who closed the log may have given its lock away"
        if self._file is None:
            data = self.path.read_bytes() if self.path.exists() else b""
            _, intact = read_log(data)
            if intact < len(data) or not self.path.exists():
                write_durably(self.path, data[:intact], FILE_MODE)
            sync_folder(self.path.parent)
            self._file = self.path.open("ab", buffering=0)
            self.size_bytes = intact
        return self._file

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append_bytes(self, file: IO[bytes], data: bytes) -> None:
        """Append and sync. Raises OSError; the file is as long as before then, if it can be cut.

        A system may take a part and report no error; that part is cut off again, so that no later
        record follows a torn one.
        """
        try:
            written = file.write(data)
            if written != len(data):
                raise ShortWriteError(
                    f"The disk took {written} of {len(data)} bytes of {file.name}. Free some space."
                )
            os.fdatasync(file.fileno())
        except OSError:
            os.truncate(file.fileno(), self.size_bytes)
            raise
