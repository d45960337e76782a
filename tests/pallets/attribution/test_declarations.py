"""Declarations: epochs are closed by their server alone, with all that is due, and once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pallets.attribution import Attribution
from pallets.attribution.records import EpochState
from pallets.balances import Balances
from pallets.jobs import Jobs
from runtime.shared.documents import Settle
from runtime.types.primitives import OPEN, Hash
from tests.pallets.support.epochs import (
    FEES,
    MODEL,
    POOL,
    RECEIPTS,
    ROOT,
    bond_of,
    close,
    earn,
    epoch,
    fail,
    open_gate,
    pool_of,
    shared,
)
from tests.pallets.support.ledger import ALICE, BOB
from tests.pallets.support.workshop import EXECUTORS, SERVER, SERVER_BOND, Workshop, indexed

OTHER_MODEL, NO_MODEL = 2, 9


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain with one executor whose model is indexed and has earned."""
    with Workshop() as made:
        open_gate(made)
        earn(made)
        yield made
        made.check()


# ------------------------------------------------------------------------------------------ closing


def test_closing_takes_the_fees_out_of_the_pool_and_opens_a_settle_job(workshop: Workshop) -> None:
    job = close(workshop)
    ledger = workshop.attribution.pool(MODEL, SERVER)
    assert (ledger.epoch, ledger.pool, ledger.redeemed_planck) == (1, 0, 0)
    assert ledger.settling == 0
    parameters = workshop.attribution.parameters()
    spec = Settle(
        model=MODEL,
        server=SERVER,
        epoch=0,
        receipts_root=ROOT,
        receipts=len(RECEIPTS),
        fees_planck=FEES,
        pool_planck=POOL,
        bound_milli=parameters.bound_milli,
        draws=parameters.draws,
        text_blocks=parameters.text_blocks,
    )
    assert workshop.job(job).spec == spec
    price = workshop.jobs.price(spec) or 0
    assert workshop.escrow(SERVER) == price + len(RECEIPTS) * parameters.price_receipt_planck
    closed = epoch(workshop)
    assert (closed.state, closed.fees_planck) == (EpochState.Settling, FEES)
    assert (closed.pool_planck, closed.closed_at) == (POOL, 1)
    assert workshop.events(Attribution.EpochClosed) == [
        Attribution.EpochClosed(MODEL, SERVER, 0, job, FEES)
    ]
    assert workshop.attribution.is_settling(SERVER)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"model": NO_MODEL}, Attribution.UnknownModel),
        ({"model": OTHER_MODEL}, Attribution.NotIndexed),
        ({"receipts": 0}, Attribution.NothingToSettle),
        ({"fees_planck": 0}, Attribution.NothingToSettle),
        ({"receipts": 100_001}, Attribution.TooManyReceipts),
        ({"fees_planck": FEES + 1}, Attribution.FeesExceedPool),
    ],
)
def test_an_epoch_that_cannot_be_settled_is_refused_by_name(
    workshop: Workshop, changed: dict[str, int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        close(workshop, **changed)  # type: ignore[arg-type]
    assert pool_of(workshop) == (POOL, FEES)


def test_a_stranger_closes_no_epoch_of_a_server(workshop: Workshop) -> None:
    for stranger in (ALICE, BOB, EXECUTORS[0]):
        with pytest.raises(Attribution.FeesExceedPool):
            close(workshop, server=stranger)
    assert pool_of(workshop) == (POOL, FEES)


def test_one_epoch_of_a_model_is_settled_at_a_time(workshop: Workshop) -> None:
    close(workshop)
    earn(workshop)
    with pytest.raises(Attribution.EpochSettling):
        close(workshop)


def test_fees_may_not_exceed_the_bond(workshop: Workshop) -> None:
    earn(workshop, SERVER_BOND - FEES + 1, SERVER_BOND // 2)
    with pytest.raises(Attribution.FeesExceedBond):
        close(workshop, fees_planck=SERVER_BOND + 1)
    workshop.sign(SERVER, "Inference", "add_server_bond", amount=1)
    close(workshop, fees_planck=SERVER_BOND + 1)


def test_one_bond_does_not_answer_for_several_epochs_at_once(workshop: Workshop) -> None:
    open_gate(workshop, OTHER_MODEL)
    other = SERVER_BOND - FEES + 1
    earn(workshop, other, other // 2, model=OTHER_MODEL)
    job = close(workshop)
    with pytest.raises(Attribution.FeesExceedBond):
        close(workshop, model=OTHER_MODEL, fees_planck=other)
    workshop.next_block()
    workshop.answer(job, shared(()))
    assert workshop.attribution.at_risk.get(SERVER) == 0
    close(workshop, model=OTHER_MODEL, fees_planck=other)
    assert workshop.attribution.at_risk.get(SERVER) == other
    assert workshop.attribution.is_settling(SERVER)


def test_a_server_that_cannot_pay_the_job_closes_nothing(workshop: Workshop) -> None:
    workshop.balances.transfer(SERVER, ALICE, workshop.balances.free(SERVER) - OPEN // 1_000)
    with pytest.raises(Balances.InsufficientBalance):
        close(workshop)
    assert pool_of(workshop) == (POOL, FEES)


def test_a_chain_full_of_settlements_closes_nothing(workshop: Workshop) -> None:
    count = workshop.jobs.settlements.get()
    workshop.jobs.settlements.put(10_000)
    with pytest.raises(Jobs.ChainFull):
        close(workshop)
    workshop.jobs.settlements.put(count)


# ----------------------------------------------------------------------------------------- the gate


def test_the_pool_of_a_small_model_waits_until_an_index_has_the_rows(workshop: Workshop) -> None:
    least = workshop.attribution.parameters().rows_minimum
    open_gate(workshop, OTHER_MODEL, rows=least - 1)
    earn(workshop, model=OTHER_MODEL)
    assert not workshop.attribution.is_open(OTHER_MODEL)
    assert not workshop.attribution.has_opened(OTHER_MODEL)
    with pytest.raises(Attribution.GateClosed):
        close(workshop, model=OTHER_MODEL)
    workshop.attribution.record_indexed(OTHER_MODEL, 90, indexed(rows=least))
    assert workshop.attribution.has_opened(OTHER_MODEL)
    close(workshop, model=OTHER_MODEL)


def test_the_gate_follows_the_parameter(workshop: Workshop) -> None:
    open_gate(workshop, OTHER_MODEL, rows=10)
    earn(workshop, model=OTHER_MODEL)
    parameters = workshop.attribution.parameters()
    lower = replace(parameters, rows_minimum=10)
    workshop.root("Attribution", "set_parameters", parameters=lower)
    job = close(workshop, model=OTHER_MODEL)
    workshop.root("Attribution", "set_parameters", parameters=parameters)
    assert not workshop.attribution.is_open(OTHER_MODEL)
    assert workshop.attribution.has_opened(OTHER_MODEL)
    workshop.next_block()
    workshop.answer(job, shared(()))
    assert epoch(workshop, model=OTHER_MODEL).state is EpochState.Settled


def earn_early(workshop: Workshop, redeemed: int = FEES, due: int = 2 * OPEN) -> None:
    """Let a server redeem of a model before it opens, and after."""
    earn(workshop, redeemed, redeemed // 2, model=OTHER_MODEL)
    open_gate(workshop, OTHER_MODEL)
    earn(workshop, due, due // 2, model=OTHER_MODEL)


def declare(workshop: Workshop, fees: int, missing: int, receipts: int = len(RECEIPTS)) -> int:
    declared = {"fees_planck": fees, "missing_planck": missing, "receipts": receipts}
    return close(workshop, model=OTHER_MODEL, **declared)


@pytest.mark.parametrize("missing", [0, 1, FEES - 1])
def test_what_was_redeemed_before_a_model_opened_is_an_epoch_of_which_nothing_is_due(
    workshop: Workshop, missing: int
) -> None:
    earn_early(workshop)
    with pytest.raises(Attribution.FeesExceedPool):
        declare(workshop, FEES + 2 * OPEN, 0)
    job = declare(workshop, FEES - missing, missing)
    early = epoch(workshop, model=OTHER_MODEL)
    assert (early.fees_planck, early.pool_planck) == (FEES - missing, (FEES - missing) // 2)
    assert bond_of(workshop) == SERVER_BOND
    workshop.next_block()
    workshop.answer(job, shared(()))
    declare(workshop, OPEN, OPEN)
    assert bond_of(workshop) == SERVER_BOND - OPEN
    assert epoch(workshop, 1, OTHER_MODEL).fees_planck == OPEN
    assert workshop.attribution.pool(OTHER_MODEL, SERVER).due_planck == 0


def test_what_came_early_may_be_given_up_and_what_is_due_may_not(workshop: Workshop) -> None:
    earn_early(workshop)
    with pytest.raises(Attribution.FeesMissing):
        declare(workshop, 0, FEES + 2 * OPEN, receipts=0)
    declare(workshop, 0, FEES, receipts=0)
    assert workshop.attribution.common_pool(OTHER_MODEL) == FEES // 2
    assert not workshop.attribution.is_settling(SERVER)
    with pytest.raises(Attribution.NothingToSettle):
        declare(workshop, 0, 2 * OPEN, receipts=0)
    declare(workshop, 2 * OPEN, 0)
    assert bond_of(workshop) == SERVER_BOND
    assert workshop.attribution.epoch(OTHER_MODEL, SERVER, 0) is None
    assert epoch(workshop, 1, OTHER_MODEL).state is EpochState.Settling


def test_what_came_early_is_given_up_before_anything_is_due_and_never_counts_later(
    workshop: Workshop,
) -> None:
    earn(workshop, model=OTHER_MODEL)
    open_gate(workshop, OTHER_MODEL)
    declare(workshop, 0, FEES, receipts=0)
    assert workshop.attribution.current_epoch(OTHER_MODEL, SERVER) == 1


def test_a_failed_epoch_of_before_is_closed_again_before_what_is_due(workshop: Workshop) -> None:
    earn_early(workshop)
    fail(workshop, declare(workshop, FEES, 0))
    assert workshop.attribution.unsettled_of(SERVER) == FEES + FEES + 2 * OPEN, "with MODEL's"
    with pytest.raises(Attribution.EpochFailed):
        declare(workshop, 2 * OPEN, 0)
    job = close(workshop, "close_again", model=OTHER_MODEL, epoch=0, fees_planck=FEES)
    workshop.next_block()
    workshop.answer(job, shared(()))
    declare(workshop, 2 * OPEN, 0)
    assert bond_of(workshop) == SERVER_BOND


def test_what_came_early_is_never_due_whatever_the_bond(workshop: Workshop) -> None:
    earn_early(workshop, redeemed=10 * SERVER_BOND)
    assert workshop.attribution.unsettled_of(SERVER) == FEES + 2 * OPEN
    with pytest.raises(Attribution.FeesExceedBond):
        declare(workshop, 10 * SERVER_BOND, 0)
    declare(workshop, SERVER_BOND, 9 * SERVER_BOND)
    assert bond_of(workshop) == SERVER_BOND


def test_what_is_due_by_a_parameter_stays_due_when_root_raises_it_again(
    workshop: Workshop,
) -> None:
    open_gate(workshop, OTHER_MODEL, rows=10)
    parameters = workshop.attribution.parameters()
    lower = replace(parameters, rows_minimum=10)
    workshop.root("Attribution", "set_parameters", parameters=lower)
    earn(workshop, model=OTHER_MODEL)
    workshop.root("Attribution", "set_parameters", parameters=parameters)
    assert workshop.attribution.has_opened(OTHER_MODEL)
    close(workshop, model=OTHER_MODEL)


def test_a_smaller_index_closes_the_gate_but_what_was_open_stays_known(workshop: Workshop) -> None:
    workshop.attribution.record_indexed(MODEL, 91, indexed(rows=5))
    assert not workshop.attribution.is_open(MODEL)
    assert workshop.attribution.has_opened(MODEL)
    job = close(workshop)
    workshop.next_block()
    workshop.answer(job, shared(()))
    earn(workshop)
    assert workshop.attribution.pool(MODEL, SERVER).due_planck == FEES
    close(workshop)


# ----------------------------------------------------------------------------------- closing again


@pytest.mark.parametrize(
    "changed", [{"receipts_root": Hash(b"o" * 32)}, {"receipts": 4}, {"fees_planck": FEES - 1}]
)
def test_a_server_that_knows_the_draw_cannot_choose_other_receipts(
    workshop: Workshop, changed: dict[str, object]
) -> None:
    fail(workshop, close(workshop))
    with pytest.raises(Attribution.ReceiptsDiffer):
        close(workshop, "close_again", epoch=0, **changed)  # type: ignore[arg-type]


def test_failing_on_purpose_draws_no_other_receipts(workshop: Workshop) -> None:
    first = close(workshop)
    fail(workshop, first)
    again = close(workshop, "close_again", epoch=0)
    workshop.next_block()
    assert workshop.job(first).seed is not None
    assert workshop.job(again).seed == workshop.job(first).seed
    workshop.answer(again, shared(()))
    earn(workshop)
    other = close(workshop)
    workshop.next_block()
    assert workshop.job(other).seed != workshop.job(first).seed


def test_only_the_latest_epoch_is_closed_again(workshop: Workshop) -> None:
    job = close(workshop)
    workshop.next_block()
    workshop.answer(job, shared(()))
    earn(workshop)
    fail(workshop, close(workshop))
    earn(workshop)
    with pytest.raises(Attribution.EpochFailed):
        close(workshop, fees_planck=2 * FEES)
    for number in (0, 2):
        with pytest.raises(Attribution.NotFailed):
            close(workshop, "close_again", epoch=number)
    with pytest.raises(Attribution.NotFailed):
        close(workshop, "close_again", server=ALICE, epoch=1)
    close(workshop, "close_again", epoch=1)
