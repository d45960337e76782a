"""The executor's next step: every state of a job, slot and answer, against the rules in words.

And its sending: each step once, and again until its effect is final.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

import ml
from node.jobs import executor as executor_module
from node.jobs.answer_store import JobAnswer, JobAnswerStore
from node.jobs.executor import (
    AWAITED_BLOCKS,
    HEARTBEATS,
    REPORT_BLOCKS,
    STALL_BLOCKS,
    Executor,
    Step,
    next_step,
)
from node.jobs.inputs import InputsAwaitedError
from node.transactions.errors import BadFormatError
from node.transactions.submitter import RESEND_BLOCKS
from pallets.jobs.job import (
    FINAL_STATES,
    FailureReason,
    Job,
    JobEntry,
    JobState,
    Slot,
    SlotState,
)
from pallets.jobs.parameters import Parameters
from pallets.jobs.registry import Executor as ExecutorRecord
from runtime.codec.scale import codec
from runtime.shared.documents import Evaluated, JobOutput, Settle
from runtime.types.primitives import AccountId, Hash

WHO = AccountId(b"e" * 32)
ANSWER = JobAnswer(1, 0, bytes(32), b"output", 0, "")
FAILURE = JobAnswer(1, 0, b"", b"", 2, "why")
WORKING = (JobState.Assigned, JobState.Committing)


def job(state: JobState, attempt: int = 0) -> Job:
    return Job(WHO, Settle(0, 0, Hash(bytes(32))), state, 0, 0, 1, 0, 0, 9, attempt=attempt)


def every() -> Iterator[tuple[JobState, SlotState, JobAnswer | None]]:
    yield from itertools.product(JobState, SlotState, (None, ANSWER, FAILURE))


def expected(state: JobState, slot: SlotState, answer: JobAnswer | None) -> Step:
    table: dict[tuple[JobState, SlotState, JobAnswer | None], Step] = {
        **{(each, SlotState.Assigned, None): Step.COMPUTE for each in WORKING},
        **{(each, SlotState.Assigned, ANSWER): Step.COMMIT for each in WORKING},
        **{(each, SlotState.Assigned, FAILURE): Step.REPORT for each in WORKING},
        (JobState.Revealing, SlotState.Committed, ANSWER): Step.REVEAL,
        # A failure is never committed to; were one, the chain would refuse the reveal.
        (JobState.Revealing, SlotState.Committed, FAILURE): Step.REVEAL,
    }
    return table.get((state, slot, answer), Step.WAIT)


@pytest.mark.parametrize(("state", "slot", "answer"), list(every()))
def test_the_next_step_follows_from_chain_and_answers(
    state: JobState, slot: SlotState, answer: JobAnswer | None
) -> None:
    own = Slot(WHO, 0, 0, 0, slot)
    assert next_step(job(state), own, answer) is expected(state, slot, answer)


@pytest.mark.parametrize("answer", [None, ANSWER, FAILURE])
def test_who_committed_in_an_earlier_attempt_reveals_with_the_later_ones(
    answer: JobAnswer | None,
) -> None:
    sealed = Slot(WHO, 0, 0, 0, SlotState.Committed)
    for state in JobState:
        is_time = state is JobState.Revealing and answer is not None
        step = next_step(job(state, attempt=1), sealed, answer)
        assert step is (Step.REVEAL if is_time else Step.WAIT)


@pytest.mark.parametrize("state", FINAL_STATES)
def test_nothing_is_done_for_a_job_that_is_over(state: JobState) -> None:
    for slot, answer in itertools.product(SlotState, (None, ANSWER, FAILURE)):
        assert next_step(job(state), Slot(WHO, 0, 0, 0, slot), answer) is Step.WAIT


# ------------------------------------------------------------------------------------------ sending


BEST, RIVAL = Hash(b"b" * 32), Hash(b"r" * 32)


class FakeNode:
    """The chain, the reader and the submitter of an executor, in one; `waiting` is the pool."""

    genesis_hash = Hash(bytes(32))
    account = WHO

    def __init__(self) -> None:
        self.finalized = SimpleNamespace(number=10)
        self.best = SimpleNamespace(hash=BEST)
        self.slots: dict[Hash | None, SlotState] = dict.fromkeys(
            (None, BEST, RIVAL), SlotState.Assigned
        )
        self.sent: list[str] = []
        self.offered: list[Hash] = []
        self.waiting: set[Hash] = set()
        self.registration: ExecutorRecord | None = None
        self.window = 300

    @contextmanager
    def at(self, block: Hash | None = None) -> Iterator[Any]:
        record = replace(job(JobState.Assigned), slots=(Slot(WHO, 0, 0, 0, self.slots[block]),))
        jobs = SimpleNamespace(
            jobs_for_executor=lambda _: (JobEntry(1, record),),
            registry={WHO: self.registration} if self.registration else {},
            parameters=SimpleNamespace(get=lambda: Parameters(heartbeat_blocks=self.window)),
        )
        yield SimpleNamespace(jobs=jobs)

    def submit(self, pallet: str, name: str, **arguments: Any) -> Hash:
        self.sent.append(name)
        found = Hash(bytes((len(self.sent),)) * 32)
        self.waiting.add(found)
        return found

    def rebroadcast(self, transaction: Hash) -> bool:
        if transaction in self.waiting:
            self.offered.append(transaction)
        return transaction in self.waiting


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def act(node: FakeNode, tmp_path: Path) -> Callable[[int], list[str]]:
    """Let an executor that has promised an answer act after some more final blocks."""
    fake = cast(Any, node)
    nothing = cast(Any, None)
    executor = Executor(fake, fake, fake, nothing, nothing, nothing, tmp_path)
    output = codec(JobOutput).encode(Evaluated(2, 1))
    JobAnswerStore(tmp_path / "outbox").store(JobAnswer(1, 0, bytes(32), output, 0, ""))

    def after(blocks: int) -> list[str]:
        node.finalized.number += blocks
        executor._act(nothing)
        return node.sent

    return after


def test_a_step_is_sent_once_while_it_may_still_become_final(
    node: FakeNode, act: Callable[[int], list[str]]
) -> None:
    assert act(0) == ["commit"]
    assert act(RESEND_BLOCKS - 1) == ["commit"]
    node.waiting.clear()
    node.slots[BEST] = SlotState.Committed
    assert act(5 * RESEND_BLOCKS) == ["commit"]
    node.slots[None] = SlotState.Committed
    assert act(5 * RESEND_BLOCKS) == ["commit"]


def test_a_step_that_was_lost_with_a_branch_is_sent_again(
    node: FakeNode, act: Callable[[int], list[str]]
) -> None:
    act(0)
    node.waiting.clear()
    node.slots[BEST] = SlotState.Committed
    act(RESEND_BLOCKS)
    node.best.hash = RIVAL
    assert act(0) == ["commit", "commit"]


def test_a_step_that_waits_in_the_pool_is_offered_to_peers_and_not_signed_again(
    node: FakeNode, act: Callable[[int], list[str]]
) -> None:
    act(0)
    assert act(RESEND_BLOCKS) == ["commit"]
    assert len(node.offered) == 1
    act(RESEND_BLOCKS - 1)
    assert len(node.offered) == 1
    node.waiting.clear()
    assert act(1) == ["commit", "commit"]


def test_a_step_that_the_pool_refuses_is_tried_at_the_next_block(
    node: FakeNode, act: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str, **__: Any) -> Hash:
        raise BadFormatError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(node, "submit", refuse)
        act(0)
    assert act(1) == ["commit"]


# ------------------------------------------------------------------------------------------ waiting


class AbsentInputs:
    """Inputs that no peer gives."""

    def prepare(self, spec: object, folder: Path) -> None:
        raise InputsAwaitedError("nobody has it")


def answered(
    node: FakeNode, folder: Path, *heights: int, deadline: int = 2_400
) -> JobAnswer | None:
    """Let one executor try a job at these heights; what it answers then."""
    fake, nothing = cast(Any, node), cast(Any, None)
    inputs = cast(Any, AbsentInputs())
    executor = Executor(fake, fake, fake, nothing, inputs, nothing, folder)
    entry = JobEntry(1, replace(job(JobState.Assigned), deadline=deadline))
    for height in heights:
        node.finalized.number = height
        trio.run(executor._compute, entry)
    return JobAnswerStore(folder / "outbox").load(1, 0)


def test_inputs_are_waited_for_while_their_node_may_come_back(
    node: FakeNode, tmp_path: Path
) -> None:
    assert answered(node, tmp_path, 10, 10 + AWAITED_BLOCKS - 1) is None
    answer = answered(node, tmp_path, 10, 10 + AWAITED_BLOCKS)
    assert answer is not None
    assert answer.failure == FailureReason.MissingBlob
    assert node.sent == ["report_failure"]


def test_missing_inputs_are_reported_before_the_commit_phase_ends(
    node: FakeNode, tmp_path: Path
) -> None:
    soon = STALL_BLOCKS + REPORT_BLOCKS + 10
    answer = answered(node, tmp_path, 10, deadline=soon)
    assert answer is not None
    assert answer.failure == FailureReason.MissingBlob


def test_the_causes_that_chain_records_are_error_classes_of_ml() -> None:
    """The executor process names the class of an error; a renamed class would lose its cause."""
    names: set[str] = set()
    for file in pkgutil.walk_packages(ml.__path__, "ml."):
        if not file.name.endswith("__main__"):
            names |= set(vars(importlib.import_module(file.name)))
    assert set(executor_module._REASONS) <= names


# --------------------------------------------------------------------------------------- heartbeats


def beats(node: FakeNode, act: Callable[[int], list[str]], blocks: int) -> list[int]:
    """Let blocks become final one by one; returns the heights at which a heartbeat was sent."""
    heights = []
    for _ in range(blocks):
        before = node.sent.count("heartbeat")
        act(1)
        if node.sent.count("heartbeat") > before:
            heights.append(node.finalized.number)
    return heights


def test_an_executor_without_jobs_shows_itself_in_good_time(
    node: FakeNode, act: Callable[[int], list[str]]
) -> None:
    node.slots = dict.fromkeys(node.slots, SlotState.Committed)
    node.registration = ExecutorRecord(Hash(bytes(32)), 1, 0, last_seen=10)
    assert beats(node, act, 99) == []
    assert beats(node, act, 1) == [10 + node.window // HEARTBEATS]
    # It does not land, and is sent again after a while.
    assert len(beats(node, act, 2 * RESEND_BLOCKS)) == 2
    node.registration = replace(node.registration, last_seen=node.finalized.number)
    assert beats(node, act, 99) == []


@pytest.mark.parametrize("case", ["not registered", "leaving", "no window"])
def test_no_heartbeat_is_sent_where_none_counts(
    node: FakeNode, act: Callable[[int], list[str]], case: str
) -> None:
    node.slots = dict.fromkeys(node.slots, SlotState.Committed)
    if case != "not registered":
        leaving = 500 if case == "leaving" else None
        node.registration = ExecutorRecord(Hash(bytes(32)), 1, 0, 10, leaving_at=leaving)
    node.window = 0 if case == "no window" else node.window
    assert beats(node, act, 400) == []


def test_a_heartbeat_that_the_pool_refuses_ends_nothing(
    node: FakeNode, act: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.registration = ExecutorRecord(Hash(bytes(32)), 1, 0, last_seen=0)
    node.window = 3

    def refuse(*_: str, **__: Any) -> Hash:
        raise BadFormatError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(node, "submit", refuse)
        act(0)
    assert "heartbeat" in act(RESEND_BLOCKS)
