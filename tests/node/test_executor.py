"""The executor's next step: every state of a job, slot and promise, against the rules in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from node.executor import Step, next_step
from node.outbox import Promise
from pallets.jobs.job import FINAL_STATES, Job, JobState, Slot, SlotState
from runtime.documents import Settle
from runtime.primitives import AccountId, Hash

WHO = AccountId(b"e" * 32)
ANSWER = Promise(1, 0, bytes(32), b"output", 0, "")
FAILURE = Promise(1, 0, b"", b"", 2, "why")
WORKING = (JobState.Assigned, JobState.Committing)


def job(state: JobState, attempt: int = 0) -> Job:
    return Job(WHO, Settle(0, 0, Hash(bytes(32))), state, 0, 0, 1, 0, 9, attempt=attempt)


def every() -> Iterator[tuple[JobState, SlotState, Promise | None]]:
    yield from itertools.product(JobState, SlotState, (None, ANSWER, FAILURE))


def expected(state: JobState, slot: SlotState, promise: Promise | None) -> Step:
    table: dict[tuple[JobState, SlotState, Promise | None], Step] = {
        **{(each, SlotState.Assigned, None): Step.COMPUTE for each in WORKING},
        **{(each, SlotState.Assigned, ANSWER): Step.COMMIT for each in WORKING},
        **{(each, SlotState.Assigned, FAILURE): Step.REPORT for each in WORKING},
        (JobState.Revealing, SlotState.Committed, ANSWER): Step.REVEAL,
        # A failure is never committed to; were one, the chain would refuse the reveal.
        (JobState.Revealing, SlotState.Committed, FAILURE): Step.REVEAL,
    }
    return table.get((state, slot, promise), Step.WAIT)


@pytest.mark.parametrize(("state", "slot", "promise"), list(every()))
def test_the_next_step_follows_from_chain_and_outbox(
    state: JobState, slot: SlotState, promise: Promise | None
) -> None:
    own = Slot(WHO, 0, 0, slot)
    assert next_step(job(state), own, promise) is expected(state, slot, promise)


@pytest.mark.parametrize(("state", "slot", "promise"), list(every()))
def test_a_slot_of_another_attempt_waits(
    state: JobState, slot: SlotState, promise: Promise | None
) -> None:
    assert next_step(job(state, attempt=1), Slot(WHO, 0, 0, slot), promise) is Step.WAIT


@pytest.mark.parametrize("state", FINAL_STATES)
def test_nothing_is_done_for_a_job_that_is_over(state: JobState) -> None:
    for slot, promise in itertools.product(SlotState, (None, ANSWER, FAILURE)):
        assert next_step(job(state), Slot(WHO, 0, 0, slot), promise) is Step.WAIT
