"""Attribution: the pot, claims, commons, indexes, parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from pallets.attribution import ATTRIBUTION_POT, INDEXES_LISTED_MAX, Attribution, Genesis
from pallets.attribution.records import (
    PARAMETERS_MAX,
    PARAMETERS_MIN,
    Earning,
    Parameters,
    are_within_bounds,
)
from pallets.models import Base
from pallets.models import Genesis as ModelsGenesis
from runtime.frame.dispatch import DispatchFailed
from runtime.types.primitives import OPEN, Hash
from tests.pallets.support.epochs import (
    INDEX_JOB,
    MODEL,
    POOL,
    claimable,
    earn,
    open_gate,
    settle,
    shared,
    shares_of,
)
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, DAVE, NOBODY
from tests.pallets.support.ledger import Ledger as Composed
from tests.pallets.support.workshop import BASE, Workshop, indexed


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain with one executor whose model is indexed and has earned."""
    with Workshop() as made:
        open_gate(made)
        earn(made)
        yield made
        made.check()


# ------------------------------------------------------------------------------------------ the pot


def test_a_gift_to_the_pot_does_not_disturb_the_accounts(workshop: Workshop) -> None:
    workshop.balances.transfer(DAVE, ATTRIBUTION_POT, 5)
    workshop.check()


# ------------------------------------------------------------------------------------------- claims


def test_a_contributor_claims_once(workshop: Workshop) -> None:
    settle(workshop, shared(shares_of((CHARLIE, 7 * OPEN))))
    before = workshop.balances.free(CHARLIE)
    workshop.sign(CHARLIE, "Attribution", "claim")
    assert workshop.balances.free(CHARLIE) == before + 7 * OPEN
    assert workshop.attribution.earnings(CHARLIE) == Earning(0, 7 * OPEN)
    assert workshop.events(Attribution.Claimed) == [Attribution.Claimed(CHARLIE, 7 * OPEN)]
    with pytest.raises(Attribution.NothingToClaim):
        workshop.sign(CHARLIE, "Attribution", "claim")


def test_anyone_pays_a_contributor_and_the_pot_outlives_its_last_planck(
    workshop: Workshop,
) -> None:
    settle(workshop, shared(shares_of((NOBODY, POOL))))
    workshop.sign(DAVE, "Attribution", "claim_for", account=NOBODY)
    assert workshop.balances.free(NOBODY) == POOL
    assert workshop.balances.free(ATTRIBUTION_POT) == 0
    earn(workshop, 2, 1)
    workshop.check()
    with pytest.raises(Attribution.NothingToClaim):
        workshop.sign(DAVE, "Attribution", "claim_for", account=BOB)


def test_a_share_too_small_for_a_new_account_waits_for_more(workshop: Workshop) -> None:
    settle(workshop, shared(shares_of((NOBODY, 5))))
    with pytest.raises(DispatchFailed, match="BelowMinimum"):
        workshop.sign(DAVE, "Attribution", "claim_for", account=NOBODY)
    assert claimable(workshop, NOBODY) == 5


# ------------------------------------------------------------------------------------------ commons


def test_root_spends_the_commons(workshop: Workshop) -> None:
    settle(workshop, shared(()))
    arguments = {"model": MODEL, "dest": DAVE}
    with pytest.raises(Attribution.CommonsTooLow):
        workshop.root("Attribution", "spend_commons", amount=POOL + 1, **arguments)
    before = workshop.balances.free(DAVE)
    workshop.root("Attribution", "spend_commons", amount=POOL, **arguments)
    assert workshop.balances.free(DAVE) == before + POOL
    assert workshop.attribution.common_pool(MODEL) == 0
    assert workshop.events(Attribution.CommonsSpent) == [
        Attribution.CommonsSpent(MODEL, DAVE, POOL)
    ]
    with pytest.raises(DispatchFailed):
        workshop.sign(ALICE, "Attribution", "spend_commons", amount=1, **arguments)


# --------------------------------------------------------------------------- indexes and parameters


def test_a_model_lists_its_latest_indexes_and_keeps_all(workshop: Workshop) -> None:
    for job in range(10, 10 + INDEXES_LISTED_MAX):
        workshop.attribution.record_indexed(MODEL, job, indexed())
    listed = [one.job for one in workshop.attribution.commitments(MODEL)]
    assert listed == list(range(10, 10 + INDEXES_LISTED_MAX))
    kept = workshop.attribution.recorded_index(INDEX_JOB)
    assert kept is not None
    assert (kept.model, kept.recorded_at, kept.indexed) == (MODEL, 1, indexed())
    assert workshop.attribution.recorded_index(99) is None
    assert workshop.events(Attribution.IndexRecorded)[0] == Attribution.IndexRecorded(
        MODEL, INDEX_JOB
    )


def test_root_changes_parameters_within_their_bounds(workshop: Workshop) -> None:
    parameters = workshop.attribution.parameters()
    changed = replace(parameters, bound_milli=2_000, draws=7)
    workshop.root("Attribution", "set_parameters", parameters=changed)
    assert workshop.attribution.parameters() == changed
    assert workshop.events(Attribution.ParametersChanged) == [
        Attribution.ParametersChanged(changed)
    ]
    with pytest.raises(DispatchFailed):
        workshop.sign(ALICE, "Attribution", "set_parameters", parameters=parameters)


@pytest.mark.parametrize("name", [field.name for field in fields(Parameters)])
def test_each_parameter_has_bounds(workshop: Workshop, name: str) -> None:
    least, most = getattr(PARAMETERS_MIN, name), getattr(PARAMETERS_MAX, name)
    assert least <= getattr(Parameters(), name) <= most
    assert least < most
    for value in {max(least - 1, 0), most + 1} - {least}:
        bad = replace(Parameters(), **{name: value})
        assert not are_within_bounds(bad)
        with pytest.raises(Attribution.ParametersOutOfBounds):
            workshop.root("Attribution", "set_parameters", parameters=bad)


def test_a_chain_begins_with_the_parameters_of_its_genesis() -> None:
    genesis = Genesis(Parameters(draws=9))
    models = ModelsGenesis(bases=((BASE, Base("tiny", 1, 1)),))
    with Composed(Attribution=genesis, Models=models) as ledger:
        assert ledger.pallet(Attribution).parameters().draws == 9
        assert ledger.pallet(Attribution).pools(0) == ()
    with pytest.raises(AssertionError, match="within bounds"):
        Composed(Attribution=Genesis(Parameters(draws=0)))
    assert ledger.pallet(Attribution).pot == ATTRIBUTION_POT
    assert Hash(ATTRIBUTION_POT) == ATTRIBUTION_POT
