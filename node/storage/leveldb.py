"""LevelDB, contained: the one file that imports a binding to it.

plyvel has no wheels from Python 3.13 on, and plyvel-next, which goes on from its code, none before
3.12: each Python takes the one that is made for it, and both write the same files.

One writer, and a folder belongs to one process at a time; reading is safe from any thread. Every
read verifies checksums, so damage raises DatabaseDamagedError and is never served. After a failed
write nothing more is written: what is on disk is known again after reopening.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

if sys.version_info >= (3, 13):
    import plyvel_next as plyvel
else:
    import plyvel

from node.storage.disk_space import DiskSpace
from node.storage.errors import (
    DatabaseDamagedError,
    DatabaseError,
    DatabaseFolderError,
    DatabaseInUseError,
    WriteFailedError,
    damaged,
    disk_full,
)

WRITE_BUFFER_BYTES: Final = 16 * 1024 * 1024
CACHE_BYTES: Final = 64 * 1024 * 1024
_FULL_DISK_WORDS: Final = ("No space left", "Disk quota exceeded", "File too large")


class LevelReader:
    """LevelDB or a snapshot of it, with checksums verified and its errors turned into ours."""

    def __init__(self, path: Path, source: plyvel.DB, faults: list[str]) -> None:
        """`faults` takes the text of the first damage that is met."""
        self.path = path
        self.source = source
        self._faults = faults

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        try:
            value: bytes | None = self.source.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise self._damaged(error) from error
        return value

    def keys(self, start: bytes, stop: bytes) -> Iterator[bytes]:
        """Yield the keys from `start` up to and without `stop`, sorted."""
        try:
            yield from self.source.iterator(
                start=start, stop=stop, include_value=False, verify_checksums=True
            )
        except plyvel.Error as error:
            raise self._damaged(error) from error

    def pairs(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values from `start` up to and without `stop`, sorted."""
        try:
            yield from self.source.iterator(start=start, stop=stop, verify_checksums=True)
        except plyvel.Error as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DatabaseDamagedError:
        found = damaged(self.path, str(error))
        if not self._faults:
            self._faults.append(str(found))
        return found

    def first(self, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """Return the first key from `start` up to and without `stop`, and its value."""
        return next(self.pairs(start, stop), None)

    def number(self, key: bytes) -> int | None:
        """Return the value of a key as a big-endian number."""
        raw = self.get(key)
        return None if raw is None else int.from_bytes(raw, "big")


class LevelStore:
    """One LevelDB folder."""

    def __init__(self, path: Path, source: plyvel.DB) -> None:
        self.path = path
        self._source = source
        self._failed = False
        self._space = DiskSpace(path)
        self._faults: list[str] = []
        self.reader = LevelReader(path, source, self._faults)

    @property
    def fault(self) -> str:
        """What reads or writes have found wrong first; empty for nothing."""
        return self._faults[0] if self._faults else ""

    @classmethod
    def open(cls, path: Path, *, create: bool) -> LevelStore:
        """Open a folder, creating it if asked.

        Raises DatabaseInUseError, DatabaseDamagedError, DatabaseFolderError, DiskFullError.
        """
        if not create and not path.is_dir():
            # LevelDB would leave an empty folder behind.
            raise DatabaseFolderError(f"There is no database in {path}. Check the path.")
        if path.is_dir() and not (path / "CURRENT").exists() and any(path.glob("MANIFEST-*")):
            # LevelDB would begin a new database and delete the files of the old one.
            raise damaged(path, "its file CURRENT is missing")
        try:
            path.mkdir(parents=True, exist_ok=True)
            source = plyvel.DB(
                str(path),
                create_if_missing=create,
                # Without it LevelDB drops a damaged record and goes on, which would leave a hole.
                paranoid_checks=True,
                write_buffer_size=WRITE_BUFFER_BYTES,
                lru_cache_size=CACHE_BYTES,
                bloom_filter_bits=10,
            )
        except (plyvel.Error, OSError) as error:
            raise _opening_failed(path, error) from error
        return cls(path, source)

    def snapshot(self) -> LevelReader:
        """Return a reader of the store as it is now, whatever is written later."""
        return LevelReader(self.path, self._source.snapshot(), self._faults)

    def check_writable(self) -> None:
        """Check that a write would be tried. Raises DiskLowError, WriteFailedError."""
        if self._failed:
            raise WriteFailedError(
                f"An earlier write to {self.path} failed, so no more is written. "
                "Remove the cause and restart the node."
            )
        self._space.check()

    def write(self, writes: Mapping[bytes, bytes | None]) -> None:
        """Write one synced batch. Raises DiskLowError, DiskFullError, WriteFailedError."""
        self.check_writable()
        try:
            with self._source.write_batch(sync=True) as batch:
                for key, value in writes.items():
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
        except (plyvel.Error, OSError) as error:
            self._failed = True
            failure = _writing_failed(self.path, error)
            self._faults.append(str(failure))
            raise failure from error

    def close(self) -> None:
        """Give the folder back."""
        self._source.close()


def _opening_failed(path: Path, error: Exception) -> DatabaseError:
    text = _text(error)
    if isinstance(error, plyvel.CorruptionError):
        return damaged(path, text)
    if "lock" in text.lower() and ("already held" in text or "temporarily unavailable" in text):
        return DatabaseInUseError(
            f"{path} is in use by another process. Stop the other node or give this one its own "
            "folder."
        )
    if any(word in text for word in _FULL_DISK_WORDS):
        return disk_full(path)
    if isinstance(error, plyvel.Error) and ("missing files" in text or "CURRENT" in text):
        return damaged(path, text)
    return DatabaseFolderError(
        f"{path} cannot be opened as a database ({text}). Check that it is a folder that this "
        "user may write."
    )


def _writing_failed(path: Path, error: Exception) -> DatabaseError:
    text = _text(error)
    if any(word in text for word in _FULL_DISK_WORDS):
        return disk_full(path)
    return WriteFailedError(
        f"Writing to {path} failed ({text}). Check the disk, then restart the node."
    )


def _text(error: Exception) -> str:
    """Return the words of an error; plyvel's are bytes."""
    first = error.args[0] if error.args else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(error)
