"""Slashing: an offence takes stake from those who stood behind the offender when it happened.

A fraction of what each exposed in that era is burned, from stake at work first, then from stake
that went on its way out since; stake that had left before was not exposed and is not taken.
Burning preserves the sum of balances and burned tokens, and rewards no accusation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets.balances import HoldReason
from pallets.staking import eras, rewards
from pallets.staking.records import BILLION, UnlockChunk, bond_of, bonding_eras
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.staking import Staking


def slash(staking: Staking, era: int, validator: AccountId, fraction: int) -> int:
    """Burn a fraction (parts of 10**9) of what was exposed; returns how much was burned."""
    assert 0 <= fraction <= BILLION, "a fraction is at most the whole"
    exposure = staking.exposures.get((era, validator))
    if exposure is None:
        return 0  # it validated by its genesis weight, without stake
    whole = 0
    for who, value in rewards.backers_of(validator, exposure):
        burned = _slash_staker(staking, era, who, value * fraction // BILLION)
        if burned:
            eras.note_slash(staking, era, validator, who, fraction, burned)
        whole += burned
    return whole


def _slash_staker(staking: Staking, era: int, who: AccountId, amount: int) -> int:
    ledger = staking.ledger.get(who)
    if ledger is None or not amount:
        return 0
    active = ledger.active - min(ledger.active, amount)
    left = amount - (ledger.active - active)
    # Stake unbonded in the era before may have been exposed: that election was over already.
    first = era - 1 + bonding_eras(staking.sessions_per_era.get())
    chunks: list[UnlockChunk] = []
    for chunk in reversed(ledger.unlocking):
        taken = min(chunk.value, left) if chunk.era >= first else 0
        left -= taken
        if taken < chunk.value:
            chunks.append(UnlockChunk(chunk.value - taken, chunk.era))
    staking.ledger.put(who, bond_of(who, active, tuple(reversed(chunks))))
    burned = staking.balances.slash_held(HoldReason.Staking, who, amount - left)
    assert burned == amount - left, "the ledger is what is held"
    if burned:
        staking.emit(staking.Slashed(who, burned))
    return burned


def tombstone(staking: Staking, who: AccountId) -> None:
    """Never elect an account again, unless all its convictions are lifted."""
    staking.tombstones.put(who, staking.tombstones.get(who) + 1)


def lift_tombstone(staking: Staking, who: AccountId) -> None:
    """Take back one conviction of an account."""
    count = staking.tombstones.get(who)
    assert count, "only a convicted account has a tombstone"
    if count > 1:
        staking.tombstones.put(who, count - 1)
    else:
        staking.tombstones.remove(who)
