"""Settlement: the sketches of an epoch's answers as shares of contributors.

For the answers that name one index, Q = sum fee phi(answer), S_c = Psi_c . Q, and V_c is the sum of
the squares of the scores that S_c is netted from. Nothing is clipped here:
`runtime.shared.shares.payout` clips once, per contributor and index. Paying every positive score
of every row instead would pay a poisoner most (tests/ml/attribution/test_netting.py compares them).
Scores of two indexes have no common scale, so the pool is split between indexes by the fees of
their answers first.

Rules that hold here: all results are exact integers. Weights and scores are split into limbs of 15
bits, so that a block's sum of products of three stays below 2^53 in float64: BLAS then multiplies
them exactly, where Python's integers took most of the time of a settlement. Where V would not fit
128 bits, all S are divided by one power of two and all V by its square, which changes no share.
Answers are added page by page; memory grows with contributors, not with answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.attribution.sketch import INT8_MAX, Sketches
from runtime.shared.documents import (
    SHARES_PUSHED_MAX,
    ContributorAggregate,
    LargestShare,
    SettlementEntry,
    Share,
)
from runtime.shared.shares import payout, split
from runtime.trie.merkle import sum_root
from runtime.types.primitives import AccountId, Hash

BLOCK_ROWS: Final = 256
LIMB_BITS: Final = 15
LIMB_MASK: Final = (1 << LIMB_BITS) - 1
SCORE_BITS: Final = 127
SQUARE_SUM_BITS: Final = 128

Floats = npt.NDArray[np.float64]

assert BLOCK_ROWS * LIMB_MASK**3 < 1 << 53
assert INT8_MAX < LIMB_MASK


class SketchLengthError(ValueError):
    """The sketch of a receipt does not have the size of the index."""


class NetScores:
    """The scores of the contributors of one index, over answers that are added bit by bit."""

    def __init__(self, aggregates: Sequence[ContributorAggregate]) -> None:
        self._contributors = [aggregate.contributor for aggregate in aggregates]
        psi = np.array([aggregate.psi_sum for aggregate in aggregates], np.int64)
        size = psi.shape[1] if aggregates else 0
        self._dot_max = int(np.max(np.abs(psi), initial=0)) * INT8_MAX * size
        assert self._dot_max < 1 << 53, "too many rows for one contributor"
        self._psi = psi.astype(np.float64)
        """Psi_c by contributor [contributors, k], whole numbers."""
        self._query = [0] * size
        self._squares = [0] * len(aggregates)
        self.fees_planck = 0

    def add(self, sketches: Sequence[bytes], fees_planck: Sequence[int]) -> None:
        """Add answers with their fees. Raises SketchLengthError."""
        self.fees_planck += sum(fees_planck)
        if not self._contributors or not sketches:
            return
        added = weighted_sum(sketches, fees_planck, len(self._query))
        self._query = [former + more for former, more in zip(self._query, added, strict=True)]
        squares = _square_sums(self._psi, self._dot_max, sketches, fees_planck)
        self._squares = [former + more for former, more in zip(self._squares, squares, strict=True)]

    def entries(self) -> tuple[SettlementEntry, ...]:
        """Return S_c and V_c of each contributor, in the order of the aggregates."""
        if not self._contributors:
            return ()
        scores = [
            sum(map(int.__mul__, row, self._query)) for row in self._psi.astype(np.int64).tolist()
        ]
        shift = _shift(scores, self._squares)
        return tuple(
            SettlementEntry(
                contributor,
                score >> shift if score >= 0 else -(-score >> shift),
                -(-square >> 2 * shift),
            )
            for contributor, score, square in zip(
                self._contributors, scores, self._squares, strict=True
            )
        )


def epoch_shares(
    pool_planck: int, indexes: Sequence[NetScores], bound_milli: int
) -> tuple[Share, ...]:
    """Share a pool among the contributors of the indexes that an epoch's answers name.

    Returns the shares above zero, ascending by account; what is missing from the pool belongs to
    the commons. Every answer has a fee, so at least one index does.
    """
    parts = split(pool_planck, [index.fees_planck for index in indexes])
    shares: dict[AccountId, int] = {}
    for part, index in zip(parts, indexes, strict=True):
        entries = index.entries()
        earned, _ = payout(part, entries, bound_milli)
        for entry, amount in zip(entries, earned, strict=True):
            shares[entry.contributor] = shares.get(entry.contributor, 0) + amount
    return tuple(Share(account, shares[account]) for account in sorted(shares) if shares[account])


def largest_shares(shares: Sequence[Share]) -> tuple[LargestShare, ...]:
    """Return the largest shares with their positions, ascending; ties go to the earlier one."""
    order = sorted(range(len(shares)), key=lambda at: (-shares[at].planck, at))
    return tuple(LargestShare(at, shares[at]) for at in sorted(order[:SHARES_PUSHED_MAX]))


def shares_root(shares: Sequence[Share]) -> tuple[Hash, int]:
    """Return the Merkle sum over (contributor, planck): its root and the amount in all."""
    return sum_root((Hash(share.contributor), share.planck) for share in shares)


def weighted_sum(sketches: Sequence[bytes], weights: Sequence[int], size: int) -> list[int]:
    """Return Q = sum weight * sketch, k exact integers of any size. Raises SketchLengthError."""
    digits = _limbs(weights)  # [limbs, rows]
    # Below 2^63 for 2^41 sketches: 15 bits of a digit, 7 of a sketch.
    sums = np.zeros((len(digits), size), np.int64)  # [limbs, k]
    for start, block in _blocks(sketches, size):
        sums += (digits[:, start : start + len(block)] @ block).astype(np.int64)  # [limbs, k]
    return [_joined(column) for column in sums.T.tolist()]


def _square_sums(
    psi: Floats, dot_max: int, sketches: Sequence[bytes], weights: Sequence[int]
) -> list[int]:
    """Return V_c = sum (weight * Psi_c . phi)^2 over the sketches, from psi [contributors, k] whose
    dot products are at most `dot_max`.

    With the limbs d of Psi_c . phi and w of weight^2 that is a sum of d * d' * w. The square hides
    the sign of Psi_c . phi, so the limbs are those of its absolute value.
    """
    limbs = _limb_count(dot_max)
    squares = _limbs([weight * weight for weight in weights])  # [limbs of squares, rows]
    # [limbs of d d', contributors, limbs of squares]
    sums = np.zeros((2 * limbs - 1, len(psi), len(squares)), object)
    for start, block in _blocks(sketches, psi.shape[1]):
        dots = np.abs(psi @ block.T).astype(np.int64)  # [contributors, rows]
        # [contributors, rows] each
        parts = [(dots >> LIMB_BITS * at & LIMB_MASK).astype(np.float64) for at in range(limbs)]
        factors = squares[:, start : start + len(block)].T  # [rows, limbs of squares]
        for left, right in combinations_with_replacement(range(limbs), 2):
            # [contributors, limbs of squares]
            product = _exact((parts[left] * parts[right]) @ factors)
            sums[left + right] += product if left == right else 2 * product
    by_contributor = sums.transpose(1, 2, 0).tolist()
    return [_joined([_joined(part) for part in parts]) for parts in by_contributor]


def _blocks(sketches: Sequence[bytes], size: int) -> Iterator[tuple[int, Floats]]:
    """Yield (first row, sketches [rows of the block, k]) of all sketches."""
    for start in range(0, len(sketches), BLOCK_ROWS):
        yield start, sketch_matrix(sketches[start : start + BLOCK_ROWS], size).astype(np.float64)


def sketch_matrix(sketches: Sequence[bytes], size: int) -> Sketches:
    """Return sketches as one int8 matrix [rows, k]. Raises SketchLengthError."""
    for sketch in sketches:
        if len(sketch) != size:
            raise SketchLengthError(
                f"A sketch has {len(sketch)} numbers where the index has {size}. "
                "The receipt belongs to another index; leave it out."
            )
    return np.frombuffer(b"".join(sketches), np.int8).reshape(len(sketches), size)


def _limbs(values: Sequence[int]) -> Floats:
    """Return the digits of integers to base 2^15 [limbs, values], each with its integer's sign."""
    limbs = _limb_count(max(map(abs, values), default=0))
    return np.array(
        [
            [
                (abs(value) >> LIMB_BITS * limb & LIMB_MASK) * (-1 if value < 0 else 1)
                for value in values
            ]
            for limb in range(limbs)
        ],
        np.float64,
    )


def _limb_count(largest: int) -> int:
    return max(1, -(-largest.bit_length() // LIMB_BITS))


def _joined(limbs: Sequence[int]) -> int:
    """Return the integer with these digits to base 2^15, each of any size."""
    return sum(limb << LIMB_BITS * at for at, limb in enumerate(limbs))


def _exact(sums: Floats) -> npt.NDArray[np.object_]:
    """Return whole floats as integers that never overflow."""
    return sums.astype(np.int64).astype(object)


def _shift(scores: Sequence[int], squares: Sequence[int]) -> int:
    score_bits = max(abs(score).bit_length() for score in scores)
    square_bits = max(square.bit_length() for square in squares)
    # One spare bit, because square sums are rounded up.
    return max(0, score_bits - SCORE_BITS, -((SQUARE_SUM_BITS - 1 - square_bits) // 2))
