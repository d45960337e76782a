"""The executor process, supervised: spawned, spoken to in frames, restarted with back-off.

The process holds no key and no network; it dies with this node because its stdin closes. A job
that was running when it died runs again from its last checkpoint.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from ml.jobs.frames import (
    VERSION,
    Failed,
    Frame,
    FrameDecoder,
    FrameRefusedError,
    Hello,
    Job,
    Progress,
    Result,
    encode_frame,
)

READ_BYTES: Final = 1 << 16
BACKOFF_SECONDS: Final = (0.2, 1.0, 5.0, 15.0, 60.0)
RESTARTS_PER_JOB_MAX: Final = 5
EXIT_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


class ExecutorDiedError(Exception):
    """The executor process ended while it was working."""


@dataclass(frozen=True, slots=True)
class ExecutorStatus:
    """What operators see of the process."""

    pid: int | None
    running_job: int | None
    restarts: int
    profile: str


class ExecutorProcess:
    """Runs one job at a time in the executor process."""

    def __init__(self, threads: int) -> None:
        self._command = [sys.executable, "-m", "ml.jobs", "--threads", str(threads)]
        self._process: trio.Process | None = None
        self._decoder = FrameDecoder()
        self._lock = trio.Lock()
        self._running: int | None = None
        self._restarts = 0
        self._profile = b""

    @property
    def status(self) -> ExecutorStatus:
        """The state of the process now."""
        pid = self._process.pid if self._process is not None else None
        return ExecutorStatus(pid, self._running, self._restarts, self._profile.hex())

    async def run(self, job: Job, report: Callable[[Progress], None]) -> Result | Failed:
        """Run a job to its end; a process that dies is restarted, cancelling ends it.

        Raises ExecutorDiedError.
        """
        async with self._lock:
            self._running = job.id
            try:
                for attempt in range(RESTARTS_PER_JOB_MAX + 1):
                    try:
                        return await self._run_once(job, report)
                    except ExecutorDiedError as death:
                        if attempt == RESTARTS_PER_JOB_MAX:
                            raise
                        delay = BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)]
                        logger.warning(
                            "worker-died job=%d reason=%s retry_seconds=%s",
                            job.id,
                            str(death).replace(" ", "_"),
                            delay,
                        )
                        self._restarts += 1
                        await trio.sleep(delay)
                raise AssertionError("the loop returns or raises")
            except trio.Cancelled:
                # The job is given up: the process must not compute on for nobody.
                await self.stop()
                raise
            finally:
                self._running = None

    async def _run_once(self, job: Job, report: Callable[[Progress], None]) -> Result | Failed:
        try:
            process = await self._started()
            assert process.stdin is not None, "opened with a pipe"
            await process.stdin.send_all(encode_frame(job))
            while True:
                for frame in await self._receive(process):
                    if isinstance(frame, Progress) and frame.id == job.id:
                        report(frame)
                    elif isinstance(frame, Result | Failed) and frame.id in (job.id, -1):
                        return frame
        except (trio.BrokenResourceError, trio.ClosedResourceError, FrameRefusedError) as error:
            await self.stop()
            raise ExecutorDiedError(str(error) or type(error).__name__) from error
        except ExecutorDiedError:
            await self.stop()
            raise

    async def _started(self) -> trio.Process:
        process = self._process
        if process is not None and process.poll() is None:
            return process
        process = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._process, self._decoder = process, FrameDecoder()
        logger.info("worker-started pid=%d", process.pid)
        assert process.stdin is not None, "opened with a pipe"
        await process.stdin.send_all(encode_frame(Hello(VERSION, b"")))
        for frame in await self._receive(process):
            if isinstance(frame, Hello):
                if frame.version != VERSION:
                    raise ExecutorDiedError(f"it speaks version {frame.version}, not {VERSION}")
                self._profile = frame.profile
        return process

    async def _receive(self, process: trio.Process) -> list[Frame]:
        assert process.stdout is not None, "opened with a pipe"
        frames: list[Frame] = []
        while not frames:
            data = await process.stdout.receive_some(READ_BYTES)
            if not data:
                # One that closed its output and lives on is ended by `stop`.
                with trio.move_on_after(EXIT_SECONDS):
                    await process.wait()
                raise ExecutorDiedError(f"it ended with status {process.returncode}")
            frames = self._decoder.feed(bytes(data))
        return frames

    async def stop(self) -> None:
        """End the process; what it was doing goes on from its checkpoint next time."""
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()
