"""The work of jobs: counted, priced, and the measure of the time that executors have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pallets.jobs.job import JobFailure, JobState
from pallets.jobs.parameters import Parameters
from pallets.jobs.work import COMMIT_BLOCKS_MAX, WORK_UNIT, commit_blocks, planned_steps, quote
from runtime.shared.documents import Diverged, Evaluate, Index
from runtime.types.primitives import OPEN
from tests.pallets.support.ledger import ALICE
from tests.pallets.support.workshop import (
    BASE_PARAMETERS,
    BOND,
    EXECUTORS,
    LIMITS,
    PROFILE,
    ROWS,
    Workshop,
    train,
    trained,
)

FIRST, SECOND = EXECUTORS[:2]


def units(tokens: int) -> int:
    return -(-tokens * BASE_PARAMETERS // WORK_UNIT)


def test_the_work_of_a_training_is_steps_rows_tokens_and_parameters(workshop: Workshop) -> None:
    spec = train(max_steps=5, batch_rows=32, max_tokens=100, evaluation_permille=0)
    assert quote(workshop.jobs, spec).work == units(5 * 32 * 100)
    assert workshop.job(workshop.submit(spec)).work == units(5 * 32 * 100)


@pytest.mark.parametrize(("steps", "evaluations"), [(1, 2), (2, 3), (4, 5), (9, 5)])
def test_the_measurements_of_held_out_rows_are_work_of_a_training(
    workshop: Workshop, steps: int, evaluations: int
) -> None:
    spec = train(max_steps=steps, evaluation_permille=200, max_tokens=100)
    held_out = 2 * ROWS * 200 // 1_000
    rows = steps * 16 + evaluations * held_out // 2
    assert quote(workshop.jobs, spec).work == units(rows * 100)


def test_an_index_takes_three_times_the_work_of_an_evaluation(workshop: Workshop) -> None:
    job = workshop.assigned()
    workshop.answer(job, trained())
    index = workshop.job(job).index_job
    assert index is not None
    assert quote(workshop.jobs, Evaluate(0, job)).work == units(ROWS * 192)
    assert quote(workshop.jobs, Index(0, job, 64)).work == units(3 * ROWS * 192)
    assert workshop.job(index).work == units(3 * ROWS * 192)
    assert workshop.job(index).escrow == workshop.job(job).index_escrow


def test_a_job_keeps_the_price_it_had_when_it_was_submitted(workshop: Workshop) -> None:
    job = workshop.submit()
    escrow = workshop.job(job).escrow
    parameters = workshop.jobs.parameters.get()
    dearer = replace(parameters, price_work_planck=OPEN)
    workshop.root("Jobs", "set_parameters", parameters=dearer)
    workshop.next_block()
    workshop.answer(job, trained())
    assert workshop.job(job).escrow == escrow


@pytest.mark.parametrize(
    ("work", "rate", "blocks"),
    [
        (0, 1_000, 10),
        (1, 1, 11),
        (7, 1_000, 31),
        (7, 1_001, 32),
        (10**12, 10, COMMIT_BLOCKS_MAX),
    ],
)
def test_the_time_to_commit_grows_with_the_work_and_the_profiles_rate(
    work: int, rate: int, blocks: int
) -> None:
    profile = replace(LIMITS, blocks_per_unit_milli=rate)
    parameters = Parameters(commit_blocks=10, slack_percent=300)
    assert commit_blocks(parameters, profile, work) == blocks


def test_the_deadline_of_commits_is_set_when_the_profile_is_known() -> None:
    slow = replace(LIMITS, blocks_per_unit_milli=500)
    with Workshop(1, ((PROFILE, slow),)) as workshop:
        job = workshop.assigned()
        blocks = 10 + -(-27 * 500 * 300 // 100_000)
        assert workshop.job(job).deadline == workshop.number + blocks


# ------------------------------------------------------------------------------------- divergence


def test_a_training_that_diverges_is_paid_for_the_steps_it_took(workshop: Workshop) -> None:
    job = workshop.assigned()
    before, free = workshop.job(job), workshop.balances.free(FIRST)
    assert planned_steps(workshop.jobs, train()) == 7
    workshop.answer(job, Diverged(3))
    failed, own = workshop.job(job), before.escrow - before.index_escrow
    assert (failed.state, failed.failure) == (JobState.Failed, JobFailure.Diverged)
    assert workshop.jobs.output(job) == Diverged(3)
    assert workshop.balances.free(FIRST) == free + -(-own * 3 // 7)
    assert workshop.escrow(ALICE) == 0
    assert failed.index_job is None


def test_a_training_that_diverges_at_once_earns_the_base_price(workshop: Workshop) -> None:
    job = workshop.assigned(train(max_steps=10_000))
    free = workshop.balances.free(FIRST)
    workshop.answer(job, Diverged(1))
    earned = workshop.balances.free(FIRST) - free
    assert earned >= OPEN // 100
    assert earned < workshop.job(job).escrow // 100


def test_who_says_that_a_training_diverges_against_the_others_loses_its_bond() -> None:
    with Workshop(3, executors_per_job=3) as workshop:
        job = workshop.assigned()
        liar, *honest = workshop.executors(job)
        workshop.commit(liar, job, Diverged(1))
        for who in honest:
            workshop.commit(who, job, trained())
        workshop.reveal(liar, job, Diverged(1))
        for who in honest:
            workshop.reveal(who, job, trained())
        workshop.next_block()
        assert workshop.state(job) is JobState.Settled
        assert workshop.bond(liar) == 0
        assert all(workshop.bond(who) == BOND for who in honest)
