"""Settle jobs at an executor: texts are waited for, and who withholds them is reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from node.jobs.answer_store import JobAnswerStore
from node.jobs.epoch_inputs import (
    OwedFilesError,
    ReceiptsMissingError,
    TextsAwaitedError,
    TextsMissingError,
    TextsWithheldError,
)
from node.jobs.executor import STALL_BLOCKS, Executor
from node.keys.reader_key import make_reader_key, public_reader_key
from pallets.jobs.job import FailureReason, Job, JobEntry, JobState, Slot
from pallets.jobs.parameters import Parameters
from pallets.jobs.registry import Executor as Registered
from runtime.shared.documents import Evaluate, Settle
from runtime.types.primitives import ZERO_HASH, AccountId, Hash

WHO, SERVER = AccountId(b"e" * 32), AccountId(b"s" * 32)
ASSIGNED_AT, WINDOW = 100, 50
SLOT = Slot(WHO, 0, 0, ASSIGNED_AT)
SPEC = Settle(
    model=1,
    server=SERVER,
    epoch=0,
    receipts_root=ZERO_HASH,
    receipts=1,
    fees_planck=1,
    pool_planck=1,
    bound_milli=0,
    draws=4,
    text_blocks=WINDOW,
)
JOB = Job(
    owner=SERVER,
    spec=SPEC,
    state=JobState.Assigned,
    escrow=0,
    index_escrow=0,
    executors=2,
    work=1,
    opened_at=0,
    expires_at=9,
    slots=(SLOT,),
    commits_end=5_000,
)


class FakeNode:
    """The chain, the reader, the submitter and the presence of an executor in one."""

    genesis_hash = ZERO_HASH
    account = WHO

    def __init__(self) -> None:
        self.finalized = SimpleNamespace(number=ASSIGNED_AT)
        self.best = SimpleNamespace(hash=ZERO_HASH)
        self.reader = ZERO_HASH
        self.shown: dict[tuple[int, int], Hash] = {}
        self.sent: list[tuple[str, dict[str, Any]]] = []

    @contextmanager
    def at(self, block: Hash | None = None) -> Iterator[Any]:
        yield SimpleNamespace(
            jobs=SimpleNamespace(
                jobs_for_executor=lambda _: (JobEntry(7, JOB),),
                models=SimpleNamespace(get=lambda _: SimpleNamespace(base=ZERO_HASH)),
                parameters=SimpleNamespace(get=lambda: Parameters()),
                registry={WHO: Registered(ZERO_HASH, 1, 0, 10, reader=self.reader)},
            ),
            attribution=SimpleNamespace(shown=self.shown),
        )

    def submit(self, pallet: str, name: str, **arguments: Any) -> Hash:
        self.sent.append((name, arguments))
        return Hash(b"t" * 32)

    def rebroadcast(self, transaction: Hash) -> bool:
        return False

    def show(self) -> None: ...

    def why_not(self, base: Hash | None, profile: Hash | None) -> str:
        return ""


class FakeInputs:
    """Inputs of an epoch; `error` is what laying them out raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def prepare_settlement(self, *_: object) -> None:
        self.asked += 1
        raise self.error


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def executor_of(node: FakeNode, folder: Path, inputs: object = None) -> Executor:
    fake, nothing = cast(Any, node), cast(Any, None)
    node.reader = public_reader_key(make_reader_key(folder))
    return Executor(fake, fake, fake, nothing, cast(Any, inputs), nothing, folder, fake)


def look(executor: Executor) -> None:
    """Take the next step of every job, and let what was started end."""

    async def act() -> None:
        async with trio.open_nursery() as nursery:
            executor._act(nursery)

    trio.run(act)


def test_texts_are_looked_for_after_each_block_until_they_are_shown(
    node: FakeNode, tmp_path: Path
) -> None:
    inputs = FakeInputs(TextsAwaitedError("not yet"))
    executor = executor_of(node, tmp_path, inputs)
    for height in range(ASSIGNED_AT, ASSIGNED_AT + 4):
        node.finalized.number = height
        look(executor)
    assert inputs.asked == 4
    assert node.sent == []


def test_a_server_that_shows_nothing_in_time_is_reported(node: FakeNode, tmp_path: Path) -> None:
    executor = executor_of(node, tmp_path, FakeInputs(TextsAwaitedError("not yet")))
    node.finalized.number = ASSIGNED_AT + WINDOW
    look(executor)
    assert node.sent == []
    node.finalized.number += 1
    look(executor)
    look(executor)
    assert node.sent == [("report_withheld", {"job": 7, "attempt": 0})]


def test_a_server_that_has_shown_its_texts_is_not_reported(node: FakeNode, tmp_path: Path) -> None:
    node.shown[7, 0] = ZERO_HASH
    node.finalized.number = ASSIGNED_AT + WINDOW + 1
    executor = executor_of(node, tmp_path, FakeInputs(TextsAwaitedError("a fork had them")))
    look(executor)
    assert node.sent == []


def test_texts_that_cannot_be_read_are_reported_as_withheld(node: FakeNode, tmp_path: Path) -> None:
    node.shown[7, 0] = ZERO_HASH
    look(executor_of(node, tmp_path, FakeInputs(TextsWithheldError("garbage"))))
    [(name, arguments)] = node.sent
    assert (name, arguments["reason"]) == ("report_failure", FailureReason.WithheldTexts)
    answer = JobAnswerStore(tmp_path / "outbox").load(7, 0)
    assert answer is not None
    assert answer.failure == FailureReason.WithheldTexts


@pytest.mark.parametrize("error", [TextsMissingError("gone"), ReceiptsMissingError("gone")])
def test_files_that_no_peer_gives_are_waited_for_while_their_server_may_restart(
    node: FakeNode, tmp_path: Path, error: OwedFilesError
) -> None:
    node.shown[7, 0] = ZERO_HASH
    node.finalized.number = ASSIGNED_AT + WINDOW
    executor = executor_of(node, tmp_path, FakeInputs(error))
    look(executor)
    assert node.sent == []
    node.finalized.number += STALL_BLOCKS
    look(executor)
    [(name, arguments)] = node.sent
    assert (name, arguments["reason"]) == ("report_failure", error.reason)


def test_another_kind_of_job_waits_for_no_texts(node: FakeNode, tmp_path: Path) -> None:
    executor = executor_of(node, tmp_path)
    node.finalized.number = ASSIGNED_AT + WINDOW + 1
    entry = JobEntry(7, replace(JOB, spec=Evaluate(1, 2)))
    assert not executor._is_kept_waiting(entry, SLOT)
