"""Declining a job, and failing it by the owner's fault: what they cost, and whom."""

from __future__ import annotations

import pytest

from pallets.jobs import Jobs
from pallets.jobs.job import OWNER_REASONS, FailureReason, JobFailure, JobState, SlotState
from pallets.jobs.registry import DECLINES_IN_ROW_MAX
from pallets.jobs.settlement import JOB_POT
from runtime.types.primitives import AccountId
from tests.pallets.support.ledger import ALICE, ENDOWMENT
from tests.pallets.support.workshop import BOND, EXECUTORS, PROFILE, Workshop, trained


def decline(workshop: Workshop, who: AccountId, job: int) -> None:
    slot = workshop.job(job).slot_of(who)
    assert slot is not None
    workshop.sign(who, "Jobs", "decline", job=job, attempt=slot.attempt)


def report(workshop: Workshop, who: AccountId, job: int, reason: FailureReason) -> None:
    slot = workshop.job(job).slot_of(who)
    assert slot is not None
    arguments = {"job": job, "attempt": slot.attempt, "reason": reason}
    workshop.sign(who, "Jobs", "report_failure", **arguments)


def test_too_large_a_job_is_declined_at_no_cost() -> None:
    with Workshop(2) as workshop:
        job = workshop.assigned()
        [first] = workshop.executors(job)
        free = workshop.balances.free(first)
        decline(workshop, first, job)
        assert workshop.jobs.jobs_for_executor(first) == ()
        workshop.next_block()
        [second] = workshop.executors(job)
        assert second != first
        workshop.answer(job, trained())
        assert workshop.state(job) is JobState.Settled
        assert (workshop.bond(first), workshop.balances.free(first)) == (BOND, free)
        [slot, _] = workshop.job(job).slots
        assert slot.state is SlotState.Declined


def test_the_others_work_on_while_a_decliner_is_replaced() -> None:
    with Workshop(3, executors_per_job=2, extra_attempts=0) as workshop:
        job = workshop.assigned()
        one, two = workshop.executors(job)
        decline(workshop, one, job)
        workshop.commit(two, job, trained())
        assert workshop.state(job) is JobState.Committing
        workshop.next_block()
        [three] = workshop.executors(job)
        workshop.commit(three, job, trained())
        for who in (two, three):
            workshop.reveal(who, job, trained())
        workshop.next_block()
        assert workshop.state(job) is JobState.Settled, "a redraw counts for no attempt"


def test_a_report_fails_no_job_while_another_executor_is_to_come() -> None:
    with Workshop(4, executors_per_job=2) as workshop:
        job = workshop.assigned()
        one, two = workshop.executors(job)
        decline(workshop, one, job)
        report(workshop, two, job, FailureReason.BadRows)
        assert not workshop.job(job).is_final
        workshop.next_block()
        [three] = workshop.executors(job)
        report(workshop, three, job, FailureReason.BadRows)
        assert workshop.job(job).failure is JobFailure.ReportedByExecutors


def test_a_job_whose_decliners_cannot_be_replaced_is_refunded(workshop: Workshop) -> None:
    job = workshop.assigned()
    decline(workshop, EXECUTORS[0], job)
    workshop.next_block(3)
    assert workshop.job(job).failure is JobFailure.NoExecutors
    assert workshop.escrow(ALICE) == 0
    assert workshop.balances.free(ALICE) == ENDOWMENT


def test_a_job_that_eight_executors_decline_is_too_large() -> None:
    with Workshop(8, executors_per_job=2, decline_blocks=10) as workshop:
        job = workshop.assigned()
        while not workshop.job(job).is_final:
            for slot in workshop.job(job).slots:
                if slot.state is SlotState.Assigned and not workshop.job(job).is_final:
                    decline(workshop, slot.executor, job)
            workshop.next_block()
        failed = workshop.job(job)
        assert (failed.failure, failed.declines) == (JobFailure.TooLarge, 8)
        kept = failed.escrow // 5
        assert workshop.balances.free(JOB_POT) == kept
        assert workshop.balances.free(ALICE) == ENDOWMENT - kept
        assert all(workshop.bond(who) == BOND for who in EXECUTORS)


def test_declining_ends_a_few_blocks_after_the_assignment() -> None:
    with Workshop(1, decline_blocks=2) as workshop:
        job = workshop.assigned()
        workshop.next_block(3)
        with pytest.raises(Jobs.DeclineOver):
            decline(workshop, EXECUTORS[0], job)


def test_who_has_committed_or_declined_cannot_decline() -> None:
    with Workshop(3, executors_per_job=2) as workshop:
        job = workshop.assigned()
        one, two = workshop.executors(job)
        workshop.commit(one, job, trained())
        with pytest.raises(Jobs.AlreadyCommitted):
            decline(workshop, one, job)
        decline(workshop, two, job)
        with pytest.raises(Jobs.CommitPhaseOver):
            decline(workshop, two, job)


def test_who_declines_too_often_is_not_drawn_until_it_has_rested() -> None:
    """Declining is no way to choose among draws."""
    with Workshop(1, open_jobs_per_account=100, unbonding_blocks=30, retry_blocks=1) as workshop:
        who = EXECUTORS[0]
        for _ in range(DECLINES_IN_ROW_MAX):
            decline(workshop, who, workshop.assigned())
            workshop.next_block(2)
        record = workshop.jobs.registry.get(who)
        assert record is not None
        assert record.drawable_from > workshop.number + 20
        job = workshop.submit()
        workshop.next_block(3)
        assert workshop.state(job) is JobState.Open
        workshop.sign(ALICE, "Jobs", "cancel", job=job)
        workshop.next_block(30)
        decline(workshop, who, workshop.assigned())
        record = workshop.jobs.registry.get(who)
        assert record is not None
        assert record.declines == 1


def test_a_settled_job_makes_earlier_declines_forgotten() -> None:
    with Workshop(1) as workshop:
        decline(workshop, EXECUTORS[0], workshop.assigned())
        workshop.next_block(2)
        workshop.answer(workshop.assigned(), trained())
        record = workshop.jobs.registry.get(EXECUTORS[0])
        assert record is not None
        assert (record.declines, record.profile) == (0, PROFILE)


# ----------------------------------------------------------------------------------- owner's fault


@pytest.mark.parametrize("reason", list(FailureReason))
def test_a_part_of_the_escrow_is_kept_where_the_owner_is_at_fault(
    workshop: Workshop, reason: FailureReason
) -> None:
    job = workshop.assigned()
    who = EXECUTORS[0]
    free, escrow = workshop.balances.free(who), workshop.job(job).escrow
    report(workshop, who, job, reason)
    kept = escrow // 5 if reason in OWNER_REASONS else 0
    assert workshop.balances.free(JOB_POT) == kept
    assert workshop.balances.free(ALICE) == ENDOWMENT - kept
    assert workshop.balances.free(who) == free, "nobody earns by a report"
    assert workshop.bond(who) == BOND
    [event] = workshop.events(Jobs.JobFailed)
    assert event.refunded == escrow - kept


def test_nothing_is_kept_of_a_job_that_executors_disagree_on() -> None:
    with Workshop(2, executors_per_job=2, extra_attempts=0) as workshop:
        job = workshop.assigned()
        for number, who in enumerate(workshop.executors(job)):
            workshop.commit(who, job, trained(number))
        for number, who in enumerate(workshop.executors(job)):
            workshop.reveal(who, job, trained(number))
        workshop.next_block()
        assert workshop.job(job).failure is JobFailure.NoAgreement
        assert workshop.balances.free(ALICE) == ENDOWMENT
