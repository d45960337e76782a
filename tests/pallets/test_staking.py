"""Staking: bonds and roles, elections and eras; money is kept by rules of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pallets import weights
from pallets.balances import Balances
from pallets.staking import Parameters, Payee, Staker, Staking, ValidatorPrefs
from pallets.staking.records import (
    EVIDENCE_EPOCHS,
    PARAMETERS_MAX,
    SLASH_DELAY_EPOCHS,
    UNLOCKING_MAX,
    StakingLedger,
    UnlockChunk,
    bond_of,
    bonding_eras,
)
from runtime.types.primitives import OPEN, AccountId, Id, Weight
from tests.pallets.support.stakers import BONDING_ERAS, ENDOWMENT, PEOPLE, STAKE, Staked

ANN, BEN, CAT, DAN, EVA, FAY, GUS, HAL = PEOPLE[:8]
GENESIS = tuple(Staker(who, STAKE) for who in (ANN, BEN, CAT, DAN))


@pytest.fixture
def chain() -> Iterator[Staked]:
    with Staked(GENESIS) as staked:
        yield staked
        staked.check()


def bond(chain: Staked, who: AccountId, value: int, payee: Payee = Payee.Stash) -> None:
    chain.sign(who, "Staking", "bond", value=value, payee=payee)


def validate(chain: Staked, who: AccountId, commission: int = 0) -> None:
    chain.sign(who, "Staking", "validate", prefs=ValidatorPrefs(commission))


def nominate(chain: Staked, who: AccountId, *targets: AccountId) -> None:
    chain.sign(who, "Staking", "nominate", targets=tuple(Id(target) for target in targets))


def unbond(chain: Staked, who: AccountId, value: int) -> None:
    chain.sign(who, "Staking", "unbond", value=value)


def ledger(chain: Staked, who: AccountId) -> StakingLedger:
    found = chain.staking.ledger_of(who)
    assert found is not None
    return found


# -------------------------------------------------------------------------------------------- stake


def test_a_bond_is_held_and_cannot_be_bonded_twice(chain: Staked) -> None:
    bond(chain, EVA, 50 * OPEN)
    assert chain.bonded(EVA) == 50 * OPEN
    assert chain.balances.free(EVA) == ENDOWMENT - 50 * OPEN
    with pytest.raises(Staking.AlreadyBonded):
        bond(chain, EVA, 50 * OPEN)


def test_a_bond_is_at_least_the_minimum_and_no_more_than_one_has(chain: Staked) -> None:
    with pytest.raises(Staking.InsufficientBond):
        bond(chain, EVA, 10 * OPEN - 1)
    with pytest.raises(Balances.InsufficientBalance):
        bond(chain, EVA, ENDOWMENT)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bond_extra", {"max_additional": OPEN}),
        ("unbond", {"value": OPEN}),
        ("rebond", {"value": OPEN}),
        ("withdraw_unbonded", {}),
        ("validate", {"prefs": ValidatorPrefs(0)}),
        ("nominate", {"targets": (Id(ANN),)}),
        ("chill", {}),
        ("set_payee", {"payee": Payee.Staked}),
    ],
)
def test_who_has_bonded_nothing_can_only_bond(
    chain: Staked, name: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(Staking.NotStash):
        chain.sign(EVA, "Staking", name, **arguments)


def test_unbonded_stake_is_free_after_the_bonding_duration_and_not_before(chain: Staked) -> None:
    bond(chain, EVA, 50 * OPEN)
    unbond(chain, EVA, 20 * OPEN)
    assert ledger(chain, EVA) == bond_of(EVA, 30 * OPEN, (UnlockChunk(20 * OPEN, BONDING_ERAS),))
    chain.next_era(BONDING_ERAS - 1)
    chain.sign(EVA, "Staking", "withdraw_unbonded")
    assert chain.bonded(EVA) == 50 * OPEN
    chain.next_era()
    chain.sign(EVA, "Staking", "withdraw_unbonded")
    assert chain.bonded(EVA) == 30 * OPEN
    assert chain.events(Staking.Withdrawn) == [Staking.Withdrawn(EVA, 20 * OPEN)]


def test_a_stash_that_withdrew_everything_is_forgotten(chain: Staked) -> None:
    bond(chain, EVA, 50 * OPEN)
    nominate(chain, EVA, ANN)
    chain.sign(EVA, "Staking", "chill")
    unbond(chain, EVA, 50 * OPEN)
    chain.next_era(BONDING_ERAS)
    chain.sign(EVA, "Staking", "withdraw_unbonded")
    assert chain.staking.ledger_of(EVA) is None
    assert chain.balances.free(EVA) == ENDOWMENT
    bond(chain, EVA, 10 * OPEN)


def test_rebonding_takes_the_latest_first(chain: Staked) -> None:
    bond(chain, EVA, 100 * OPEN)
    unbond(chain, EVA, 20 * OPEN)
    chain.next_era()
    unbond(chain, EVA, 30 * OPEN)
    chain.sign(EVA, "Staking", "rebond", value=40 * OPEN)
    assert ledger(chain, EVA) == bond_of(EVA, 90 * OPEN, (UnlockChunk(10 * OPEN, BONDING_ERAS),))
    chain.sign(EVA, "Staking", "rebond", value=40 * OPEN)
    with pytest.raises(Staking.NoUnlockChunk):
        chain.sign(EVA, "Staking", "rebond", value=1)


def test_unbonding_in_one_era_makes_one_chunk_and_a_small_rest_leaves_too(chain: Staked) -> None:
    bond(chain, EVA, 50 * OPEN)
    unbond(chain, EVA, 20 * OPEN)
    unbond(chain, EVA, 25 * OPEN)
    assert ledger(chain, EVA) == bond_of(EVA, 0, (UnlockChunk(50 * OPEN, BONDING_ERAS),))


def test_a_role_keeps_its_minimum_bond(chain: Staked) -> None:
    with pytest.raises(Staking.InsufficientBond):
        unbond(chain, ANN, STAKE - 100 * OPEN + 1)
    unbond(chain, ANN, STAKE - 100 * OPEN)
    bond(chain, EVA, 50 * OPEN)
    nominate(chain, EVA, ANN)
    with pytest.raises(Staking.InsufficientBond):
        unbond(chain, EVA, 41 * OPEN)


def test_the_queue_of_unbonding_is_bounded(chain: Staked) -> None:
    bond(chain, EVA, 50 * OPEN)
    chunks = tuple(UnlockChunk(1, 100 + index) for index in range(UNLOCKING_MAX))
    chain.staking.ledger.put(EVA, bond_of(EVA, 50 * OPEN - UNLOCKING_MAX, chunks))
    with pytest.raises(Staking.NoMoreChunks):
        unbond(chain, EVA, OPEN)


@pytest.mark.parametrize("sessions_per_era", [2, 3, 6, 24, 100])
def test_unbonding_outlasts_evidence_and_deferral(sessions_per_era: int) -> None:
    # Unbonded in era 0, exposed to the end of era 1, convicted and slashed as late as possible.
    last_exposed = 2 * sessions_per_era - 1
    last_slash = last_exposed + EVIDENCE_EPOCHS + SLASH_DELAY_EPOCHS
    assert bonding_eras(sessions_per_era) * sessions_per_era > last_slash


# -------------------------------------------------------------------------------------------- roles


def test_validating_needs_its_bond_and_a_commission_within_bounds(chain: Staked) -> None:
    bond(chain, EVA, 99 * OPEN)
    with pytest.raises(Staking.InsufficientBond):
        validate(chain, EVA)
    chain.sign(EVA, "Staking", "bond_extra", max_additional=OPEN)
    with pytest.raises(Staking.CommissionTooHigh):
        validate(chain, EVA, 10**9 + 1)
    validate(chain, EVA, 10**9)


def test_a_nomination_names_validators_each_once_and_not_too_many(chain: Staked) -> None:
    bond(chain, EVA, 50 * OPEN)
    with pytest.raises(Staking.EmptyTargets):
        nominate(chain, EVA)
    with pytest.raises(Staking.DuplicateTarget):
        nominate(chain, EVA, ANN, ANN)
    with pytest.raises(Staking.BadTarget):
        nominate(chain, EVA, ANN, HAL)
    with pytest.raises(Staking.TooManyTargets):
        nominate(chain, EVA, *[ANN] * 17)
    nominate(chain, EVA, ANN, BEN)
    assert chain.staking.nominations_of(EVA) == (ANN, BEN)


def test_an_account_has_one_role_at_a_time(chain: Staked) -> None:
    bond(chain, EVA, STAKE)
    nominate(chain, EVA, ANN)
    validate(chain, EVA)
    assert chain.staking.nominations_of(EVA) == ()
    nominate(chain, EVA, ANN)
    assert EVA not in chain.staking.validators
    chain.sign(EVA, "Staking", "chill")
    assert chain.staking.nominations_of(EVA) == ()
    chain.sign(EVA, "Staking", "chill")  # nothing more to leave
    assert chain.events(Staking.Chilled) == [Staking.Chilled(EVA)]


def test_places_are_bounded(chain: Staked) -> None:
    bond(chain, EVA, STAKE)
    chain.staking.counter_for_validators.put(256)
    with pytest.raises(Staking.TooManyValidators):
        validate(chain, EVA)
    chain.staking.counter_for_validators.put(4)
    chain.staking.counter_for_nominators.put(2_000)
    with pytest.raises(Staking.TooManyNominators):
        nominate(chain, EVA, ANN)
    chain.staking.counter_for_nominators.put(0)


def test_root_changes_parameters_within_bounds(chain: Staked) -> None:
    chain.root("Staking", "set_parameters", parameters=PARAMETERS_MAX)
    with pytest.raises(Staking.ParametersOutOfBounds):
        chain.root("Staking", "set_parameters", parameters=Parameters(validator_count=257))
    assert chain.staking.parameters.get() == PARAMETERS_MAX


# ---------------------------------------------------------------------------------------- elections


def test_genesis_stakers_are_the_first_set_with_their_stake(chain: Staked) -> None:
    authorities = chain.session.current_authorities().authorities
    assert {one.account: one.weight for one in authorities} == dict.fromkeys(
        (ANN, BEN, CAT, DAN), STAKE
    )
    assert chain.staking.era_validators.get(0) == tuple(sorted((ANN, BEN, CAT, DAN)))


def test_more_stake_wins_a_seat_from_the_next_era_on(chain: Staked) -> None:
    bond(chain, EVA, 2 * STAKE)
    validate(chain, EVA)
    bond(chain, FAY, 500 * OPEN)
    nominate(chain, FAY, ANN, BEN, CAT)
    assert EVA not in chain.staking.era_validators.get(0)
    chain.next_era()
    elected = chain.staking.era_validators.get(1)
    assert set(elected) == {ANN, BEN, CAT, EVA}
    exposures = [chain.staking.exposure_of(1, who) for who in elected]
    assert sum(exposure.total for exposure in exposures) == 5 * STAKE + 500 * OPEN
    assert sum(other.value for one in exposures for other in one.others) == 500 * OPEN
    sets = {one.account: one.weight for one in chain.session.current_authorities().authorities}
    assert sets == {who: chain.staking.exposure_of(1, who).total for who in elected}


def test_the_set_stays_within_an_era(chain: Staked) -> None:
    chain.next_era()
    before = chain.session.current_authorities().authorities
    bond(chain, EVA, 5 * STAKE)
    validate(chain, EVA)
    chain.next_block(2)
    assert chain.staking.active() == 1
    assert chain.session.current_authorities().authorities == before


def test_who_has_no_session_key_does_not_stand(chain: Staked) -> None:
    bond(chain, EVA, 5 * STAKE)
    validate(chain, EVA)
    chain.sign(EVA, "Session", "purge_keys")
    chain.next_era()
    assert EVA not in chain.staking.era_validators.get(1)


def test_who_chills_leaves_with_the_next_election(chain: Staked) -> None:
    chain.sign(DAN, "Staking", "chill")
    assert chain.staking.era_validators.get(0) == tuple(sorted((ANN, BEN, CAT, DAN)))
    chain.next_era()
    assert chain.staking.era_validators.get(1) == tuple(sorted((ANN, BEN, CAT)))


def test_where_nobody_stands_the_last_set_stays(chain: Staked) -> None:
    for who in (ANN, BEN, CAT, DAN):
        chain.sign(who, "Staking", "chill")
    chain.next_era(3)
    assert chain.staking.era_validators.get(3) == tuple(sorted((ANN, BEN, CAT, DAN)))
    assert len(chain.session.current_authorities().authorities) == 4


def test_eras_that_no_slash_needs_are_forgotten(chain: Staked) -> None:
    chain.next_era(BONDING_ERAS + 2)
    eras = {era for (era, _), _ in chain.staking.exposures.items()}
    assert min(eras) == 2
    assert chain.staking.era_validators.get(1) == ()


def test_a_chain_without_stakers_keeps_its_genesis_set() -> None:
    with Staked() as chain:
        authorities = chain.session.current_authorities().authorities
        chain.next_era(2)
        assert chain.session.current_authorities().authorities == authorities
        assert chain.staking.era_validators.get(2) == ()


def test_stakers_that_come_later_take_a_genesis_set_over() -> None:
    with Staked() as chain:
        bond(chain, EVA, STAKE)
        validate(chain, EVA)
        chain.next_era()
        authorities = chain.session.current_authorities().authorities
        assert [(one.account, one.weight) for one in authorities] == [(EVA, STAKE)]


def test_genesis_nominators_back_the_first_set() -> None:
    with Staked((*GENESIS, Staker(EVA, 300 * OPEN, nominates=(ANN,)))) as chain:
        assert chain.staking.nominators_of(ANN) == ((EVA, 300 * OPEN),)
        (entry,) = (one for one in chain.staking.validator_entries() if one.stash == ANN)
        assert (entry.own, entry.total, entry.nominators) == (STAKE, STAKE + 300 * OPEN, 1)
        assert entry.is_elected
        assert entry.is_candidate


def test_an_era_of_one_session_is_refused_in_genesis() -> None:
    with pytest.raises(AssertionError, match="longer than a session"):
        Staked(sessions_per_era=1)


def test_clients_learn_where_the_era_stands(chain: Staked) -> None:
    chain.next_era()
    entry = chain.staking.era()
    assert (entry.active, entry.first_session, entry.bonding_eras) == (1, 3, BONDING_ERAS)


def test_a_session_that_begins_or_plans_an_era_weighs_by_its_stakers(chain: Staked) -> None:
    plain, planning, beginning = (chain.staking.election_weight(session) for session in (1, 2, 3))
    assert plain == Weight(0, 0)
    validators = chain.staking.counter_for_validators.get()
    nominators = chain.staking.counter_for_nominators.get()
    assert validators > 0
    assert planning == weights.staking_plan_era(validators, nominators)
    assert beginning == weights.staking_begin_era(validators, nominators)
