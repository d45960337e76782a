"""A closed terminal ends a command as Ctrl-C does; what is ignored stays ignored."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.commands.base.hangup import ending_signals_interrupt, heeded
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_an_ending_signal_interrupts_the_body_only(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ending_signals_interrupt():
        signal.raise_signal(number)
    assert signal.getsignal(number) is former


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert heeded(signal.SIGHUP, signal.SIGTERM) == (signal.SIGTERM,)
        with ending_signals_interrupt():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_development_node_leaves_no_folder_behind_when_its_terminal_is_closed(
    tmp_path: Path,
) -> None:
    child = subprocess.Popen(
        [sys.executable, "cli.py", "dev", "--port", "0", "--no-executor", "--no-serve", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert child.stdout is not None
    assert any(line.rstrip() == "}" for line in child.stdout)
    assert list(tmp_path.glob("openledger-dev-*"))
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=30)
    assert child.returncode == 0
    assert list(tmp_path.glob("openledger-dev-*")) == []
