"""Settlement arithmetic: nothing is lost, nothing is paid above the bound."""

from math import isqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.shared.documents import SettlementEntry
from runtime.shared.shares import (
    NegativeAmountError,
    WeightError,
    integer_sqrt,
    lower_bound,
    payout,
    split,
    split_permille,
)
from runtime.types.primitives import AccountId

AMOUNTS = st.integers(0, 10**30)
WEIGHTS = st.lists(st.integers(0, 1 << 120), min_size=1, max_size=20).filter(any)
ENTRIES = st.lists(
    st.builds(
        SettlementEntry,
        st.just(AccountId(bytes(32))),
        st.integers(-(1 << 100), 1 << 100),
        st.integers(0, 1 << 120),
    ),
    max_size=20,
)


@given(AMOUNTS, WEIGHTS)
def test_a_split_adds_up_and_stays_within_one_planck_of_the_proportion(total, weights):
    parts = split(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) < sum(weights)
        assert part == 0 or weight > 0


def test_ties_go_to_the_earlier_position():
    assert split(5, [1, 1, 1]) == [2, 2, 1]
    assert split(1, [0, 3, 3]) == [0, 1, 0]


def test_weights_that_cannot_split_are_refused():
    with pytest.raises(WeightError):
        split(1, [])
    with pytest.raises(WeightError):
        split(1, [0, 0])
    with pytest.raises(WeightError):
        split(1, [2, -1])
    with pytest.raises(NegativeAmountError):
        split(-1, [1])


@given(AMOUNTS)
def test_permilles_split_a_fee_without_loss(total):
    assert sum(split_permille(total, [100, 200, 200, 500])) == total


def test_permilles_must_add_up_to_a_thousand():
    with pytest.raises(WeightError):
        split_permille(10, [500, 499])


@given(st.integers(0, 1 << 300))
def test_the_integer_root_is_the_floor(value):
    root = integer_sqrt(value)
    assert root * root <= value < (root + 1) * (root + 1)


@given(st.integers(-(1 << 100), 1 << 100), st.integers(0, 1 << 160), st.integers(0, 5000))
def test_the_lower_bound_is_clipped_and_never_above_the_score(score, square_sum, z_milli):
    bound = lower_bound(score, square_sum, z_milli)
    assert 0 <= bound <= max(0, score)
    assert bound <= lower_bound(score, square_sum, 0)
    withheld = score - bound
    if bound:
        assert (withheld * 1000) ** 2 >= z_milli**2 * square_sum
        assert withheld <= isqrt(z_milli**2 * square_sum) // 1000 + 1


def test_the_lower_bound_subtracts_z_standard_deviations():
    assert lower_bound(100, 100, 1000) == 90
    assert lower_bound(100, 100, 2500) == 75
    assert lower_bound(5, 100, 1000) == 0
    with pytest.raises(NegativeAmountError):
        lower_bound(1, -1, 1000)


@given(AMOUNTS, ENTRIES, st.integers(0, 4000))
def test_a_payout_loses_nothing(total, entries, z_milli):
    earned, commons = payout(total, entries, z_milli)
    assert sum(earned) + commons == total
    assert min([commons, *earned]) >= 0
    for part, entry in zip(earned, entries, strict=True):
        assert part == 0 or entry.score > 0


def test_what_the_bound_withholds_goes_to_the_commons():
    entries = [
        SettlementEntry(AccountId(bytes(32)), 100, 100),
        SettlementEntry(AccountId(bytes(32)), 100, 2500),
        SettlementEntry(AccountId(bytes(32)), -50, 2500),
    ]
    assert payout(200, entries, 1000) == ([90, 50, 0], 60)
    assert payout(200, entries, 0) == ([100, 100, 0], 0)


def test_without_a_positive_score_the_commons_gets_the_pool():
    assert payout(7, [SettlementEntry(AccountId(bytes(32)), -1, 1)], 1000) == ([0], 7)
    assert payout(7, [], 1000) == ([], 7)
