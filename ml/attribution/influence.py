"""Influence from sketches: the exact Gram matrix, damping, and inverse-Fisher sketches psi.

phi [rows, k] are int8 sketches, G = phi phi^T their Gram matrix, lambda = 2 tr(G) / rows, and
psi = lambda (G + lambda I)^-1 phi, rounded to int8. By the push-through identity that equals
lambda phi (phi^T phi + lambda I)^-1, the damped inverse Fisher applied to each row; the smaller of
the two systems is solved. The factor lambda keeps psi in the units of phi: directions that no
other row shares keep their length, common ones shrink. A score is psi . phi(answer).

Rules that hold here: products of sketches are exact integers in any order of summation, because
every float32 partial sum stays below 2^24; psi is checked by its exact integer residual, so nobody
needs to trust the solver that made it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt

from ml.attribution.sketch import INT8_MAX, Sketches
from runtime.types.primitives import Hash

EXACT_COLUMNS: Final = 1024
"""Columns of one float32 product: 1024 * 127^2 < 2^24, so it is exact."""

GRAM_BLOCK_ROWS: Final = 1024
DAMPING_FACTOR: Final = 2
PSI_DEVIATION_MAX: Final = 0.5 + 1e-6

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

assert EXACT_COLUMNS * INT8_MAX * INT8_MAX < 1 << 24


def exact_product(left: Sketches, right: Sketches) -> Integers:
    """Return left right^T [rows, rows] of int8 sketches as exact integers."""
    total = np.zeros((len(left), len(right)), np.int64)
    for start in range(0, left.shape[1], EXACT_COLUMNS):
        columns = slice(start, start + EXACT_COLUMNS)
        total += _exact_block(left[:, columns], right[:, columns])
    return total


def gram_hash(phi: Sketches) -> Hash:
    """Return blake2b-256 over the entries of phi phi^T, row by row, as 64-bit little-endian."""
    digest = blake2b(digest_size=32)
    for start in range(0, len(phi), GRAM_BLOCK_ROWS):
        block = exact_product(phi[start : start + GRAM_BLOCK_ROWS], phi)
        digest.update(np.ascontiguousarray(block, "<i8").data)
    return Hash(digest.digest())


def damping_of(phi: Sketches) -> int:
    """Return lambda = 2 tr(G) / rows, at least 1."""
    trace = int(np.sum(phi.astype(np.int64) ** 2))
    return max(1, DAMPING_FACTOR * trace // max(1, len(phi)))


def inverse_sketches(phi: Sketches, damping: int) -> Sketches:
    """Return psi [rows, k] = int8(lambda (G + lambda I)^-1 phi)."""
    if len(phi) == 0:
        return phi.copy()
    exact = _solved(phi, phi.astype(np.float64), damping)
    return np.clip(np.rint(exact), -INT8_MAX, INT8_MAX).astype(np.int8)


def largest_deviation(phi: Sketches, psi: Sketches, damping: int) -> float:
    """Return how far psi lies from the real solution, in units, where it is not saturated.

    Correct psi deviate by the rounding alone, at most PSI_DEVIATION_MAX. The residual
    lambda phi - (G + lambda I) psi is exact, so an error of the solver shrinks with it.
    """
    if len(phi) == 0:
        return 0.0
    residual = damping * (phi.astype(np.int64) - psi.astype(np.int64)) - _gram_times(phi, psi)
    missing = _solved(phi, residual.astype(np.float64) / damping, damping)
    return float(np.max(np.abs(np.where(_is_saturated(psi, missing), 0.0, missing))))


def scores(psi: npt.NDArray[np.float32], query: Sketches) -> Integers:
    """Return psi . phi(query) of all rows as exact integers; psi comes as float32 [rows, k]."""
    total = np.zeros(len(psi), np.int64)
    asked = query.astype(np.float32)
    for start in range(0, psi.shape[1], EXACT_COLUMNS):
        columns = slice(start, start + EXACT_COLUMNS)
        total += (psi[:, columns] @ asked[columns]).astype(np.int64)
    return total


def _exact_block(left: Sketches, right: Sketches) -> Integers:
    product = left.astype(np.float32) @ right.astype(np.float32).T
    return product.astype(np.int64)


def _exact_float64(left: Sketches, right: Sketches) -> Floats:
    assert left.shape[1] * INT8_MAX * INT8_MAX < 1 << 53
    return left.astype(np.float64) @ right.astype(np.float64)


def _gram_times(phi: Sketches, psi: Sketches) -> Integers:
    """Return phi phi^T psi as exact integers, through the smaller of the two middle products."""
    rows, size = phi.shape
    if rows <= size:
        left, right = exact_product(phi, phi).astype(np.float64), psi.astype(np.float64)
    else:
        left, right = phi.astype(np.float64), _exact_float64(phi.T, psi)
    bound = float(np.max(np.abs(left))) * float(np.max(np.abs(right))) * left.shape[1]
    assert bound < float(1 << 53), "the product of the sketches is too large to be exact"
    return (left @ right).astype(np.int64)


def _solved(phi: Sketches, right: Floats, damping: int) -> Floats:
    """Return lambda (phi phi^T + lambda I)^-1 right in float64, through the smaller system."""
    rows, size = phi.shape
    if rows <= size:
        gram = exact_product(phi, phi).astype(np.float64) / damping
        gram[np.diag_indices(rows)] += 1.0
        return np.linalg.solve(gram, right).astype(np.float64)
    fisher = _exact_float64(np.ascontiguousarray(phi.T), phi) / damping
    fisher[np.diag_indices(size)] += 1.0
    # Woodbury: lambda (phi phi^T + lambda I)^-1 = I - phi (phi^T phi + lambda I)^-1 phi^T.
    wide = phi.astype(np.float64)
    inner = np.linalg.solve(fisher, wide.T @ right / damping)
    return right - wide @ inner


def _is_saturated(psi: Sketches, missing: Floats) -> npt.NDArray[np.bool_]:
    saturated: npt.NDArray[np.bool_] = (np.abs(psi) == INT8_MAX) & (missing * psi > 0)
    return saturated
