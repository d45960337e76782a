"""What is known of an era, in the shapes that wallets of Substrate chains read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pallets import weights
from pallets.staking import Payee, Staker, ValidatorPrefs
from pallets.staking.eras import (
    PAGE,
    ActiveEraInfo,
    EraRewardPoints,
    ExposurePage,
    PagedExposureMetadata,
    PagedIndividualExposure,
    PointsByValidator,
    note_slash,
    size_of,
)
from pallets.staking.records import Exposure, IndividualExposure, Parameters, bond_of
from runtime.types.primitives import OPEN
from tests.pallets.support.stakers import BONDING_ERAS, PARAMETERS, PEOPLE, STAKE, Staked

ANN, BEN, CAT, DAN, EVA, FAY = PEOPLE[:6]
TENTH = 10**8
HALF = 5 * 10**8


@pytest.fixture
def chain() -> Iterator[Staked]:
    stakers = (
        Staker(ANN, STAKE, TENTH),
        Staker(BEN, STAKE),
        Staker(EVA, 200 * OPEN, nominates=(ANN,)),
    )
    with Staked(stakers) as staked:
        yield staked
        staked.check()


def test_an_exposure_has_an_overview_a_page_and_the_terms_of_the_election(chain: Staked) -> None:
    staking, total = chain.staking, STAKE + 200 * OPEN
    overview = staking.eras_stakers_overview
    assert overview.get((0, ANN)) == PagedExposureMetadata(total, STAKE, 1, 1)
    page = ExposurePage(200 * OPEN, (PagedIndividualExposure(EVA, 200 * OPEN),))
    assert staking.eras_stakers_paged.get((0, ANN, PAGE)) == page
    assert staking.eras_validator_prefs.get((0, ANN)) == ValidatorPrefs(TENTH)
    others = (IndividualExposure(EVA, 200 * OPEN),)
    assert staking.exposures.get((0, ANN)) == Exposure(total, STAKE, TENTH, others)
    assert staking.exposure(0, ANN) == staking.exposures.get((0, ANN))
    assert staking.exposures.get((0, EVA)) is None


def test_a_validator_without_nominators_has_an_empty_page(chain: Staked) -> None:
    # Without it wallets would show no stake at all.
    assert chain.staking.eras_stakers_overview.get((0, BEN)) == PagedExposureMetadata(
        STAKE, STAKE, 0, 1
    )
    assert chain.staking.eras_stakers_paged.get((0, BEN, PAGE)) == ExposurePage(0, ())


def test_the_points_of_an_era_are_a_sorted_map_with_their_sum(chain: Staked) -> None:
    for who in (BEN, ANN, BEN):
        chain.staking.note_author(who)
    entries = tuple(sorted(((ANN, 1), (BEN, 2))))
    points = chain.staking.eras_reward_points.get(0)
    assert points == EraRewardPoints(3, PointsByValidator(entries))


def test_an_ended_era_says_what_it_paid_and_that_nobody_has_to_claim_it(chain: Staked) -> None:
    chain.staking.note_author(ANN)
    chain.next_era()
    paid = chain.staking.eras_validator_reward.get(0)
    assert paid is not None
    assert paid > 0
    assert chain.staking.claimed_rewards.get((0, ANN)) == (PAGE,)
    assert chain.staking.claimed_rewards.get((0, BEN)) == ()
    assert chain.staking.active_era.get() == ActiveEraInfo(1)
    assert chain.staking.current_era.get() == 1


def test_a_slash_is_noted_for_its_era_by_validator_and_by_nominator(chain: Staked) -> None:
    for fraction in (TENTH, HALF):
        chain.staking.slash(0, ANN, fraction)
    lost = STAKE * TENTH // 10**9 + STAKE * HALF // 10**9
    assert chain.staking.validator_slash_in_era.get((0, ANN)) == (HALF, lost)
    backing = 200 * OPEN
    nominated = backing * TENTH // 10**9 + backing * HALF // 10**9
    assert chain.staking.nominator_slash_in_era.get((0, EVA)) == nominated


def test_nothing_of_an_era_is_left_when_no_slash_needs_it(chain: Staked) -> None:
    chain.staking.note_author(ANN)
    chain.staking.slash(0, ANN, TENTH)
    chain.next_era(BONDING_ERAS + 2)
    staking = chain.staking
    for era_map in (
        staking.eras_stakers_overview, staking.eras_stakers_paged, staking.eras_validator_prefs,
        staking.claimed_rewards, staking.validator_slash_in_era, staking.nominator_slash_in_era,
    ):  # fmt: skip
        assert list(era_map.keys(0)) == []
    assert staking.eras_reward_points.get(0) == EraRewardPoints()
    assert staking.eras_validator_reward.get(0) is None


def test_a_stash_signs_for_itself_and_its_ledger_is_whole(chain: Staked) -> None:
    chain.sign(FAY, "Staking", "bond", value=50 * OPEN, payee=Payee.Staked)
    assert chain.staking.bonded.get(FAY) == FAY
    assert chain.staking.ledger.get(FAY) == bond_of(FAY, 50 * OPEN)
    chain.sign(FAY, "Staking", "unbond", value=50 * OPEN)
    chain.next_era(BONDING_ERAS)
    chain.sign(FAY, "Staking", "withdraw_unbonded")
    assert chain.staking.bonded.get(FAY) is None


def test_the_seats_are_those_of_the_parameters(chain: Staked) -> None:
    assert chain.staking.validator_count.get() == PARAMETERS.validator_count
    chain.root("Staking", "set_parameters", parameters=Parameters(validator_count=7))
    assert chain.staking.validator_count.get() == 7


def test_queued_keys_are_those_of_the_next_set(chain: Staked) -> None:
    queued = chain.session.queued.get().authorities
    assert [(who, keys.voting) for who, keys in chain.session.queued_keys.get()] == [
        (member.account, member.key) for member in queued
    ]


def test_an_era_that_is_forgotten_weighs_by_all_that_is_removed(chain: Staked) -> None:
    """Its validators and slashes count as they were then, not those who stand now."""
    staking = chain.staking
    chain.next_era()
    note_slash(staking, 1, ANN, ANN, TENTH, 5)
    note_slash(staking, 1, ANN, EVA, TENTH, 5)
    chain.next_era(BONDING_ERAS)
    era, length = 1 + BONDING_ERAS + 1, staking.sessions_per_era.get()
    assert size_of(staking, 1) == (2, 2)
    standing = (staking.counter_for_validators.get(), staking.counter_for_nominators.get())
    assert staking.election_weight(era * length) == weights.staking_begin_era(
        *standing
    ) + weights.staking_forget_era(2, 2)
    chain.next_era()
    assert staking.active() == era
    assert size_of(staking, 1) == (0, 0)
