"""The command line in a process of its own, as an operator runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.conftest import REPOSITORY

STOP_SECONDS: Final = 30


@dataclass
class Process:
    """A command that goes on until it is stopped; `document` is what it told when ready."""

    child: subprocess.Popen[str]
    document: Any

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        self.child.send_signal(number)
        return self.child.wait(STOP_SECONDS)


@contextmanager
def running(*words: str) -> Iterator[Process]:
    """Run a command until it has told its document; it is killed at the end, if it still runs."""
    child = subprocess.Popen(
        [sys.executable, "cli.py", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield Process(child, _document(child))
    finally:
        child.kill()
        child.communicate()


def finished(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [sys.executable, "cli.py", *words],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=60,
    )


def _document(child: subprocess.Popen[str]) -> Any:
    """Read the JSON object that ends with a brace of its own."""
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line)
        if line.rstrip() == "}":
            return json.loads("".join(lines))
    raise AssertionError(child.communicate()[1])
