"""How a job ends: the result is recorded, executors are paid, offenders slashed, the rest refunded.

Rules that hold here: every planck of the escrow is paid or released; bonds are slashed only at the
end, when it is known who answered what; a result that another pallet refuses ends the job with a
full refund and never stops the block.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pallets.balances import HoldReason
from pallets.jobs.job import (
    POT_PERMILLE,
    REWARD_PERMILLE,
    SLASH_PERMILLE,
    Job,
    JobFailure,
    JobState,
    Offence,
    SlotState,
    move,
)
from runtime.dispatch import DispatchFailed, Failure
from runtime.documents import Evaluate, Index, Indexed, JobOutput, Settle, Settled, Train, Trained
from runtime.primitives import AccountId, Hash
from runtime.shares import split

if TYPE_CHECKING:
    from pallets.jobs import Jobs

JOB_POT = AccountId(b"modlopen/job".ljust(32, b"\0"))
"""Collects the audits' part of slashed bonds."""

PERMILLE = 1000


def settle(jobs: Jobs, job_id: int, job: Job, root: Hash) -> tuple[Index, int] | None:
    """Settle a job on a root. Returns spec and escrow of the INDEX job that is to follow."""
    output = jobs.outputs.get((job_id, root))
    assert output is not None, "a revealed output is kept until the job ends"
    try:
        with jobs.transaction():
            _record(jobs, job_id, job, output)
    except (DispatchFailed, Failure):
        fail(jobs, job_id, job, JobFailure.ResultRefused)
        return None
    winners = tuple(slot.executor for slot in job.slots if slot.root == root)
    work = job.escrow - job.index_escrow
    paid = work * len(winners) // max(job.executors, len(winners))
    for executor, share in zip(winners, split(paid, [1] * len(winners)), strict=True):
        _pay(jobs, HoldReason.JobEscrow, job.owner, executor, share)
        record = jobs.registry.get(executor)
        if record is not None:
            jobs.registry.put(executor, replace(record, settled=record.settled + 1))
    jobs.balances.release(HoldReason.JobEscrow, job.owner, work - paid)
    _slash_offenders(jobs, job_id, job, winners)
    _finish(jobs, job_id, replace(job, root=root), JobState.Settled)
    jobs.emit(jobs.JobSettled(job_id, root, paid))
    if isinstance(job.spec, Train):
        size = jobs.parameters.get().sketch_size
        return Index(job.spec.model, job_id, size), job.index_escrow
    return None


def fail(jobs: Jobs, job_id: int, job: Job, failure: JobFailure) -> None:
    """End a job without a result: its escrow goes back, offenders are slashed."""
    jobs.balances.release(HoldReason.JobEscrow, job.owner, job.escrow)
    _slash_offenders(jobs, job_id, job, ())
    _finish(jobs, job_id, replace(job, failure=failure), JobState.Failed)
    jobs.emit(jobs.JobFailed(job_id, failure, job.escrow))
    _tell_failure(jobs, job)


def expire(jobs: Jobs, job_id: int, job: Job) -> None:
    """End a job for which there were never enough executors."""
    jobs.balances.release(HoldReason.JobEscrow, job.owner, job.escrow)
    _finish(jobs, job_id, job, JobState.Expired)
    jobs.emit(jobs.JobExpired(job_id, job.escrow))
    _tell_failure(jobs, job)


def cancel(jobs: Jobs, job_id: int, job: Job) -> None:
    """End a job that nobody works on yet."""
    jobs.balances.release(HoldReason.JobEscrow, job.owner, job.escrow)
    _finish(jobs, job_id, job, JobState.Cancelled)
    jobs.emit(jobs.JobCancelled(job_id, job.escrow))


def _record(jobs: Jobs, job_id: int, job: Job, output: JobOutput) -> None:
    """Tell the result to the pallets that it concerns. Raises what they refuse it with."""
    spec = job.spec
    if isinstance(spec, Train):
        assert isinstance(output, Trained), "outputs match their spec"
        jobs.models.record_trained(spec.model, job_id, output)
    elif isinstance(spec, Index):
        assert isinstance(output, Indexed), "outputs match their spec"
        jobs.models.record_indexed(spec.model, job_id, output)
        jobs.attribution.record_indexed(spec.model, job_id, output)
    elif isinstance(spec, Settle):
        assert isinstance(output, Settled), "outputs match their spec"
        jobs.attribution.record_settled(spec.model, spec.epoch, output)
    else:
        assert isinstance(spec, Evaluate), "every kind of job is handled"


def _tell_failure(jobs: Jobs, job: Job) -> None:
    if isinstance(job.spec, Settle):
        jobs.attribution.record_settlement_failed(job.spec.model, job.spec.epoch)


def _finish(jobs: Jobs, job_id: int, job: Job, state: JobState) -> None:
    """Store a final state and free what the job occupied. Evaluations and adapters stay readable:
    the winning output is kept, except the long one of SETTLE, which attribution has summed up.
    """
    for slot in job.slots:
        rest = tuple(other for other in jobs.assignments.get(slot.executor) if other != job_id)
        if rest:
            jobs.assignments.put(slot.executor, rest)
        else:
            jobs.assignments.remove(slot.executor)
        is_kept = slot.root == job.root and not isinstance(job.spec, Settle)
        if slot.root is not None and not is_kept:
            jobs.outputs.remove((job_id, slot.root))
    jobs.jobs.put(job_id, replace(move(job, state), deadline=0))
    jobs.unfinished.put(jobs.unfinished.get() - 1)
    left = jobs.unfinished_of.get(job.owner) - 1
    if left:
        jobs.unfinished_of.put(job.owner, left)
    else:
        jobs.unfinished_of.remove(job.owner)


# ------------------------------------------------------------------------------------------ slashes


def _slash_offenders(jobs: Jobs, job_id: int, job: Job, winners: tuple[AccountId, ...]) -> None:
    for slot in job.slots:
        offence: Offence | None = None
        if slot.state is SlotState.NoShow:
            offence = Offence.NoShow
        elif slot.state is SlotState.Unrevealed:
            offence = Offence.Unrevealed
        elif slot.state is SlotState.Revealed and winners and slot.executor not in winners:
            assert len(winners) >= 2, "only an agreement of two convicts a third"
            offence = Offence.Diverged
        if offence is not None:
            _slash(jobs, job_id, slot.executor, offence, winners)


def _slash(
    jobs: Jobs,
    job_id: int,
    offender: AccountId,
    offence: Offence,
    honest: tuple[AccountId, ...],
) -> None:
    """Take the part of a bond that an offence costs: burned, to the honest, to the audit pot."""
    record = jobs.registry.get(offender)
    assert record is not None, "who is assigned stays registered"
    amount = record.bond * SLASH_PERMILLE[offence] // PERMILLE
    if not amount:
        return
    reward = amount * REWARD_PERMILLE // PERMILLE if honest else 0
    pot = amount * POT_PERMILLE // PERMILLE
    jobs.balances.slash_held(HoldReason.JobBond, offender, amount - reward - pot)
    _pay(jobs, HoldReason.JobBond, offender, JOB_POT, pot)
    shares = split(reward, [1] * len(honest)) if honest else []
    for account, share in zip(honest, shares, strict=True):
        _pay(jobs, HoldReason.JobBond, offender, account, share)
    slashed = replace(record, bond=record.bond - amount, slashed=record.slashed + 1)
    jobs.registry.put(offender, slashed)
    jobs.emit(jobs.ExecutorSlashed(job_id, offender, offence, amount))


def _pay(jobs: Jobs, reason: HoldReason, source: AccountId, dest: AccountId, amount: int) -> None:
    """Pay held tokens out; what an account too poor to exist cannot receive goes to the pot."""
    if not amount:
        return
    try:
        jobs.balances.pay_held(reason, source, dest, amount)
    except DispatchFailed:
        jobs.balances.pay_held(reason, source, JOB_POT, amount)
