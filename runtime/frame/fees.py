"""The fee for inclusion in a block, in planck: pure integer functions.

fee = base + length x byte fee + multiplier x weight fee; the tip goes on top and is the priority.
The multiplier follows congestion block by block (Substrate's TargetedFeeAdjustment). All bounds
are constants of the runtime, all divisions round down.
"""

from __future__ import annotations

from typing import Final

from runtime.codec.scale import scale, u128
from runtime.codec.shape import rust
from runtime.frame.dispatch import DispatchClass
from runtime.types.primitives import Balance, Weight

BASE_FEE: Final = 5 * 10**14
BYTE_FEE: Final = 2 * 10**12
PLANCK_PER_MEGA_PICOSECOND: Final = 10**12
"""Weight fee: planck for each 10**6 picoseconds (one microsecond) of ref_time."""

BLOCK_WEIGHT_MAX: Final = Weight(2 * 10**12, 5 * 1024 * 1024)
BLOCK_LENGTH_MAX: Final = 5 * 1024 * 1024
NORMAL_PERCENT: Final = 75
"""The part of a block's weight and length that normal extrinsics may use."""
EXTRINSIC_PERCENT: Final = 65
"""The part that one extrinsic may use; the rest is for hooks and inherents, which come first."""
EXTRINSIC_BASE_WEIGHT: Final = Weight(100 * 10**6, 0)

MULTIPLIER_ONE: Final = 10**18
MULTIPLIER_MAX: Final = 10**6 * MULTIPLIER_ONE
TARGET_PERCENT: Final = 25
OPERATIONAL_PRIORITY: Final = 2**63
"""Any operational transaction stands above every normal one, whatever its tip."""
ADJUSTMENT: Final = 3 * MULTIPLIER_ONE // 10**3
"""The speed of the multiplier: at most about 0.2 % a block at these settings."""


@rust("pallet_transaction_payment::types::InclusionFee", Balance=u128)
@scale
class InclusionFee:
    """The parts of a fee (pallet_transaction_payment::InclusionFee)."""

    base_fee: Balance
    len_fee: Balance
    adjusted_weight_fee: Balance

    @property
    def total(self) -> int:
        """The whole fee without the tip."""
        return self.base_fee + self.len_fee + self.adjusted_weight_fee


def inclusion_fee(weight: Weight, length: int, multiplier: int) -> InclusionFee:
    """Return the fee for a weight (without the base weight) and a length in bytes."""
    weight_fee = weight.ref_time * PLANCK_PER_MEGA_PICOSECOND // 10**6
    return InclusionFee(BASE_FEE, length * BYTE_FEE, weight_fee * multiplier // MULTIPLIER_ONE)


def next_multiplier(multiplier: int, used: Weight) -> int:
    """Return the multiplier of the next block, from the weight that normal extrinsics used.

    m' = m (1 + d + d^2 / 2) with d = v (fullness - target), at least 1.
    """
    limit = BLOCK_WEIGHT_MAX.ref_time * NORMAL_PERCENT // 100
    target = limit * TARGET_PERCENT // 100
    difference = (min(used.ref_time, limit) - target) * MULTIPLIER_ONE // limit
    step = ADJUSTMENT * difference // MULTIPLIER_ONE
    factor = MULTIPLIER_ONE + step + step * step // (2 * MULTIPLIER_ONE)
    adjusted = multiplier * factor // MULTIPLIER_ONE
    return min(max(adjusted, MULTIPLIER_ONE), MULTIPLIER_MAX)


def priority(tip: int, fee: int, kind: DispatchClass = DispatchClass.Normal) -> int:
    """Return the priority of a tip: tip per fee, in millionths; operational ones come first.

    They have room of their own in a block; without this a full pool would keep them out of it.
    """
    offered = min(tip * 10**6 // max(fee, 1), OPERATIONAL_PRIORITY - 1)
    return offered + (OPERATIONAL_PRIORITY if kind is DispatchClass.Operational else 0)
