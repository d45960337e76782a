"""The life of a job: opening, assignment, deadlines, reveals, comparison, fresh executors.

Each unfinished job stands in exactly one deadline bucket, the one of `job.deadline`. A bucket holds
at most `BUCKET_MAX` jobs; a full one pushes to the next block, so that the work of one block is
bounded and no job is ever searched for. Extrinsics only record answers; payments and calls of other
pallets happen when a deadline comes, at the start of a block.

Nothing is revealed before as many commitments wait as a result needs, so that an executor drawn in
place of a silent one finds no result to copy: who committed before it stays sealed. After a
mismatch both results are public, and a fresh executor that copies one instead of working stakes its
whole bond on a coin toss; the chain cannot distinguish its commitment from honest work.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets import weights
from pallets.balances import HoldReason
from pallets.jobs.assignment import Candidate, draw
from pallets.jobs.executors import is_silent
from pallets.jobs.job import (
    AGREEING_MIN,
    Job,
    JobFailure,
    JobState,
    Slot,
    SlotState,
    agreed_root,
    move,
)
from pallets.jobs.settlement import expire, fail, settle
from runtime.shared.documents import JobSpec, Settled
from runtime.types.primitives import AccountId, Hash, Weight

if TYPE_CHECKING:
    from pallets.jobs import Jobs

BUCKET_MAX: Final = 16
"""Jobs whose deadline is processed in one block."""
UNFINISHED_MAX: Final = 1_024
"""Unfinished jobs of the whole chain; jobs that the chain opens after another may exceed it."""
ASSIGNMENTS_MAX: Final = 16
"""Unfinished jobs of one executor; it is not drawn for more."""


def open_job(
    jobs: Jobs,
    spec: JobSpec,
    owner: AccountId,
    escrow: int,
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
        opened_at=now,
        expires_at=now + parameters.open_blocks,
        seed=seed,
    )
    jobs.next_job.put(job_id + 1)
    jobs.jobs.put(job_id, schedule(jobs, job_id, job, now + parameters.assignment_blocks))
    jobs.owned.put((owner, job_id), True)
    jobs.unfinished_of.put(owner, jobs.unfinished_of.get(owner) + 1)
    jobs.unfinished.put(jobs.unfinished.get() + 1)
    jobs.emit(jobs.JobOpened(job_id, owner, escrow))
    return job_id


# ---------------------------------------------------------------------------------------- deadlines


def process_due(jobs: Jobs) -> Weight:
    """Do what the deadlines of this block ask for; returns the weight of it."""
    now = jobs.system.current_number()
    due = jobs.deadlines.get(now)
    assert len(due) <= BUCKET_MAX, "a bucket holds what one block can do"
    if due:
        jobs.deadlines.remove(now)
    used = Weight(0, 0)
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
    while len(jobs.deadlines.get(block)) >= BUCKET_MAX:  # at most unfinished / BUCKET_MAX times
        block += 1
    jobs.deadlines.put(block, (*jobs.deadlines.get(block), job_id))
    return replace(job, deadline=block)


def unschedule(jobs: Jobs, job_id: int, job: Job) -> None:
    """Take a job out of its bucket, because something happened before its deadline."""
    bucket = jobs.deadlines.get(job.deadline)
    assert job_id in bucket, f"job {job_id} stands in the bucket of its deadline"
    rest = tuple(other for other in bucket if other != job_id)
    if rest:
        jobs.deadlines.put(job.deadline, rest)
    else:
        jobs.deadlines.remove(job.deadline)


def advance(jobs: Jobs, job_id: int) -> None:
    """Do what the deadline of a job asks for; its bucket is gone already."""
    job = jobs.jobs.get(job_id)
    assert job is not None, f"job {job_id} has a deadline"
    assert not job.is_final, f"job {job_id} has a deadline, so it is unfinished"
    if job.state is JobState.Open:
        _assign(jobs, job_id, job)
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
    drawn = _draw(jobs, job_id, job, job.executors)
    if drawn:
        number = job_id.to_bytes(4, "little")
        seed = job.seed or jobs.randomness.random(b"job-seed" + number)
        _assign_drawn(jobs, job_id, replace(job, seed=seed, profile=drawn[0].profile), drawn)
    elif now >= job.expires_at:
        expire(jobs, job_id, job)
    else:
        again = min(now + parameters.retry_blocks, job.expires_at)
        jobs.jobs.put(job_id, schedule(jobs, job_id, job, max(again, now + 1)))


def _draw(jobs: Jobs, job_id: int, job: Job, count: int) -> tuple[Candidate, ...]:
    """Draw executors that the job has not had, by randomness that was unknown when it opened."""
    parameters = jobs.parameters.get()
    had = {slot.executor for slot in job.slots}
    candidates = []
    for account in jobs.executor_accounts.get():
        executor = jobs.registry.get(account)
        assert executor is not None, "listed executors are registered"
        if (
            account not in had
            and executor.bond >= parameters.minimum_bond
            and not is_silent(jobs, executor)
            and job.profile in (None, executor.profile)
            and len(jobs.assignments.get(account)) < ASSIGNMENTS_MAX
        ):
            weight = min(executor.bond, parameters.bond_cap)
            candidates.append(Candidate(account, executor.registration, executor.profile, weight))
    # Bound to job and attempt: two draws of one block must not choose alike.
    bound = job_id.to_bytes(4, "little") + job.attempt.to_bytes(4, "little")
    return draw(candidates, count, jobs.randomness.random(b"job-draw" + bound))


def _assign_drawn(jobs: Jobs, job_id: int, job: Job, drawn: tuple[Candidate, ...]) -> None:
    """Assign drawn executors for the current attempt."""
    fresh = tuple(
        Slot(candidate.account, candidate.registration, job.attempt) for candidate in drawn
    )
    for slot in fresh:
        jobs.assignments.put(slot.executor, (*jobs.assignments.get(slot.executor), job_id))
    now = jobs.system.current_number()
    slots = job.slots + fresh
    job = move(replace(job, slots=slots, assigned_at=now), JobState.Assigned)
    end = now + jobs.parameters.get().commit_blocks
    jobs.jobs.put(job_id, schedule(jobs, job_id, job, end))
    jobs.emit(jobs.JobAssigned(job_id, job.attempt, tuple(slot.executor for slot in fresh)))


# ------------------------------------------------------------------------------------------ answers


def record_answer(jobs: Jobs, job_id: int, job: Job, answered: Slot) -> None:
    """Store what an executor did with its slot, and end the phase early when all have answered."""
    slots = tuple(answered if slot.executor == answered.executor else slot for slot in job.slots)
    job = replace(job, slots=slots)
    if answered.state is SlotState.Committed and job.state is JobState.Assigned:
        job = move(job, JobState.Committing)
    states = [slot.state for slot in job.slots]
    failures = states.count(SlotState.ReportedFailure)
    if 2 * failures > len(job.slots):
        unschedule(jobs, job_id, job)
        fail(jobs, job_id, job, JobFailure.ReportedByExecutors)
        return
    if job.state is JobState.Revealing:
        is_complete = SlotState.Committed not in states
    else:
        is_complete = SlotState.Assigned not in states
    if is_complete:
        unschedule(jobs, job_id, job)
        if job.state is JobState.Committing and job.may_reveal:
            _open_reveals(jobs, job_id, job)
            return
        soon = jobs.system.current_number() + 1
        job = schedule(jobs, job_id, move(job, JobState.Comparing), soon)
    jobs.jobs.put(job_id, job)


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
            index_job = open_job(jobs, spec, job.owner, escrow)
            settled = jobs.jobs.get(job_id)
            assert settled is not None, "settled just now"
            jobs.jobs.put(job_id, replace(settled, index_job=index_job))
        return
    if job.attempt >= jobs.parameters.get().extra_attempts:
        fail(jobs, job_id, job, JobFailure.NoAgreement)
        return
    job = replace(job, attempt=job.attempt + 1)
    missing = max(1, min(job.executors, AGREEING_MIN) - len(job.revealed) - job.sealed)
    drawn = _draw(jobs, job_id, job, missing)
    if drawn:
        _assign_drawn(jobs, job_id, job, drawn)
    else:
        fail(jobs, job_id, job, JobFailure.NoExecutors)


# --------------------------------------------------------------------------------------- invariants


def check_invariants(jobs: Jobs) -> None:
    """Assert that holds, counters, buckets and assignments agree with the jobs."""
    unfinished = {job_id: job for job_id, job in jobs.jobs.items() if not job.is_final}
    assert jobs.unfinished.get() == len(unfinished), "number of unfinished jobs"
    now = jobs.system.current_number()
    in_buckets = [(job, block) for block, bucket in jobs.deadlines.items() for job in bucket]
    assert sorted(in_buckets) == sorted(
        (job_id, job.deadline) for job_id, job in unfinished.items()
    )
    assert all(block > now for _, block in in_buckets), "deadlines lie ahead"
    escrows: Counter[AccountId] = Counter()
    counts: Counter[AccountId] = Counter()
    assigned: Counter[tuple[AccountId, int]] = Counter()
    for job_id, job in unfinished.items():
        escrows[job.owner] += job.escrow
        counts[job.owner] += 1
        assigned.update((slot.executor, job_id) for slot in job.slots)
    for job in (job for _, job in jobs.jobs.items()):
        escrow = jobs.balances.held(HoldReason.JobEscrow, job.owner)
        assert escrow == escrows[job.owner], "escrows of unfinished jobs are held, no others"
        assert jobs.unfinished_of.get(job.owner) == counts[job.owner], "jobs of an account"
    stored = [(who, job_id) for who, ids in jobs.assignments.items() for job_id in ids]
    assert Counter(stored) == assigned, "assignments are the slots of unfinished jobs"
    staying = (who for who, executor in jobs.registry.items() if executor.leaving_at is None)
    assert sorted(jobs.executor_accounts.get()) == sorted(staying), "listed executors"
    for account, executor in jobs.registry.items():
        bond = jobs.balances.held(HoldReason.JobBond, account)
        assert bond == executor.bond, "bonds of executors are held"
