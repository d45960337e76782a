"""`openledger node start`: what it says of itself, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

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
