"""Ledgers: funded, given back to askers, swept into the commons, or overdue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pallets.attribution import Attribution
from pallets.attribution.records import Ledger
from pallets.inference import Inference
from pallets.inference import Parameters as InferenceParameters
from runtime.types.primitives import OPEN, AccountId
from tests.pallets.support.epochs import FEES, MODEL, POOL, earn, open_gate
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, DAVE, NOBODY
from tests.pallets.support.workshop import SERVER, Workshop

SMALL_MODEL = 2
"""One that has never opened."""


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain with one executor whose model is indexed and has earned."""
    with Workshop() as made:
        open_gate(made)
        earn(made)
        yield made
        made.check()


# ------------------------------------------------------------------------------------------ funding


def test_a_redemption_is_counted_for_its_model_and_server(workshop: Workshop) -> None:
    earn(workshop, 7, 3, server=ALICE)
    attribution = workshop.attribution
    now = workshop.number
    assert attribution.pool(MODEL, SERVER) == Ledger(0, POOL, FEES, None, due_from=now)
    assert attribution.pool(MODEL, ALICE) == Ledger(0, 3, 7, None), "no settlement is worth that"
    assert attribution.unsettled_of(ALICE) == 7
    assert attribution.pool(MODEL, BOB) == Ledger()
    assert attribution.accounted.get() == POOL + 3
    assert workshop.events(Attribution.Funded)[-1] == Attribution.Funded(MODEL, ALICE, 3)


def test_a_server_has_time_to_close_from_when_a_settlement_is_worth_its_price(
    workshop: Workshop,
) -> None:
    attribution = workshop.attribution
    parameters = replace(attribution.parameters(), close_blocks=20)
    workshop.root("Attribution", "set_parameters", parameters=parameters)
    price = attribution.settlement_price(MODEL, parameters.draws)
    assert price > attribution.settlement_price(MODEL, 1) > 0
    earn(workshop, price - 1, 0, server=ALICE)
    workshop.next_block(parameters.close_blocks + 1)
    report = {"model": MODEL, "server": ALICE}
    with pytest.raises(Attribution.NotOverdue):
        workshop.sign(BOB, "Attribution", "report_overdue", **report)
    earn(workshop, 1, 0, server=ALICE)
    assert attribution.pool(MODEL, ALICE).due_from == workshop.number
    workshop.next_block(parameters.close_blocks)
    with pytest.raises(Attribution.NotOverdue):
        workshop.sign(BOB, "Attribution", "report_overdue", **report)
    workshop.next_block()
    workshop.sign(BOB, "Attribution", "report_overdue", **report)
    assert attribution.pool(MODEL, ALICE) == Ledger(epoch=1)


def sweep(workshop: Workshop, model: int = MODEL, server: AccountId = SERVER) -> None:
    workshop.sign(DAVE, "Attribution", "sweep_pool", model=model, server=server)


def leave(workshop: Workshop) -> None:
    """Let the server leave with its bond."""
    parameters = InferenceParameters(retention_blocks=1)
    workshop.root("Inference", "set_parameters", parameters=parameters)
    workshop.sign(SERVER, "Inference", "leave_service")
    with pytest.raises(Attribution.ServerBonded):
        sweep(workshop)
    workshop.next_block(2)
    workshop.sign(SERVER, "Inference", "withdraw_server_bond")


def test_the_pool_of_a_server_that_left_goes_to_the_commons_once(workshop: Workshop) -> None:
    with pytest.raises(Attribution.ServerBonded):
        sweep(workshop)
    leave(workshop)
    sweep(workshop)
    assert workshop.attribution.common_pool(MODEL) == POOL
    assert workshop.attribution.pool(MODEL, SERVER) == Ledger()
    assert workshop.events(Attribution.PoolSwept) == [Attribution.PoolSwept(MODEL, SERVER, POOL)]
    with pytest.raises(Attribution.NothingToSweep):
        sweep(workshop)


def test_an_empty_pool_is_not_swept_into_the_state(workshop: Workshop) -> None:
    leave(workshop)
    with pytest.raises(Attribution.NothingToSweep):
        sweep(workshop, model=7)
    assert (7, SERVER) not in workshop.attribution.ledgers


def test_a_server_comes_back_when_its_pools_are_swept(workshop: Workshop) -> None:
    leave(workshop)
    with pytest.raises(Inference.PoolsWaiting):
        workshop.sign(SERVER, "Inference", "register_server", bond=200 * OPEN)
    sweep(workshop)
    workshop.sign(SERVER, "Inference", "register_server", bond=200 * OPEN)


def test_what_is_due_without_a_pool_is_swept_too(workshop: Workshop) -> None:
    earn(workshop, 1, 0, server=ALICE)
    assert workshop.attribution.unsettled_of(ALICE) == 1
    sweep(workshop, server=ALICE)
    assert workshop.attribution.unsettled_of(ALICE) == 0
    assert workshop.attribution.pool(MODEL, ALICE) == Ledger()


# -------------------------------------------------------------------------------------- giving back


def test_what_waits_is_given_back_in_proportion(workshop: Workshop) -> None:
    earn(workshop, model=SMALL_MODEL)
    attribution = workshop.attribution
    before = workshop.balances.free(CHARLIE)
    assert attribution.give_back(SMALL_MODEL, SERVER, FEES // 4, CHARLIE) == POOL // 4
    assert workshop.balances.free(CHARLIE) - before == POOL // 4
    rest = attribution.pool(SMALL_MODEL, SERVER)
    assert (rest.pool, rest.redeemed_planck) == (3 * POOL // 4, 3 * FEES // 4)
    attribution.give_back(SMALL_MODEL, SERVER, rest.redeemed_planck, CHARLIE)
    assert attribution.pool(SMALL_MODEL, SERVER) == Ledger()


def test_what_a_dead_asker_cannot_take_goes_to_the_commons(workshop: Workshop) -> None:
    earn(workshop, model=SMALL_MODEL)
    assert workshop.attribution.give_back(SMALL_MODEL, SERVER, 2_000, NOBODY) == 0
    assert workshop.attribution.common_pool(SMALL_MODEL) == 1_000
    assert workshop.attribution.pool(SMALL_MODEL, SERVER).pool == POOL - 1_000
