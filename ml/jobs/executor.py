"""The executor's main loop: frames from stdin, one job at a time, frames to stdout.

A reader thread decodes frames as they arrive, so that Cancel and a closed stdin stop a running job
after its current step; its checkpoint stays and the same job resumes from it. Jobs wait in a
bounded queue. stdout carries only the protocol: the prints of libraries are redirected to stderr.
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


class CancelledJobs:
    """The jobs that must stop; shared between the reader thread and the running job."""

    def __init__(self) -> None:
        """Start with no cancelled job."""
        self._lock = threading.Lock()
        self._jobs: set[int] = set()
        self._is_all = False

    def add(self, job: int | None) -> None:
        """Cancel one job, or all for None."""
        with self._lock:
            if job is None:
                self._is_all = True
            else:
                self._jobs.add(job)

    def discard(self, job: int) -> None:
        """Allow a later job of the same id to run."""
        with self._lock:
            self._jobs.discard(job)

    def __contains__(self, job: int) -> bool:
        with self._lock:
            return self._is_all or job in self._jobs


def serve(profile: Profile) -> int:
    """Serve frames until Shutdown or the end of stdin; return the exit status."""
    # A library's print would be a broken frame, so descriptor 1 becomes stderr and only `send` has
    # the pipe to the node.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    work = WorkFolder()
    seal_process(work)
    cancelled = CancelledJobs()
    # Without a size: a full queue would block the reader, and with it a Cancel behind the job. The
    # reader refuses jobs beyond JOBS_WAITING_MAX instead.
    jobs: queue.Queue[Job | None] = queue.Queue()
    lock = threading.Lock()

    def send(frame: Frame) -> None:
        with lock:
            output.write(encode_frame(frame))
            output.flush()

    send(Hello(VERSION, profile.id, golden_hash(profile.device)))
    # A thread and not a poll between steps: a closed stdin must end the process even while it waits
    # for a job.
    reader = threading.Thread(
        target=_read_frames, args=(sys.stdin.buffer, jobs, cancelled, send), daemon=True
    )
    reader.start()
    while (job := jobs.get()) is not None:
        work.path = Path(os.path.realpath(job.work))
        send(_run_to_frame(job, cancelled, send, profile))
        cancelled.discard(job.id)
    return 0


def _run_to_frame(job: Job, cancelled: CancelledJobs, send: Send, profile: Profile) -> Frame:
    """Run one job and return its last frame; every exception becomes a Failed frame."""

    def report(step: int, steps: int, loss: int, held_out: int) -> None:
        if job.id in cancelled:
            raise TrainingCancelledError("The job was cancelled; it goes on from its checkpoint.")
        send(
            Progress(
                id=job.id,
                step=step,
                steps=steps,
                loss_micronats=loss,
                held_out_micronats=held_out,
            )
        )

    try:
        if job.id in cancelled:
            raise TrainingCancelledError("The job was cancelled before it began.")
        outcome = run_job(job, report, profile)
    except Exception as error:  # noqa: BLE001  A job must never take the process with it.
        message = str(error)[:MESSAGE_CHARACTERS_MAX]
        return Failed(job.id, type(error).__name__, message)
    encoded = codec(JobOutput).encode(outcome.output)
    return Result(job.id, encoded, b"".join(outcome.files))


def _read_frames(
    stream: BinaryIO, jobs: queue.Queue[Job | None], cancelled: CancelledJobs, send: Send
) -> None:
    """Decode frames until the stream ends or breaks; then cancel all jobs and end the loop."""
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
                        cancelled.add(frame.id)
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
        cancelled.add(None)
        jobs.put(None)
