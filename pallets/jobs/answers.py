"""The answers of an executor: a commitment, the revealed result, that it cannot do the job, or
that it will not.

Each answer counts once for (job, attempt, executor); a repeated one is refused by name, so that an
executor that restarts learns what it has done already. Answers are operational: they have room in
blocks that nothing else fills. `check_...` therefore refuse what cannot succeed before it is in a
block, and the calls check the same again, for they may also stand in a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pallets import weights
from pallets.jobs.executors import note_declined, note_seen
from pallets.jobs.job import FailureReason, Job, JobState, Slot, SlotState
from pallets.jobs.lifecycle import record_answer, record_decline
from pallets.jobs.submission import fits, is_short
from runtime.shared.documents import JobOutput, Settled, output_root
from runtime.shared.documents import commitment as sealed
from runtime.types.primitives import ZERO_HASH, AccountId, Hash, Weight

if TYPE_CHECKING:
    from pallets.jobs import Jobs


def reveal_weight(jobs: Jobs, job: int, output: JobOutput, salt: bytes) -> Weight:
    """Return the weight of revealing an output: hashing grows with its entries."""
    entries = len(output.largest) + len(output.faults) if isinstance(output, Settled) else 0
    return weights.jobs_reveal(entries)


def check_commit(
    jobs: Jobs, who: AccountId, job_id: int, attempt: int, commitment: Hash
) -> tuple[Job, Slot]:
    """Return job and slot of a commitment that counts. Raises the Error that says why not.

    A copied commitment counts too: it is bound to another executor, so that nobody can open it. To
    refuse it would refuse the honest executor whose pending commitment somebody copied first.
    """
    return _unanswered(jobs, who, job_id, attempt)


def commit(jobs: Jobs, who: AccountId, job_id: int, attempt: int, commitment: Hash) -> None:
    """Record a commitment."""
    job, slot = check_commit(jobs, who, job_id, attempt, commitment)
    note_seen(jobs, who)
    jobs.emit(jobs.ResultCommitted(job_id, attempt, who))
    committed = replace(slot, state=SlotState.Committed, commitment=commitment)
    record_answer(jobs, job_id, job, committed)


def check_reveal(
    jobs: Jobs, who: AccountId, job_id: int, output: JobOutput, salt: bytes
) -> tuple[Job, Slot, Hash]:
    """Return job, slot and root of a result that opens its commitment. Raises the Error that says
    why it does not."""
    job = jobs.require_job(job_id)
    slot = _slot(jobs, job, who)
    if slot.state is SlotState.Revealed:
        raise jobs.AlreadyRevealed
    if slot.commitment is None:
        raise jobs.NotCommitted
    if job.state is not JobState.Revealing or slot.state is not SlotState.Committed:
        raise jobs.RevealPhaseClosed
    if not fits(job.spec, output):
        raise jobs.OutputMismatch
    if not is_short(output):
        raise jobs.OutputTooLong
    root, genesis = output_root(output), jobs.system.hash_of(0) or ZERO_HASH
    if slot.commitment != sealed(genesis, job_id, who, slot.attempt, root, salt):
        raise jobs.RevealMismatch
    return job, slot, root


def reveal(jobs: Jobs, who: AccountId, job_id: int, output: JobOutput, salt: bytes) -> None:
    """Check a result against its commitment and record it."""
    job, slot, root = check_reveal(jobs, who, job_id, output, salt)
    jobs.outputs.put((job_id, root), output)
    jobs.emit(jobs.ResultRevealed(job_id, slot.attempt, who, root))
    revealed = replace(slot, state=SlotState.Revealed, root=root)
    record_answer(jobs, job_id, job, revealed)


def check_report(
    jobs: Jobs, who: AccountId, job_id: int, attempt: int, reason: FailureReason
) -> tuple[Job, Slot]:
    """Return job and slot of a report that counts. Raises the Error that says why not."""
    return _unanswered(jobs, who, job_id, attempt)


def report_failure(
    jobs: Jobs, who: AccountId, job_id: int, attempt: int, reason: FailureReason
) -> None:
    """Record that an executor cannot do a job."""
    job, slot = check_report(jobs, who, job_id, attempt, reason)
    note_seen(jobs, who)
    jobs.emit(jobs.FailureReported(job_id, attempt, who, reason))
    reported = replace(slot, state=SlotState.ReportedFailure, reason=reason)
    record_answer(jobs, job_id, job, reported)


def check_decline(jobs: Jobs, who: AccountId, job_id: int, attempt: int) -> tuple[Job, Slot]:
    """Return job and slot of who may still decline. Raises the Error that says why not."""
    job, slot = _unanswered(jobs, who, job_id, attempt)
    end = slot.assigned_at + jobs.parameters.get().decline_blocks
    if jobs.system.current_number() > end:
        raise jobs.DeclineOver
    return job, slot


def decline(jobs: Jobs, who: AccountId, job_id: int, attempt: int) -> None:
    """Record that a job is too large for an executor's machine; another one is drawn."""
    job, slot = check_decline(jobs, who, job_id, attempt)
    note_declined(jobs, who)
    jobs.emit(jobs.JobDeclined(job_id, attempt, who))
    record_decline(jobs, job_id, job, replace(slot, state=SlotState.Declined))


def _unanswered(jobs: Jobs, who: AccountId, job_id: int, attempt: int) -> tuple[Job, Slot]:
    """Return job and slot of an executor that may commit or report now."""
    job = jobs.require_job(job_id)
    slot = _slot(jobs, job, who)
    if slot.attempt != attempt:
        raise jobs.WrongAttempt
    if slot.commitment is not None:
        raise jobs.AlreadyCommitted
    if slot.state is SlotState.ReportedFailure:
        raise jobs.AlreadyReported
    is_committing = job.state in (JobState.Assigned, JobState.Committing)
    if not is_committing or slot.state is not SlotState.Assigned:
        raise jobs.CommitPhaseOver
    return job, slot


def _slot(jobs: Jobs, job: Job, who: AccountId) -> Slot:
    for slot in job.slots:
        if slot.executor == who:
            return slot
    raise jobs.NotAssigned
