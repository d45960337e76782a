"""Settlement arithmetic in integers: splitting money and bounding scores, with nothing lost.

Pallets and ml both use these functions, so that a payout computed off chain is the payout on chain.

Rules that hold here: integers only; every split adds up to exactly what was split; ties go to the
earlier position; a contributor is paid for the lower bound of a score, never for the score itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Final, Protocol

PERMILLE: Final = 1000
MILLI: Final = 1000


class ScoredEntry(Protocol):
    """The part of an entry that a payout reads; `documents.SettlementEntry` has it."""

    @property
    def score(self) -> int:
        """The signed net score."""

    @property
    def square_sum(self) -> int:
        """The sum of squares of the scores that it was netted from."""


class WeightError(ValueError):
    """Weights that money cannot be split by."""


class NegativeAmountError(ValueError):
    """A negative number where an amount or a sum of squares belongs."""


def split(total_planck: int, weights: Sequence[int]) -> list[int]:
    """Split an amount in proportion to weights by largest remainder; ties go to the earlier one.

    The parts add up to `total_planck`. Raises WeightError for a negative weight or when no weight
    is positive, NegativeAmountError for a negative amount.
    """
    _require_not_negative(total_planck, "An amount to split")
    if any(weight < 0 for weight in weights):
        raise WeightError(
            "A weight is negative. Clip the weights at zero before splitting by them."
        )
    whole = sum(weights)
    if whole == 0:
        raise WeightError("No weight is positive, so nobody can be paid. Pay the commons instead.")
    parts = [total_planck * weight // whole for weight in weights]
    missing = total_planck - sum(parts)
    by_remainder = sorted(
        range(len(weights)), key=lambda at: (-(total_planck * weights[at] % whole), at)
    )
    for at in by_remainder[:missing]:
        parts[at] += 1
    return parts


def split_permille(total_planck: int, permilles: Sequence[int]) -> list[int]:
    """Split an amount by permilles that add up to 1000. Raises WeightError when they do not."""
    if sum(permilles) != PERMILLE:
        raise WeightError(
            f"The permilles add up to {sum(permilles)}, not to 1000. Correct the shares."
        )
    return split(total_planck, permilles)


def integer_sqrt(value: int) -> int:
    """Return the largest integer whose square is at most `value`. Raises NegativeAmountError."""
    _require_not_negative(value, "A square")
    return isqrt(value)


def lower_bound(score: int, square_sum: int, z_milli: int) -> int:
    """Return max(0, S - z sqrt(V)), the score that is paid on, with z = z_milli / 1000.

    The withheld part z sqrt(V) is rounded up, so rounding never pays more than the bound.
    """
    _require_not_negative(square_sum, "A sum of squares")
    _require_not_negative(z_milli, "The factor of the bound")
    # The root is taken last, of the scaled sum: scaling a root would lose up to z / 1000.
    scaled = z_milli * z_milli * square_sum
    root = isqrt(scaled)
    if root * root < scaled:
        root += 1
    return max(0, score - -(-root // MILLI))


def payout(
    total_planck: int, entries: Sequence[ScoredEntry], z_milli: int
) -> tuple[list[int], int]:
    """Return what each entry earns, in planck, and what goes to the datanet's commons.

    The pool is shared over the positive parts of the scores; of its part an entry gets what its
    lower bound covers, the rest is withheld for the commons. The bound of one contributor never
    raises another's pay. Without a positive score the whole pool goes to the commons.
    """
    _require_not_negative(total_planck, "A pool")
    paid = [lower_bound(entry.score, entry.square_sum, z_milli) for entry in entries]
    withheld = sum(max(0, entry.score) for entry in entries) - sum(paid)
    if not any(paid):
        return [0] * len(paid), total_planck
    *earned, commons = split(total_planck, [*paid, withheld])
    return earned, commons


def _require_not_negative(value: int, what: str) -> None:
    if value < 0:
        raise NegativeAmountError(f"{what} cannot be negative ({value}). Check the sign.")
