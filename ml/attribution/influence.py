"""Influence from sketches: the exact Gram matrix, damping, and inverse-Fisher sketches psi.

phi [rows, k] are int8 sketches, G = phi phi^T their Gram matrix, lambda = 2 tr(G) / rows, and
psi = lambda (G + lambda I)^-1 phi, rounded to int8. By the push-through identity that equals
lambda phi (phi^T phi + lambda I)^-1, the damped inverse Fisher applied to each row; the smaller of
the two systems is solved. The factor lambda keeps psi in the units of phi: directions that no
other row shares keep their length, common ones shrink. A score is psi . phi(answer).

Rules that hold here: products of sketches are exact integers in any order of summation, because
every float32 partial sum stays below 2^24; psi is checked by its exact integer residual, so the
check does not depend on the solver that computed it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.attribution.sketch import INT8_MAX, Sketches
from runtime.types.primitives import Hash

EXACT_COLUMNS: Final = 1024
"""Columns of one float32 product: 1024 * 127^2 < 2^24, so it is exact.

Floats and not integers, because BLAS multiplies float32 many times faster than numpy multiplies
int64, and exact sums have the same bits whatever the order in which a BLAS adds.
"""

GRAM_BLOCK_ROWS: Final = 1024
"""Rows of the Gram matrix that are in memory at the same time while it is hashed."""

DAMPING_FACTOR: Final = 2
PSI_DEVIATION_MAX: Final = 0.5 + 1e-6
"""In units of psi: correct rounding costs half a unit, the float64 solver the rest."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

assert EXACT_COLUMNS * INT8_MAX * INT8_MAX < 1 << 24


def exact_product(left: Sketches, right: Sketches) -> Integers:
    """Return left right^T [rows of left, rows of right] of int8 sketches as exact integers."""
    total = np.zeros((len(left), len(right)), np.int64)
    for start in range(0, left.shape[1], EXACT_COLUMNS):
        columns = slice(start, start + EXACT_COLUMNS)
        total += _exact_block(left[:, columns], right[:, columns])  # [rows of left, rows of right]
    return total


def gram_hash(phi: Sketches) -> Hash:
    """Return blake2b-256 over the entries of phi phi^T, row by row, as 64-bit little-endian."""
    digest = blake2b(digest_size=32)
    for start in range(0, len(phi), GRAM_BLOCK_ROWS):
        block = exact_product(phi[start : start + GRAM_BLOCK_ROWS], phi)  # [block rows, rows]
        digest.update(np.ascontiguousarray(block, "<i8").data)
    return Hash(digest.digest())


def damping_of(phi: Sketches) -> int:
    """Return lambda = 2 tr(G) / rows, at least 1.

    An integer, so that every machine has the same; from the trace and not from eigenvalues, which
    differ between LAPACK builds.
    """
    trace = int(np.sum(phi.astype(np.int64) ** 2))
    return max(1, DAMPING_FACTOR * trace // max(1, len(phi)))


def inverse_sketches(phi: Sketches, damping: int) -> Sketches:
    """Return psi [rows, k] = int8(lambda (G + lambda I)^-1 phi)."""
    if len(phi) == 0:
        return phi.copy()
    exact = _solved(phi, phi.astype(np.float64), damping)  # [rows, k]
    return np.clip(np.rint(exact), -INT8_MAX, INT8_MAX).astype(np.int8)


def largest_deviation(phi: Sketches, psi: Sketches, damping: int) -> float:
    """Return the largest distance of psi to the real solution, in units, where it is not saturated.

    Correct psi deviate only by the rounding, at most PSI_DEVIATION_MAX. The residual
    lambda phi - (G + lambda I) psi is exact, so an error of the solver shrinks with it: a second
    solver's psi compared entry by entry would differ wherever the real value lies near a half.
    """
    if len(phi) == 0:
        return 0.0
    # [rows, k] both
    residual = damping * (phi.astype(np.int64) - psi.astype(np.int64)) - _gram_times(phi, psi)
    missing = _solved(phi, residual.astype(np.float64) / damping, damping)
    return float(np.max(np.abs(np.where(_is_saturated(psi, missing), 0.0, missing))))


def scores(psi: npt.NDArray[np.float32], query: Sketches) -> Integers:
    """Return psi . query of all rows as exact integers [rows].

    `psi` is float32 [rows, k], converted once by the caller; `query` is int8 [k].
    """
    total = np.zeros(len(psi), np.int64)
    wide_query = query.astype(np.float32)  # [k]
    for start in range(0, psi.shape[1], EXACT_COLUMNS):
        columns = slice(start, start + EXACT_COLUMNS)
        total += (psi[:, columns] @ wide_query[columns]).astype(np.int64)  # [rows]
    return total


def _exact_block(left: Sketches, right: Sketches) -> Integers:
    product = left.astype(np.float32) @ right.astype(np.float32).T
    return product.astype(np.int64)


def _exact_float64(left: Sketches, right: Sketches) -> Floats:
    assert left.shape[1] * INT8_MAX * INT8_MAX < 1 << 53
    return left.astype(np.float64) @ right.astype(np.float64)


def _gram_times(phi: Sketches, psi: Sketches) -> Integers:
    """Return phi phi^T psi as exact integers [rows, k], through the smaller middle product."""
    rows, size = phi.shape
    if rows <= size:
        # [rows, rows] and [rows, k]
        left, right = exact_product(phi, phi).astype(np.float64), psi.astype(np.float64)
    else:
        # [rows, k] and [k, k]
        left, right = phi.astype(np.float64), _exact_float64(phi.T, psi)
    # The entries are too large for chunks below 2^24, and float64 is exact up to 2^53: enough for
    # sketches of real rows, and checked here for forged ones.
    bound = float(np.max(np.abs(left))) * float(np.max(np.abs(right))) * left.shape[1]
    assert bound < float(1 << 53), "the product of the sketches is too large to be exact"
    return (left @ right).astype(np.int64)


def _solved(phi: Sketches, right: Floats, damping: int) -> Floats:
    """Return lambda (phi phi^T + lambda I)^-1 right in float64 [rows, k], by the smaller system."""
    rows, size = phi.shape
    if rows <= size:
        gram = exact_product(phi, phi).astype(np.float64) / damping  # [rows, rows]
        gram[np.diag_indices(rows)] += 1.0
        return np.linalg.solve(gram, right).astype(np.float64)
    fisher = _exact_float64(np.ascontiguousarray(phi.T), phi) / damping  # [k, k]
    fisher[np.diag_indices(size)] += 1.0
    # Woodbury: lambda (phi phi^T + lambda I)^-1 = I - phi (phi^T phi + lambda I)^-1 phi^T.
    wide = phi.astype(np.float64)  # [rows, k]
    inner = np.linalg.solve(fisher, wide.T @ right / damping)  # [k, k]
    return right - wide @ inner  # [rows, k]


def _is_saturated(psi: Sketches, missing: Floats) -> npt.NDArray[np.bool_]:
    """Return where psi is clipped at 127 and the real value lies beyond it [rows, k]."""
    saturated: npt.NDArray[np.bool_] = (np.abs(psi) == INT8_MAX) & (missing * psi > 0)
    return saturated
