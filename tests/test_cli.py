from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from cli import COMMANDS, root
from tests.conftest import REPOSITORY

HEAVY: Final = (
    "torch",
    "transformers",
    "peft",
    "libp2p",
    "plyvel",
    "plyvel_next",
    "numpy",
    "trio",
    "httpx",
    "pallets",
)
HELP_SECONDS: Final = 0.5
READY_SECONDS: Final = 30


def run(*words: str, check: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user would."""
    source = (
        f"import sys, cli\ntry:\n    cli.root({list(words)!r})\nfinally:\n    {check or 'pass'}"
    )
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=REPOSITORY, timeout=60
    )


def test_help_loads_nothing_heavy() -> None:
    found = f"print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run("--help", check=found).stdout.splitlines()[-1] == "[]"


def test_help_answers_at_once() -> None:
    # The least of several runs, because the machine may be busy with something else.
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "cli.py", "--help"], capture_output=True, cwd=REPOSITORY, check=True
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < HELP_SECONDS


@pytest.mark.parametrize("words", [("account", "balance", "//Alice"), ("datanet", "list")])
def test_talking_to_a_node_loads_no_learning_and_no_database(words: tuple[str, ...]) -> None:
    heavy = ("torch", "transformers", "peft", "libp2p", "plyvel", "plyvel_next")
    found = f"print([name for name in {heavy!r} if name in sys.modules])"
    called = run(*words, "--url", "ws://127.0.0.1:1", check=found)
    assert called.stdout.splitlines()[-1] == "[]"
    assert "No node answers" in called.stderr


def test_help_tells_every_command_in_one_line() -> None:
    output = CliRunner().invoke(root, ["--help"]).output
    for name in COMMANDS:
        assert f"\n  {name} " in output


def test_the_version_is_told_in_a_checkout_too() -> None:
    called = run("--version")
    assert called.stdout.startswith("openledger ")
    head = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert f"commit {head.stdout.strip()}" in called.stdout or head.returncode
    assert called.returncode == 0


@pytest.mark.parametrize("words", [("nothing",), ("account", "nothing"), ("tx", "nothing", "x")])
def test_an_unknown_command_is_a_usage_error(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(root, list(words))
    assert result.exit_code == 2
    assert "No such command" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("dev", "--port", "70000"), "70000"),
        (("dev", "--block-time-ms", "1", "--port", "0"), "block_time_ms"),
        (("dev", "--sealing", "never"), "never"),
        (("node", "start", "--config", "/nowhere.toml"), "cannot be read"),
        (("node", "start", "--chain", "/nowhere.json", "--port", "0"), "cannot be read"),
        (("node", "start", "--account", "unknown", "--port", "0"), "There is no key 'unknown' in"),
    ],
)
def test_a_node_that_cannot_start_says_why(
    words: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    if words[0] == "node":
        words = (*words, "--base-path", str(tmp_path))
    result = CliRunner().invoke(root, list(words))
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr


@pytest.fixture
def development_node() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A development node in a child process, with its ready document."""
    words = ["dev", "--port", "0", "--no-executor", "--no-serve", "--json"]
    child = subprocess.Popen(
        [sys.executable, "cli.py", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line)
        if line == "}\n":
            break
    yield child, json.loads("".join(lines))
    child.kill()
    child.communicate(timeout=READY_SECONDS)


def test_a_development_node_serves_and_stops_cleanly(
    development_node: tuple[subprocess.Popen[str], dict[str, str]],
) -> None:
    child, ready = development_node
    words = ["account", "transfer", "//Bob", "1OPEN", "--from", "//Alice", "--url", ready["url"]]
    result = CliRunner().invoke(root, [*words, "--wait", "final", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["status"] == "final"
    assert Path(ready["base_path"]).is_dir()
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=READY_SECONDS)
    assert child.returncode == 0, errors
    assert "Traceback" not in errors
    assert not Path(ready["base_path"]).exists()
