"""A new file that is complete and durable when it appears, and that overwrites nothing.

A draft is written beside it, synced, and then published under the name. A file that is cut off, as
a crash or a full disk leaves it, is never seen there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ml.durable_file import sync_folder

NO_HARD_LINKS: Final = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)
"""How file systems refuse a hard link that have none: FAT, exFAT, and some mounts of a network."""


@contextmanager
def new_file(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Give a file to write into, which is published under the path when the body ends.

    Raises FileExistsError; where the body raises, there is no file.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.unlink(missing_ok=True)  # a killed process with this number left it
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path, mode)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _publish(draft: Path, path: Path, mode: int) -> None:
    """Give the draft its name, unless there is a file of that name. Raises FileExistsError."""
    try:
        os.link(draft, path)  # unlike a rename, it overwrites nothing
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        # An empty file takes the name, or finds it taken; the rename then overwrites only that one.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        try:
            draft.replace(path)
        except BaseException:
            path.unlink()
            raise
