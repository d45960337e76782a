"""The registry of bonded executors: joining, adding to the bond, signs of life, leaving.

An executor leaves in two steps: it asks to leave while free of jobs, is not drawn any more, and
takes its bond after the unbonding time. Its place is free at once. Where all places are taken, a
newcomer gets that of the executor that has been silent for longest, beyond its time and without
jobs, so that registrations which nobody stands behind keep nobody out. Each registration has a
number of its own, which its slots carry, so that nothing of a former one counts for a later one.

Who declines eight jobs with none settled in between rests for the unbonding time: declining is free
for the machine that is too small, and no way to choose among draws.

A registration, and each change that decides what an executor is drawn for (more bond, bases, reader
key, coming back from silence or rest), counts `age_blocks` later; until then it is not drawn. Who
makes the latest blocks knows the randomness of the next draw, and could else register those of any
number of keys that it hits. It knows it as many blocks ahead as it makes in a row: with a third of
the stake 20 of them are one chance in 3 x 10^9. What only lowers a weight, as a slash does, needs
no age: it hits nobody's ticket, and else whoever has others slashed would keep them from draws.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets.balances import HoldReason
from pallets.jobs.job import Job
from pallets.jobs.registry import (
    BASES_MAX,
    DECLINES_IN_ROW_MAX,
    PROFILE_NAME_BYTES_MAX,
    Executor,
    ExecutorEntry,
    GenesisExecutor,
    Profile,
)
from runtime.codec.scale import u32
from runtime.frame.storage import DefaultMap
from runtime.shared.documents import JobSpec, Settle
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.jobs import Jobs

EXECUTORS_MAX: Final = 256
"""Executors that are not leaving; assignment reads them all."""
HEARTBEAT_PARTS: Final = 16
"""So many signs of life may be sent in the time in which one is asked for."""


def register_profile(jobs: Jobs, identity: Hash, profile: Profile) -> None:
    """Register a profile, or change its limits. Raises InvalidProfile."""
    limits = (profile.parameters_max, profile.work_max, profile.context_tokens)
    if not 1 <= len(profile.name.encode()) <= PROFILE_NAME_BYTES_MAX or not all(limits):
        raise jobs.InvalidProfile
    jobs.profiles.put(identity, profile)
    jobs.emit(jobs.ProfileRegistered(identity, profile))


def register(jobs: Jobs, who: AccountId, wanted: GenesisExecutor, drawable_from: int) -> None:
    """Add an executor, which is drawn from a block on.

    Raises AlreadyRegistered, UnknownProfile, InvalidBases, BondTooLow, RegistryFull.
    """
    bond = wanted.bond
    if who in jobs.registry:
        raise jobs.AlreadyRegistered
    if wanted.profile not in jobs.profiles:
        raise jobs.UnknownProfile
    _check_bases(jobs, wanted.bases)
    if bond < jobs.parameters.get().minimum_bond:
        raise jobs.BondTooLow
    if len(jobs.executor_accounts.get()) >= EXECUTORS_MAX:
        silent = _longest_silent(jobs)
        if silent is None:
            raise jobs.RegistryFull
        _begin_leaving(jobs, silent)
    jobs.balances.hold(HoldReason.JobBond, who, bond)
    registration = jobs.next_registration.get()
    jobs.next_registration.put(registration + 1)
    jobs.executor_accounts.put((*jobs.executor_accounts.get(), who))
    now = jobs.system.current_number()
    record = Executor(
        profile=wanted.profile,
        bond=bond,
        registration=registration,
        last_seen=now,
        bases=wanted.bases,
        reader=wanted.reader,
        drawable_from=drawable_from,
    )
    jobs.registry.put(who, record)
    jobs.emit(jobs.ExecutorRegistered(who, registration, wanted.profile, bond))


def set_bases(jobs: Jobs, who: AccountId, bases: tuple[Hash, ...]) -> None:
    """Declare the bases of an executor's machine. Raises NotRegistered, InvalidBases."""
    executor = registered(jobs, who)
    _check_bases(jobs, bases)
    jobs.registry.put(who, _aging(jobs, replace(executor, bases=bases)))
    jobs.emit(jobs.BasesDeclared(who, bases))


def set_reader(jobs: Jobs, who: AccountId, reader: Hash) -> None:
    """Declare the key for which texts are encrypted to an executor. Raises NotRegistered."""
    jobs.registry.put(who, _aging(jobs, replace(registered(jobs, who), reader=reader)))
    jobs.emit(jobs.ReaderDeclared(who, reader))


def _check_bases(jobs: Jobs, bases: tuple[Hash, ...]) -> None:
    if len(bases) > BASES_MAX or list(bases) != sorted(set(bases)):
        raise jobs.InvalidBases


def add_bond(jobs: Jobs, who: AccountId, amount: int) -> None:
    """Raise a bond, for example after a slash. Raises NotRegistered, AlreadyLeaving."""
    executor = registered(jobs, who)
    if executor.leaving_at is not None:
        raise jobs.AlreadyLeaving
    jobs.balances.hold(HoldReason.JobBond, who, amount)
    bond = executor.bond + amount
    jobs.registry.put(who, _aging(jobs, replace(executor, bond=bond)))
    jobs.emit(jobs.BondAdded(who, bond))


def note_seen(jobs: Jobs, who: AccountId) -> None:
    """Note a sign of life. Raises NotRegistered."""
    jobs.registry.put(who, _seen(jobs, registered(jobs, who)))


def check_heartbeat(jobs: Jobs, who: AccountId) -> None:
    """Refuse a heartbeat that says nothing new.

    Raises NotRegistered, AlreadyLeaving, SeenAlready.
    """
    executor, window = registered(jobs, who), jobs.parameters.get().heartbeat_blocks
    if executor.leaving_at is not None:
        raise jobs.AlreadyLeaving
    pause = max(1, window // HEARTBEAT_PARTS)
    if not window or jobs.system.current_number() < executor.last_seen + pause:
        raise jobs.SeenAlready


def note_declined(jobs: Jobs, who: AccountId) -> None:
    """Count a job that an executor declined; after too many in a row it rests."""
    executor = _seen(jobs, registered(jobs, who))
    executor = replace(executor, declines=executor.declines + 1)
    if executor.declines == DECLINES_IN_ROW_MAX:
        rested = jobs.system.current_number() + jobs.parameters.get().unbonding_blocks
        drawable_from = max(executor.drawable_from, rested)
        executor = _aging(jobs, replace(executor, declines=0, drawable_from=drawable_from))
    jobs.registry.put(who, executor)


def of_age(jobs: Jobs) -> int:
    """Return the block from which a change of now counts in draws."""
    return jobs.system.current_number() + jobs.parameters.get().age_blocks


def _aging(jobs: Jobs, executor: Executor) -> Executor:
    """Return the record of an executor of which something changed that decides a draw."""
    return replace(executor, drawable_from=max(executor.drawable_from, of_age(jobs)))


def _seen(jobs: Jobs, executor: Executor) -> Executor:
    """Return the record of an executor that gives a sign of life."""
    seen = replace(executor, last_seen=jobs.system.current_number())
    return _aging(jobs, seen) if is_silent(jobs, executor) else seen


def leave(jobs: Jobs, who: AccountId) -> None:
    """Begin to leave. Raises NotRegistered, AlreadyLeaving, ExecutorBusy."""
    executor = registered(jobs, who)
    if executor.leaving_at is not None:
        raise jobs.AlreadyLeaving
    if assigned_jobs(jobs, who):
        raise jobs.ExecutorBusy
    _begin_leaving(jobs, who)


def is_silent(jobs: Jobs, executor: Executor) -> bool:
    """Return whether an executor has given no sign of life in its time; it is not drawn then."""
    window = jobs.parameters.get().heartbeat_blocks
    return bool(window) and jobs.system.current_number() > executor.last_seen + window


def _longest_silent(jobs: Jobs) -> AccountId | None:
    """Return who gives its place up first: beyond its time, without jobs, the longest silent."""
    silent = [
        (executor.last_seen, executor.registration, account)
        for account in jobs.executor_accounts.get()
        if is_silent(jobs, executor := registered(jobs, account))
        and not assigned_jobs(jobs, account)
    ]
    return min(silent)[2] if silent else None


def _begin_leaving(jobs: Jobs, who: AccountId) -> None:
    """Free the place of an executor; its bond stays held for the unbonding time."""
    block = jobs.system.current_number() + jobs.parameters.get().unbonding_blocks
    jobs.registry.put(who, replace(registered(jobs, who), leaving_at=block))
    accounts = jobs.executor_accounts.get()
    jobs.executor_accounts.put(tuple(account for account in accounts if account != who))
    jobs.emit(jobs.ExecutorLeaving(who, block))


def withdraw(jobs: Jobs, who: AccountId) -> None:
    """Release the bond and remove the executor. Raises NotRegistered, NotLeaving, BondLocked."""
    executor = registered(jobs, who)
    if executor.leaving_at is None:
        raise jobs.NotLeaving
    if jobs.system.current_number() < executor.leaving_at:
        raise jobs.BondLocked
    assert not assigned_jobs(jobs, who), "who leaves is not drawn"
    jobs.balances.release(HoldReason.JobBond, who, executor.bond)
    jobs.registry.remove(who)
    jobs.emit(jobs.ExecutorUnregistered(who, executor.bond))


def registered(jobs: Jobs, who: AccountId) -> Executor:
    """Return the record of an executor. Raises NotRegistered."""
    executor = jobs.registry.get(who)
    if executor is None:
        raise jobs.NotRegistered
    return executor


def assignments_of(jobs: Jobs, spec: JobSpec) -> DefaultMap[AccountId, tuple[u32, ...]]:
    """Return the lists of assigned jobs that a job stands in: settlements have their own."""
    return jobs.settlement_assignments if isinstance(spec, Settle) else jobs.assignments


def assigned_jobs(jobs: Jobs, who: AccountId) -> tuple[u32, ...]:
    """Return all unfinished jobs that an executor is assigned to."""
    return jobs.settlement_assignments.get(who) + jobs.assignments.get(who)


def assign(jobs: Jobs, job_id: int, job: Job, who: AccountId) -> None:
    """Put a job on the list of an executor."""
    assigned = assignments_of(jobs, job.spec)
    assigned.put(who, (*assigned.get(who), job_id))
    jobs.assigned_work.put(who, jobs.assigned_work.get(who) + job.work)


def free_executor(jobs: Jobs, job_id: int, job: Job, who: AccountId) -> None:
    """Take a job off the list of an executor."""
    assigned = assignments_of(jobs, job.spec)
    rest = tuple(other for other in assigned.get(who) if other != job_id)
    if rest:
        assigned.put(who, rest)
    else:
        assigned.remove(who)
    work = jobs.assigned_work.get(who) - job.work
    if work:
        jobs.assigned_work.put(who, work)
    else:
        jobs.assigned_work.remove(who)


def listed(jobs: Jobs) -> tuple[ExecutorEntry, ...]:
    """Return the executors that are not leaving, in the order in which they joined."""
    return tuple(
        ExecutorEntry(account, registered(jobs, account), len(assigned_jobs(jobs, account)))
        for account in jobs.executor_accounts.get()
    )
