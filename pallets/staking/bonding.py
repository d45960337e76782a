"""Stake and its roles: bonding, unbonding over eras, validating, nominating, chilling.

Rules that hold here: what is bonded is held in the stash's balance, at work or on its way out; a
role asks for its minimum bond as long as it lasts; earnings are paid before the stake they came
from changes hands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pallets.balances import HoldReason
from pallets.staking import rewards
from pallets.staking.records import (
    NOMINATORS_MAX,
    TARGETS_MAX,
    UNLOCKING_MAX,
    VALIDATORS_MAX,
    ChilledValidator,
    Nominations,
    Payee,
    StakingLedger,
    UnlockChunk,
    ValidatorPrefs,
    bond_of,
    bonding_eras,
)
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.staking import Staking


def bond(staking: Staking, who: AccountId, value: int, payee: Payee) -> None:
    """Begin to stake. Raises AlreadyBonded, InsufficientBond, or what holding raises."""
    if who in staking.ledger:
        raise staking.AlreadyBonded
    if value < staking.parameters.get().minimum_nominator_bond:
        raise staking.InsufficientBond
    staking.balances.hold(HoldReason.Staking, who, value)
    staking.bonded.put(who, who)
    staking.ledger.put(who, bond_of(who, value))
    staking.payee.put(who, payee)
    staking.emit(staking.Bonded(who, value))


def bond_extra(staking: Staking, who: AccountId, value: int) -> None:
    """Add free balance to a bond. Raises NotStash, or what holding raises."""
    require_ledger(staking, who)
    rewards.pay_earned(staking, who)
    staking.balances.hold(HoldReason.Staking, who, value)
    ledger = require_ledger(staking, who)
    staking.ledger.put(who, bond_of(who, ledger.active + value, ledger.unlocking))
    staking.emit(staking.Bonded(who, value))


def unbond(staking: Staking, who: AccountId, value: int) -> None:
    """Send up to `value` on its way out. Raises NotStash, InsufficientBond, NoMoreChunks."""
    require_ledger(staking, who)
    rewards.pay_earned(staking, who)
    withdraw(staking, who)
    ledger = staking.ledger.get(who)
    if ledger is None:
        return
    value = min(value, ledger.active)
    left = ledger.active - value
    if left < _minimum(staking, who):
        raise staking.InsufficientBond
    if left < staking.parameters.get().minimum_nominator_bond:
        value, left = ledger.active, 0  # a rest too small for any role leaves as well
    if not value:
        return
    era = staking.active() + bonding_eras(staking.sessions_per_era.get())
    chunks = ledger.unlocking
    if chunks and chunks[-1].era == era:
        *before, last = chunks
        chunks = (*before, UnlockChunk(last.value + value, era))
    elif len(chunks) >= UNLOCKING_MAX:
        raise staking.NoMoreChunks
    else:
        chunks = (*chunks, UnlockChunk(value, era))
    staking.ledger.put(who, bond_of(who, left, chunks))
    staking.emit(staking.Unbonded(who, value, era))


def rebond(staking: Staking, who: AccountId, value: int) -> None:
    """Put stake on its way out back to work, the latest first. Raises NotStash, NoUnlockChunk,
    InsufficientBond."""
    ledger = require_ledger(staking, who)
    if not ledger.unlocking:
        raise staking.NoUnlockChunk
    rewards.pay_earned(staking, who)
    ledger = require_ledger(staking, who)
    chunks, left = list(ledger.unlocking), value
    while chunks and left:
        last = chunks.pop()
        taken = min(last.value, left)
        left -= taken
        if taken < last.value:
            chunks.append(UnlockChunk(last.value - taken, last.era))
    active = ledger.active + value - left
    if active < staking.parameters.get().minimum_nominator_bond:
        raise staking.InsufficientBond
    staking.ledger.put(who, bond_of(who, active, tuple(chunks)))
    staking.emit(staking.Bonded(who, value - left))


def withdraw(staking: Staking, who: AccountId) -> None:
    """Free what has come out; a stash without any stake is removed. Raises NotStash."""
    ledger, now = require_ledger(staking, who), staking.active()
    rewards.pay_earned(staking, who)
    ledger = require_ledger(staking, who)
    locked = tuple(chunk for chunk in ledger.unlocking if chunk.era > now)
    value = sum(chunk.value for chunk in ledger.unlocking) - sum(chunk.value for chunk in locked)
    if value:
        staking.balances.release(HoldReason.Staking, who, value)
        staking.emit(staking.Withdrawn(who, value))
    if ledger.active or locked:
        staking.ledger.put(who, bond_of(who, ledger.active, locked))
        return
    chill(staking, who)
    staking.bonded.remove(who)
    staking.ledger.remove(who)
    staking.payee.remove(who)


def validate(staking: Staking, who: AccountId, prefs: ValidatorPrefs) -> None:
    """Stand for election. Raises NotStash, Tombstoned, InsufficientBond, CommissionTooHigh,
    TooManyValidators."""
    ledger, parameters = require_ledger(staking, who), staking.parameters.get()
    if staking.tombstones.get(who):
        raise staking.Tombstoned
    if ledger.active < parameters.minimum_validator_bond:
        raise staking.InsufficientBond
    if prefs.commission > parameters.maximum_commission:
        raise staking.CommissionTooHigh
    if who not in staking.validators:
        count = staking.counter_for_validators.get()
        if count >= VALIDATORS_MAX:
            raise staking.TooManyValidators
        _stop_nominating(staking, who)
        staking.counter_for_validators.put(count + 1)
    staking.validators.put(who, prefs)
    staking.chilled_validators.remove(who)
    staking.emit(staking.ValidatorPrefsSet(who, prefs))


def nominate(staking: Staking, who: AccountId, targets: Sequence[AccountId]) -> None:
    """Back validators. Raises NotStash, InsufficientBond, EmptyTargets, TooManyTargets,
    DuplicateTarget, BadTarget, TooManyNominators."""
    ledger = require_ledger(staking, who)
    if ledger.active < staking.parameters.get().minimum_nominator_bond:
        raise staking.InsufficientBond
    if not targets:
        raise staking.EmptyTargets
    if len(targets) > TARGETS_MAX:
        raise staking.TooManyTargets
    if len(set(targets)) != len(targets):
        raise staking.DuplicateTarget
    if not all(target in staking.validators for target in targets):
        raise staking.BadTarget
    if who not in staking.nominators:
        count = staking.counter_for_nominators.get()
        if count >= NOMINATORS_MAX:
            raise staking.TooManyNominators
        _stop_validating(staking, who)
        staking.counter_for_nominators.put(count + 1)
    staking.chilled_validators.remove(who)
    staking.nominators.put(who, Nominations(tuple(targets), staking.active()))
    staking.emit(staking.Nominated(who, tuple(targets)))


def chill_absent(staking: Staking, who: AccountId, epoch: int) -> bool:
    """Chill a validator that was absent in an epoch, and remember its terms for its return."""
    is_validator, prefs = who in staking.validators, staking.validators.get(who)
    is_chilled = chill(staking, who)
    if is_validator:
        staking.chilled_validators.put(who, ChilledValidator(epoch, prefs))
    return is_chilled


def chill(staking: Staking, who: AccountId) -> bool:
    """Leave the roles of an account, from the next election on; returns whether it had one."""
    staking.chilled_validators.remove(who)
    had_role = _stop_validating(staking, who) or _stop_nominating(staking, who)
    if had_role:
        staking.emit(staking.Chilled(who))
    return had_role


def require_ledger(staking: Staking, who: AccountId) -> StakingLedger:
    """Return the ledger of a stash. Raises NotStash."""
    ledger = staking.ledger.get(who)
    if ledger is None:
        raise staking.NotStash
    return ledger


def _minimum(staking: Staking, who: AccountId) -> int:
    if who in staking.validators:
        return staking.parameters.get().minimum_validator_bond
    if who in staking.nominators:
        return staking.parameters.get().minimum_nominator_bond
    return 0


def _stop_validating(staking: Staking, who: AccountId) -> bool:
    if who not in staking.validators:
        return False
    staking.validators.remove(who)
    staking.counter_for_validators.put(staking.counter_for_validators.get() - 1)
    return True


def _stop_nominating(staking: Staking, who: AccountId) -> bool:
    if who not in staking.nominators:
        return False
    staking.nominators.remove(who)
    staking.counter_for_nominators.put(staking.counter_for_nominators.get() - 1)
    return True
