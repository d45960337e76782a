"""Rewards: the payment of an era, which reaches every staker without a call of its own.

At the end of an era a share of the fee pot moves to the staking pot, and a fraction of that pot is
paid on top; nothing is minted. Each validator gets its share by points (one for each block), its
commission first; the rest raises the validator's *rate*, the reward per planck exposed. An account
earns value * (rate - mark) for each of its positions, where mark is the rate when it was last paid.

Earnings are paid when an account is touched (any change of its stake), and by a sweep over the
stakers of the last era, PAYOUTS_PER_BLOCK in each block. A new era moves what was earned into
`pending` before positions change.

Rules that hold here: `owed` is what was allotted and not paid; the pot always holds it; what
rounding cuts off stays in the pot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pallets import weights
from pallets.balances import EXISTENTIAL_DEPOSIT, HoldReason
from pallets.staking import eras
from pallets.staking.records import (
    BILLION,
    MILLION,
    PAYOUTS_PER_BLOCK,
    PERMILLE,
    RATE_ONE,
    STAKING_POT,
    Earnings,
    Exposure,
    Payee,
    Position,
    Sweep,
    bond_of,
)
from pallets.transaction_payment import FEE_POT
from runtime.types.primitives import AccountId, Weight

if TYPE_CHECKING:
    from pallets.staking import Staking

Backings = dict[AccountId, list[tuple[AccountId, int]]]
"""The stake that each account exposes, by validator."""


def note_author(staking: Staking, account: AccountId) -> None:
    """Give the author of a block its point."""
    eras.add_point(staking, staking.active(), account)


def end_era(staking: Staking, era: int) -> None:
    """Allot what the era pays to its validators and those behind them."""
    validators = staking.era_validators.get(era)
    by_validator = eras.points_of(staking, era)
    points = [by_validator.get(validator, 0) for validator in validators]
    whole = sum(points)
    if not whole:
        return
    budget = _budget(staking)
    allotted = 0
    for validator, own_points in zip(validators, points, strict=True):
        reward = budget * own_points // whole
        exposure = staking.exposure_of(era, validator)
        if not reward or not exposure.total:
            continue
        commission = reward * exposure.commission // BILLION
        _add_pending(staking, validator, commission)
        rate = staking.rates.get(validator)
        rate += (reward - commission) * RATE_ONE // exposure.total
        staking.rates.put(validator, rate)
        allotted += reward
        staking.claimed_rewards.put((era, validator), (eras.PAGE,))
    staking.owed.put(staking.owed.get() + allotted)
    staking.eras_validator_reward.put(era, allotted)
    staking.emit(staking.EraPaid(era, allotted, budget - allotted))
    if staking.sweep.get().is_done:
        staking.sweep.put(Sweep(era, is_done=False))


def pay_earned(staking: Staking, who: AccountId) -> int:
    """Pay what an account has earned, into its bond or to its free balance; returns how much.

    It waits where the account is gone and the amount cannot open it again.
    """
    earnings = staking.earnings.get(who)
    due = earned(staking, earnings)
    if not due or not _can_receive(staking, who, due):
        return 0
    _put_earnings(staking, who, Earnings(0, _marked(staking, earnings.positions)))
    staking.owed.put(staking.owed.get() - due)
    staking.balances.transfer(STAKING_POT, who, due)
    ledger = staking.ledger.get(who)
    if ledger is not None and staking.payee.get(who) is Payee.Staked:
        staking.balances.hold(HoldReason.Staking, who, due)
        staking.ledger.put(who, bond_of(who, ledger.active + due, ledger.unlocking))
    staking.emit(staking.Rewarded(who, due))
    return due


def earned(staking: Staking, earnings: Earnings) -> int:
    """Return what is earned and not paid."""
    return earnings.pending + sum(
        position.value * (staking.rates.get(position.validator) - position.mark) // RATE_ONE
        for position in earnings.positions
    )


def sweep(staking: Staking) -> Weight:
    """Pay the next stakers of the era that is being paid out; returns the weight used."""
    at = staking.sweep.get()
    if at.is_done:
        return weights.STAKING_ON_INITIALIZE
    validators = staking.era_validators.get(at.era)
    index, backer, paid = at.validator, at.backer, 0
    while index < len(validators) and paid < PAYOUTS_PER_BLOCK:
        validator = validators[index]
        backers = list(backers_of(validator, staking.exposure_of(at.era, validator)))
        for who, _ in backers[backer : backer + PAYOUTS_PER_BLOCK - paid]:
            pay_earned(staking, who)
            backer, paid = backer + 1, paid + 1
        if backer >= len(backers):
            index, backer = index + 1, 0
    is_done = index >= len(validators)
    staking.sweep.put(Sweep(at.era, index, backer, is_done))
    return weights.staking_sweep(paid)


def move_positions(
    staking: Staking,
    former: Sequence[AccountId],
    backings: Mapping[AccountId, Sequence[tuple[AccountId, int]]],
) -> None:
    """Replace the positions of the former validators' backers by those of a new era."""
    leaving = dict.fromkeys(
        who
        for validator in former
        for who, _ in backers_of(validator, staking.exposure_of(staking.active(), validator))
    )
    for who in dict.fromkeys((*leaving, *backings)):
        earnings = staking.earnings.get(who)
        pending = earned(staking, earnings)
        positions = tuple(
            Position(validator, value, staking.rates.get(validator))
            for validator, value in backings.get(who, ())
        )
        _put_earnings(staking, who, Earnings(pending, positions))
    staying = {validator for backed in backings.values() for validator, _ in backed}
    for validator in former:
        if validator not in staying:
            staking.rates.remove(validator)  # no position is left that was marked by it


def backers_of(validator: AccountId, exposure: Exposure) -> Iterator[tuple[AccountId, int]]:
    """Yield who stands behind a validator with how much, itself first."""
    if exposure.own:
        yield validator, exposure.own
    for other in exposure.others:
        yield other.who, other.value


def _budget(staking: Staking) -> int:
    """Move the share of fees to the pot; return what the era may pay."""
    parameters, balances = staking.parameters.get(), staking.balances
    fees = balances.free(FEE_POT) * parameters.fee_permille // PERMILLE
    spare = balances.free(STAKING_POT) - staking.owed.get()
    if fees:
        balances.transfer(FEE_POT, STAKING_POT, fees)
    return fees + spare * parameters.pot_millionths // MILLION


def _can_receive(staking: Staking, who: AccountId, amount: int) -> bool:
    free = staking.balances.free(who)
    if who in staking.ledger:
        return free >= EXISTENTIAL_DEPOSIT  # `hold` demands that so much stays free, and it did
    return free + amount >= EXISTENTIAL_DEPOSIT


def _add_pending(staking: Staking, who: AccountId, amount: int) -> None:
    earnings = staking.earnings.get(who)
    _put_earnings(staking, who, replace(earnings, pending=earnings.pending + amount))


def _marked(staking: Staking, positions: Sequence[Position]) -> tuple[Position, ...]:
    return tuple(
        Position(position.validator, position.value, staking.rates.get(position.validator))
        for position in positions
    )


def _put_earnings(staking: Staking, who: AccountId, earnings: Earnings) -> None:
    if earnings.pending or earnings.positions:
        staking.earnings.put(who, earnings)
    else:
        staking.earnings.remove(who)
