"""The records of jobs: states, slots, and which state may follow which.

Indices of enums are part of the encoding. The states of audits and disputes are reserved here, so
that they can be added without renumbering; no job enters them yet.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from runtime.codec.scale import scale, u8, u32, u64
from runtime.shared.documents import JobSpec
from runtime.types.primitives import AccountId, Balance, Hash


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
    Declined = 6


class FailureReason(enum.IntEnum):
    """The reasons why an executor cannot answer."""

    TrainingDiverged = 0
    MissingBlob = 1
    BadRows = 2
    UnknownBase = 3
    Unsupported = 4
    CannotFinish = 5
    WithheldTexts = 6
    MissingReceipts = 7


OWNER_REASONS: Final = frozenset(FailureReason) - {
    FailureReason.UnknownBase,
    FailureReason.Unsupported,
    FailureReason.CannotFinish,
}
"""The reasons that lie with the job: a part of its escrow is kept. The others may lie with an
executor: it lacks a base that it declared, its machine fails, or is too slow."""


WITHHELD_REASONS: Final = frozenset({FailureReason.WithheldTexts, FailureReason.MissingReceipts})
"""The reasons for which an epoch's server is convicted: it owes both files to the executors. A
failure without a penalty would let it close again until the draw spares its false receipts."""


class JobFailure(enum.IntEnum):
    """Why a job failed; its escrow was refunded, but for what was kept or earned."""

    NoAgreement = 0
    NoExecutors = 1
    ReportedByExecutors = 2
    ResultRefused = 3
    TooLarge = 4
    Diverged = 5
    Withheld = 6


class Offence(enum.IntEnum):
    """Why an executor's bond was slashed."""

    NoShow = 0
    Unrevealed = 1
    Diverged = 2


SLASH_PERMILLE: Final = {Offence.NoShow: 50, Offence.Unrevealed: 1000, Offence.Diverged: 1000}
AGREEING_MIN: Final = 2
"""Equal answers that decide on a job of several executors, and on a server in any job."""
REWARD_PERMILLE: Final = 300
"""The part of a slash that goes to the job's honest executors; burned where there are none."""
POT_PERMILLE: Final = 200
"""The part of a slash that goes to the pot of audits; the rest is burned."""


@scale
class Slot:
    """One executor's part of a job, bound to its registration; `assigned_at` is a block."""

    executor: AccountId
    registration: u32
    attempt: u32
    assigned_at: u32
    state: SlotState = SlotState.Assigned
    commitment: Hash | None = None
    root: Hash | None = None
    reason: FailureReason | None = None


@scale
class Job:
    """A job. `escrow` is held from the owner until the end; `index_escrow` is the part of it that
    pays the INDEX job that follows training. `work` is in units (`pallets.jobs.work`). `deadline`
    is the block at which the state ends by itself; it is 0 at the end. `seed` is drawn from the
    chain's randomness when executors are assigned. `wanting` executors are to be drawn in place of
    those that declined; `redraws` attempts came from that, and `commits_end` is the block at which
    the time for commitments ends.
    """

    owner: AccountId
    spec: JobSpec
    state: JobState
    escrow: Balance
    index_escrow: Balance
    executors: u8
    work: u64
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
    wanting: u8 = 0
    redraws: u8 = 0
    commits_end: u32 = 0

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

    def with_slot(self, changed: Slot) -> Job:
        """Return the job with another state of an executor's part."""
        slots = tuple(changed if slot.executor == changed.executor else slot for slot in self.slots)
        return replace(self, slots=slots)

    @property
    def declines(self) -> int:
        """How many executors have declined the job."""
        return sum(slot.state is SlotState.Declined for slot in self.slots)

    @property
    def reports(self) -> tuple[FailureReason, ...]:
        """The reasons of the executors that reported a failure."""
        return tuple(slot.reason for slot in self.slots if slot.reason is not None)

    @property
    def agreeing(self) -> int:
        """How many equal answers decide: two, or one where one executor is all that it has."""
        return min(self.executors, AGREEING_MIN)

    @property
    def most_report_failure(self) -> bool:
        """Return whether most executors say that it cannot be done; who declined says nothing."""
        asked = len(self.slots) - self.declines + self.wanting
        return len(self.reports) >= self.agreeing and 2 * len(self.reports) > asked

    @property
    def is_withheld(self) -> bool:
        """Return whether most executors miss what a server owes them; never on the word of one."""
        count = sum(reason in WITHHELD_REASONS for reason in self.reports)
        return count >= AGREEING_MIN and 2 * count > len(self.slots) - self.declines

    @property
    def is_owners_fault(self) -> bool:
        """Return whether it failed and all executors that answered say that the job is why."""
        answered = [slot for slot in self.slots if slot.commitment or slot.reason is not None]
        if self.failure is JobFailure.TooLarge:
            return not any(slot.commitment for slot in answered)
        is_reported = self.failure is JobFailure.ReportedByExecutors
        return is_reported and all(slot.reason in OWNER_REASONS for slot in answered)

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
        return self.sealed >= (1 if self.revealed else self.agreeing)


@scale
class JobEntry:
    """A job with its number."""

    id: u32
    job: Job


def move(job: Job, state: JobState) -> Job:
    """Return the job in its next state; only the transitions of the table exist."""
    assert state in TRANSITIONS.get(job.state, frozenset()), f"{job.state.name} to {state.name}"
    return replace(job, state=state)


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
