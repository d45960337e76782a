"""Where devnets and their saves lie, by name; and the lock on a devnet's folder.

    ROOT/NAME          a devnet, or a link to the folder that --keep-folder named
    ROOT/.saves/NAME   a saved devnet

ROOT is OPENLEDGER_DEVNETS, or the folder `devnets` in the user's data folder.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import platformdirs

from node.devnet.errors import (
    DevnetBusyError,
    DevnetExistsError,
    DevnetNameError,
    UnknownDevnetError,
)
from node.devnet.process import until
from node.devnet.state import FOLDER_MODE, STATE_FILE

ROOT_VARIABLE: Final = "OPENLEDGER_DEVNETS"
DEFAULT_NAME: Final = "default"
LOCK_FILE: Final = "devnet.lock"
BUSY_SECONDS: Final = 60.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def root() -> Path:
    """Return the folder of all devnets."""
    named = os.environ.get(ROOT_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_data_dir("openledger")) / "devnets"


def folder_of(name: str) -> Path:
    """Return the folder of a devnet, there or not. Raises DevnetNameError."""
    return (root() / _checked(name)).resolve()


def save_of(name: str) -> Path:
    """Return the folder of a save, there or not. Raises DevnetNameError."""
    return root() / ".saves" / _checked(name)


def names() -> list[str]:
    """Return the names of all devnets."""
    return sorted(path.parent.name for path in root().glob(f"*/{STATE_FILE}"))


def open_folder(name: str) -> Path:
    """Return the folder of a devnet that is there. Raises UnknownDevnetError."""
    folder = folder_of(name)
    if not (folder / STATE_FILE).is_file():
        listed = ", ".join(names()) or "none"
        raise UnknownDevnetError(
            f"There is no devnet {name}; there is: {listed}. "
            f"Start it with `openledger devnet up --name {name}`."
        )
    return folder


def save_names() -> list[str]:
    """Return the names of all saves."""
    return sorted(path.parent.name for path in root().glob(f".saves/*/{STATE_FILE}"))


def is_linked(name: str) -> bool:
    """Return whether a devnet lies in a folder that its user named."""
    return (root() / _checked(name)).is_symlink()


def forget(name: str) -> None:
    """Remove the name of a devnet whose folder is gone."""
    place = root() / _checked(name)
    if place.is_symlink():
        place.unlink()


def link(name: str, folder: Path) -> Path:
    """Link a name to a folder elsewhere; return that folder. Raises DevnetExistsError."""
    place, target = root() / _checked(name), folder.resolve()
    place.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    if place.is_symlink() and not place.exists():
        place.unlink()  # its folder was removed by hand
    if place.exists() and place.resolve() != target:
        raise DevnetExistsError(
            f"The devnet {name} lies in {place.resolve()}. Take another --name for {target}."
        )
    target.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    if not place.exists():
        place.symlink_to(target)
    return target


@contextmanager
def locked(folder: Path, busy_seconds: float = BUSY_SECONDS) -> Iterator[None]:
    """Hold a devnet's lock in the body; the folder is made. Raises DevnetBusyError."""
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not until(lambda: _try_lock(lock), busy_seconds):
            raise DevnetBusyError(
                f"Another command has been changing the devnet in {folder} for {busy_seconds:.0f} "
                "s. Wait for it, or end it."
            )
        yield
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DevnetNameError(
            f"{name!r:.80} is no name. A name has 1 to 64 of a-z, A-Z, 0-9, _ and -, and does not "
            "begin with _ or -."
        )
    return name
