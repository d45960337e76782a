"""Files that a crash leaves whole: a draft is written, synced and renamed, the folder synced."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file's content; a crash leaves the old content or the new one, never a part.

    When it returns, the new content survives a power cut.
    """
    # In the same folder: a rename is atomic only within one file system. With the process id, so
    # that two processes do not write into one draft.
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)  # a full disk, for one, must not get a half file as well
        raise
    # Without this the new name itself may be lost: a folder is data that a power cut can drop too.
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make durable which files a folder has: a rename or a removal survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
