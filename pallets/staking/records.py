"""The records of staking: ledgers, roles, exposures, earnings, parameters; and their bounds."""

from __future__ import annotations

import enum
from typing import Final

from runtime.codec.scale import CompactU32, scale, u32, u64, u256
from runtime.types.primitives import OPEN, AccountId, Balance, CompactBalance

STAKING_POT: Final = AccountId(b"modlopen/stk".ljust(32, b"\0"))
"""Pays rewards: endowed in genesis, fed by fees."""

BILLION: Final = 10**9
"""Fractions (commission, slash) are parts of 10**9, as Substrate's Perbill."""
MILLION: Final = 10**6
PERMILLE: Final = 1000
RATE_ONE: Final = 10**36
"""Rewards per planck of stake are fixed point: an error stays below one planck for any stake."""

TARGETS_MAX: Final = 16
VALIDATORS_MAX: Final = 256
"""Accounts that stand for election, and seats."""
NOMINATORS_MAX: Final = 2_000
UNLOCKING_MAX: Final = 32
PAYOUTS_PER_BLOCK: Final = 16
ENTRIES_LISTED_MAX: Final = 1_000

SESSIONS_PER_ERA: Final = 6
HISTORY_DEPTH: Final = 8
"""Past eras that wallets show: those for which stake is still bonded, at six sessions an era."""
EVIDENCE_EPOCHS: Final = 28
"""Evidence of an offence counts for so many epochs after the one in which it happened."""
SLASH_DELAY_EPOCHS: Final = 2
"""How long governance may cancel a slash before it is applied."""


def bonding_eras(sessions_per_era: int) -> int:
    """Return how many eras unbonding takes: longer than any slash for what the stake secured.

    Stake unbonded in era x may be exposed to the end of era x + 1, for the election of x + 1 is
    over when x ends. Evidence of its last epoch counts EVIDENCE_EPOCHS on, a slash waits
    SLASH_DELAY_EPOCHS, and one epoch is left for queued slashes.
    """
    epochs = EVIDENCE_EPOCHS + SLASH_DELAY_EPOCHS + 1
    return 2 - (-epochs // sessions_per_era)


class Payee(enum.IntEnum):
    """The destination of rewards: the bond, or the free balance of the stash."""

    Staked = 0
    Stash = 1


@scale
class UnlockChunk:
    """Stake on its way out: free from the beginning of `era` on."""

    value: CompactBalance
    era: CompactU32


@scale
class StakingLedger:
    """The bonded stake of a stash: all that is held, of it active, and unbonding, the oldest
    first. `bond_of` makes one whose parts agree."""

    stash: AccountId
    total: CompactBalance
    active: CompactBalance
    unlocking: tuple[UnlockChunk, ...] = ()


def bond_of(
    stash: AccountId, active: int, unlocking: tuple[UnlockChunk, ...] = ()
) -> StakingLedger:
    """Return the ledger of a stash."""
    total = active + sum(chunk.value for chunk in unlocking)
    return StakingLedger(stash, total, active, unlocking)


@scale
class ValidatorPrefs:
    """A validator's terms: its commission in parts of 10**9, taken first."""

    commission: CompactU32 = 0


NO_PREFS: Final = ValidatorPrefs()


@scale
class ChilledValidator:
    """A validator that missed most of its turns in an epoch, and the terms that it had."""

    epoch: u64
    prefs: ValidatorPrefs


@scale
class Nominations:
    """The validators that an account backs, and since which era."""

    targets: tuple[AccountId, ...]
    submitted_in: u32


@scale
class IndividualExposure:
    """A part of a nominator's stake."""

    who: AccountId
    value: Balance


@scale
class Exposure:
    """The stake behind a validator in an era, and the commission it was elected with."""

    total: Balance
    own: Balance
    commission: u32
    others: tuple[IndividualExposure, ...] = ()


@scale
class Position:
    """Stake behind a validator, and the validator's rate up to which it was paid."""

    validator: AccountId
    value: Balance
    mark: u256


@scale
class Earnings:
    """Unpaid rewards of an account, and the positions from which it earns."""

    pending: Balance = 0
    positions: tuple[Position, ...] = ()


@scale
class Sweep:
    """How far the automatic payment of an era has come; the era was paid out when done."""

    era: u32 = 0
    validator: u32 = 0
    backer: u32 = 0
    is_done: bool = True


@scale
class Parameters:
    """The parameters that governance sets: minimum bonds in planck, seats, payout rates.

    `fee_permille` of the fee pot and `pot_millionths` of the staking pot are paid for an era.
    """

    minimum_validator_bond: Balance = 1_000 * OPEN
    minimum_nominator_bond: Balance = 10 * OPEN
    maximum_commission: u32 = BILLION
    validator_count: u32 = 100
    fee_permille: u32 = 800
    pot_millionths: u32 = 100


PARAMETERS_MIN: Final = Parameters(
    minimum_validator_bond=OPEN,
    minimum_nominator_bond=OPEN,
    maximum_commission=0,
    validator_count=1,
    fee_permille=0,
    pot_millionths=0,
)
PARAMETERS_MAX: Final = Parameters(
    minimum_validator_bond=10_000_000 * OPEN,
    minimum_nominator_bond=1_000_000 * OPEN,
    maximum_commission=BILLION,
    validator_count=VALIDATORS_MAX,
    fee_permille=PERMILLE,
    pot_millionths=10_000,
)


def are_within_bounds(parameters: Parameters) -> bool:
    """Return whether every parameter is between its minimum and maximum."""
    return all(
        getattr(PARAMETERS_MIN, name) <= getattr(parameters, name) <= getattr(PARAMETERS_MAX, name)
        for name in Parameters.__dataclass_fields__
    )


@scale
class Staker:
    """A validator or nominator of the first set: it backs `nominates`, or validates itself."""

    stash: AccountId
    bond: Balance
    commission: u32 = 0
    nominates: tuple[AccountId, ...] = ()


@scale
class Genesis:
    """The first stakers. What the pot pays is endowed by Balances, at the address STAKING_POT."""

    stakers: tuple[Staker, ...] = ()
    sessions_per_era: u32 = SESSIONS_PER_ERA
    parameters: Parameters = Parameters()


@scale
class ValidatorEntry:
    """A validator as clients see it; `points` are its blocks of this era."""

    stash: AccountId
    commission: u32
    own: Balance
    total: Balance
    points: u32
    nominators: u32
    is_elected: bool
    is_candidate: bool


@scale
class EraEntry:
    """Where the chain is: the era, the one planned, its first session, terms of unbonding."""

    active: u32
    planned: u32
    first_session: u64
    sessions_per_era: u32
    bonding_eras: u32
