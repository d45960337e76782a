"""The version of this program and the commit that it was made from.

In a checkout git knows the commit; a wheel has it in the file `COMMIT`, which `hatch_build.py`
writes; an installation by `pip install git+https://...` has it in its metadata.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "openledger-node"
COMMIT_FILE: Final = "COMMIT"
COMMIT_DIGITS: Final = 12
GIT_SECONDS: Final = 5
UNINSTALLED: Final = "0.0.0"
_ROOT: Final = Path(__file__).resolve().parents[2]


def version() -> str:
    """Return the version of this program, 0.0.0 in a checkout that is not installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return UNINSTALLED


@cache
def commit() -> str:
    """Return the commit, with `-dirty` where a checkout was changed since; empty if unknown."""
    return _of_checkout(_ROOT) or _of_wheel() or _of_installation()


def full_version() -> str:
    """Return version and commit as Substrate's nodes write them, such as 0.1.0-9e1c7a34b0d2."""
    return "-".join(filter(None, (version(), commit())))


def _of_checkout(root: Path) -> str:
    if not (root / ".git").exists():
        return ""  # else git would describe a repository around, such as that of a dotfiles folder
    # Not `describe --dirty`, which writes the index of a checkout that others may be using.
    words = ("status", "--porcelain=v2", "--branch", "--untracked-files=no")
    try:
        done = subprocess.run(
            ("git", "--no-optional-locks", "-C", str(root), *words),
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    head = re.search(r"^# branch\.oid ([0-9a-f]+)$", done.stdout, re.MULTILINE)
    if head is None:
        return ""
    is_changed = any(not line.startswith("#") for line in done.stdout.splitlines())
    return head[1][:COMMIT_DIGITS] + ("-dirty" if is_changed else "")


def _of_wheel() -> str:
    file = resources.files("node.operations") / COMMIT_FILE
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


def _of_installation() -> str:
    """Return the commit that pip noted (PEP 610)."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        described = json.loads(text or "{}").get("vcs_info", {}).get("commit_id", "")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return ""
    return str(described)[:COMMIT_DIGITS]
