"""The job answer store: answers of an executor to jobs, on disk before anything is sent.

One file for each (job, attempt). It is written aside, synced and renamed, so a crash leaves the
former record or the new one. With the salt and the output in it, a commitment that the chain has
seen can always be revealed, whatever happens to the process in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

import msgpack

from ml.durable_file import write_durably

RECORD_BYTES_MAX: Final = 16 << 20
_SUFFIX: Final = ".msgpack"


class AnswerDamagedError(Exception):
    """A stored answer cannot be read; the job is computed again."""


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """The answer to one attempt at a job.

    `output` is SCALE JobOutput, empty when the job failed here with `failure` (an index of
    FailureReason) and `message`.
    """

    job: int
    attempt: int
    salt: bytes
    output: bytes
    failure: int
    message: str


class JobAnswerStore:
    """A folder of answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def store(self, answer: JobAnswer) -> None:
        """Store an answer durably; returns once it is on disk."""
        record = msgpack.packb(list(astuple(answer)), use_bin_type=True)
        write_durably(self._path(answer.job, answer.attempt), record)

    def load(self, job: int, attempt: int) -> JobAnswer | None:
        """Return the answer to an attempt, or None. Raises AnswerDamagedError."""
        path = self._path(job, attempt)
        if not path.exists():
            return None
        return _decode(path)

    def remove(self, job: int, attempt: int) -> None:
        """Remove an answer that is settled."""
        self._path(job, attempt).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (job, attempt) of every answer, the oldest job first."""
        keys = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            job, _, attempt = path.name.removesuffix(_SUFFIX).partition("-")
            if job.isdecimal() and attempt.isdecimal():
                keys.append((int(job), int(attempt)))
        yield from sorted(keys)

    def _path(self, job: int, attempt: int) -> Path:
        return self._folder / f"{job}-{attempt}{_SUFFIX}"


def _decode(path: Path) -> JobAnswer:
    try:
        if path.stat().st_size > RECORD_BYTES_MAX:
            raise ValueError("it is too large")
        values = msgpack.unpackb(path.read_bytes(), raw=False)
        types = {"int": int, "str": str, "bytes": bytes}
        declared = fields(JobAnswer)
        if not isinstance(values, list) or len(values) != len(declared):
            raise ValueError("it has another number of fields")
        for field, value in zip(declared, values, strict=True):
            if type(value) is not types[str(field.type)]:
                raise ValueError(f"{field.name} has another type")
        return JobAnswer(*values)
    except (ValueError, msgpack.UnpackException) as error:
        raise AnswerDamagedError(f"The answer {path.name} cannot be read: {error}.") from error
