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
from typing import Final, TypeVar

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
T = TypeVar("T", bound=np.generic)

assert BLOCK_ROWS * LIMB_MASK**3 < 1 << 53
assert INT8_MAX < LIMB_MASK


class SketchLengthError(ValueError):
    """The sketch of a receipt does not have the size of the index."""


class NetScores:
    """The scores of the contributors of one index, over answers that are added bit by bit.

    With the limbs d of Psi_c . phi and w of fee^2, V_c is a sum of d * d' * w. The square hides the
    sign of Psi_c . phi, so d are the limbs of its absolute value. What is summed up is kept by limb
    and joined at the end.
    """

    def __init__(self, aggregates: Sequence[ContributorAggregate]) -> None:
        self._contributors = [aggregate.contributor for aggregate in aggregates]
        psi = np.array([aggregate.psi_sum for aggregate in aggregates], np.int64)
        self._size = psi.shape[1] if aggregates else 0
        largest = int(np.max(np.abs(psi), initial=0)) * INT8_MAX * self._size
        assert largest < 1 << 53, "too many rows for one contributor"
        self._psi = psi.astype(np.float64)
        """Psi_c by contributor [contributors, k], whole numbers."""
        self._dot_limbs = _limb_count(largest)
        self._query = np.zeros((0, self._size), np.int64)
        """Q by limb [limbs of fees, k], below 2^63 for 2^41 answers: 15 bits of a digit, 7 of a
        sketch."""
        self._squares = np.zeros((0, 2 * self._dot_limbs - 1, len(aggregates)), object)
        """V by limb [limbs of squared fees, limbs of d d', contributors]."""
        self.fees_planck = 0

    def add(self, sketches: Sequence[bytes], fees_planck: Sequence[int]) -> None:
        """Add answers with their fees. Raises SketchLengthError."""
        self.fees_planck += sum(fees_planck)
        if not self._contributors or not sketches:
            return
        digits = _limbs(fees_planck)  # [limbs, answers]
        squares = _limbs([fee * fee for fee in fees_planck])  # [limbs of squares, answers]
        self._query = _with_limbs(self._query, len(digits))
        self._squares = _with_limbs(self._squares, len(squares))
        for start, block in _blocks(sketches, self._size):
            rows = slice(start, start + len(block))
            self._query[: len(digits)] += (digits[:, rows] @ block).astype(np.int64)  # [limbs, k]
            self._add_squares(block, squares[:, rows])

    def _add_squares(self, block: Floats, squares: Floats) -> None:
        """Add the squares of sketches [answers, k] with their squared fees [limbs, answers]."""
        dots = np.abs(self._psi @ block.T).astype(np.int64)  # [contributors, answers]
        # [contributors, answers] each
        parts = [_digit(dots, at).astype(np.float64) for at in range(self._dot_limbs)]
        for left, right in combinations_with_replacement(range(self._dot_limbs), 2):
            # [limbs of squares, contributors]
            product = _exact(squares @ (parts[left] * parts[right]).T)
            twice = product if left == right else 2 * product
            self._squares[: len(squares), left + right] += twice

    def entries(self) -> tuple[SettlementEntry, ...]:
        """Return S_c and V_c of each contributor, in the order of the aggregates."""
        if not self._contributors:
            return ()
        query = [_joined(column) for column in self._query.T.tolist()]
        psi = self._psi.astype(np.int64).tolist()
        scores = [sum(map(int.__mul__, row, query)) for row in psi]
        by_contributor = self._squares.transpose(2, 0, 1).tolist()
        squares = [_joined([_joined(part) for part in parts]) for parts in by_contributor]
        shift = _shift(scores, squares)
        return tuple(
            SettlementEntry(
                contributor,
                score >> shift if score >= 0 else -(-score >> shift),
                -(-square >> 2 * shift),
            )
            for contributor, score, square in zip(self._contributors, scores, squares, strict=True)
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


def _with_limbs(sums: npt.NDArray[T], count: int) -> npt.NDArray[T]:
    """Return sums by limb [limbs, ...] with at least so many limbs."""
    missing = np.zeros((max(0, count - len(sums)), *sums.shape[1:]), sums.dtype)
    return np.concatenate((sums, missing))


def _digit(values: npt.NDArray[np.int64], at: int) -> npt.NDArray[np.int64]:
    """Return one digit to base 2^15 of integers that are not negative."""
    return values >> LIMB_BITS * at & LIMB_MASK


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
