"""Files with passwords: whether others on this machine may read them."""

from __future__ import annotations

import stat
from pathlib import Path

_OTHERS = stat.S_IRGRP | stat.S_IROTH


def is_open_to_others(file: Path) -> bool:
    """Return whether a file, and no pipe or device, may be read by others than its owner."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return False  # reading it tells why
    return stat.S_ISREG(mode) and bool(mode & _OTHERS)


def open_to_others(file: Path) -> str:
    """Return the warning of such a file."""
    return f"{file} holds a password and may be read by others. Set its mode: chmod 600 {file}"
