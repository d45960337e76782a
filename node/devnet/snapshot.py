"""Copies of a devnet that is down: its chain, keys and clock, without what belongs to a process.

A copy is made beside its place and moved there in one step, so a crash leaves no half of one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from node.devnet.errors import SaveError
from node.devnet.keeper import FILES as KEEPER_FILES
from node.devnet.member import ENDPOINT_FILE
from node.devnet.process import LOG_NAME
from node.devnet.state import (
    FOLDER_MODE,
    NODES_FOLDER,
    SPEC_FILE,
    STATE_FILE,
    DevnetState,
    read_state,
    write_state,
)

VOLATILE: Final = frozenset([*KEEPER_FILES, LOG_NAME, ENDPOINT_FILE, "control.sock"])
"""Files of a node's base path that mean nothing without its process; the last one is the socket of
node/service/control_socket.py."""


def check_new(target: Path) -> None:
    """Raise SaveError if there is something where a save is to be."""
    if target.exists():
        raise SaveError(f"There is a save {target.name} already. Take another name for this one.")


def check_there(source: Path) -> None:
    """Raise SaveError if there is no save."""
    if not (source / STATE_FILE).is_file():
        saves = sorted(path.parent.name for path in source.parent.glob(f"*/{STATE_FILE}"))
        listed = ", ".join(saves) or "none"
        raise SaveError(f"There is no save {source.name}; there is: {listed}.")


def save(folder: Path, target: Path) -> int:
    """Copy a devnet that is down into a new folder; return its bytes."""
    draft = target.with_name(f"{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=FOLDER_MODE)
    for name in (STATE_FILE, SPEC_FILE):
        shutil.copy2(folder / name, draft / name)
    shutil.copytree(folder / NODES_FOLDER, draft / NODES_FOLDER, ignore=_volatile)
    size = _sync(draft)
    draft.replace(target)
    return size


def load(source: Path, folder: Path, name: str) -> DevnetState:
    """Put a save in the place of a devnet that is down."""
    draft = folder / f"{NODES_FOLDER}.part"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source / NODES_FOLDER, draft)
    _sync(draft)
    shutil.rmtree(folder / NODES_FOLDER, ignore_errors=True)
    draft.replace(folder / NODES_FOLDER)
    shutil.copy2(source / SPEC_FILE, folder / SPEC_FILE)
    state = replace(read_state(source), name=name)
    write_state(folder, state)
    return state


def _volatile(folder: str, names: list[str]) -> set[str]:
    is_base_path = Path(folder).parent.name == NODES_FOLDER
    return set(VOLATILE.intersection(names)) if is_base_path else set()


def _sync(folder: Path) -> int:
    """Sync all files below a folder to the disk; return their bytes."""
    size = 0
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                size += os.fstat(file.fileno()).st_size
    return size
