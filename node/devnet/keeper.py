"""The keeper of one node: starts it apart from any terminal, holds its lock, records its end.

Run as a script on the standard library only, so that it costs little:

    python -I -S keeper.py FOLDER LOG COMMAND...

    FOLDER/alive.lock     locked (flock) as long as the keeper or the node lives
    FOLDER/process.json   {"pid": of the node, "log_start": bytes of the log before it}
    FOLDER/exit.json      {"status": exit status, or minus the signal that ended it}

It returns when process.json is there, and leaves a process behind that waits for the node. The lock
goes with the processes, also when the machine goes down: so no file can claim that a node lives.
exit.json is written before the node's process id is given back to the system: so a reader that
finds the lock and no exit.json may send a signal to that id.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from typing import Final

LOCK_FILE: Final = "alive.lock"
PROCESS_FILE: Final = "process.json"
EXIT_FILE: Final = "exit.json"
FILES: Final = (LOCK_FILE, PROCESS_FILE, EXIT_FILE)
"""Frozen: the keeper of a node that runs may be older than the program that reads its files."""
LOCK_ATTEMPTS: Final = 250
LOCK_WAIT_SECONDS: Final = 0.02
"""A reader that looks whether the node lives holds the lock for an instant, and the keeper of one
that died just now for a little longer."""
IS_BUSY: Final = 75
IS_MISSING: Final = 127


def main(folder: str, log: str, command: list[str]) -> int:
    """Start the node; returns only in the first process."""
    lock = os.open(os.path.join(folder, LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(lock):
        return IS_BUSY
    for name in (PROCESS_FILE, EXIT_FILE):
        if os.path.exists(os.path.join(folder, name)):
            os.unlink(os.path.join(folder, name))
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        answer = os.read(reader, 1)  # empty when the other process ends before it writes
        return answer[0] if answer else IS_MISSING
    os.close(reader)
    os.setsid()
    _run_node(folder=folder, log=log, command=command, lock=lock, writer=writer)
    return 0


def _locked(lock: int) -> bool:
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_WAIT_SECONDS)
        else:
            return True
    return False


def _run_node(folder: str, log: str, command: list[str], lock: int, writer: int) -> None:
    # The keeper must outlive the node, so it ignores what a terminal or a shutdown sends to both.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with open(log, "ab") as file:
        log_start = file.tell()
        node = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            pass_fds=(lock,),
            process_group=0,
            preexec_fn=_restore_signals,
        )
    _write(folder, PROCESS_FILE, {"pid": node.pid, "log_start": log_start})
    os.write(writer, b"\0")
    os.close(writer)
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    # WNOWAIT: the process id must not be used again before exit.json is written.
    end = os.waitid(os.P_PID, node.pid, os.WEXITED | os.WNOWAIT)
    assert end is not None, "it was waited for"
    status = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
    _write(folder, EXIT_FILE, {"status": status})
    node.wait()


def _restore_signals() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _write(folder: str, name: str, value: dict[str, int]) -> None:
    draft = os.path.join(folder, f".{name}.part")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(draft, os.path.join(folder, name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
