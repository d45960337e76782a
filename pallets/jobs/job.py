"""The records of jobs: states, slots, executors, parameters, and which state may follow which.

Indices of enums are part of the encoding. The states of audits and disputes are reserved here, so
that they can be added without renumbering; no job enters them yet.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

from pallets.balances import EXISTENTIAL_DEPOSIT
from runtime.codec.scale import scale, u8, u16, u32
from runtime.shared.documents import SKETCH_SIZE_DEFAULT, JobSpec
from runtime.types.primitives import OPEN, AccountId, Balance, Hash


class JobState(enum.IntEnum):
    """Where a job is. Auditing, Disputed, Bisecting, Referee and Escalated are reserved."""

    Open = 0
    Assigned = 1
    Committing = 2
    Revealing = 3
    Comparing = 4
    Auditing = 5
    Settled = 6
    Disputed = 7
    Bisecting = 8
    Referee = 9
    Escalated = 10
    Cancelled = 11
    Failed = 12
    Expired = 13


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.Open: frozenset({JobState.Assigned, JobState.Cancelled, JobState.Expired}),
    JobState.Assigned: frozenset({JobState.Committing, JobState.Comparing, JobState.Failed}),
    JobState.Committing: frozenset({JobState.Revealing, JobState.Comparing, JobState.Failed}),
    JobState.Revealing: frozenset({JobState.Comparing}),
    JobState.Comparing: frozenset({JobState.Assigned, JobState.Settled, JobState.Failed}),
}
"""Every change of state that exists; a state that is missing here is final or reserved."""

FINAL_STATES: Final = (JobState.Settled, JobState.Cancelled, JobState.Failed, JobState.Expired)


class SlotState(enum.IntEnum):
    """The state of an executor's part of a job."""

    Assigned = 0
    Committed = 1
    Revealed = 2
    ReportedFailure = 3
    NoShow = 4
    Unrevealed = 5


class FailureReason(enum.IntEnum):
    """The reasons why an executor cannot answer."""

    TrainingDiverged = 0
    MissingBlob = 1
    BadRows = 2
    UnknownBase = 3
    Unsupported = 4
    WithheldTexts = 6


class JobFailure(enum.IntEnum):
    """Why a job failed; its escrow was refunded."""

    NoAgreement = 0
    NoExecutors = 1
    ReportedByExecutors = 2
    ResultRefused = 3
    Withheld = 6


class Offence(enum.IntEnum):
    """Why an executor's bond was slashed."""

    NoShow = 0
    Unrevealed = 1
    Diverged = 2


SLASH_PERMILLE: Final = {Offence.NoShow: 50, Offence.Unrevealed: 1000, Offence.Diverged: 1000}
AGREEING_MIN: Final = 2
"""Equal roots that settle a job of several executors."""
REWARD_PERMILLE: Final = 300
"""The part of a slash that goes to the job's honest executors; burned where there are none."""
POT_PERMILLE: Final = 200
"""The part of a slash that goes to the pot of audits; the rest is burned."""


@scale
class Slot:
    """One executor's part of a job, bound to its registration."""

    executor: AccountId
    registration: u32
    attempt: u32
    state: SlotState = SlotState.Assigned
    commitment: Hash | None = None
    root: Hash | None = None
    reason: FailureReason | None = None


@scale
class Job:
    """A job. `escrow` is held from the owner until the end; `index_escrow` is the part of it that
    pays the INDEX job that follows training. `deadline` is the block at which the state ends by
    itself; it is 0 at the end. `seed` is drawn from the chain's randomness when executors are
    assigned.
    """

    owner: AccountId
    spec: JobSpec
    state: JobState
    escrow: Balance
    index_escrow: Balance
    executors: u8
    opened_at: u32
    expires_at: u32
    deadline: u32 = 0
    attempt: u32 = 0
    seed: Hash | None = None
    profile: Hash | None = None
    slots: tuple[Slot, ...] = ()
    root: Hash | None = None
    index_job: u32 | None = None
    failure: JobFailure | None = None
    assigned_at: u32 = 0

    @property
    def is_final(self) -> bool:
        """Return whether nothing more happens to the job."""
        return self.state in FINAL_STATES

    def current(self) -> tuple[Slot, ...]:
        """Return the slots of the current attempt."""
        return tuple(slot for slot in self.slots if slot.attempt == self.attempt)

    def slot_of(self, account: AccountId) -> Slot | None:
        """Return the part of an account; no executor is drawn twice for a job."""
        own = [slot for slot in self.slots if slot.executor == account]
        return own[0] if own else None

    @property
    def revealed(self) -> tuple[Hash, ...]:
        """The roots that were revealed, in the order of the slots."""
        return tuple(slot.root for slot in self.slots if slot.root is not None)

    @property
    def sealed(self) -> int:
        """How many commitments wait for their reveal."""
        return sum(slot.state is SlotState.Committed for slot in self.slots)

    @property
    def may_reveal(self) -> bool:
        """Return whether revealing gives nothing away: a result needs no more commitments."""
        return self.sealed >= (1 if self.revealed else min(self.executors, AGREEING_MIN))


@scale
class JobEntry:
    """A job with its number."""

    id: u32
    job: Job


@scale
class Executor:
    """A bonded executor. `registration` numbers registrations; `last_seen` is its last sign of life
    in blocks; `leaving_at` is the block from which its bond can be withdrawn.
    """

    profile: Hash
    bond: Balance
    registration: u32
    last_seen: u32
    leaving_at: u32 | None = None
    settled: u32 = 0
    slashed: u32 = 0


@scale
class ExecutorEntry:
    """An executor with its account and the number of its unfinished jobs."""

    account: AccountId
    executor: Executor
    assigned: u32


@scale
class Parameters:
    """The parameters that root may change. Times are in blocks, prices for each executor.

    `weight_percent` of a block is for calls of jobs, `submission_percent` of it for submissions:
    what executors owe by a deadline has the rest to itself.
    """

    executors_per_job: u8 = 2
    extra_attempts: u8 = 3
    weight_percent: u8 = 25
    submission_percent: u8 = 10
    open_jobs_per_account: u16 = 16
    sketch_size: u16 = SKETCH_SIZE_DEFAULT
    assignment_blocks: u32 = 2
    retry_blocks: u32 = 5
    open_blocks: u32 = 600
    commit_blocks: u32 = 2_400
    reveal_blocks: u32 = 60
    unbonding_blocks: u32 = 14_400
    heartbeat_blocks: u32 = 14_400
    minimum_bond: Balance = 100 * OPEN
    bond_cap: Balance = 100_000 * OPEN
    price_base_planck: Balance = OPEN // 100
    price_row_planck: Balance = OPEN // 10_000
    price_step_planck: Balance = OPEN // 1_000


PARAMETERS_MIN: Final = Parameters(
    executors_per_job=1,
    extra_attempts=0,
    weight_percent=2,
    submission_percent=1,
    open_jobs_per_account=1,
    sketch_size=16,
    assignment_blocks=1,
    retry_blocks=1,
    open_blocks=2,
    commit_blocks=2,
    reveal_blocks=2,
    unbonding_blocks=1,
    heartbeat_blocks=0,
    minimum_bond=EXISTENTIAL_DEPOSIT,
    bond_cap=EXISTENTIAL_DEPOSIT,
    price_base_planck=0,
    price_row_planck=0,
    price_step_planck=0,
)
PARAMETERS_MAX: Final = Parameters(
    executors_per_job=5,
    extra_attempts=8,
    weight_percent=50,
    submission_percent=25,
    open_jobs_per_account=1_000,
    sketch_size=8_192,
    assignment_blocks=100,
    retry_blocks=1_000,
    open_blocks=1_000_000,
    commit_blocks=1_000_000,
    reveal_blocks=100_000,
    unbonding_blocks=10_000_000,
    heartbeat_blocks=10_000_000,
    minimum_bond=10_000_000 * OPEN,
    bond_cap=100_000_000 * OPEN,
    price_base_planck=1_000 * OPEN,
    price_row_planck=OPEN,
    price_step_planck=10 * OPEN,
)


@scale
class GenesisExecutor:
    """An executor that is registered from the first block; its account is endowed."""

    account: AccountId
    profile: Hash
    bond: Balance


@scale
class Genesis:
    """Parameters and first executors of a chain."""

    parameters: Parameters = Parameters()
    executors: tuple[GenesisExecutor, ...] = ()


def move(job: Job, state: JobState) -> Job:
    """Return the job in its next state; only the transitions of the table exist."""
    assert state in TRANSITIONS.get(job.state, frozenset()), f"{job.state.name} to {state.name}"
    return replace(job, state=state)


def are_within_bounds(parameters: Parameters) -> bool:
    """Return whether every parameter is within its bounds, no bond's cap is below its minimum, and
    executors' answers have room beside submissions."""
    fit = (
        parameters.minimum_bond <= parameters.bond_cap
        and parameters.submission_percent < parameters.weight_percent
    )
    return fit and all(
        getattr(PARAMETERS_MIN, field.name)
        <= getattr(parameters, field.name)
        <= getattr(PARAMETERS_MAX, field.name)
        for field in fields(parameters)
    )


def agreed_root(roots: Sequence[Hash], executors: int) -> Hash | None:
    """Return the root that a job settles on, or None where there is no agreement.

    With one executor its root counts. Otherwise two equal roots are needed, and no other root may
    be as frequent: two pairs that contradict each other agree on nothing.
    """
    ranked = Counter(roots).most_common(2)
    if not ranked:
        return None
    root, count = ranked[0]
    if executors == 1:
        return root
    has_rival = len(ranked) > 1 and ranked[1][1] == count
    return root if count >= AGREEING_MIN and not has_rival else None
