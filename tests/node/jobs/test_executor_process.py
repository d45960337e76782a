"""The supervised process: answers, crashes, restarts, garbage, versions; once the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

from ml.jobs.frames import Failed, Job, Progress, Result
from node.jobs import executor_process as worker_module
from node.jobs.executor_process import RESTARTS_PER_JOB_MAX, ExecutorDiedError, ExecutorProcess
from tests.conftest import REPOSITORY
from tests.node.support.small_node import run

JOB = Job(4, b"spec", "inputs", "work", bytes(32), "", b"", b"")
HEAD = f"""
import os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from ml.jobs.frames import *
decoder = FrameDecoder()
def read():
    while True:
        data = os.read(0, 65536)
        if not data:
            sys.exit(0)
        frames = decoder.feed(data)
        if frames:
            return frames[0]
def write(frame):
    os.write(1, encode_frame(frame))
def count(path):
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)
"""
HELLO = "read(); write(Hello(VERSION, b'profile'))\n"
ANSWER = "job = read(); write(Progress(job.id, 1, 2, 3, -1)); write(Result(job.id, b'out', b''))\n"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "BACKOFF_SECONDS", (0.0,))
    monkeypatch.setattr(worker_module, "EXIT_SECONDS", 0.1)


def supervised(tmp_path: Path, body: str) -> ExecutorProcess:
    script = tmp_path / "child.py"
    script.write_text(HEAD + body)
    worker = ExecutorProcess(1)
    worker._command = [sys.executable, str(script)]
    return worker


def test_a_job_is_answered_and_its_progress_reported(tmp_path: Path) -> None:
    worker = supervised(tmp_path, HELLO + "while True:\n    " + ANSWER.replace("; ", "\n    "))

    async def scenario() -> None:
        reports: list[Progress] = []
        for _ in range(2):
            assert await worker.run(JOB, reports.append) == Result(4, b"out", b"")
        assert reports == [Progress(4, 1, 2, 3, -1)] * 2
        status = worker.status
        assert (status.running_job, status.restarts) == (None, 0)
        assert status.profile == b"profile".hex()
        assert status.pid is not None
        await worker.stop()
        await worker.stop()
        assert worker.status.pid is None

    run(scenario)


@pytest.mark.parametrize(
    "accident",
    [
        "os._exit(9)",
        "os.kill(os.getpid(), 9)",
        "os.write(1, b'\\xff' * 100); os.read(0, 1)",
        "os.write(1, b'\\0\\0\\0\\2garbage'); os.read(0, 1)",
        "os.close(1); os.read(0, 1)",
    ],
)
def test_a_process_that_dies_or_talks_garbage_is_restarted(tmp_path: Path, accident: str) -> None:
    lives = tmp_path / "lives"
    body = f"{HELLO}job = read()\nif count({str(lives)!r}) < 3:\n    {accident}\n"
    worker = supervised(tmp_path, body + "write(Result(job.id, b'out', b''))\nread()\n")

    async def scenario() -> None:
        assert await worker.run(JOB, lambda _: None) == Result(4, b"out", b"")
        assert worker.status.restarts == 2
        await worker.stop()

    run(scenario)


@pytest.mark.parametrize("body", ["sys.exit(1)\n", "read(); write(Hello(99, b''))\nread()\n"])
def test_a_process_that_never_works_is_given_up(tmp_path: Path, body: str) -> None:
    worker = supervised(tmp_path, body)

    async def scenario() -> None:
        with pytest.raises(ExecutorDiedError):
            await worker.run(JOB, lambda _: None)
        assert worker.status.restarts == RESTARTS_PER_JOB_MAX
        assert worker.status.running_job is None

    run(scenario)


def test_answers_to_other_jobs_are_not_taken_for_this_one(tmp_path: Path) -> None:
    body = "job = read(); write(Result(3, b'old', b'')); write(Progress(3, 1, 1, 0, 0))\n"
    worker = supervised(tmp_path, HELLO + body + "write(Failed(job.id, 'Why', 'so'))\nread()\n")

    async def scenario() -> None:
        reports: list[Progress] = []
        assert await worker.run(JOB, reports.append) == Failed(4, "Why", "so")
        assert reports == []
        await worker.stop()

    run(scenario)


def test_a_job_waits_until_the_one_before_is_done(tmp_path: Path) -> None:
    worker = supervised(tmp_path, HELLO + "while True:\n    " + ANSWER.replace("; ", "\n    "))

    async def scenario() -> None:
        done: list[int] = []

        async def one(number: int) -> None:
            job = Job(number, b"", "", "", b"", "", b"", b"")
            answer = await worker.run(job, lambda _: None)
            done.append(answer.id)

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(one, number)
        assert sorted(done) == [0, 1, 2, 3]
        await worker.stop()

    run(scenario)


def test_a_cancelled_job_leaves_a_worker_that_still_works(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    body = f"{HELLO}if count({str(lives)!r}) == 1:\n    read(); read()\n{ANSWER}read()\n"
    worker = supervised(tmp_path, body)

    async def scenario() -> None:
        with trio.move_on_after(0.5):
            await worker.run(JOB, lambda _: None)
        await worker.stop()
        assert isinstance(await worker.run(JOB, lambda _: None), Result)
        await worker.stop()

    run(scenario)


def test_the_real_process_refuses_a_job_that_it_cannot_read(tmp_path: Path) -> None:
    worker = ExecutorProcess(1)
    job = Job(4, b"\xff", str(tmp_path), str(tmp_path), bytes(32), "", b"", b"")

    async def scenario() -> None:
        with trio.fail_after(60):
            answer = await worker.run(job, lambda _: None)
        assert isinstance(answer, Failed)
        assert worker.status.profile
        await worker.stop()

    trio.run(scenario)
