"""The answers: answers survive, damage is named."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.jobs import answer_store as answer_store_module
from node.jobs.answer_store import AnswerDamagedError, JobAnswer, JobAnswerStore

ANSWER = JobAnswer(7, 1, bytes(32), b"output", 0, "")


def test_a_promise_is_there_after_a_restart(tmp_path: Path) -> None:
    JobAnswerStore(tmp_path).store(ANSWER)
    answers = JobAnswerStore(tmp_path)
    assert answers.load(7, 1) == ANSWER
    assert answers.load(7, 2) is None
    later = replace(ANSWER, output=b"", failure=3, message="why")
    answers.store(later)
    assert answers.load(7, 1) == later
    answers.remove(7, 1)
    answers.remove(7, 1)
    assert answers.load(7, 1) is None


def test_promises_are_listed_by_number(tmp_path: Path) -> None:
    answers = JobAnswerStore(tmp_path)
    for job, attempt in ((10, 0), (9, 1), (9, 0)):
        answers.store(replace(ANSWER, job=job, attempt=attempt))
    for stray in ("x-1.msgpack", "9-0.msgpack.draft", "notes.txt", "7.msgpack"):
        (tmp_path / stray).write_bytes(b"")
    assert list(answers) == [(9, 0), (9, 1), (10, 0)]


@given(st.binary(max_size=80))
def test_garbage_is_named_as_damage(garbage: bytes) -> None:
    path = Path("/dev/null")
    try:
        answer = _decode(garbage, path)
    except AnswerDamagedError as error:
        assert "cannot be read" in str(error)  # noqa: PT017
        return
    assert isinstance(answer, JobAnswer)


def _decode(garbage: bytes, _: Path) -> JobAnswer:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(garbage)
        file.flush()
        return answer_store_module._decode(Path(file.name))


def test_a_record_with_a_flipped_bit_is_another_record_or_damaged(tmp_path: Path) -> None:
    answers, source = JobAnswerStore(tmp_path), random.Random(4)
    answers.store(ANSWER)
    (path,) = tmp_path.iterdir()
    raw = path.read_bytes()
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 << source.randrange(8)
        path.write_bytes(bytes(changed))
        try:
            assert isinstance(answers.load(7, 1), JobAnswer)
        except AnswerDamagedError:
            continue


@pytest.mark.parametrize(
    "record", [[], [1, 2, 3], [True, 1, b"", b"", 0, ""], ["7", 1, b"", b"", 0, ""], {}, {(): 1}]
)
def test_another_shape_is_damage(tmp_path: Path, record: object) -> None:
    (tmp_path / "7-1.msgpack").write_bytes(msgpack.packb(record))
    with pytest.raises(AnswerDamagedError):
        JobAnswerStore(tmp_path).load(7, 1)


def test_an_oversize_record_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "7-1.msgpack").open("wb") as file:
        file.truncate(answer_store_module.RECORD_BYTES_MAX + 1)
    with pytest.raises(AnswerDamagedError, match="too large"):
        JobAnswerStore(tmp_path).load(7, 1)
