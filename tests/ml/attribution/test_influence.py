"""Influence: exact integers, and inverse sketches that prove themselves."""

import numpy as np
import pytest

from ml.attribution.influence import (
    PSI_DEVIATION_MAX,
    damping_of,
    exact_product,
    gram_hash,
    inverse_sketches,
    largest_deviation,
    scores,
)
from ml.attribution.sketch import quantized


def sketches(rows, size, seed=0):
    draws = np.random.default_rng(seed)
    shared = draws.normal(size=(1, size))
    return quantized(draws.normal(size=(rows, size)) + shared)


def test_products_are_exact_at_the_largest_values():
    left = np.full((2, 5000), 127, np.int8)
    right = np.stack([left[0], -left[0]])
    assert exact_product(left, right).tolist() == [[5000 * 127 * 127, -5000 * 127 * 127]] * 2


def test_products_equal_integer_arithmetic():
    phi = sketches(30, 2500)
    assert np.array_equal(exact_product(phi, phi), phi.astype(np.int64) @ phi.T.astype(np.int64))


def test_scores_equal_integer_arithmetic():
    psi, query = sketches(30, 2500), sketches(1, 2500, 7)[0]
    expected = psi.astype(np.int64) @ query.astype(np.int64)
    assert np.array_equal(scores(psi.astype(np.float32), query), expected)


@pytest.mark.parametrize(("rows", "size"), [(20, 64), (64, 64), (150, 64)])
def test_inverse_sketches_solve_the_damped_system(rows, size):
    phi = sketches(rows, size)
    damping = damping_of(phi)
    gram = phi.astype(float) @ phi.T.astype(float)
    expected = damping * np.linalg.inv(gram + damping * np.eye(rows)) @ phi
    psi = inverse_sketches(phi, damping)
    assert np.abs(psi - np.clip(expected, -127, 127)).max() <= PSI_DEVIATION_MAX
    assert largest_deviation(phi, psi, damping) <= PSI_DEVIATION_MAX


@pytest.mark.parametrize("rows", [20, 150])
def test_one_wrong_number_of_an_inverse_sketch_is_seen(rows):
    phi = sketches(rows, 64)
    damping = damping_of(phi)
    psi = inverse_sketches(phi, damping)
    psi[7, 3] += 1 if psi[7, 3] < 0 else -1
    assert largest_deviation(phi, psi, damping) > PSI_DEVIATION_MAX


def test_damping_is_twice_the_mean_square_of_a_row():
    phi = np.array([[3, 4], [0, 2]], np.int8)
    assert damping_of(phi) == 29
    assert damping_of(np.zeros((3, 2), np.int8)) == 1


def test_a_direction_that_all_rows_share_shrinks_and_a_private_one_stays():
    phi = np.zeros((40, 64), np.int8)
    phi[:, 0] = 100
    phi[5, 1] = 100
    psi = inverse_sketches(phi, damping_of(phi))
    assert psi[5, 1] > 40
    assert abs(int(psi[4, 0])) < 10


def test_the_gram_hash_depends_on_every_sketch():
    phi = sketches(10, 64)
    other = phi.copy()
    other[9, 63] ^= 1
    assert gram_hash(phi) == gram_hash(phi.copy())
    assert gram_hash(phi) != gram_hash(other)


def test_an_index_without_rows_is_possible():
    empty = np.zeros((0, 64), np.int8)
    assert inverse_sketches(empty, 1).shape == (0, 64)
    assert largest_deviation(empty, empty, 1) == 0
