"""A node as a child process, for stories, tests and benchmarks that need a real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

READY_SECONDS: Final = 90.0
STOP_SECONDS: Final = 20.0
LOG_NAME: Final = "node.log"
LOG_TAIL_LINES: Final = 20
_PROGRAM: Final = "from cli import main; main()"


class NodeFailedError(Exception):
    """The node did not start or stop as it should; the message quotes its log."""


class NodeProcess:
    """A node in a process of its own, with its log in the data folder.

    The chain `dev` is started by `openledger dev`, any other by `openledger node start` with a solo
    author.
    """

    def __init__(self, base_path: Path, *options: str, chain: str = "dev") -> None:
        self.base_path = base_path
        solo = ("--sealing", "instant")
        self._start = ("dev",) if chain == "dev" else ("node", "start", "--chain", chain, *solo)
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.http_url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running node."""
        assert self._process is not None, "the node runs"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it accepts connections. Raises NodeFailedError."""
        self.base_path.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-c", _PROGRAM, *self._start, "--json"),
            *("--base-path", str(self.base_path), "--port", "0"),
            *("--log-level", "info", *self._options),
        ]
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
        with (self.base_path / LOG_NAME).open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        ready = self._read_ready()
        self.url, self.http_url = ready["url"], ready["http_url"]

    def _read_ready(self) -> dict[str, str]:
        assert self._process is not None, "just started"
        assert self._process.stdout is not None, "opened with a pipe"
        timer = threading.Timer(READY_SECONDS, self._process.kill)
        timer.start()
        try:
            document: dict[str, str] = json.loads(_first_object(self._process.stdout))
        except ValueError as error:
            self._process.kill()
            status = self._process.wait()
            raise NodeFailedError(
                f"The node ended with status {status} before it was ready. Its log ends:\n"
                f"{self.log_tail()}"
            ) from error
        finally:
            timer.cancel()
        return document

    def stop(self) -> None:
        """Ask it to stop and wait for its end. Raises NodeFailedError when it does not end well."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise NodeFailedError(f"The node did not stop within {STOP_SECONDS} s.") from error
        finally:
            if process.stdout is not None:
                process.stdout.close()
        if status != 0:
            raise NodeFailedError(f"The node stopped with status {status}:\n{self.log_tail()}")

    def kill(self) -> None:
        """Kill it at once, as a power cut would."""
        process, self._process = self._process, None
        assert process is not None, "the node runs"
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def log_tail(self) -> str:
        """Return the last lines of the node's log."""
        path = self.base_path / LOG_NAME
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def _first_object(stream: IO[str]) -> str:
    """Read the one JSON object that `dev --json` prints."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if line.rstrip() == "}":
            break
    return "".join(lines)
