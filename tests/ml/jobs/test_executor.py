from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ml.base.content import content_hash
from ml.jobs.frames import (
    VERSION,
    Cancel,
    Failed,
    Frame,
    FrameDecoder,
    Hello,
    Job,
    Progress,
    Result,
    Shutdown,
    encode_frame,
)
from ml.rows.row import Row, encode_batch
from runtime.codec.scale import codec
from runtime.shared.documents import (
    BatchInput,
    DatanetVersion,
    Diverged,
    Evaluate,
    Evaluated,
    Index,
    Indexed,
    JobOutput,
    JobSpec,
    Recipe,
    RowsInput,
    Train,
    Trained,
)
from runtime.trie.merkle import blob_id
from runtime.types.primitives import AccountId, Hash
from tests.conftest import REPOSITORY

RECIPE = Recipe(
    learning_rate_nano=20_000_000,
    max_steps=12,
    batch_rows=8,
    micro_batch_rows=8,
    rank=2,
    max_tokens=64,
    checkpoint_steps=4,
    evaluation_permille=150,
)


class Executor:
    """One executor process and the frames that it sends."""

    def __init__(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ml.jobs", "--threads", "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env=environment | {"PYTHONPATH": str(REPOSITORY), "SECRET_KEY": "must not be seen"},
        )
        self.frames = self._read()

    def _read(self) -> Iterator[Frame]:
        assert self.process.stdout is not None
        decoder = FrameDecoder()
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            yield from decoder.feed(data)

    def send(self, frame: Frame) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encode_frame(frame))
        self.process.stdin.flush()

    def end_of(self, job: Job) -> Result | Failed:
        self.send(job)
        return next(f for f in self.frames if isinstance(f, Result | Failed))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> int:
        if self.process.poll() is None:
            self.send(Shutdown())
        status = self.process.wait(timeout=60)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        return status


@pytest.fixture(scope="module")
def training(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, tiny_rows: list[Row]
) -> Job:
    folder = tmp_path_factory.mktemp("job")
    inputs = folder / "inputs"
    inputs.mkdir()
    halves = [tiny_rows[:40], tiny_rows[40:]]
    batches = []
    for number, rows in enumerate(halves):
        blob = encode_batch(rows)
        (inputs / blob_id(blob).hex()).write_bytes(blob)
        owner = AccountId(bytes([number + 1]) * 32)
        batches.append(BatchInput(0, number, owner, blob_id(blob), len(rows)))
    (inputs / "rows.scale").write_bytes(codec(RowsInput).encode(RowsInput(tuple(batches))))
    spec = Train(0, Hash(content_hash(tiny_folder)), (DatanetVersion(0, 1),), RECIPE)
    return Job(
        id=1,
        spec=codec(JobSpec).encode(spec),
        inputs=str(inputs),
        work=str(folder / "first"),
        seed=b"s" * 32,
        base=str(tiny_folder),
        train_spec=b"",
        trained=b"",
    )


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    running = Executor()
    hello = next(running.frames)
    assert isinstance(hello, Hello)
    assert (len(hello.profile), len(hello.golden)) == (32, 32)
    running.send(Hello(VERSION, b"", b""))
    yield running
    assert running.close() == 0


@pytest.fixture(scope="module")
def result(executor: Executor, training: Job) -> Result:
    answer = executor.end_of(training)
    assert isinstance(answer, Result), answer
    return answer


def trained(result: Result) -> Trained:
    output = codec(JobOutput).decode(result.output)
    assert isinstance(output, Trained)
    return output


def test_a_training_answers_with_files_named_by_their_hash(result: Result, training: Job) -> None:
    output = trained(result)
    names = [result.files[i : i + 32] for i in range(0, len(result.files), 32)]
    assert names[:2] == [output.adapter, output.moments]
    for name in names:
        data = (Path(training.work) / "outputs" / name.hex()).read_bytes()
        assert blob_id(data) == name
    assert output.adapter_loss_micronats < output.base_loss_micronats


def test_kill_9_in_the_middle_resumes_to_the_same_output(
    executor: Executor, result: Result, training: Job
) -> None:
    second = replace(training, id=2, work=str(Path(training.work).with_name("second")))
    victim = Executor()
    victim.send(second)
    next(f for f in victim.frames if isinstance(f, Progress) and f.step == 6)
    victim.kill()
    victim.close()
    executor.send(second)
    steps = []
    for frame in executor.frames:
        if isinstance(frame, Progress):
            steps.append(frame.step)
        elif isinstance(frame, Result | Failed):
            break
    assert isinstance(frame, Result), frame
    assert steps[0] > 4, "it did not start over"
    assert frame.output == result.output


def test_a_rotten_checkpoint_costs_its_steps_and_nothing_else(
    executor: Executor, result: Result, training: Job
) -> None:
    work = Path(training.work).with_name("rotten")
    work.mkdir()
    (work / "checkpoint.safetensors").write_bytes(b"rotten")
    answer = executor.end_of(replace(training, id=4, work=str(work)))
    assert isinstance(answer, Result), answer
    assert answer.output == result.output


def test_a_training_that_diverges_has_the_step_as_its_result(
    executor: Executor, training: Job
) -> None:
    spec = codec(JobSpec).decode(training.spec)
    assert isinstance(spec, Train)
    # A decay of 10^10 at a rate of 10^10 overflows float32 within a few steps.
    wild = replace(RECIPE, learning_rate_nano=10**19, weight_decay_nano=10**19, warmup_steps=0)
    job = replace(training, spec=codec(JobSpec).encode(replace(spec, recipe=wild)))
    steps = set()
    for number in (20, 21):
        work = str(Path(training.work).with_name(f"wild {number}"))
        answer = executor.end_of(replace(job, id=number, work=work))
        assert isinstance(answer, Result), answer
        output = codec(JobOutput).decode(answer.output)
        assert isinstance(output, Diverged), output
        assert answer.files == b""
        steps.add(output.step)
    assert len(steps) == 1
    assert 0 < steps.pop() <= wild.max_steps


def test_evaluate_measures_what_training_reported(
    executor: Executor, result: Result, training: Job
) -> None:
    answer = executor.end_of(later(training, result, Evaluate(0, 1)))
    assert isinstance(answer, Result), answer
    output = codec(JobOutput).decode(answer.output)
    assert isinstance(output, Evaluated)
    assert output.base_loss_micronats == trained(result).base_loss_micronats
    assert output.adapter_loss_micronats == trained(result).adapter_loss_micronats


def test_index_sketches_every_row_of_the_training(
    executor: Executor, result: Result, training: Job
) -> None:
    answer = executor.end_of(later(training, result, Index(0, 1, 128)))
    assert isinstance(answer, Result), answer
    output = codec(JobOutput).decode(answer.output)
    assert isinstance(output, Indexed)
    assert output.rows == trained(result).rows_trained + trained(result).rows_held_out
    assert answer.files[:32] == output.phi


def later(training: Job, result: Result, spec: JobSpec) -> Job:
    """Return a job on the outputs of the training."""
    outputs = Path(training.work) / "outputs"
    for path in outputs.iterdir():
        (Path(training.inputs) / path.name).write_bytes(path.read_bytes())
    return replace(
        training,
        id=3,
        spec=codec(JobSpec).encode(spec),
        work=str(Path(training.work).with_name("later")),
        train_spec=training.spec,
        trained=result.output,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spec": b"\xff"}, "SpecRefusedError"),
        ({"inputs": "/nowhere"}, "InputMissingError"),
        ({"base": ""}, "BaseMismatchError"),
    ],
)
def test_a_bad_job_fails_with_a_named_reason_and_the_process_lives(
    executor: Executor, training: Job, change: dict[str, str], reason: str
) -> None:
    answer = executor.end_of(replace(training, id=9, **change))  # type: ignore[arg-type]
    assert isinstance(answer, Failed)
    assert answer.reason == reason
    assert executor.process.poll() is None


def test_a_cancelled_job_stops_with_its_reason(executor: Executor, training: Job) -> None:
    job = replace(training, id=10, work=str(Path(training.work).with_name("cancelled")))
    executor.send(job)
    executor.send(Cancel(10))
    answer = next(f for f in executor.frames if isinstance(f, Result | Failed))
    assert isinstance(answer, Failed)
    assert answer.reason == "TrainingCancelledError"
