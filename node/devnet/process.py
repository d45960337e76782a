"""The process of a node that no parent waits for: is it alive, why did it end, and its signals.

Its state is read from the files that its keeper writes (node/devnet/keeper.py lists them, and why
they can be trusted after a reboot and where process ids are used again).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from node.devnet import keeper
from node.devnet.errors import NodeStartError

LOG_NAME: Final = "node.log"
POLL_SECONDS: Final = 0.02
START_SECONDS: Final = 30.0
_TAIL_BYTES: Final = 64 << 10
_ERROR_LINE: Final = re.compile(
    r"^(Error: .*|\S+ \S+ (ERROR|CRITICAL) .*|[A-Za-z_][\w.]*(Error|Exception|Failed|Refused)\b.*)$"
)


class Process:
    """The process of one node, by the folder in which its keeper writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = folder / LOG_NAME

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a command that outlives this program. Raises NodeStartError."""
        if self.is_alive:
            raise self._runs_already()
        self._folder.mkdir(parents=True, exist_ok=True)
        words = (sys.executable, "-I", "-S", str(Path(keeper.__file__)))
        keeper_run = subprocess.run(
            [*words, str(self._folder), str(self.log), *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if keeper_run.returncode == keeper.IS_BUSY:
            raise self._runs_already()
        if keeper_run.returncode:
            raise NodeStartError(f"The process cannot be started: {keeper_run.stderr.strip()}")

    def _runs_already(self) -> NodeStartError:
        return NodeStartError(f"A node already runs in {self._folder}. Stop it first.")

    @property
    def pid(self) -> int | None:
        """The process id while it lives, None otherwise."""
        if not self._is_locked() or self._number(keeper.EXIT_FILE, "status") is not None:
            return None
        return self._number(keeper.PROCESS_FILE, "pid")

    @property
    def is_alive(self) -> bool:
        """Return whether it lives; a paused one does."""
        return self.pid is not None

    @property
    def is_paused(self) -> bool:
        """Return whether it is stopped by SIGSTOP; only known where the system has /proc."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return fields.rpartition(")")[2].split()[0] in "Tt"

    def signal(self, number: signal.Signals, *, with_children: bool = False) -> bool:
        """Send a signal, to its children too if so wished; False when it does not live."""
        pid = self.pid
        if pid is None:
            return False
        try:
            (os.killpg if with_children else os.kill)(pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_end(self, seconds: float) -> bool:
        """Wait for its end and its keeper's; False when it still lives."""
        return until(lambda: not self._is_locked(), seconds)

    def cause_of_end(self) -> str:
        """Return why it is not alive, in words: its status and the last error in its log."""
        status = self._number(keeper.EXIT_FILE, "status")
        if status is None:
            how = "ended with the machine, or with its keeper" if self._began() else "never started"
        elif status < 0:
            how = f"ended by {signal.Signals(-status).name}"
        else:
            how = f"ended with status {status}"
        error = self.last_error()
        return f"{how}; {error}" if error and status != 0 else how

    def last_error(self) -> str:
        """Return the last error line since its start, empty when there is none."""
        start = self._number(keeper.PROCESS_FILE, "log_start") or 0
        for line in reversed(self._tail(start).splitlines()):
            if _ERROR_LINE.match(line):
                return line[:500]
        return ""

    def log_lines(self, count: int) -> list[str]:
        """Return the last lines of its log."""
        return self._tail(0, bytes_max=count * 1_000).splitlines()[-count:] if count else []

    def _tail(self, start: int, bytes_max: int = _TAIL_BYTES) -> str:
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(start, size - bytes_max))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _began(self) -> bool:
        return (self._folder / keeper.PROCESS_FILE).exists()

    def _number(self, name: str, field: str) -> int | None:
        try:
            value = json.loads((self._folder / name).read_text(encoding="utf-8"))[field]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, int) else None

    def _is_locked(self) -> bool:
        try:
            lock = os.open(self._folder / keeper.LOCK_FILE, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until a condition holds; False when time is up.

    Only for conditions of other processes, which give no event to wait for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
