from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.amounts import format_amount
from runtime.types.primitives import OPEN


@pytest.mark.parametrize(
    ("planck", "text"),
    [
        (0, "0 OPEN"),
        (OPEN, "1 OPEN"),
        (-3 * OPEN // 2, "-1.5 OPEN"),
        (1_234_567 * OPEN + OPEN // 10, "1,234,567.1 OPEN"),
        (OPEN - 1, "0.999999 OPEN"),
        (OPEN // 1_000_000, "0.000001 OPEN"),
        (1_234, "1,234 planck"),
        (-1, "-1 planck"),
    ],
)
def test_an_amount_is_shown_in_open_or_in_planck_if_it_is_tiny(planck: int, text: str) -> None:
    assert format_amount(planck) == text


@given(st.integers(0, 10**30))
def test_a_shown_amount_is_never_more_than_the_real_one(planck: int) -> None:
    number, unit = format_amount(planck).replace(",", "").split()
    whole, _, decimals = number.partition(".")
    shown = int(whole + decimals.ljust(18, "0")) if unit == "OPEN" else int(whole)
    assert shown <= planck < shown + OPEN // 1_000_000
