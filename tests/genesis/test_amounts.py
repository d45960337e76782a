"""Amounts in OPEN and planck, as texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.amounts import ValueTextError, format_amount, parse_amount
from runtime.types.primitives import OPEN

AMOUNTS = {
    "1000": 1000,
    "1 OPEN": OPEN,
    "1.5OPEN": 3 * OPEN // 2,
    "20 mOPEN": 20 * OPEN // 1000,
    "7uOPEN": 7 * OPEN // 10**6,
    "880,000,000 OPEN": 880_000_000 * OPEN,
    "1_000 planck": 1000,
    "12345678901.234567890123456789 OPEN": 12345678901234567890123456789,
    "0.000000000000000001 OPEN": 1,
}


@pytest.mark.parametrize("text", AMOUNTS)
def test_an_amount_is_exact(text: str) -> None:
    assert parse_amount(text) == AMOUNTS[text]


@pytest.mark.parametrize(
    "text",
    ["", "OPEN", "-1", "1e5", "0.5 planck", "0.0000000000000000001 OPEN", "1 open", "9" * 99],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueTextError):
        parse_amount(text)


def test_amounts_are_written_as_people_read_them() -> None:
    assert format_amount(0) == "0 OPEN"
    assert format_amount(1) == "1 planck"
    assert format_amount(15 * 10**17) == "1.5 OPEN"
    assert format_amount(-(10**18)) == "-1 OPEN"
    assert format_amount(1234 * 10**18) == "1,234 OPEN"


@pytest.mark.parametrize("text", ["1,5OPEN", "1_5OPEN", "1,,5", "1,5000 OPEN", "12,34", "1,234,5"])
def test_a_decimal_comma_is_refused_and_not_taken_for_ten_times_as_much(text: str) -> None:
    with pytest.raises(ValueTextError, match="groups of three"):
        parse_amount(text)


@given(st.integers(0, 10**30))
def test_planck_as_digits_are_read_back(planck: int) -> None:
    assert parse_amount(f"{planck} planck") == planck


@given(st.integers(0, 10**12))
def test_an_amount_of_six_decimals_is_written_exactly(micro: int) -> None:
    planck = micro * OPEN // 10**6
    assert parse_amount(format_amount(planck)) == planck


@given(st.integers(0, 10**30))
def test_a_shown_amount_is_never_more_than_the_real_one(planck: int) -> None:
    number, unit = format_amount(planck).replace(",", "").split()
    whole, _, decimals = number.partition(".")
    shown = int(whole + decimals.ljust(18, "0")) if unit == "OPEN" else int(whole)
    assert shown <= planck < shown + OPEN // 1_000_000
