"""The life of a job: opening, assignment, deadlines, reveals, comparison, fresh executors.

Submitted jobs and the INDEX jobs after them have places of their own, settlements have others: of
the chain, of each executor and of each block's deadlines, so that neither holds the other up.

Each unfinished job stands in exactly one deadline bucket, the one of `job.deadline`. A bucket holds
at most `BUCKET_MAX` jobs; a full one pushes to the next block, so that the work of one block is
bounded and no job is ever searched for. Extrinsics only record answers; payments and calls of other
pallets happen when a deadline comes, at the start of a block.

Nothing is revealed before as many commitments wait as a result needs, so that an executor drawn in
place of a silent one finds no result to copy: who committed before it stays sealed. After a
mismatch both results are public, and a fresh executor that copies one instead of working stakes its
whole bond on a coin toss; the chain cannot distinguish its commitment from honest work.

Who declines is replaced in the next block, by randomness that it did not know; the others go on.
Such a draw counts for no attempt. The eighth executor that declines a job ends it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets import weights
from pallets.balances import HoldReason
from pallets.jobs.assignment import Candidate
from pallets.jobs.candidates import draw_executors
from pallets.jobs.executors import assign, free_executor
from pallets.jobs.job import (
    Job,
    JobFailure,
    JobState,
    Slot,
    SlotState,
    agreed_root,
    move,
)
from pallets.jobs.settlement import expire, fail, settle
from pallets.jobs.work import commit_blocks, quote
from runtime.codec.scale import u32
from runtime.frame.storage import DefaultMap
from runtime.shared.documents import JobSpec, Settle, Settled
from runtime.types.primitives import AccountId, Hash, Weight

if TYPE_CHECKING:
    from pallets.jobs import Jobs

BUCKET_MAX: Final = 8
"""Jobs whose deadline is processed in one block, and settlements beside them."""
UNFINISHED_MAX: Final = 1_024
"""Unfinished jobs of the whole chain that are no settlements; an INDEX job that follows training
may exceed it."""
SETTLEMENTS_MAX: Final = 1_024
"""Unfinished settlements of the whole chain."""
DECLINES_MAX: Final = 8
"""Executors that may decline a job; it fails with the last of them."""


def open_job(
    jobs: Jobs,
    spec: JobSpec,
    owner: AccountId,
    escrow: int,
    *,
    work: int,
    index_escrow: int = 0,
    seed: Hash | None = None,
) -> int:
    """Open a job whose escrow is held; returns its number. Without `seed`, assignment draws one."""
    parameters, now = jobs.parameters.get(), jobs.system.current_number()
    job_id = jobs.next_job.get()
    job = Job(
        owner=owner,
        spec=spec,
        state=JobState.Open,
        escrow=escrow,
        index_escrow=index_escrow,
        executors=parameters.executors_per_job,
        work=work,
        opened_at=now,
        expires_at=now + parameters.open_blocks,
        seed=seed,
    )
    jobs.next_job.put(job_id + 1)
    jobs.jobs.put(job_id, schedule(jobs, job_id, job, now + parameters.assignment_blocks))
    jobs.owned.put((owner, job_id), True)
    if isinstance(spec, Settle):
        jobs.settlements.put(jobs.settlements.get() + 1)
    else:
        jobs.unfinished_of.put(owner, jobs.unfinished_of.get(owner) + 1)
        jobs.unfinished.put(jobs.unfinished.get() + 1)
    jobs.emit(jobs.JobOpened(job_id, owner, escrow))
    return job_id


# ---------------------------------------------------------------------------------------- deadlines


def process_due(jobs: Jobs) -> Weight:
    """Do what the deadlines of this block ask for; returns the weight of it."""
    now, used = jobs.system.current_number(), Weight(0, 0)
    for buckets in (jobs.settlement_deadlines, jobs.deadlines):
        due = buckets.get(now)
        assert len(due) <= BUCKET_MAX, "a bucket holds what one block can do"
        if due:
            buckets.remove(now)
        for job_id in due:
            used = used + weight_of(jobs, job_id)
            advance(jobs, job_id)
    return used


def weight_of(jobs: Jobs, job_id: int) -> Weight:
    """Return the greatest weight that the deadline of a job may have."""
    job = jobs.jobs.get(job_id)
    assert job is not None, "a deadline belongs to a job"
    entries = 0
    for slot in job.slots:
        output = jobs.outputs.get((job_id, slot.root)) if slot.root is not None else None
        if isinstance(output, Settled):
            entries = max(entries, len(output.largest) + len(output.faults))
    return weights.jobs_deadline(entries, executors=len(jobs.executor_accounts.get()))


def schedule(jobs: Jobs, job_id: int, job: Job, block: int) -> Job:
    """Put a job into the first bucket with room from `block` on; returns it with its deadline."""
    buckets = _buckets_of(jobs, job)
    while len(buckets.get(block)) >= BUCKET_MAX:  # all jobs of the kind / BUCKET_MAX times
        block += 1
    buckets.put(block, (*buckets.get(block), job_id))
    return replace(job, deadline=block)


def unschedule(jobs: Jobs, job_id: int, job: Job) -> None:
    """Take a job out of its bucket, because something happened before its deadline."""
    buckets = _buckets_of(jobs, job)
    bucket = buckets.get(job.deadline)
    assert job_id in bucket, f"job {job_id} stands in the bucket of its deadline"
    rest = tuple(other for other in bucket if other != job_id)
    if rest:
        buckets.put(job.deadline, rest)
    else:
        buckets.remove(job.deadline)


def _buckets_of(jobs: Jobs, job: Job) -> DefaultMap[u32, tuple[u32, ...]]:
    return jobs.settlement_deadlines if isinstance(job.spec, Settle) else jobs.deadlines


def advance(jobs: Jobs, job_id: int) -> None:
    """Do what the deadline of a job asks for; its bucket is gone already."""
    job = jobs.jobs.get(job_id)
    assert job is not None, f"job {job_id} has a deadline"
    assert not job.is_final, f"job {job_id} has a deadline, so it is unfinished"
    if job.state is JobState.Open:
        _assign(jobs, job_id, job)
    elif job.state in (JobState.Assigned, JobState.Committing) and job.wanting:
        _replace_decliners(jobs, job_id, job)
    elif job.state in (JobState.Assigned, JobState.Committing):
        _close_commits(jobs, job_id, job)
    elif job.state is JobState.Revealing:
        _compare(jobs, job_id, move(_mark(job, SlotState.Unrevealed), JobState.Comparing))
    else:
        assert job.state is JobState.Comparing, f"job {job_id} is {job.state.name}"
        _compare(jobs, job_id, job)


def _mark(job: Job, silent: SlotState) -> Job:
    """Return the job with the slots that owe an answer marked as silent."""
    owing = SlotState.Assigned if silent is SlotState.NoShow else SlotState.Committed
    slots = tuple(
        replace(slot, state=silent) if slot.state is owing else slot for slot in job.slots
    )
    return replace(job, slots=slots)


# --------------------------------------------------------------------------------------- assignment


def _assign(jobs: Jobs, job_id: int, job: Job) -> None:
    now, parameters = jobs.system.current_number(), jobs.parameters.get()
    needed = job.executors + parameters.spare_executors
    drawn = draw_executors(jobs, job_id, job, job.executors, needed)
    if drawn:
        number = job_id.to_bytes(4, "little")
        seed = job.seed or jobs.randomness.random(b"job-seed" + number)
        _assign_drawn(jobs, job_id, replace(job, seed=seed, profile=drawn[0].profile), drawn)
    elif now >= job.expires_at:
        expire(jobs, job_id, job)
    else:
        again = min(now + parameters.retry_blocks, job.expires_at)
        jobs.jobs.put(job_id, schedule(jobs, job_id, job, max(again, now + 1)))


def _assign_drawn(jobs: Jobs, job_id: int, job: Job, drawn: tuple[Candidate, ...]) -> None:
    """Assign drawn executors for the current attempt. How long they have follows from the profile,
    the work, and what the busiest of them is to do before: a machine does one job after another.
    Refused: to draw only who is free, since cheap jobs would then keep all others waiting."""
    now = jobs.system.current_number()
    work = job.work + max(jobs.assigned_work.get(candidate.account) for candidate in drawn)
    fresh = tuple(
        Slot(candidate.account, candidate.registration, job.attempt, now) for candidate in drawn
    )
    for slot in fresh:
        assign(jobs, job_id, job, slot.executor)
    profile = jobs.profiles.get(drawn[0].profile)
    assert profile is not None, "only executors of registered profiles are drawn"
    end = now + commit_blocks(jobs.parameters.get(), profile, work) + _waiting(job.spec)
    end = max(end, job.commits_end)  # who works already may have been given longer
    job = replace(job, slots=job.slots + fresh, commits_end=end)
    if job.state not in (JobState.Assigned, JobState.Committing):
        job = move(job, JobState.Assigned)
    jobs.jobs.put(job_id, schedule(jobs, job_id, job, end))
    jobs.emit(jobs.JobAssigned(job_id, job.attempt, tuple(slot.executor for slot in fresh)))


def _waiting(spec: JobSpec) -> int:
    """Return for how many blocks executors may wait for what somebody else owes them, before they
    can even begin: nobody is slashed for that."""
    return spec.text_blocks if isinstance(spec, Settle) else 0


def _replace_decliners(jobs: Jobs, job_id: int, job: Job) -> None:
    """Draw one executor for each that declined, or as many as there are; the others go on."""
    fresh = replace(job, attempt=job.attempt + 1, redraws=job.redraws + 1, wanting=0)
    drawn = draw_executors(jobs, job_id, fresh, job.wanting, needed=1)
    if drawn:
        _assign_drawn(jobs, job_id, fresh, drawn)
        return
    job = replace(job, wanting=0)
    if any(slot.state is SlotState.Assigned for slot in job.slots):
        end = max(job.commits_end, jobs.system.current_number() + 1)
        jobs.jobs.put(job_id, schedule(jobs, job_id, job, end))
    else:
        _close_commits(jobs, job_id, job)


# ------------------------------------------------------------------------------------------ answers


def record_answer(jobs: Jobs, job_id: int, job: Job, answered: Slot) -> None:
    """Store what an executor did with its slot, and end the phase early when all have answered."""
    job = job.with_slot(answered)
    if answered.state is SlotState.Committed and job.state is JobState.Assigned:
        job = move(job, JobState.Committing)
    states = [slot.state for slot in job.slots]
    if job.most_report_failure:
        unschedule(jobs, job_id, job)
        fail(jobs, job_id, job, JobFailure.ReportedByExecutors)
        return
    if job.state is JobState.Revealing:
        is_complete = SlotState.Committed not in states
    else:
        is_complete = SlotState.Assigned not in states and not job.wanting
    if is_complete:
        unschedule(jobs, job_id, job)
        if job.state is JobState.Committing and job.may_reveal:
            _open_reveals(jobs, job_id, job)
            return
        soon = jobs.system.current_number() + 1
        job = schedule(jobs, job_id, move(job, JobState.Comparing), soon)
    jobs.jobs.put(job_id, job)


def record_decline(jobs: Jobs, job_id: int, job: Job, declined: Slot) -> None:
    """Store that an executor declined, and ask for another one at the next block."""
    job = job.with_slot(declined)
    free_executor(jobs, job_id, job, declined.executor)
    if job.declines >= DECLINES_MAX:
        unschedule(jobs, job_id, job)
        fail(jobs, job_id, job, JobFailure.TooLarge)
        return
    if not job.wanting:
        unschedule(jobs, job_id, job)
        job = schedule(jobs, job_id, job, jobs.system.current_number() + 1)
    jobs.jobs.put(job_id, replace(job, wanting=job.wanting + 1))


def _close_commits(jobs: Jobs, job_id: int, job: Job) -> None:
    job = _mark(job, SlotState.NoShow)
    if job.may_reveal:
        _open_reveals(jobs, job_id, job)
    else:
        _compare(jobs, job_id, move(job, JobState.Comparing))


def _open_reveals(jobs: Jobs, job_id: int, job: Job) -> None:
    end = jobs.system.current_number() + jobs.parameters.get().reveal_blocks
    jobs.jobs.put(job_id, schedule(jobs, job_id, move(job, JobState.Revealing), end))
    jobs.emit(jobs.RevealsOpened(job_id, job.attempt))


# --------------------------------------------------------------------------------------- comparison


def _compare(jobs: Jobs, job_id: int, job: Job) -> None:
    """Settle on the agreed root, or draw fresh executors, or give up with a refund."""
    root = agreed_root(job.revealed, job.executors)
    if root is not None:
        following = settle(jobs, job_id, job, root)
        if following is not None:
            spec, escrow = following
            work = quote(jobs, spec).work
            index_job = open_job(jobs, spec, job.owner, escrow, work=work)
            settled = jobs.jobs.get(job_id)
            assert settled is not None, "settled just now"
            jobs.jobs.put(job_id, replace(settled, index_job=index_job))
        return
    if job.attempt - job.redraws >= jobs.parameters.get().extra_attempts:
        fail(jobs, job_id, job, JobFailure.NoAgreement)
        return
    job = replace(job, attempt=job.attempt + 1)
    missing = max(1, job.agreeing - len(job.revealed) - job.sealed)
    drawn = draw_executors(jobs, job_id, job, missing, needed=missing)
    if drawn:
        _assign_drawn(jobs, job_id, job, drawn)
    else:
        fail(jobs, job_id, job, JobFailure.NoExecutors)


# --------------------------------------------------------------------------------------- invariants


def check_invariants(jobs: Jobs) -> None:
    """Assert that holds, counters, buckets and assignments agree with the jobs."""
    unfinished = {job_id: job for job_id, job in jobs.jobs.items() if not job.is_final}
    settlements = sum(isinstance(job.spec, Settle) for job in unfinished.values())
    assert jobs.settlements.get() == settlements, "number of unfinished settlements"
    assert jobs.unfinished.get() == len(unfinished) - settlements, "number of unfinished jobs"
    now = jobs.system.current_number()
    in_buckets = [
        (job_id, block, buckets is jobs.settlement_deadlines)
        for buckets in (jobs.deadlines, jobs.settlement_deadlines)
        for block, bucket in buckets.items()
        for job_id in bucket
    ]
    assert sorted(in_buckets) == sorted(
        (job_id, job.deadline, isinstance(job.spec, Settle)) for job_id, job in unfinished.items()
    )
    assert all(block > now for _, block, _ in in_buckets), "deadlines lie ahead"
    escrows: Counter[AccountId] = Counter()
    counts: Counter[AccountId] = Counter()
    assigned: Counter[tuple[AccountId, int, bool]] = Counter()
    work: Counter[AccountId] = Counter()
    for job_id, job in unfinished.items():
        escrows[job.owner] += job.escrow
        counts[job.owner] += not isinstance(job.spec, Settle)
        for slot in job.slots:
            if slot.state is not SlotState.Declined:
                assigned[slot.executor, job_id, isinstance(job.spec, Settle)] += 1
                work[slot.executor] += job.work
        assert job.declines < DECLINES_MAX, "a job that most decline ends"
        is_asking = job.state in (JobState.Assigned, JobState.Committing)
        assert not job.wanting or is_asking, "executors are replaced while others work"
    for job in (job for _, job in jobs.jobs.items()):
        escrow = jobs.balances.held(HoldReason.JobEscrow, job.owner)
        assert escrow == escrows[job.owner], "escrows of unfinished jobs are held, no others"
        assert jobs.unfinished_of.get(job.owner) == counts[job.owner], "jobs of an account"
    stored = [
        (who, job_id, assignments is jobs.settlement_assignments)
        for assignments in (jobs.assignments, jobs.settlement_assignments)
        for who, ids in assignments.items()
        for job_id in ids
    ]
    assert Counter(stored) == assigned, "assignments are the slots of unfinished jobs"
    assert dict(jobs.assigned_work.items()) == +work, "the work of an executor is that of its jobs"
    staying = (who for who, executor in jobs.registry.items() if executor.leaving_at is None)
    assert sorted(jobs.executor_accounts.get()) == sorted(staying), "listed executors"
    for account, executor in jobs.registry.items():
        bond = jobs.balances.held(HoldReason.JobBond, account)
        assert bond == executor.bond, "bonds of executors are held"
        assert executor.profile in jobs.profiles, "the profile of an executor is registered"
