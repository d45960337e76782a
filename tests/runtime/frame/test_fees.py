"""Fees and congestion: integers only, monotone, bounded."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from runtime.frame.fees import (
    BASE_FEE,
    BLOCK_WEIGHT_MAX,
    BYTE_FEE,
    EXTRINSIC_PERCENT,
    MULTIPLIER_MAX,
    MULTIPLIER_ONE,
    NORMAL_PERCENT,
    TARGET_PERCENT,
    inclusion_fee,
    next_multiplier,
    priority,
)
from runtime.types.primitives import Weight

LIMIT = BLOCK_WEIGHT_MAX.ref_time * NORMAL_PERCENT // 100
TARGET = LIMIT * TARGET_PERCENT // 100
multipliers = st.integers(MULTIPLIER_ONE, MULTIPLIER_MAX)
loads = st.integers(0, 2 * BLOCK_WEIGHT_MAX.ref_time)


def test_a_fee_is_base_and_length_and_weight() -> None:
    fee = inclusion_fee(Weight(3_000_000, 9), 10, 2 * MULTIPLIER_ONE)
    assert fee.base_fee == BASE_FEE
    assert fee.len_fee == 10 * BYTE_FEE
    assert fee.adjusted_weight_fee == 6 * 10**12
    assert fee.total == BASE_FEE + 10 * BYTE_FEE + 6 * 10**12


@given(loads, loads, multipliers, st.integers(0, 5_000_000))
def test_more_weight_never_costs_less(one: int, two: int, multiplier: int, length: int) -> None:
    low, high = sorted((one, two))
    cheap = inclusion_fee(Weight(low, 0), length, multiplier).total
    dear = inclusion_fee(Weight(high, 0), length, multiplier).total
    assert BASE_FEE <= cheap <= dear < 2**128


@given(multipliers, loads)
def test_the_multiplier_stays_in_its_bounds_and_follows_the_load(
    multiplier: int, used: int
) -> None:
    following = next_multiplier(multiplier, Weight(used, 0))
    assert MULTIPLIER_ONE <= following <= MULTIPLIER_MAX
    if used >= TARGET:
        assert following >= multiplier
    else:
        assert following <= multiplier


@given(multipliers, loads)
def test_the_multiplier_is_the_formula_of_substrate(multiplier: int, used: int) -> None:
    moved = Fraction(3, 1000) * Fraction(min(used, LIMIT) - TARGET, LIMIT)
    exact = multiplier * (1 + moved + moved**2 / 2)
    bounded = min(max(exact, Fraction(MULTIPLIER_ONE)), Fraction(MULTIPLIER_MAX))
    error = abs(next_multiplier(multiplier, Weight(used, 0)) - bounded)
    assert error <= 3 + 3 * multiplier // MULTIPLIER_ONE


def test_an_idle_chain_is_at_the_least_price_again() -> None:
    multiplier = 2 * MULTIPLIER_ONE
    for _ in range(2_000):
        multiplier = next_multiplier(multiplier, Weight(0, 0))
    assert multiplier == MULTIPLIER_ONE


@given(st.integers(0, 2**128), st.integers(0, 2**128))
def test_a_priority_fits_64_bits(tip: int, fee: int) -> None:
    assert 0 <= priority(tip, fee) < 2**64
    assert priority(tip + fee, fee) >= priority(tip, fee)


def test_one_extrinsic_leaves_room_for_inherents() -> None:
    assert 0 < EXTRINSIC_PERCENT < NORMAL_PERCENT < 100
