from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from node.devnet.errors import NodeStartError
from node.devnet.process import Process, until

SECONDS: Final = 20.0
SLEEPS: Final = (
    "import time; print('awake', file=__import__('sys').stderr, flush=True); time.sleep(600)"
)


def python(source: str) -> list[str]:
    return [sys.executable, "-S", "-c", source]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.signal(signal.SIGKILL)
    assert process.wait_end(SECONDS)


def started(process: Process, source: str = SLEEPS) -> Process:
    process.start(python(source), os.environ)
    return process


def test_a_process_lives_apart_from_its_starter(process: Process) -> None:
    started(process)
    assert process.pid is not None
    assert os.getsid(process.pid) != os.getsid(0)
    assert process.is_alive


def test_a_second_one_is_not_started_beside_it(process: Process) -> None:
    started(process)
    with pytest.raises(NodeStartError, match="already runs"):
        started(process)
    assert process.is_alive


def test_how_it_ended_is_known(process: Process) -> None:
    started(process, "import sys; sys.exit(3)")
    assert process.wait_end(SECONDS)
    assert process.cause_of_end() == "ended with status 3"


def test_the_signal_that_ended_it_is_known(process: Process) -> None:
    started(process).signal(signal.SIGKILL)
    assert process.wait_end(SECONDS)
    assert process.cause_of_end() == "ended by SIGKILL"


@pytest.mark.parametrize(
    "line",
    [
        "Error: there is no room left",
        "2026-01-31 12:00:00.123 CRITICAL node.authoring.author sealing-halted reason='full'",
        "2026-01-31 12:00:00.123 ERROR node.authoring.author sealing-failed",
        "ValueError: five is no number",
        "trio.TooSlowError",
    ],
)
def test_the_last_error_in_the_log_is_the_cause(process: Process, line: str) -> None:
    source = f"import sys; print({line!r}, 'bye', sep='\\n', file=sys.stderr); sys.exit(1)"
    started(process, source)
    assert process.wait_end(SECONDS)
    assert process.cause_of_end() == f"ended with status 1; {line}"


def test_errors_of_an_earlier_life_are_not_the_cause(process: Process) -> None:
    started(process, "raise SystemExit('Error: long ago')")
    assert process.wait_end(SECONDS)
    started(process, "raise SystemExit(4)")
    assert process.wait_end(SECONDS)
    assert process.cause_of_end() == "ended with status 4"
    assert process.log_lines(5) == ["Error: long ago"]


def test_a_paused_process_is_alive(process: Process) -> None:
    started(process)
    process.signal(signal.SIGSTOP)
    assert until(lambda: process.is_paused, SECONDS)
    assert process.is_alive
    process.signal(signal.SIGCONT)
    assert until(lambda: not process.is_paused, SECONDS)


def test_files_of_a_machine_that_went_down_claim_nothing(process: Process, tmp_path: Path) -> None:
    """Nobody holds the lock, and the process id now belongs to this very test."""
    (tmp_path / "alive.lock").touch()
    (tmp_path / "process.json").write_text(json.dumps({"pid": os.getpid(), "log_start": 0}))
    assert not process.is_alive
    assert process.signal(signal.SIGKILL) is False
    assert process.cause_of_end() == "ended with the machine, or with its keeper"


def test_a_node_lives_on_without_its_keeper(process: Process) -> None:
    started(process)
    assert process.pid is not None
    keeper = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    assert process.is_alive
    process.signal(signal.SIGKILL)
    assert process.wait_end(SECONDS)
    assert process.cause_of_end() == "ended with the machine, or with its keeper"


def test_a_keeper_outlives_the_terminal_of_its_starter(tmp_path: Path) -> None:
    source = (
        "import os, sys; from pathlib import Path; from node.devnet.process import Process\n"
        f"Process(Path({str(tmp_path)!r})).start({python(SLEEPS)!r}, os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", source], timeout=SECONDS, start_new_session=True)
    assert done.returncode == 0
    process = Process(tmp_path)
    assert process.is_alive
    process.signal(signal.SIGKILL)
    assert process.wait_end(SECONDS)


def test_a_program_that_is_not_there_is_told(process: Process) -> None:
    with pytest.raises(NodeStartError, match="cannot be started"):
        process.start(["/no/such/program"], os.environ)


def test_a_node_that_never_started_has_no_cause(process: Process) -> None:
    assert not process.is_alive
    assert process.cause_of_end() == "never started"
