"""Settlement: an epoch of receipts as one signed net score per contributor.

Q = sum fee f phi(answer) over the receipts, f = -1 after negative feedback in time, plus governed
weights of verified targets (sketches of held-out rows). S_c = Psi_c . Q, and V_c is the sum of the
squares of the scores that S_c is netted from. Nothing is clipped here: `runtime.shares.payout`
clips once, per contributor and epoch. Paying every positive score of every row instead would pay a
poisoner most (a test keeps that comparison).

Rules that hold here: all results are exact integers. Fees are cut in limbs of 24 bits, so that each
float64 product stays below 2^53; where V would not fit 128 bits, all S are divided by one power of
two and all V by its square, which changes no share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.attribution.sketch import INT8_MAX, Sketches
from runtime.documents import (
    ContributorAggregate,
    Receipt,
    Settled,
    SettlementEntry,
    receipt_hash,
)
from runtime.merkle import sum_root
from runtime.primitives import Hash

BLOCK_ROWS = 2048
LIMB_BITS = 24
SCORE_BITS = 127
SQUARE_SUM_BITS = 128

Floats = npt.NDArray[np.float64]

assert BLOCK_ROWS * INT8_MAX << LIMB_BITS < 1 << 53


@dataclass(frozen=True, slots=True)
class Target:
    """A verified target: the sketch of a revealed held-out row with its weight in planck."""

    weight_planck: int
    phi: bytes


class SketchLength(ValueError):
    """A receipt whose sketch has not the size of the index."""


def settle(
    receipts: Sequence[Receipt],
    negative: Collection[Hash],
    aggregates: Sequence[ContributorAggregate],
    targets: Sequence[Target] = (),
) -> Settled:
    """Return the settlement of one epoch; `negative` holds receipt ids with negative feedback.

    The receipts come in the order of their root, the entries in the order of the aggregates.
    Raises SketchLength.
    """
    hashes = [receipt_hash(receipt) for receipt in receipts]
    signed = [
        -receipt.contributor_fee_planck if identity in negative else receipt.contributor_fee_planck
        for identity, receipt in zip(hashes, receipts, strict=True)
    ]
    weights = [*signed, *(target.weight_planck for target in targets)]
    sketches = [*(receipt.phi for receipt in receipts), *(target.phi for target in targets)]
    root, fees = receipts_root(receipts, hashes)
    entries = net_scores(aggregates, sketches, weights)
    return Settled(len(receipts), root, fees, entries)


def receipts_root(
    receipts: Sequence[Receipt], hashes: Sequence[Hash] | None = None
) -> tuple[Hash, int]:
    """Return the Merkle sum over (receipt id, contributor fee): its root and the fees in all."""
    identities = hashes or [receipt_hash(receipt) for receipt in receipts]
    fees = (receipt.contributor_fee_planck for receipt in receipts)
    return sum_root(zip(identities, fees, strict=True))


def net_scores(
    aggregates: Sequence[ContributorAggregate], sketches: Sequence[bytes], weights: Sequence[int]
) -> tuple[SettlementEntry, ...]:
    """Return S_c and V_c of each contributor for weighted sketches. Raises SketchLength."""
    if not aggregates:
        return ()
    psi = np.array([aggregate.psi_sum for aggregate in aggregates], np.int64)
    query = weighted_sum(sketches, weights, psi.shape[1])
    scores = [sum(map(int.__mul__, row, query)) for row in psi.tolist()]
    squares = _square_sums(psi, sketches, weights)
    shift = _shift(scores, squares)
    return tuple(
        SettlementEntry(
            aggregate.contributor,
            score >> shift if score >= 0 else -(-score >> shift),
            -(-square >> 2 * shift),
        )
        for aggregate, score, square in zip(aggregates, scores, squares, strict=True)
    )


def weighted_sum(sketches: Sequence[bytes], weights: Sequence[int], size: int) -> list[int]:
    """Return Q = sum weight * sketch, k exact integers of any size. Raises SketchLength."""
    bits = max((abs(weight).bit_length() for weight in weights), default=0)
    limbs = max(1, -(-bits // LIMB_BITS))
    total = [0] * size
    for start, block in _blocks(sketches, size):
        parts = _limbs(weights[start : start + len(block)], limbs)  # [limbs, rows]
        sums = (parts @ block).astype(np.int64).tolist()  # [limbs, k]
        for limb, row in enumerate(sums):
            total = [
                value + (part << LIMB_BITS * limb) for value, part in zip(total, row, strict=True)
            ]
    return total


def _square_sums(
    psi: npt.NDArray[np.int64], sketches: Sequence[bytes], weights: Sequence[int]
) -> list[int]:
    """Return V_c = sum (weight * Psi_c . phi)^2 over the sketches."""
    largest, size = int(np.max(np.abs(psi))), psi.shape[1]
    assert largest * INT8_MAX * size < 1 << 53, "too many rows for one contributor"
    sums = np.zeros(len(psi), object)
    wide = psi.astype(np.float64)
    for start, block in _blocks(sketches, size):
        dots = (wide @ block.T).astype(np.int64).astype(object)  # [contributors, rows]
        weighted = dots * np.array(weights[start : start + len(block)], object)
        sums += np.sum(weighted * weighted, axis=1)
    return [int(value) for value in sums]


def _blocks(sketches: Sequence[bytes], size: int) -> Iterator[tuple[int, Floats]]:
    for start in range(0, len(sketches), BLOCK_ROWS):
        yield start, sketch_matrix(sketches[start : start + BLOCK_ROWS], size).astype(np.float64)


def sketch_matrix(sketches: Sequence[bytes], size: int) -> Sketches:
    """Return sketches as one int8 matrix [rows, k]. Raises SketchLength."""
    for sketch in sketches:
        if len(sketch) != size:
            raise SketchLength(
                f"A sketch has {len(sketch)} numbers where the index has {size}. "
                "The receipt belongs to another index; leave it out."
            )
    return np.frombuffer(b"".join(sketches), np.int8).reshape(len(sketches), size)


def _limbs(weights: Sequence[int], limbs: int) -> Floats:
    """Return the digits of the weights to base 2^24, with the weight's sign [limbs, rows]."""
    mask = (1 << LIMB_BITS) - 1
    return np.array(
        [
            [
                (abs(weight) >> LIMB_BITS * limb & mask) * (-1 if weight < 0 else 1)
                for weight in weights
            ]
            for limb in range(limbs)
        ],
        np.float64,
    )


def _shift(scores: Sequence[int], squares: Sequence[int]) -> int:
    score_bits = max(abs(score).bit_length() for score in scores)
    square_bits = max(square.bit_length() for square in squares)
    # One spare bit, because square sums are rounded up.
    return max(0, score_bits - SCORE_BITS, -((SQUARE_SUM_BITS - 1 - square_bits) // 2))
