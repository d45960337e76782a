"""The executors of jobs: joining, leaving, being drawn; the parameters that root may change."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest

from pallets.jobs import Jobs
from pallets.jobs.candidates import ASSIGNMENTS_MAX
from pallets.jobs.job import FailureReason, JobState
from pallets.jobs.lifecycle import BUCKET_MAX
from pallets.jobs.parameters import PARAMETERS_MAX, PARAMETERS_MIN
from runtime.frame.dispatch import DispatchFailed
from runtime.types.primitives import OPEN
from tests.pallets.support.ledger import ALICE
from tests.pallets.support.workshop import BOND, EXECUTORS, Workshop

FIRST, SECOND, THIRD = EXECUTORS[:3]


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain with one executor, one for each job."""
    with Workshop() as made:
        yield made
        made.check()


def test_an_executor_joins_and_leaves_with_its_bond() -> None:
    with Workshop(0, unbonding_blocks=3) as workshop:
        free = workshop.balances.free(FIRST)
        with pytest.raises(Jobs.NotRegistered):
            workshop.sign(FIRST, "Jobs", "heartbeat")
        with pytest.raises(Jobs.BondTooLow):
            workshop.register(FIRST, 1)
        workshop.register(FIRST, BOND // 2)
        with pytest.raises(Jobs.AlreadyRegistered):
            workshop.register(FIRST)
        workshop.sign(FIRST, "Jobs", "add_bond", amount=BOND // 2)
        assert workshop.bond(FIRST) == BOND
        with pytest.raises(Jobs.NotLeaving):
            workshop.sign(FIRST, "Jobs", "withdraw_bond")
        workshop.sign(FIRST, "Jobs", "unregister_executor")
        with pytest.raises(Jobs.AlreadyLeaving):
            workshop.sign(FIRST, "Jobs", "unregister_executor")
        with pytest.raises(Jobs.AlreadyLeaving):
            workshop.sign(FIRST, "Jobs", "add_bond", amount=1)
        with pytest.raises(Jobs.BondLocked):
            workshop.sign(FIRST, "Jobs", "withdraw_bond")
        job = workshop.submit()
        workshop.next_block(3)
        assert workshop.state(job) is JobState.Open
        workshop.sign(FIRST, "Jobs", "withdraw_bond")
        assert workshop.balances.free(FIRST) == free
        assert workshop.jobs.executors() == ()
        workshop.register(FIRST)
        assert workshop.jobs.executors()[0].executor.registration == 1


def test_a_busy_executor_cannot_leave(workshop: Workshop) -> None:
    workshop.assigned()
    with pytest.raises(Jobs.ExecutorBusy):
        workshop.sign(FIRST, "Jobs", "unregister_executor")


def test_the_registry_has_a_maximum(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pallets.jobs.executors.EXECUTORS_MAX", 1)
    with pytest.raises(Jobs.RegistryFull):
        workshop.register(SECOND)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """Give a chain with two places for executors, both taken."""
    monkeypatch.setattr("pallets.jobs.executors.EXECUTORS_MAX", 2)
    with Workshop(2, executors_per_job=2, heartbeat_blocks=5, unbonding_blocks=3) as made:
        yield made
        made.check()


def join(workshop: Workshop) -> None:
    workshop.register(THIRD)


def test_registrations_that_nobody_stands_behind_keep_nobody_out(full: Workshop) -> None:
    full.next_block(2)
    full.sign(FIRST, "Jobs", "heartbeat")
    full.next_block(4)
    join(full)  # The place of the one that is silent beyond its time; the other one keeps its own.
    assert [entry.account for entry in full.jobs.executors()] == [FIRST, THIRD]
    with pytest.raises(Jobs.BondLocked):
        full.sign(SECOND, "Jobs", "withdraw_bond")
    full.next_block(3)
    full.sign(SECOND, "Jobs", "withdraw_bond")


def test_of_silent_executors_the_longest_silent_goes_first(full: Workshop) -> None:
    full.next_block()
    full.sign(FIRST, "Jobs", "heartbeat")
    full.next_block(20)
    join(full)
    assert [entry.account for entry in full.jobs.executors()] == [FIRST, THIRD]


def test_an_executor_that_shows_itself_or_works_keeps_its_place(full: Workshop) -> None:
    full.next_block(2)
    with pytest.raises(Jobs.RegistryFull):
        join(full)
    full.assigned()
    full.next_block(6)
    with pytest.raises(Jobs.RegistryFull):
        join(full)


def test_nobody_loses_a_place_where_no_sign_of_life_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pallets.jobs.executors.EXECUTORS_MAX", 2)
    with Workshop(2, heartbeat_blocks=0) as workshop:
        workshop.next_block(50)
        with pytest.raises(Jobs.RegistryFull):
            join(workshop)


def test_the_place_of_an_executor_that_leaves_is_free_at_once(full: Workshop) -> None:
    full.sign(FIRST, "Jobs", "unregister_executor")
    join(full)
    assert [entry.account for entry in full.jobs.executors()] == [SECOND, THIRD]
    with pytest.raises(Jobs.AlreadyRegistered):
        full.register(FIRST)


def test_a_bond_needs_the_balance(workshop: Workshop) -> None:
    with pytest.raises((DispatchFailed, workshop.balances.InsufficientBalance)):
        workshop.register(SECOND, 3 * BOND)


def test_a_silent_executor_is_not_drawn_until_it_shows_itself() -> None:
    with Workshop(1, heartbeat_blocks=5, retry_blocks=1) as workshop:
        workshop.next_block(6)
        job = workshop.submit()
        workshop.next_block(2)
        assert workshop.state(job) is JobState.Open
        workshop.sign(FIRST, "Jobs", "heartbeat")
        workshop.next_block()
        assert workshop.executors(job) == [FIRST]


def test_a_heartbeat_counts_when_a_sixteenth_of_the_time_has_passed() -> None:
    with Workshop(1, heartbeat_blocks=64) as workshop:
        with pytest.raises(Jobs.SeenAlready):
            workshop.sign(FIRST, "Jobs", "heartbeat")
        workshop.next_block(4)
        workshop.sign(FIRST, "Jobs", "heartbeat")
        with pytest.raises(Jobs.SeenAlready):
            workshop.sign(FIRST, "Jobs", "heartbeat")
        with pytest.raises(Jobs.NotRegistered):
            workshop.sign(SECOND, "Jobs", "heartbeat")
        workshop.sign(FIRST, "Jobs", "unregister_executor")
        workshop.next_block(4)
        with pytest.raises(Jobs.AlreadyLeaving):
            workshop.sign(FIRST, "Jobs", "heartbeat")


def test_an_executor_has_a_maximum_of_jobs_and_a_block_of_deadlines() -> None:
    with Workshop(1, open_jobs_per_account=100, retry_blocks=1) as workshop:
        count = ASSIGNMENTS_MAX + BUCKET_MAX
        for _ in range(count):
            workshop.submit()
        workshop.next_block()
        states = [workshop.state(job) for job in range(count)]
        assert states == [JobState.Assigned] * BUCKET_MAX + [JobState.Open] * ASSIGNMENTS_MAX
        workshop.next_block(3)
        assert len(workshop.jobs.jobs_for_executor(FIRST)) == ASSIGNMENTS_MAX
        assert workshop.jobs.jobs_of(ALICE) == tuple(reversed(range(count)))
        assert workshop.jobs.executors()[0].assigned == ASSIGNMENTS_MAX


def test_heavier_bonds_are_drawn_more_often() -> None:
    with Workshop(1, open_jobs_per_account=1_000, bond_cap=BOND, minimum_bond=OPEN) as workshop:
        workshop.register(SECOND, BOND // 4)
        drawn = 0
        rounds = 60
        for _ in range(rounds):
            job = workshop.assigned()
            drawn += workshop.executors(job) == [FIRST]
            who = workshop.executors(job)[0]
            reason = FailureReason.Unsupported
            workshop.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
        assert Fraction(drawn, rounds) > Fraction(3, 5)


# --------------------------------------------------------------------------------------- parameters


def test_root_changes_parameters_within_their_bounds(workshop: Workshop) -> None:
    parameters = workshop.jobs.parameters.get()
    workshop.root("Jobs", "set_parameters", parameters=replace(parameters, executors_per_job=3))
    assert workshop.jobs.parameters.get().executors_per_job == 3
    for bad in (
        replace(parameters, executors_per_job=0),
        replace(parameters, executors_per_job=6),
        replace(parameters, submission_percent=26),
        replace(parameters, kept_permille=501),
        replace(parameters, minimum_bond=parameters.bond_cap + 1),
    ):
        with pytest.raises(Jobs.ParametersOutOfBounds):
            workshop.root("Jobs", "set_parameters", parameters=bad)
    with pytest.raises(DispatchFailed):
        workshop.sign(ALICE, "Jobs", "set_parameters", parameters=parameters)


def test_bounds_of_parameters_are_in_order() -> None:
    for name in type(PARAMETERS_MIN).__dataclass_fields__:
        assert getattr(PARAMETERS_MIN, name) < getattr(PARAMETERS_MAX, name)
