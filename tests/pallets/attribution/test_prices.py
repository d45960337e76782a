"""Prices: a settlement costs what is held for it, and is owed when what is due is worth as much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pallets.attribution.prices import duty_planck
from tests.pallets.support.epochs import MODEL, RECEIPTS, close, earn, open_gate
from tests.pallets.support.workshop import SERVER, Workshop


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    with Workshop() as made:
        open_gate(made)
        earn(made)
        yield made
        made.check()


def test_a_settlement_costs_what_is_held_for_its_job(workshop: Workshop) -> None:
    price = workshop.attribution.settlement_price(MODEL, len(RECEIPTS))
    close(workshop)
    assert workshop.escrow(SERVER) == price


def test_receipts_cost_more_as_long_as_they_can_be_drawn(workshop: Workshop) -> None:
    parameters = replace(workshop.attribution.parameters(), draws=4, price_receipt_planck=0)
    workshop.attribution.governed.put(parameters)
    prices = [workshop.attribution.settlement_price(MODEL, count) for count in (1, 3, 4, 100_000)]
    assert prices[0] < prices[1] < prices[2] == prices[3]
    assert duty_planck(workshop.attribution, MODEL) == prices[3]
