"""Jobs against adversaries: a state machine over random executors, jobs and blocks.

Every step runs all invariants of all pallets (escrows and bonds are held, one deadline for each
unfinished job, balances sum up to issuance). What must hold whoever the executors are: a wrong root
never settles where two must agree, the honest keep their bonds, nothing is minted, all jobs end.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pallets.jobs import Jobs
from pallets.jobs.job import FailureReason, Job, JobState, Slot, SlotState
from runtime.shared.documents import Indexed, JobOutput, Trained
from runtime.types.primitives import AccountId, Hash
from tests.pallets.support.ledger import ALICE
from tests.pallets.support.workshop import (
    BASE,
    BASES,
    BOND,
    EXECUTORS,
    LIMITS,
    PROFILE,
    Workshop,
    honest_output,
    indexed,
    trained,
)

JOBS_MAX = 4
PLACES = 6
OTHER_SALT = b"t" * 32
BLOCKS_TO_END = 250


@pytest.fixture(autouse=True, scope="module")
def few_places() -> Iterator[None]:
    """Let places cost something on a chain of few jobs."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pallets.jobs.submission.UNFINISHED_MAX", PLACES)
        yield


class Manner(enum.Enum):
    """How an executor behaves, always."""

    HONEST = 0
    NO_SHOW = 1
    UNREVEALED = 2
    WRONG = 3
    COPIER = 4
    COMPLAINER = 5
    ERRATIC = 6
    DECLINER = 7


MISDEEDS = (
    Manner.NO_SHOW, Manner.UNREVEALED, Manner.WRONG, Manner.COPIER, Manner.COMPLAINER,
    Manner.DECLINER,
)  # fmt: skip


def wrong_output(job: Job, who: AccountId) -> JobOutput:
    """Return a result that is this adversary's own: independent cheats do not agree."""
    own = int.from_bytes(who[:3], "little") + 1_000_000
    if isinstance(honest_output(job), Trained):
        return trained(own)
    forged = indexed()
    return Indexed(*(Hash(who),) * 3, 5, *(Hash(who),) * 5, 95, forged.sketch_size)


class Market(RuleBasedStateMachine):
    """Jobs, executors of all manners, and blocks."""

    executors_per_job = 1

    @initialize(manners=st.lists(st.sampled_from(Manner), min_size=8, max_size=8))
    def begin(self, manners: list[Manner]) -> None:
        self.workshop = Workshop(
            len(EXECUTORS), executors_per_job=self.executors_per_job, commit_blocks=4
        )
        honest = self.executors_per_job + 1
        kinds = [Manner.HONEST] * honest + manners[honest:]
        self.manners = dict(zip(EXECUTORS, kinds, strict=True))
        self.work_max, self.told = LIMITS.work_max, 0
        self.supply = self.workshop.balances.total_issuance.get()

    @precondition(lambda self: self.workshop.jobs.unfinished.get() < JOBS_MAX)
    @rule()
    def submit(self) -> None:
        workshop, fee = self.workshop, self.workshop.jobs.place_fee()
        issued = workshop.balances.total_issuance.get()
        assert bool(fee) == (workshop.jobs.unfinished.get() >= PLACES // 2)
        workshop.submit()
        assert workshop.balances.total_issuance.get() == issued - fee, "the place is burned"

    @rule(who=st.sampled_from(EXECUTORS), has_base=st.booleans())
    def move_base(self, who: AccountId, has_base: bool) -> None:
        """Only who may be silent as well: an honest pair must stay."""
        if self.manners[who] is not Manner.HONEST:
            self.workshop.sign(who, "Jobs", "set_bases", bases=BASES if has_base else ())
            self.block_of_the_steady()

    @rule(work_max=st.sampled_from((10, 10**9)))
    def limit_profile(self, work_max: int) -> None:
        changed = replace(LIMITS, work_max=work_max)
        self.workshop.root("Jobs", "register_profile", id=PROFILE, profile=changed)
        self.work_max = work_max

    @rule(data=st.data())
    def cancel_some(self, data: st.DataObject) -> None:
        count = self.workshop.jobs.next_job.get()
        job = data.draw(st.integers(0, count))
        record = self.workshop.jobs.job(job)
        if record is None:
            with pytest.raises(Jobs.UnknownJob):
                self.workshop.sign(ALICE, "Jobs", "cancel", job=job)
        elif record.state is JobState.Open and record.spec == self.workshop.job(0).spec:
            self.workshop.sign(ALICE, "Jobs", "cancel", job=job)
        else:
            with pytest.raises(Jobs.NotCancellable):
                self.workshop.sign(ALICE, "Jobs", "cancel", job=job)

    @rule(choices=st.lists(st.sampled_from(MISDEEDS), min_size=8, max_size=8))
    def block(self, choices: list[Manner]) -> None:
        """Everyone acts, in the order of accounts and again in reverse, then a block passes."""
        moods = dict(zip(EXECUTORS, choices, strict=True))
        for who in (*EXECUTORS, *reversed(EXECUTORS)):
            manner = self.manners[who]
            self.act(who, moods[who] if manner is Manner.ERRATIC else manner)
        self.workshop.next_block()
        self.examine()

    def act(self, who: AccountId, manner: Manner) -> None:
        for entry in self.workshop.jobs.jobs_for_executor(who):
            slot = next(slot for slot in entry.job.slots if slot.executor == who)
            can_commit = entry.job.state in (JobState.Assigned, JobState.Committing)
            if can_commit and slot.state is SlotState.Assigned:
                self.commit(entry.id, entry.job, slot, manner)
            elif entry.job.state is JobState.Revealing and slot.state is SlotState.Committed:
                self.reveal(entry.id, entry.job, slot, manner)

    def commit(self, job_id: int, job: Job, slot: Slot, manner: Manner) -> None:
        who = slot.executor
        if manner in (Manner.HONEST, Manner.UNREVEALED):
            self.workshop.commit(who, job_id, honest_output(job))
        elif manner is Manner.WRONG:
            self.workshop.commit(who, job_id, wrong_output(job, who))
        elif manner is Manner.COMPLAINER:
            arguments = {"attempt": slot.attempt, "reason": FailureReason.BadRows}
            self.workshop.sign(who, "Jobs", "report_failure", job=job_id, **arguments)
        elif manner is Manner.DECLINER:
            try:
                self.workshop.sign(who, "Jobs", "decline", job=job_id, attempt=slot.attempt)
            except Jobs.DeclineOver:
                assert self.workshop.number > slot.assigned_at + 3
        elif manner is Manner.COPIER:
            seen = [other.commitment for other in job.slots if other.commitment is not None]
            arguments = {"job": job_id, "attempt": slot.attempt}
            if seen:
                self.workshop.sign(who, "Jobs", "commit", commitment=seen[0], **arguments)

    def reveal(self, job_id: int, job: Job, slot: Slot, manner: Manner) -> None:
        who = slot.executor
        if manner is Manner.HONEST:
            self.workshop.reveal(who, job_id, honest_output(job))
        elif manner is Manner.WRONG:
            try:
                self.workshop.reveal(who, job_id, wrong_output(job, who))
            except Jobs.RevealMismatch:
                assert self.manners[who] is Manner.ERRATIC, "it committed to something else"
        elif manner is Manner.COPIER:
            for other in job.slots:
                root = other.root or Hash(bytes(32))
                output = self.workshop.jobs.outputs.get((job_id, root))
                if output is not None and slot.root is None:
                    with pytest.raises((Jobs.RevealMismatch, Jobs.RevealPhaseClosed)):
                        self.workshop.reveal(who, job_id, output, salt=OTHER_SALT)

    def examine(self) -> None:
        workshop = self.workshop
        for who, manner in self.manners.items():
            if manner is Manner.HONEST:
                assert workshop.bond(who) == BOND, "the honest are never slashed"
        drawn = workshop.events(Jobs.JobAssigned)
        for event in drawn[self.told :]:
            self.examine_draw(event)
        self.told = len(drawn)
        for job_id in range(workshop.jobs.next_job.get()):
            job = workshop.job(job_id)
            if job.state is not JobState.Settled:
                continue
            winners = [slot for slot in job.slots if slot.root == job.root]
            if self.executors_per_job > 1:
                assert len(winners) >= 2, "two independent commitments agree"
                assert workshop.jobs.output(job_id) == honest_output(job), "a wrong root settled"
            elif self.manners[winners[0].executor] is Manner.HONEST:
                assert workshop.jobs.output(job_id) == honest_output(job)
        issued = workshop.balances.total_issuance.get() + workshop.balances.burned.get()
        assert issued == self.supply, "nothing is minted"

    def examine_draw(self, event: Jobs.JobAssigned) -> None:
        """Whoever is drawn has the base, and its profile admits the work."""
        assert self.workshop.job(event.job).work <= self.work_max
        for who in event.executors:
            record = self.workshop.jobs.registry.get(who)
            assert record is not None
            assert BASE in record.bases

    def teardown(self) -> None:
        if not hasattr(self, "workshop"):
            return
        for _ in range(BLOCKS_TO_END):
            if not self.workshop.jobs.unfinished.get():
                break
            self.block_of_the_steady()
        assert self.workshop.jobs.unfinished.get() == 0, "every job ends"
        assert self.workshop.escrow(ALICE) == 0
        self.workshop.close()

    def block_of_the_steady(self) -> None:
        for who, manner in self.manners.items():
            if manner is not Manner.ERRATIC:
                self.act(who, manner)
        self.workshop.next_block()
        self.examine()


class MarketOfTwo(Market):
    """Two executors for each job."""

    executors_per_job = 2


class MarketOfThree(Market):
    """Three executors for each job."""

    executors_per_job = 3


def test_a_wrong_root_settles_nowhere_when_others_are_honest() -> None:
    """One scripted adversary of each manner against an honest pair, without chance."""
    for manner in (*MISDEEDS, Manner.ERRATIC):
        market = MarketOfTwo()
        market.begin([manner] * 8)
        market.submit()
        market.teardown()


RUNS = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestMarketOfOne = Market.TestCase
TestMarketOfTwo = MarketOfTwo.TestCase
TestMarketOfThree = MarketOfThree.TestCase
TestMarketOfOne.settings = TestMarketOfTwo.settings = TestMarketOfThree.settings = RUNS
