"""Chains for stories: the development chain with a smaller attribution gate."""

from __future__ import annotations

import json
from pathlib import Path

from genesis.spec import load_spec


def small_chain(folder: Path, rows_minimum: int) -> str:
    """Write a chain spec whose models need few rows for attribution; return its path."""
    spec = json.loads(load_spec("dev").to_json())
    spec["id"] = "story"
    config = spec["genesis"]["runtimeGenesis"]["config"]
    config["attribution"] = {"parameters": {"rows_minimum": rows_minimum}}
    path = folder / "story.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return str(path)
