"""The machine of a measurement: processor, cores, load, versions and commit."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COMPARED_LIBRARIES: Final = (
    "pynacl",
    "plyvel",
    "plyvel-next",
    "numpy",
    "torch",
    "transformers",
    "peft",
    "hypercorn",
    "starlette",
    "py-evm",
    "scalecodec",
    "cyscale",
)
ROOT: Final = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and the software of one table."""

    date: str
    processor: str
    cores: int
    load: float
    system: str
    python: str
    commit: str
    libraries: tuple[tuple[str, str], ...]


def describe_machine() -> Machine:
    """Return the description of this machine; unknown parts are "unknown"."""
    now = datetime.datetime.now(datetime.UTC)
    return Machine(
        date=now.strftime("%Y-%m-%d %H:%M UTC"),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        load=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        commit=_commit(),
        libraries=tuple(_versions(COMPARED_LIBRARIES)),
    )


def _versions(names: Sequence[str]) -> list[tuple[str, str]]:
    versions = []
    for name in names:
        try:
            versions.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            versions.append((name, "absent"))
    return versions


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Return the commit of the working tree, marked `+` where it has changes."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(ROOT), *arguments), check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
