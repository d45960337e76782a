"""Who may be drawn: profiles that root registers, their limits, spares, and bases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pallets.jobs import Jobs
from pallets.jobs.candidates import admits
from pallets.jobs.job import JobState
from pallets.jobs.registry import BASES_MAX, Profile
from runtime.frame.dispatch import DispatchFailed
from runtime.types.primitives import OPEN, Hash
from tests.pallets.support.workshop import (
    BASE,
    BASE_PARAMETERS,
    BOND,
    EXECUTORS,
    LIMITS,
    OTHER_BASE,
    OTHER_PROFILE,
    PROFILE,
    Workshop,
    train,
)

FIRST, SECOND, THIRD = EXECUTORS[:3]
BOTH = ((PROFILE, LIMITS), (OTHER_PROFILE, LIMITS))


# ---------------------------------------------------------------------------------------- profiles


def test_a_private_profile_cannot_be_registered_by_its_owner(workshop: Workshop) -> None:
    with pytest.raises(DispatchFailed):
        workshop.sign(SECOND, "Jobs", "register_profile", id=OTHER_PROFILE, profile=LIMITS)
    with pytest.raises(Jobs.UnknownProfile):
        workshop.register(SECOND, profile=OTHER_PROFILE)
    workshop.root("Jobs", "register_profile", id=OTHER_PROFILE, profile=LIMITS)
    workshop.register(SECOND, profile=OTHER_PROFILE)
    assert workshop.jobs.registry.get(SECOND) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "n" * 65},
        {"parameters_max": 0},
        {"work_max": 0},
        {"context_tokens": 0},
    ],
)
def test_a_profile_that_admits_nothing_is_refused(
    workshop: Workshop, changes: dict[str, int | str]
) -> None:
    profile = replace(LIMITS, **changes)  # type: ignore[arg-type]
    with pytest.raises(Jobs.InvalidProfile):
        workshop.root("Jobs", "register_profile", id=OTHER_PROFILE, profile=profile)


def test_a_profile_with_just_enough_executors_gets_no_job() -> None:
    """Two executors of one owner in a profile of theirs once got every job of the first draw."""
    with Workshop(2, BOTH, executors_per_job=2, spare_executors=1) as workshop:
        job = workshop.submit()
        workshop.register(THIRD, profile=OTHER_PROFILE)
        workshop.next_block(6)
        assert workshop.state(job) is JobState.Open
        workshop.register(EXECUTORS[3])
        workshop.next_block(6)
        assert workshop.job(job).profile == PROFILE


def test_a_fresh_executor_needs_no_spare_in_its_profile() -> None:
    with Workshop(3, executors_per_job=2, spare_executors=1) as workshop:
        job = workshop.assigned()
        workshop.next_block(10)
        assert workshop.state(job) in (JobState.Assigned, JobState.Failed)
        assert len(workshop.job(job).slots) >= 2


@pytest.mark.parametrize(
    ("profile", "fits"),
    [
        (LIMITS, True),
        (None, False),
        (replace(LIMITS, parameters_max=BASE_PARAMETERS - 1), False),
        (replace(LIMITS, work_max=21), False),
        (replace(LIMITS, work_max=22), True),
        (replace(LIMITS, context_tokens=191), False),
    ],
)
def test_a_profile_has_limits(profile: Profile | None, fits: bool) -> None:
    assert admits(profile, BASE_PARAMETERS, 22, 192) is fits


def test_a_job_beyond_the_limits_of_every_profile_expires_with_a_refund() -> None:
    with Workshop(1, ((PROFILE, replace(LIMITS, work_max=10)),), open_blocks=5) as workshop:
        job = workshop.submit()
        workshop.next_block(8)
        assert workshop.state(job) is JobState.Expired
        small = workshop.submit(train(max_steps=1))
        workshop.next_block()
        assert workshop.state(small) is JobState.Assigned


# ------------------------------------------------------------------------------------------- bases


def test_an_executor_without_the_base_is_never_drawn() -> None:
    with Workshop(1, open_jobs_per_account=100, bond_cap=2 * BOND, minimum_bond=OPEN) as workshop:
        workshop.register(SECOND, 2 * BOND - OPEN, bases=(OTHER_BASE,))
        for _ in range(12):
            job = workshop.assigned()
            assert workshop.executors(job) == [FIRST]
        workshop.sign(SECOND, "Jobs", "set_bases", bases=(BASE, OTHER_BASE))
        workshop.sign(FIRST, "Jobs", "set_bases", bases=())
        assert workshop.executors(workshop.assigned()) == [SECOND]


@pytest.mark.parametrize(
    "bases", [(BASE, BASE), (OTHER_BASE, BASE), tuple(Hash(bytes((at,)) * 32) for at in range(65))]
)
def test_bases_are_declared_in_one_order_and_not_too_many(
    workshop: Workshop, bases: tuple[Hash, ...]
) -> None:
    assert BASES_MAX == 64
    with pytest.raises(Jobs.InvalidBases):
        workshop.sign(FIRST, "Jobs", "set_bases", bases=bases)
    with pytest.raises(Jobs.InvalidBases):
        workshop.register(SECOND, bases=bases)
    with pytest.raises(Jobs.NotRegistered):
        workshop.sign(THIRD, "Jobs", "set_bases", bases=())


def test_the_key_of_a_reader_is_on_chain_and_can_change(workshop: Workshop) -> None:
    workshop.sign(FIRST, "Jobs", "set_reader", reader=OTHER_BASE)
    assert workshop.jobs.executors()[0].executor.reader == OTHER_BASE
    with pytest.raises(Jobs.NotRegistered):
        workshop.sign(SECOND, "Jobs", "set_reader", reader=OTHER_BASE)
