"""Amounts in OPEN and planck, as texts."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.amounts import ValueTextError, format_amount, parse_amount
from runtime.types.primitives import OPEN

LONE_COMMA = re.compile(r"[0-9]{1,3},[0-9]{3} \w+")
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


@pytest.mark.parametrize(
    "text",
    [
        "1,5OPEN", "1_5OPEN", "1,,5", "1,5000 OPEN", "12,34", "1,234,5",
        "0,500 OPEN", "0,050", "0_500 OPEN", "00,500", "0,500,000", "0,500.5",
    ],
)  # fmt: skip
def test_a_decimal_comma_is_refused_and_not_taken_for_ten_times_as_much(text: str) -> None:
    with pytest.raises(ValueTextError, match="groups of three"):
        parse_amount(text)


@dataclass(frozen=True)
class Locale:
    """How a country writes numbers: decimal sign, sign between groups, group sizes, digits."""

    decimal: str
    group: str
    sizes: tuple[int, ...] = (3,)
    """Of the groups from the right; the last one repeats."""
    digits: str = "0123456789"

    def write(self, whole: int, decimals: str) -> str:
        text, groups, sizes = str(whole), [], list(self.sizes)
        while text:
            size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
            groups.append(text[-size:])
            text = text[:-size]
        written = self.group.join(reversed(groups)) + (self.decimal + decimals if decimals else "")
        return written.translate(str.maketrans("0123456789", self.digits))


LOCALES = {
    "en": Locale(".", ","),
    "de, es, it, pt, nl, id": Locale(",", "."),
    "fr": Locale(",", "\u202f"),
    "ru, pl, cs, sv, fi": Locale(",", "\u00a0"),
    "fr-CA, typed": Locale(",", " "),
    "de-CH": Locale(".", "\u2019"),
    "de-CH, typed": Locale(".", "'"),
    "it-CH": Locale(",", "'"),
    "de-AT, es, pl below 10,000": Locale(",", ""),
    "en, ungrouped": Locale(".", ""),
    "en-IN, hi": Locale(".", ",", (3, 2)),
    "ja, zh by myriads": Locale(".", ",", (4,)),
    "da, typed": Locale(",", "_"),
    "ar": Locale("\u066b", "\u066c", digits="٠١٢٣٤٥٦٧٨٩"),
    "fa": Locale("\u066b", "\u066c", digits="۰۱۲۳۴۵۶۷۸۹"),
    "bn": Locale(".", ",", (3, 2), "০১২৩৪৫৬৭৮৯"),
    "fullwidth": Locale(".", ",", digits="０１２３４５６７８９"),
}
POINT_BEFORE_THREE = re.compile(r"[0-9]{1,3}\.[0-9]{3}")


@pytest.mark.parametrize("locale", LOCALES)
@given(
    whole=st.one_of(st.integers(0, 9_999), st.integers(0, 10**9)),
    decimals=st.text("0123456789", max_size=6),
    unit=st.sampled_from(["OPEN", " OPEN", "\u00a0OPEN"]),
)
def test_an_amount_of_any_country_is_read_as_it_is_meant_or_refused(
    locale: str, whole: int, decimals: str, unit: str
) -> None:
    written = LOCALES[locale].write(whole, decimals)
    meant = whole * OPEN + int(decimals.ljust(18, "0"))
    try:
        read = parse_amount(written + unit)
    except ValueTextError:
        return
    if LOCALES[locale].decimal != "." and POINT_BEFORE_THREE.fullmatch(written):
        # The one text that is read otherwise than such a country means it, because the decimal
        # sign is a point: a thousand times less is moved, never more.
        assert read * 1000 == meant
        return
    assert read == meant


@pytest.mark.parametrize("text", ["1,500OPEN", "1,500 OPEN", "999,000", "1,000 planck"])
def test_a_comma_that_may_be_a_decimal_sign_is_refused(text: str) -> None:
    with pytest.raises(ValueTextError, match="ambiguous"):
        parse_amount(text)


def test_groups_are_parted_by_one_sign() -> None:
    assert parse_amount("1,234,567.5 OPEN") == 12_345_675 * OPEN // 10
    assert parse_amount("1,234.5 OPEN") == 12_345 * OPEN // 10
    assert parse_amount("1_234 OPEN") == 1_234 * OPEN
    with pytest.raises(ValueTextError, match="groups of three"):
        parse_amount("1_234,567 OPEN")


def test_more_than_the_chain_can_hold_is_refused_with_a_sentence() -> None:
    assert parse_amount(str(2**128 - 1)) == 2**128 - 1
    for text in (str(2**128), "400000000000000000000 OPEN", "9" * 60 + "OPEN"):
        with pytest.raises(ValueTextError, match="more than any account can have"):
            parse_amount(text)


@given(st.integers(0, 10**30))
def test_planck_as_digits_are_read_back(planck: int) -> None:
    assert parse_amount(f"{planck} planck") == planck


@given(st.integers(0, 10**12))
def test_an_amount_of_six_decimals_is_written_exactly(micro: int) -> None:
    planck = micro * OPEN // 10**6
    shown = format_amount(planck)
    if LONE_COMMA.fullmatch(shown):
        shown = shown.replace(",", "")  # typed, it would be ambiguous
    assert parse_amount(shown) == planck


@given(st.integers(0, 10**30))
def test_a_shown_amount_is_never_more_than_the_real_one(planck: int) -> None:
    number, unit = format_amount(planck).replace(",", "").split()
    whole, _, decimals = number.partition(".")
    shown = int(whole + decimals.ljust(18, "0")) if unit == "OPEN" else int(whole)
    assert shown <= planck < shown + OPEN // 1_000_000
