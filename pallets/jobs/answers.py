"""The answers of an executor: a commitment, the revealed result, or that it cannot do the job.

Each answer counts once for (job, attempt, executor); a repeated one is refused by name, so that an
executor that restarts learns what it has done already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pallets import weights
from pallets.jobs.executors import note_seen
from pallets.jobs.job import FailureReason, Job, JobState, Slot, SlotState
from pallets.jobs.lifecycle import record_answer
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


def commit(jobs: Jobs, who: AccountId, job_id: int, attempt: int, commitment: Hash) -> None:
    """Record a commitment."""
    job, slot = _unanswered(jobs, who, job_id, attempt)
    # A commitment is bound to its executor, so a copy could never be revealed; refusing it here
    # names the copy at once.
    if any(other.commitment == commitment for other in job.slots):
        raise jobs.CommitmentReplayed
    jobs.use_block_share(weights.JOBS_COMMIT)
    note_seen(jobs, who)
    jobs.emit(jobs.ResultCommitted(job_id, attempt, who))
    committed = replace(slot, state=SlotState.Committed, commitment=commitment)
    record_answer(jobs, job_id, job, committed)


def reveal(jobs: Jobs, who: AccountId, job_id: int, output: JobOutput, salt: bytes) -> None:
    """Check a result against its commitment and record it."""
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
    jobs.use_block_share(reveal_weight(jobs, job_id, output, salt))
    jobs.outputs.put((job_id, root), output)
    jobs.emit(jobs.ResultRevealed(job_id, slot.attempt, who, root))
    revealed = replace(slot, state=SlotState.Revealed, root=root)
    record_answer(jobs, job_id, job, revealed)


def report_failure(
    jobs: Jobs, who: AccountId, job_id: int, attempt: int, reason: FailureReason
) -> None:
    """Record that an executor cannot do a job."""
    job, slot = _unanswered(jobs, who, job_id, attempt)
    jobs.use_block_share(weights.JOBS_REPORT_FAILURE)
    note_seen(jobs, who)
    jobs.emit(jobs.FailureReported(job_id, attempt, who, reason))
    reported = replace(slot, state=SlotState.ReportedFailure, reason=reason)
    record_answer(jobs, job_id, job, reported)


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
