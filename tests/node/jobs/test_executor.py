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
import trio.testing

import ml
from ml.jobs.frames import Progress
from node.jobs import executor as executor_module
from node.jobs.answer_store import JobAnswer, JobAnswerStore
from node.jobs.executor import (
    AWAITED_BLOCKS,
    STALL_BLOCKS,
    Executor,
)
from node.jobs.inputs import Companion, InputsAwaitedError
from node.jobs.pace import REPORT_BLOCKS, Speed
from node.jobs.step_sender import Step, next_step
from node.keys.reader_key import make_reader_key, public_reader_key
from node.operations.data_folder import READER_KEY_FILE
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
from pallets.jobs.registry import Executor as Registered
from runtime.codec.scale import codec
from runtime.shared.documents import Evaluate, Evaluated, JobOutput, Settle, Train
from runtime.types.primitives import ZERO_HASH, AccountId, Hash

WHO = AccountId(b"e" * 32)
ANSWER = JobAnswer(1, 0, bytes(32), b"output", 0, "")
FAILURE = JobAnswer(1, 0, b"", b"", 2, "why")
WORKING = (JobState.Assigned, JobState.Committing)


def job(state: JobState, attempt: int = 0) -> Job:
    return Job(WHO, Evaluate(0, 1), state, 0, 0, 1, 5, 0, 9, attempt=attempt, commits_end=2_400)


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


BASE = Hash(b"base".ljust(32, b"\0"))
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
        self.reader = ZERO_HASH
        self.assigned_at = 0
        self.commits_end = 2_400
        self.jobs: tuple[int, ...] = (1,)

    @contextmanager
    def at(self, block: Hash | None = None) -> Iterator[Any]:
        own = Slot(WHO, 0, 0, self.assigned_at, self.slots[block])
        record = replace(job(JobState.Assigned), slots=(own,), commits_end=self.commits_end)
        jobs = SimpleNamespace(
            jobs_for_executor=lambda _: tuple(JobEntry(number, record) for number in self.jobs),
            models=SimpleNamespace(get=lambda _: SimpleNamespace(base=BASE)),
            parameters=SimpleNamespace(get=lambda: Parameters(decline_blocks=20)),
            registry={WHO: Registered(ZERO_HASH, 1, 0, 10, reader=self.reader)},
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


class FakePresence:
    """This machine, and why it cannot do a job."""

    def __init__(self, why: str = "") -> None:
        self.why = why

    def learn(self) -> None: ...

    def show(self) -> None: ...

    def why_not(self, base: Hash | None, profile: Hash | None) -> str:
        assert base == BASE
        return self.why


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def act(node: FakeNode, tmp_path: Path) -> Callable[[int], list[str]]:
    """Let an executor that has promised an answer act after some more final blocks."""
    fake = cast(Any, node)
    nothing = cast(Any, None)
    able = cast(Any, FakePresence())
    executor = Executor(fake, fake, fake, nothing, nothing, nothing, tmp_path, able)
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
    able = cast(Any, FakePresence())
    executor = Executor(fake, fake, fake, nothing, inputs, nothing, folder, able)
    entry = JobEntry(1, replace(job(JobState.Assigned), commits_end=deadline))
    for height in heights:
        node.finalized.number = height
        trio.run(executor._compute, entry, Slot(WHO, 0, 0, 0))
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
    soon = 4 * REPORT_BLOCKS
    assert answered(node, tmp_path, soon - REPORT_BLOCKS - STALL_BLOCKS - 1, deadline=soon) is None
    answer = answered(node, tmp_path, soon - REPORT_BLOCKS - STALL_BLOCKS, deadline=soon)
    assert answer is not None
    assert answer.failure == FailureReason.MissingBlob


def test_the_causes_that_chain_records_are_error_classes_of_ml() -> None:
    """The executor process names the class of an error; a renamed class would lose its cause."""
    names: set[str] = set()
    for file in pkgutil.walk_packages(ml.__path__, "ml."):
        if not file.name.endswith("__main__"):
            names |= set(vars(importlib.import_module(file.name)))
    assert set(executor_module._REASONS) <= names


# ------------------------------------------------------------------- beyond the machine or the time


class SlowProcess:
    """An executor process that reports a step each block and never ends by itself."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.step = 0
        self.report: Callable[[Progress], None] | None = None
        self.was_stopped = False

    async def run(self, frame: object, report: Callable[[Progress], None]) -> None:
        self.report = report
        try:
            await trio.sleep_forever()
        finally:
            self.was_stopped = True

    def advance(self, steps: int, of: int) -> None:
        assert self.report is not None
        self.step += steps
        self.report(Progress(1, self.step, of, -1, -1))


class ReadyInputs:
    """Inputs that are there."""

    def prepare(self, spec: object, folder: Path) -> Companion:
        return Companion()


def executor_of(node: FakeNode, folder: Path, process: object = None, why: str = "") -> Executor:
    fake, nothing, inputs = cast(Any, node), cast(Any, None), cast(Any, ReadyInputs())
    presence = cast(Any, FakePresence(why))
    return Executor(fake, fake, fake, nothing, inputs, cast(Any, process), folder, presence)


def test_a_job_beyond_this_machine_is_declined_and_not_computed(
    node: FakeNode, tmp_path: Path
) -> None:
    executor = executor_of(node, tmp_path, why="The base is not here.")
    executor._act(cast(Any, None))
    assert node.sent == ["decline"]
    executor._act(cast(Any, None))
    assert node.sent == ["decline"], "once while it may land"
    node.slots[BEST] = SlotState.Declined
    node.finalized.number += RESEND_BLOCKS
    executor._act(cast(Any, None))
    assert node.sent == ["decline"]


def test_what_is_too_late_to_decline_is_reported(node: FakeNode, tmp_path: Path) -> None:
    executor = executor_of(node, tmp_path, why="The base is not here.")
    node.finalized.number = 19

    async def act() -> None:
        async with trio.open_nursery() as nursery:
            executor._act(nursery)

    trio.run(act)
    answer = JobAnswerStore(tmp_path / "outbox").load(1, 0)
    assert answer is not None
    assert answer.failure == FailureReason.UnknownBase
    assert node.sent == ["report_failure"]


def test_a_job_that_would_take_longer_than_there_is_time_is_declined(
    node: FakeNode, tmp_path: Path
) -> None:
    executor = executor_of(node, tmp_path)
    executor._speeds[Train].record(units=1, blocks=1_000)
    assert not executor._declines(*entry_of(job(JobState.Assigned)))
    executor._speeds[Evaluate].record(units=1, blocks=1_000)
    executor._act(cast(Any, None))
    assert node.sent == ["decline"]


SETTLE = Settle(
    model=0,
    server=WHO,
    epoch=0,
    receipts_root=BEST,
    receipts=1_000,
    fees_planck=1,
    pool_planck=1,
    bound_milli=1_000,
    draws=32,
    text_blocks=600,
)


def entry_of(record: Job) -> tuple[JobEntry, Slot]:
    return JobEntry(1, record), Slot(WHO, 0, 0, 0, SlotState.Assigned)


def settled_with(executor: Executor, node: FakeNode, *reports: tuple[int, int, int]) -> Speed:
    """Let a settlement of 5 units report (height, step, steps), and end with the last report."""
    entry, _ = entry_of(replace(job(JobState.Assigned), spec=SETTLE))
    for height, step, steps in reports:
        node.finalized.number = height
        executor._record_progress(Progress(entry.id, step, steps, -1, -1))
    executor._measure(entry)
    return executor._speeds[Settle]


def test_of_a_settlement_the_drawn_answers_alone_say_how_fast_it_is(
    node: FakeNode, tmp_path: Path
) -> None:
    checked = ((0, 256, 1_000), (900, 1_000, 1_000))
    only_faults = executor_of(node, tmp_path)
    assert not settled_with(only_faults, node, *checked).is_too_slow(10**9, 1)
    executor = executor_of(node, tmp_path)
    speed = settled_with(executor, node, *checked, (1_000, 1, 32), (1_020, 32, 32))
    assert not speed.is_too_slow(units=10, blocks_left=20)
    assert speed.is_too_slow(units=11, blocks_left=20)


def test_the_time_to_wait_for_texts_is_no_time_to_settle(node: FakeNode, tmp_path: Path) -> None:
    executor = executor_of(node, tmp_path)
    node.reader = public_reader_key(make_reader_key(tmp_path))
    executor._speeds[Settle].record(units=1, blocks=100)
    for commits_end, is_declined in ((860, False), (859, True)):
        record = replace(job(JobState.Assigned), spec=SETTLE, commits_end=commits_end)
        assert executor._declines(*entry_of(record)) is is_declined


@pytest.mark.parametrize("case", ["missing", "damaged", "another"])
def test_a_settlement_whose_texts_this_machine_cannot_read_is_declined_and_accuses_nobody(
    node: FakeNode, tmp_path: Path, case: str
) -> None:
    node.reader = public_reader_key(make_reader_key(tmp_path))
    executor, path = executor_of(node, tmp_path), tmp_path / READER_KEY_FILE
    entry, slot = entry_of(replace(job(JobState.Assigned), spec=SETTLE))
    assert not executor._declines(entry, slot)
    if case == "missing":
        path.unlink()
    else:
        path.write_bytes(b"k" * 32 if case == "another" else bytes(32))
    assert executor._declines(entry, slot)

    async def compute() -> JobAnswer:
        executor._presence = cast(Any, FakePresence())
        return await executor._compute_answer(entry, slot, tmp_path)

    assert trio.run(compute).failure == FailureReason.Unsupported


def run_slowly(node: FakeNode, folder: Path, steps_per_block: int, blocks: int) -> int:
    """Let a job of 1,000 steps run for some blocks; returns the height at which it was given up."""
    process = SlowProcess(node)
    executor = executor_of(node, folder, process)

    async def follow() -> int:
        async with trio.open_nursery() as nursery:
            for _ in range(blocks):
                executor._act(nursery)
                await trio.testing.wait_all_tasks_blocked(0.01)
                if process.was_stopped:
                    return node.finalized.number
                process.advance(steps_per_block, 1_000)
                node.finalized.number += 1
            nursery.cancel_scope.cancel()
        return 0

    return trio.run(follow)


def test_an_executor_that_cannot_finish_in_time_reports_before_it_is_slashed(
    node: FakeNode, tmp_path: Path
) -> None:
    """It once computed on past the deadline, and lost a twentieth of its bond for its silence."""
    node.commits_end = 200
    given_up = run_slowly(node, tmp_path, steps_per_block=1, blocks=400)
    assert 0 < given_up < 50, "its pace says so long before the deadline"
    answer = JobAnswerStore(tmp_path / "outbox").load(1, 0)
    assert answer is not None
    assert answer.failure == FailureReason.CannotFinish
    assert node.sent == ["report_failure"]


def test_a_job_without_any_pace_is_given_up_before_its_deadline(
    node: FakeNode, tmp_path: Path
) -> None:
    node.commits_end = 200
    assert run_slowly(node, tmp_path, steps_per_block=8, blocks=400) == 200 - REPORT_BLOCKS


def test_a_job_that_is_in_time_runs_on(node: FakeNode, tmp_path: Path) -> None:
    node.commits_end = 200
    assert run_slowly(node, tmp_path, steps_per_block=7, blocks=100) == 0
    assert node.sent == []


@pytest.mark.parametrize(("jobs", "sent"), [((1,), []), ((1, 2), ["decline"])])
def test_a_job_is_declined_where_there_is_no_time_after_those_before_it(
    node: FakeNode, tmp_path: Path, jobs: tuple[int, ...], sent: list[str]
) -> None:
    node.jobs, node.commits_end = jobs, 14
    executor = executor_of(node, tmp_path)
    executor._speeds[Evaluate].record(
        100, 100
    )  # one unit in a block: one job of five fits, two do not
    executor._act(cast(Any, SimpleNamespace(start_soon=lambda *_: None)))
    assert node.sent == sent


def test_a_job_that_could_not_be_begun_in_time_is_reported(node: FakeNode, tmp_path: Path) -> None:
    node.finalized.number = 2_390
    executor_of(node, tmp_path)._act(cast(Any, None))
    assert node.sent == ["report_failure"]
