"""The executor's main loop: frames from stdin, one job at a time, frames to stdout.

A reader thread takes frames as they come, so that Cancel and a closed stdin stop a running job
after its current step; its checkpoint stays and the same job goes on from there. Jobs wait in a
bounded queue. stdout belongs to the protocol: what libraries print goes to stderr.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from ml.jobs.frames import (
    VERSION,
    Cancel,
    Failed,
    Frame,
    FrameDecoder,
    FrameRefusedError,
    Hello,
    Job,
    Progress,
    Result,
    Shutdown,
    encode_frame,
)
from ml.jobs.kinds import run_job
from ml.jobs.limits import WorkFolder, seal_process
from ml.train.golden import golden_hash
from ml.train.loop import TrainingCancelledError
from ml.train.profile import Profile
from runtime.codec.scale import codec
from runtime.shared.documents import JobOutput

JOBS_WAITING_MAX: Final = 16
READ_BYTES: Final = 1 << 16
MESSAGE_CHARACTERS_MAX: Final = 2_000

Send: TypeAlias = Callable[[Frame], None]


class Stopping:
    """Which jobs are to stop; shared between the reader thread and the running job."""

    def __init__(self) -> None:
        """Start with nothing stopped."""
        self._lock = threading.Lock()
        self._jobs: set[int] = set()
        self._everything = False

    def stop(self, job: int | None) -> None:
        """Stop one job, or everything for None."""
        with self._lock:
            if job is None:
                self._everything = True
            else:
                self._jobs.add(job)

    def forget(self, job: int) -> None:
        """Let a later job of the same id run."""
        with self._lock:
            self._jobs.discard(job)

    def covers(self, job: int) -> bool:
        """Say whether a job is to stop."""
        with self._lock:
            return self._everything or job in self._jobs


def serve(profile: Profile) -> int:
    """Serve frames until Shutdown or the end of stdin; return the exit status."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work = WorkFolder()
    seal_process(work)
    stopping = Stopping()
    jobs: queue.Queue[Job | None] = queue.Queue()
    lock = threading.Lock()

    def send(frame: Frame) -> None:
        with lock:
            output.write(encode_frame(frame))
            output.flush()

    send(Hello(VERSION, profile.id, golden_hash(profile.device)))
    reader = threading.Thread(
        target=_read_frames, args=(sys.stdin.buffer, jobs, stopping, send), daemon=True
    )
    reader.start()
    while (job := jobs.get()) is not None:
        work.path = Path(os.path.realpath(job.work))
        send(_answer(job, stopping, send, profile))
        stopping.forget(job.id)
    return 0


def _answer(job: Job, stopping: Stopping, send: Send, profile: Profile) -> Frame:
    """Run one job and return its last frame; whatever goes wrong becomes a Failed frame."""

    def report(step: int, steps: int, loss: int, held_out: int) -> None:
        if stopping.covers(job.id):
            raise TrainingCancelledError("The job was cancelled; it goes on from its checkpoint.")
        send(Progress(job.id, step, steps, loss, held_out))

    try:
        if stopping.covers(job.id):
            raise TrainingCancelledError("The job was cancelled before it began.")
        outcome = run_job(job, report, profile)
    except Exception as error:  # noqa: BLE001  A job must never take the process with it.
        message = str(error)[:MESSAGE_CHARACTERS_MAX]
        return Failed(job.id, type(error).__name__, message)
    encoded = codec(JobOutput).encode(outcome.output)
    return Result(job.id, encoded, b"".join(outcome.files))


def _read_frames(
    stream: BinaryIO, jobs: queue.Queue[Job | None], stopping: Stopping, send: Send
) -> None:
    """Take frames until the stream ends or breaks; then stop what runs and end the loop."""
    decoder = FrameDecoder()
    try:
        while data := stream.raw.read(READ_BYTES):  # type: ignore[attr-defined]
            for frame in decoder.feed(data):
                match frame:
                    case Job():
                        if jobs.qsize() >= JOBS_WAITING_MAX:
                            message = f"{JOBS_WAITING_MAX} jobs wait already; send it later."
                            send(Failed(frame.id, "QueueFullError", message))
                        else:
                            jobs.put(frame)
                    case Cancel():
                        stopping.stop(frame.id)
                    case Shutdown():
                        return
                    case Hello() if frame.version != VERSION:
                        message = f"Protocol {frame.version} is not {VERSION}; update the node."
                        send(Failed(-1, "VersionMismatch", message))
                        return
                    case _:
                        continue  # A Hello that fits; other frames only travel the other way.
    except FrameRefusedError as error:
        send(Failed(-1, "FrameRefusedError", str(error)))
    finally:
        stopping.stop(None)
        jobs.put(None)
