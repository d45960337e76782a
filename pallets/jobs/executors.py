"""The registry of bonded executors: joining, adding to the bond, signs of life, leaving.

An executor leaves in two steps: it asks to leave while free of jobs, is not drawn any more, and
takes its bond after the unbonding time. Each registration has a number of its own, which its slots
carry, so that nothing of a former registration counts for a later one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets.balances import HoldReason
from pallets.jobs.job import Executor, ExecutorEntry
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.jobs import Jobs

EXECUTORS_MAX: Final = 256
"""Registered executors; assignment reads them all."""


def register(jobs: Jobs, who: AccountId, profile: Hash, bond: int) -> None:
    """Add an executor. Raises AlreadyRegistered, RegistryFull, BondTooLow."""
    accounts = jobs.executor_accounts.get()
    if who in jobs.registry:
        raise jobs.AlreadyRegistered
    if len(accounts) >= EXECUTORS_MAX:
        raise jobs.RegistryFull
    if bond < jobs.parameters.get().minimum_bond:
        raise jobs.BondTooLow
    jobs.balances.hold(HoldReason.JobBond, who, bond)
    registration = jobs.next_registration.get()
    jobs.next_registration.put(registration + 1)
    jobs.executor_accounts.put((*accounts, who))
    now = jobs.system.current_number()
    jobs.registry.put(who, Executor(profile, bond, registration, last_seen=now))
    jobs.emit(jobs.ExecutorRegistered(who, registration, profile, bond))


def add_bond(jobs: Jobs, who: AccountId, amount: int) -> None:
    """Raise a bond, for example after a slash. Raises NotRegistered, AlreadyLeaving."""
    executor = registered(jobs, who)
    if executor.leaving_at is not None:
        raise jobs.AlreadyLeaving
    jobs.balances.hold(HoldReason.JobBond, who, amount)
    bond = executor.bond + amount
    jobs.registry.put(who, replace(executor, bond=bond))
    jobs.emit(jobs.BondAdded(who, bond))


def note_seen(jobs: Jobs, who: AccountId) -> None:
    """Note a sign of life. Raises NotRegistered."""
    executor = registered(jobs, who)
    jobs.registry.put(who, replace(executor, last_seen=jobs.system.current_number()))


def leave(jobs: Jobs, who: AccountId) -> None:
    """Begin to leave. Raises NotRegistered, AlreadyLeaving, ExecutorBusy."""
    executor = registered(jobs, who)
    if executor.leaving_at is not None:
        raise jobs.AlreadyLeaving
    if jobs.assignments.get(who):
        raise jobs.ExecutorBusy
    block = jobs.system.current_number() + jobs.parameters.get().unbonding_blocks
    jobs.registry.put(who, replace(executor, leaving_at=block))
    jobs.emit(jobs.ExecutorLeaving(who, block))


def withdraw(jobs: Jobs, who: AccountId) -> None:
    """Release the bond and remove the executor. Raises NotRegistered, NotLeaving, BondLocked."""
    executor = registered(jobs, who)
    if executor.leaving_at is None:
        raise jobs.NotLeaving
    if jobs.system.current_number() < executor.leaving_at:
        raise jobs.BondLocked
    assert not jobs.assignments.get(who), "who leaves is not drawn"
    jobs.balances.release(HoldReason.JobBond, who, executor.bond)
    jobs.registry.remove(who)
    accounts = jobs.executor_accounts.get()
    jobs.executor_accounts.put(tuple(account for account in accounts if account != who))
    jobs.emit(jobs.ExecutorUnregistered(who, executor.bond))


def registered(jobs: Jobs, who: AccountId) -> Executor:
    """Return the record of an executor. Raises NotRegistered."""
    executor = jobs.registry.get(who)
    if executor is None:
        raise jobs.NotRegistered
    return executor


def listed(jobs: Jobs) -> tuple[ExecutorEntry, ...]:
    """Return all executors, in the order in which they joined."""
    return tuple(
        ExecutorEntry(account, registered(jobs, account), len(jobs.assignments.get(account)))
        for account in jobs.executor_accounts.get()
    )
