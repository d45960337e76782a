"""Calls the command line in the test's process, against a node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from cli import root


@dataclass
class Called:
    """What a command printed and how it ended."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class OpenLedger:
    """Calls commands in this process; an unexpected exception fails the test."""

    def __init__(self, url: str, keys: Path) -> None:
        self.environment = {"OPENLEDGER_URL": url, "OPENLEDGER_KEYS": str(keys), "COLUMNS": "200"}

    def __call__(self, *words: str, typed: str = "") -> Called:
        result = CliRunner().invoke(root, list(words), input=typed, env=self.environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Called(result.exit_code, result.stdout, result.stderr)

    def json(self, *words: str) -> Any:
        called = self(*words, "--json")
        assert called.exit_code == 0, called.err
        return called.document
