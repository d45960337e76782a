"""What owners of datanets and models could take from others' work: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.balances import Balances
from pallets.inference import Inference
from pallets.jobs import Jobs
from pallets.jobs.job import FailureReason, JobFailure, JobState
from pallets.jobs.work import WORK_UNIT
from pallets.models import Models
from runtime.shared.documents import DatanetVersion, Recipe, Train
from runtime.types.primitives import OPEN
from tests.pallets.support.economy import OWNER, SMALL, answer, economy
from tests.pallets.support.ledger import ALICE
from tests.pallets.support.market import DEPOSIT, MODEL_OWNER, OPEN_TOKENS, Market
from tests.pallets.support.workshop import (
    BASE,
    BASE_PARAMETERS,
    EXECUTORS,
    LIMITS,
    PROFILE,
    ROWS,
    Workshop,
    indexed,
    train,
    trained,
)


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    with Workshop(3, executors_per_job=2) as workshop:
        yield workshop
        workshop.check()


def test_a_long_training_costs_what_its_work_costs(workshop: Workshop) -> None:
    short = workshop.jobs.price(train(max_steps=100))
    long = workshop.jobs.price(train(max_steps=100_000))
    assert short is not None
    assert long is not None
    work = 100_000 * 16 * 192 * BASE_PARAMETERS // WORK_UNIT
    assert long - short > 0.9 * work * workshop.jobs.parameters.get().price_work_planck


def test_measuring_many_rows_costs_what_its_work_costs(workshop: Workshop) -> None:
    """One step on many rows, of which half are measured again and again."""
    blind = workshop.jobs.price(train(max_steps=1, evaluation_permille=0))
    seeing = workshop.jobs.price(train(max_steps=1, evaluation_permille=500))
    assert blind is not None
    assert seeing is not None
    work = 2 * ROWS // 2 * 192 * BASE_PARAMETERS // WORK_UNIT
    assert seeing - blind >= work * workshop.jobs.parameters.get().price_work_planck


def test_a_long_training_has_the_time_that_its_work_needs() -> None:
    slow = {"blocks_per_unit_milli": 1_000}

    profiles = ((PROFILE, replace(LIMITS, **slow)),)
    with Workshop(3, profiles, executors_per_job=2) as workshop:
        short, long = (
            workshop.assigned(train(max_steps=10)),
            workshop.assigned(train(max_steps=1_000)),
        )
        now = workshop.number
        units = 1_000 * 16 * 192 * BASE_PARAMETERS // WORK_UNIT
        assert workshop.job(long).commits_end - now > units
        assert workshop.job(long).commits_end > workshop.job(short).commits_end


def test_an_owner_whose_jobs_cannot_be_done_pays_for_the_attempts(workshop: Workshop) -> None:
    job = workshop.assigned()
    escrow, before = workshop.job(job).escrow, workshop.balances.free(ALICE)
    for who in workshop.executors(job):
        reason = FailureReason.MissingBlob
        workshop.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    assert workshop.state(job) is JobState.Failed
    kept = escrow * workshop.jobs.parameters.get().kept_permille // 1000
    assert workshop.balances.free(ALICE) == before + escrow - kept
    assert not workshop.events(Jobs.ExecutorSlashed)


@pytest.mark.parametrize(
    "reasons",
    [
        (FailureReason.CannotFinish, FailureReason.CannotFinish),
        (FailureReason.MissingBlob, FailureReason.CannotFinish),
    ],
)
def test_an_owner_pays_nothing_where_one_executor_says_that_it_failed_itself(
    workshop: Workshop, reasons: tuple[FailureReason, ...]
) -> None:
    before = workshop.balances.free(ALICE)
    job = workshop.assigned()
    for who, reason in zip(workshop.executors(job), reasons, strict=True):
        workshop.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    assert workshop.job(job).failure is JobFailure.ReportedByExecutors
    assert workshop.balances.free(ALICE) == before


def test_an_owner_cannot_have_executors_slashed_by_many_jobs_at_once() -> None:
    """A machine does one after another, and has the time for it."""
    slow = replace(LIMITS, blocks_per_unit_milli=1_000)
    with Workshop(1, ((PROFILE, slow),), slack_percent=100, commit_blocks=2) as chain:
        jobs = [chain.submit(train(max_steps=100)) for _ in range(3)]
        chain.next_block()
        for job in jobs:
            chain.next_block(chain.job(job).work)  # the whole machine works on this one
            chain.commit(EXECUTORS[0], job, trained())
            chain.reveal(EXECUTORS[0], job, trained())
        assert not chain.events(Jobs.ExecutorSlashed)


def test_an_owner_cannot_take_a_result_without_paying_by_retiring_its_model() -> None:
    with economy() as ledger:
        jobs = ledger.pallet(Jobs)
        used = (DatanetVersion(0, 1),)
        job = jobs.next_job.get()
        ledger.sign(OWNER, "Jobs", "submit", spec=Train(0, BASE, used, Recipe(max_steps=3)))
        ledger.sign(OWNER, "Models", "retire", model=0)
        before = ledger.pallet(Balances).free(OWNER)
        answer(ledger, job, trained(0))
        record = jobs.job(job)
        assert record is not None
        assert record.state is JobState.Failed
        assert ledger.pallet(Balances).free(OWNER) < before + record.escrow


def test_fees_of_a_model_below_the_gate_come_free_by_a_new_training() -> None:
    with economy() as ledger:
        attribution = ledger.pallet(Attribution)
        assert not attribution.is_open(SMALL)
        used = (DatanetVersion(0, 1),)
        ledger.sign(OWNER, "Models", "set_datanets", model=SMALL, datanets=used)
        job = ledger.pallet(Jobs).next_job.get()
        ledger.sign(OWNER, "Jobs", "submit", spec=Train(SMALL, BASE, used, Recipe(max_steps=3)))
        answer(ledger, job, trained(7))
        answer(ledger, job + 1, indexed(rows=2_000))
        assert attribution.is_open(SMALL)


def test_an_owner_cannot_keep_contributors_part_by_retiring_below_the_gate() -> None:
    with Market() as market:
        market.open()
        market.pay(OPEN_TOKENS)
        asker = market.channel().asker
        market.models.record = replace(market.models.record, is_retired=True)
        before = market.balances.free(asker)
        market.sign(MODEL_OWNER, "Inference", "take_back", channel=0)
        assert market.balances.free(asker) == before + OPEN // 2
        with pytest.raises(Inference.NothingToTakeBack):
            market.sign(MODEL_OWNER, "Inference", "take_back", channel=0)
        market.check()


def test_asking_ones_own_model_about_ones_own_rows_always_loses() -> None:
    with Market() as market:
        market.open(MODEL_OWNER)
        owner = market.balances.free(MODEL_OWNER)
        market.pay(OPEN_TOKENS, asker=MODEL_OWNER)
        pool = market.balances.free(ATTRIBUTION_POT)
        back = market.balances.free(MODEL_OWNER) - owner + pool
        assert back < OPEN * 9 // 10, "even if all of the pool came back"
        assert market.held(MODEL_OWNER) == DEPOSIT - OPEN


def test_a_name_that_is_taken_cannot_be_taken_again() -> None:
    with economy() as ledger:
        rates = {"rate_in_planck": 1, "rate_out_planck": 1}
        called = {"name": "PAYING", "base": BASE, "datanets": (DatanetVersion(0, 1),)}
        with pytest.raises(Models.NameTaken):
            ledger.sign(ALICE, "Models", "create", **called, **rates)
