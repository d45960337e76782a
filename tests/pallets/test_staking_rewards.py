"""What an era pays: by points, commission first, to everybody behind a validator, to the planck."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pallets.staking import STAKING_POT, Payee, Staker, Staking, rewards
from pallets.staking.records import PAYOUTS_PER_BLOCK
from pallets.transaction_payment import FEE_POT
from runtime.types.primitives import OPEN, AccountId, Id
from tests.pallets.support.stakers import PEOPLE, POT, STAKE, Staked

ANN, BEN, CAT, DAN, EVA, FAY = PEOPLE[:6]
TENTH = 10**8
ERA_PAY = POT // 1_000
"""What PARAMETERS let the full pot pay for an era."""


@pytest.fixture
def chain() -> Iterator[Staked]:
    stakers = (
        Staker(ANN, STAKE, TENTH),
        Staker(BEN, STAKE),
        Staker(EVA, STAKE, nominates=(ANN,)),
    )
    with Staked(stakers) as staked:
        for who in (ANN, BEN, EVA):
            staked.sign(who, "Staking", "set_payee", payee=Payee.Stash)
        yield staked
        staked.check()


def author(chain: Staked, who: AccountId, blocks: int = 1) -> None:
    for _ in range(blocks):
        chain.staking.note_author(who)


def test_an_era_pays_a_fraction_of_the_pot_and_a_share_of_the_fees(chain: Staked) -> None:
    chain.pay_fees(100 * OPEN)
    author(chain, ANN)
    chain.next_era()
    (paid,) = chain.events(Staking.EraPaid)
    assert paid == Staking.EraPaid(0, ERA_PAY + 50 * OPEN, 0)
    assert chain.balances.free(FEE_POT) == 50 * OPEN


def test_an_era_without_any_block_of_a_validator_pays_nothing(chain: Staked) -> None:
    chain.pay_fees(100 * OPEN)
    chain.next_era()
    assert chain.events(Staking.EraPaid) == []
    assert chain.balances.free(FEE_POT) == 100 * OPEN


def test_points_share_the_pay_commission_comes_first_the_rest_by_exposure(chain: Staked) -> None:
    author(chain, ANN, 3)
    author(chain, BEN, 1)
    before = {who: chain.owned(who) for who in (ANN, BEN, EVA)}
    chain.next_era()
    chain.next_block(2)
    gained = {who: chain.owned(who) - before[who] for who in before}
    of_ann = ERA_PAY * 3 // 4
    commission = of_ann // 10
    assert gained[BEN] == ERA_PAY // 4
    assert gained[EVA] == (of_ann - commission) // 2
    assert gained[ANN] == commission + (of_ann - commission) // 2
    assert chain.balances.free(STAKING_POT) == POT - sum(gained.values())


def test_everybody_is_paid_without_any_call(chain: Staked) -> None:
    author(chain, ANN)
    chain.next_era()
    assert chain.staking.pending_rewards(EVA) == chain.staking.pending_rewards(ANN) == 0
    assert {event.stash for event in chain.events(Staking.Rewarded)} == {ANN, EVA}


def test_rewards_are_bonded_where_the_payee_says_so(chain: Staked) -> None:
    chain.sign(EVA, "Staking", "set_payee", payee=Payee.Staked)
    author(chain, ANN)
    chain.next_era()
    chain.next_block(2)
    (paid,) = (one.amount for one in chain.events(Staking.Rewarded) if one.stash == EVA)
    assert chain.bonded(EVA) == STAKE + paid
    chain.next_era(2)
    assert chain.staking.nominators_of(ANN) == ((EVA, STAKE + paid),)


def test_a_touch_pays_before_the_stake_changes(
    chain: Staked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewards, "PAYOUTS_PER_BLOCK", 0)
    author(chain, ANN)
    chain.next_era()
    due = chain.staking.pending_rewards(EVA)
    assert due == (ERA_PAY - ERA_PAY // 10) // 2
    before = chain.owned(EVA)
    chain.sign(EVA, "Staking", "unbond", value=OPEN)
    assert chain.owned(EVA) == before + due
    assert chain.staking.pending_rewards(EVA) == 0


def test_who_leaves_is_paid_for_the_era_that_it_secured(chain: Staked) -> None:
    author(chain, ANN)
    chain.sign(EVA, "Staking", "chill")
    chain.sign(EVA, "Staking", "unbond", value=STAKE)
    before = chain.owned(EVA)
    chain.next_era()
    chain.next_block(2)
    assert chain.owned(EVA) > before


def test_commission_is_that_of_the_election(chain: Staked) -> None:
    author(chain, ANN)
    prefs = chain.staking.validators.get(ANN)
    assert prefs is not None
    chain.staking.validators.put(ANN, type(prefs)(10**9))
    chain.next_era()
    assert (EVA, (ERA_PAY - ERA_PAY // 10) // 2) in [
        (event.stash, event.amount) for event in chain.events(Staking.Rewarded)
    ]


def test_unpaid_earnings_of_several_eras_add_up(
    chain: Staked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewards, "PAYOUTS_PER_BLOCK", 0)
    for _ in range(3):
        author(chain, ANN)
        chain.next_era()
    pays = [event.validator_payout for event in chain.events(Staking.EraPaid)]
    due = chain.staking.pending_rewards(EVA)
    assert len(pays) == 3
    assert sum(pays) * 45 // 100 - 3 <= due <= sum(pays) * 45 // 100


def test_authors_without_stake_earn_nothing(chain: Staked) -> None:
    author(chain, DAN)
    chain.next_era()
    assert chain.events(Staking.EraPaid) == []


def test_the_automatic_payment_is_bounded_in_each_block() -> None:
    nominators = tuple(AccountId(bytes([index, 1]) * 16) for index in range(40))
    with Staked((Staker(ANN, STAKE),)) as chain:
        for who in nominators:
            chain.balances.transfer(FAY, who, 20 * OPEN)
            chain.sign(who, "Staking", "bond", value=10 * OPEN, payee=Payee.Stash)
            chain.sign(who, "Staking", "nominate", targets=(Id(ANN),))
        chain.next_era()
        author(chain, ANN)
        chain.next_era()
        paid = []
        for _ in range(3):
            before = len(chain.events(Staking.Rewarded))
            chain.next_block()
            paid.append(len(chain.events(Staking.Rewarded)) - before)
        assert paid[0] <= PAYOUTS_PER_BLOCK
        assert max(paid) == PAYOUTS_PER_BLOCK
        chain.next_block()
        assert len(chain.events(Staking.Rewarded)) == 41
        assert chain.staking.owed.get() < 41  # what rounding cut off
