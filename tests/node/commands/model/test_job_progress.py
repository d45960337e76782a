"""What a person reads of a job that has no result: why, what it cost, what to do."""

from __future__ import annotations

from dataclasses import replace

from node.commands.model.job_progress import failure_sentence
from pallets.jobs.job import FailureReason, Job, JobFailure, JobState, Slot, SlotState
from runtime.shared.documents import Diverged, Evaluate
from runtime.types.primitives import AccountId

WHO = AccountId(b"e" * 32)
FAILED = Job(WHO, Evaluate(0, 0), JobState.Failed, 0, 0, 1, 0, 0, 9)


def reported(reason: FailureReason) -> Job:
    slot = Slot(WHO, 0, 0, 1, SlotState.ReportedFailure, reason=reason)
    return replace(FAILED, slots=(slot,), failure=JobFailure.ReportedByExecutors)


def test_a_training_that_diverged_names_its_step() -> None:
    sentence = failure_sentence(3, replace(FAILED, failure=JobFailure.Diverged), Diverged(17))
    assert "diverged at step 17" in sentence
    assert "learning rate" in sentence


def test_a_job_that_is_too_large_names_how_many_declined() -> None:
    slots = tuple(Slot(WHO, at, at, 1, SlotState.Declined) for at in range(8))
    job = replace(FAILED, slots=slots, failure=JobFailure.TooLarge)
    assert "8 executors declined it" in failure_sentence(3, job)


def test_reports_are_named_with_what_they_cost() -> None:
    assert "BadRows. Most of its price was refunded" in failure_sentence(
        3, reported(FailureReason.BadRows)
    )
    assert "UnknownBase. Its price was refunded" in failure_sentence(
        3, reported(FailureReason.UnknownBase)
    )


def test_a_job_that_expired_was_refunded() -> None:
    sentence = failure_sentence(3, replace(FAILED, state=JobState.Expired))
    assert sentence.startswith("Job 3 is Expired; its price was refunded.")
