"""The stored values of Offences: offenders, waiting slashes, turns; the fractions of slashes."""

from __future__ import annotations

import enum
from typing import Final

from pallets.staking.records import BILLION
from runtime.codec.scale import scale, u32, u64
from runtime.types.primitives import AccountId

SET_MIN: Final = 4
MISSED_MIN: Final = 4
ABSENCE_PERCENT: Final = 7


def equivocation_fraction(offenders: int, size: int) -> int:
    """Return min(1, (3 k / n)^2) in parts of 10**9."""
    return min(BILLION, 9 * offenders * offenders * BILLION // (size * size))


def absence_fraction(absent: int, size: int) -> int:
    """Return 7 % * min(1, 3 (k - n / 10 - 1) / n), at least 0, in parts of 10**9."""
    excess = max(0, absent - size // 10 - 1)
    return min(BILLION, 3 * excess * BILLION // size) * ABSENCE_PERCENT // 100


class Offence(enum.IntEnum):
    """The kinds of offences of validators."""

    Equivocation = 0
    Absence = 1


@scale
class Offender:
    """Who was convicted in an epoch, what fraction it has lost, whether that was lifted."""

    stash: AccountId
    applied: u32 = 0
    is_lifted: bool = False


@scale
class PendingSlash:
    """A slash that waits. `fraction` is that of absence; that of equivocation is found later."""

    offence: Offence
    epoch: u64
    stash: AccountId
    fraction: u32
    due_epoch: u64


@scale
class Turns:
    """The turns of a validator in this epoch."""

    led: u32 = 0
    missed: u32 = 0

    @property
    def is_absent(self) -> bool:
        """Missed more than half, and not just a few."""
        return self.missed >= MISSED_MIN and self.missed > self.led
