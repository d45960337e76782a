"""Clients of others from npm, installed once into pytest's cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL_SECONDS = 240


def installed(request: pytest.FixtureRequest, source: Path) -> Path:
    """Return a folder with the packages and scripts of `source`; skip where npm cannot bring them.

    `source` holds a package.json with exact versions, and the scripts that use them.
    """
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("Node.js and npm are not installed")
    assert request.config.cache is not None
    where = request.config.cache.mkdir(source.name)
    wanted = (source / "package.json").read_text()
    stamp = where / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.copy(source / "package.json", where)
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=where,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip(f"{source.name} cannot be installed: {done.stderr[-200:]}")
        stamp.write_text(wanted)
    for script in source.glob("*.mjs"):
        shutil.copy(script, where)
    return where
