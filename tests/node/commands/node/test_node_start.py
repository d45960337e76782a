"""`openledger node start`: what it says of itself, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.node.commands.support.calling import OpenLedger
from tests.node.commands.support.processes import running

QUIET = ("--no-executor", "--no-serve", "--port", "0", "--p2p-port", "0")


def test_a_node_that_can_only_wait_says_so(tmp_path: Path) -> None:
    spec = tmp_path / "dev.json"
    OpenLedger("ws://127.0.0.1:1", tmp_path).json("chain", "spec", "export", str(spec))
    words = ("node", "start", "--chain", str(spec), "--base-path", str(tmp_path / "base"), *QUIET)
    child = subprocess.Popen(
        [sys.executable, "cli.py", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        assert child.stderr is not None
        warning = next(line for line in child.stderr if line.startswith("Warning: "))
        assert "--bootnode" in warning
        assert "--sealing instant" in warning
    finally:
        child.terminate()
        child.communicate(timeout=30)


def test_the_address_of_a_node_goes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.json"
    words = ("dev", "--base-path", str(tmp_path), "--port", "0", "--no-executor", "--no-serve")
    with running(*words) as process:
        assert json.loads(file.read_text())["pid"] == process.child.pid
        process.stop(signal.SIGKILL)
        assert file.exists(), "nobody was left to remove it"
    with running(*words) as process:
        assert json.loads(file.read_text())["pid"] == process.child.pid
        assert process.stop() == 0
    assert not file.exists()


def test_a_start_that_fails_leaves_no_address_of_an_earlier_node(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.json"
    file.write_text("{}")
    words = ("node", "start", "--base-path", str(tmp_path), "--host", "192.0.2.1", *QUIET)
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)(*words)
    assert called.exit_code == 2, called.err
    assert not file.exists()


def live_spec(folder: Path) -> str:
    """A spec of a chain with real money, on which development keys are refused."""
    spec = folder / "live.json"
    OpenLedger("ws://127.0.0.1:1", folder).json("chain", "spec", "export", str(spec))
    text = spec.read_text().replace('"chainType": "Development"', '"chainType": "Live"')
    spec.write_text(text)
    return str(spec)


@pytest.mark.parametrize(
    "words", [("--account", "//Alice"), ("--account", "nobody"), ("--validator",)]
)
def test_a_start_that_is_refused_for_its_keys_leaves_nothing(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    base = tmp_path / "base"
    start = ("node", "start", "--chain", live_spec(tmp_path), "--base-path", str(base), *words)
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)(*start, *QUIET)
    assert called.exit_code == 2, called.err
    assert not base.exists()


def test_a_start_that_cannot_listen_says_so_before_other_nodes_meet_it(tmp_path: Path) -> None:
    words = ("node", "start", "--base-path", str(tmp_path / "base"), "--sealing", "consensus")
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)(*words, *QUIET, "--host", "no.invalid")
    assert called.exit_code == 2
    assert "Choose a host name" in called.err
    assert "network-started" not in called.err
