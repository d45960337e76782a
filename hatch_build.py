"""Writes the commit into what is built, so that an installed `openledger --version` knows it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "node/operations/COMMIT"


class CommitHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the file COMMIT to wheels and source distributions built in a checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Ask git; where it knows nothing, as in a source distribution, the file there stays."""
        if version == "editable" or not (Path(self.root) / ".git").exists():
            return
        words = ("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
        try:
            done = subprocess.run(
                ("git", "-C", self.root, *words), capture_output=True, text=True, check=False
            )
        except OSError:
            return
        if done.returncode:
            return
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "COMMIT"
        file.write_text(done.stdout, encoding="utf-8")
        build_data["force_include"][str(file)] = PLACE
