"""The end of a job: result recorded, executors paid, offenders slashed, the rest refunded.

Rules that hold here: every planck of the escrow is paid, kept or released; bonds are slashed only
at the end, when all answers are known; a result that another pallet refuses never stops the block.
A training that diverges is a result too: it is paid for the steps that it took. A job that fails by
its owner's fault costs a part of its escrow, which nobody gets who reports.
A refused result of training or indexing is still paid, for an owner could else retire a model when
the work is done; that of SETTLE is not, for there the result itself was wrong. Where the results of
SETTLE differ and none is agreed on, all are paid: one of them errs, but nobody can say which, and
who has held a server's epoch against its model has worked. Other jobs that executors disagree on
cost their owner nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets.balances import HoldReason
from pallets.jobs.executors import free_executor
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
from pallets.jobs.work import planned_steps
from runtime.frame.dispatch import DispatchFailed, Error
from runtime.shared.documents import (
    Diverged,
    Evaluate,
    Index,
    Indexed,
    JobOutput,
    Settle,
    Settled,
    Train,
    Trained,
)
from runtime.shared.shares import split
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.jobs import Jobs

JOB_POT: Final = AccountId(b"modlopen/job".ljust(32, b"\0"))
"""Collects the audits' part of slashed bonds."""

PERMILLE: Final = 1000
WAITING: Final = (SlotState.Assigned, SlotState.Committed)


def settle(jobs: Jobs, job_id: int, job: Job, root: Hash) -> tuple[Index, int] | None:
    """Settle a job on a root. Returns spec and escrow of the INDEX job that is to follow."""
    output = jobs.outputs.get((job_id, root))
    assert output is not None, "a revealed output is stored until the job ends"
    if isinstance(output, Diverged):
        _settle_diverged(jobs, job_id, job, root, output)
        return None
    is_recorded = _is_recorded(jobs, job_id, job, output)
    if not is_recorded and isinstance(job.spec, Settle):
        fail(jobs, job_id, job, JobFailure.ResultRefused)
        return None
    winners = _winners(job, root)
    paid = _pay_winners(jobs, job, winners, job.escrow - job.index_escrow)
    _slash_offenders(jobs, job_id, job, winners)
    if not is_recorded:
        _refund(jobs, job, job.escrow - paid)
        refused = replace(job, failure=JobFailure.ResultRefused)
        _finish(jobs, job_id, refused, JobState.Failed)
        jobs.emit(jobs.JobFailed(job_id, JobFailure.ResultRefused, job.escrow - paid))
        return None
    _refund(jobs, job, job.escrow - job.index_escrow - paid)
    _finish(jobs, job_id, replace(job, root=root), JobState.Settled)
    jobs.emit(jobs.JobSettled(job_id, root, paid))
    if isinstance(job.spec, Train):
        size = jobs.parameters.get().sketch_size
        return Index(job.spec.model, job_id, size), job.index_escrow
    return None


def _settle_diverged(jobs: Jobs, job_id: int, job: Job, root: Hash, output: Diverged) -> None:
    """Pay a training that all agree has no result for the steps that it took; refund the rest."""
    assert isinstance(job.spec, Train), "outputs match their spec"
    whole, steps = job.escrow - job.index_escrow, planned_steps(jobs, job.spec)
    base = jobs.parameters.get().price_base_planck * job.executors
    earned = min(whole, max(base, -(-whole * min(output.step, steps) // steps)))
    winners = _winners(job, root)
    paid = _pay_winners(jobs, job, winners, earned)
    _slash_offenders(jobs, job_id, job, winners)
    _refund(jobs, job, job.escrow - paid)
    diverged = replace(job, root=root, failure=JobFailure.Diverged)
    _finish(jobs, job_id, diverged, JobState.Failed)
    jobs.emit(jobs.JobFailed(job_id, JobFailure.Diverged, job.escrow - paid))


def _winners(job: Job, root: Hash) -> tuple[AccountId, ...]:
    return tuple(slot.executor for slot in job.slots if slot.root == root)


def _pay_winners(jobs: Jobs, job: Job, winners: tuple[AccountId, ...], work: int) -> int:
    """Pay each executor that found the root its equal part; returns what was paid in all."""
    for executor in winners:
        record = jobs.registry.get(executor)
        assert record is not None, "who is assigned stays registered"
        jobs.registry.put(executor, replace(record, settled=record.settled + 1, declines=0))
    return _pay_parts(jobs, job, winners, work)


def _pay_divided(jobs: Jobs, job: Job, work: int) -> int:
    """Pay the executors of a settlement that found different roots; returns what was paid."""
    if not isinstance(job.spec, Settle) or len(set(job.revealed)) <= 1:
        return 0
    found = tuple(slot.executor for slot in job.slots if slot.root is not None)
    return _pay_parts(jobs, job, found, work)


def _pay_parts(jobs: Jobs, job: Job, executors: tuple[AccountId, ...], work: int) -> int:
    """Pay each executor its equal part of the work; returns what was paid in all."""
    paid = work * len(executors) // max(job.executors, len(executors))
    for executor, share in zip(executors, split(paid, [1] * len(executors)), strict=True):
        _pay(jobs, HoldReason.JobEscrow, job.owner, executor, share)
    return paid


def fail(jobs: Jobs, job_id: int, job: Job, failure: JobFailure) -> None:
    """End a job without a result: its escrow goes back, but for what is kept or earned where the
    owner is or may be at fault; offenders are slashed."""
    job = replace(job, failure=failure)
    kept = _kept(jobs, job)
    _pay(jobs, HoldReason.JobEscrow, job.owner, JOB_POT, kept)
    if failure is not JobFailure.ResultRefused:
        kept += _pay_divided(jobs, job, job.escrow - kept)
    _refund(jobs, job, job.escrow - kept)
    _slash_offenders(jobs, job_id, job, ())
    _finish(jobs, job_id, job, JobState.Failed)
    jobs.emit(jobs.JobFailed(job_id, failure, job.escrow - kept))
    _record_failure(jobs, job_id, job)


def end_withheld(jobs: Jobs, job_id: int, job: Job) -> None:
    """End a settle job whose server has shown no texts: the executors that waited, or have found a
    result in an earlier attempt, are paid; offenders of earlier attempts are slashed."""
    paid = tuple(
        slot.executor for slot in job.slots if slot.state in WAITING or slot.root is not None
    )
    for executor, share in zip(paid, split(job.escrow, [1] * len(paid)), strict=True):
        _pay(jobs, HoldReason.JobEscrow, job.owner, executor, share)
    _slash_offenders(jobs, job_id, job, ())
    _finish(jobs, job_id, replace(job, failure=JobFailure.Withheld), JobState.Failed)
    jobs.emit(jobs.JobFailed(job_id, JobFailure.Withheld, 0))


def _kept(jobs: Jobs, job: Job) -> int:
    """Return how much of an escrow its owner loses: failing jobs would else be free of charge."""
    parameters, now = jobs.parameters.get(), jobs.system.current_number()
    is_accepted = any(
        slot.state is SlotState.Assigned and now > slot.assigned_at + parameters.decline_blocks
        for slot in job.slots
    )
    # Others may decline what one executor has found to be neither too large nor too long.
    is_kept = job.is_owners_fault and not (job.failure is JobFailure.TooLarge and is_accepted)
    return job.escrow * parameters.kept_permille // PERMILLE if is_kept else 0


def expire(jobs: Jobs, job_id: int, job: Job) -> None:
    """End a job for which there were never enough executors."""
    _refund(jobs, job, job.escrow)
    _finish(jobs, job_id, job, JobState.Expired)
    jobs.emit(jobs.JobExpired(job_id, job.escrow))
    _record_failure(jobs, job_id, job)


def cancel(jobs: Jobs, job_id: int, job: Job) -> None:
    """End a job that no executor works on yet."""
    _refund(jobs, job, job.escrow)
    _finish(jobs, job_id, job, JobState.Cancelled)
    jobs.emit(jobs.JobCancelled(job_id, job.escrow))


def _is_recorded(jobs: Jobs, job_id: int, job: Job, output: JobOutput) -> bool:
    """Record the result in the pallets that it concerns; returns whether they accepted it."""
    spec = job.spec
    try:
        with jobs.transaction():
            if isinstance(spec, Train):
                assert isinstance(output, Trained), "outputs match their spec"
                jobs.models.record_trained(spec.model, job_id, output)
            elif isinstance(spec, Index):
                assert isinstance(output, Indexed), "outputs match their spec"
                jobs.models.record_indexed(spec.model, job_id, output, spec.train_job)
                jobs.attribution.record_indexed(spec.model, job_id, output)
            elif isinstance(spec, Settle):
                assert isinstance(output, Settled), "outputs match their spec"
                jobs.attribution.record_settled(job_id, spec, output)
            else:
                assert isinstance(spec, Evaluate), "every kind of job is handled"
    except (DispatchFailed, Error):
        return False
    return True


def _refund(jobs: Jobs, job: Job, amount: int) -> None:
    if amount:
        jobs.balances.release(HoldReason.JobEscrow, job.owner, amount)


def _record_failure(jobs: Jobs, job_id: int, job: Job) -> None:
    """Tell attribution that an epoch is not settled, and whether its files were withheld."""
    if isinstance(job.spec, Settle):
        jobs.attribution.record_settlement_failed(job_id, job.spec, job.is_withheld)


def _finish(jobs: Jobs, job_id: int, job: Job, state: JobState) -> None:
    """Store a final state and free what the job occupied. Evaluations and adapters stay readable:
    the winning output stays, except the long one of SETTLE, which attribution has summed up.
    """
    for slot in job.slots:
        if slot.state is not SlotState.Declined:
            free_executor(jobs, job_id, job, slot.executor)
        is_winner = slot.root == job.root and not isinstance(job.spec, Settle)
        if slot.root is not None and not is_winner:
            jobs.outputs.remove((job_id, slot.root))
    jobs.jobs.put(job_id, replace(move(job, state), deadline=0, wanting=0))
    if isinstance(job.spec, Settle):
        jobs.settlements.put(jobs.settlements.get() - 1)
        return
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
            _slash(jobs, job_id=job_id, offender=slot.executor, offence=offence, honest=winners)


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
        jobs.balances.transfer_on_hold(reason, source, dest, amount)
    except DispatchFailed:
        jobs.balances.transfer_on_hold(reason, source, JOB_POT, amount)
