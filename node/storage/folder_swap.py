"""A folder takes the place of another, and a crash in between loses neither.

It takes two renames: the former folder goes aside under a name of its own, the new one takes its
place. Where a crash ended the swap between the two, the former folder is put back by whoever opens
it next: a node that found none would begin without a history of what its keys have signed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from ml.durable_file import sync_folder

FORMER_SUFFIX: Final = ".replaced"


def former_folder(folder: Path) -> Path:
    """Return where a folder lies while another one takes its place."""
    return folder.with_name(f"{folder.name}{FORMER_SUFFIX}")


def put_back(folder: Path) -> None:
    """Undo a swap that a crash cut short: the former folder comes back where the new one is not."""
    former = former_folder(folder)
    if former.is_dir() and not folder.exists():
        former.rename(folder)
        sync_folder(folder.parent)


def put_in_place(draft: Path, folder: Path) -> None:
    """Move a folder to its place; what was there is removed once the new one stands durably."""
    former = former_folder(folder)
    put_back(folder)
    _sync(draft)
    shutil.rmtree(former, ignore_errors=True)  # of a swap that was complete
    try:
        if folder.exists():
            folder.rename(former)
        draft.rename(folder)
    except BaseException:
        put_back(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(former, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Make durable all that a folder holds."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
