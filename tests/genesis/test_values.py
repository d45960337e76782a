"""JSON values to runtime values, with the place of what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.values import ValueTextError, parse_value
from runtime.codec.scale import i64, u8, u16, u32, u128
from runtime.frame.dispatch import DispatchClass
from runtime.shared.documents import Evaluate, JobSpec, Recipe
from runtime.types.primitives import OPEN, AccountId, DigestItem, Hash, Other

GOOD: list[tuple[Any, Any, Any]] = [
    (u8, 255, 255),
    (u128, "1 OPEN", OPEN),
    (i64, -5, -5),
    (bool, True, True),
    (str, "text", "text"),
    (bytes, "0x0102", b"\1\2"),
    (bytes, "text", b"text"),
    (u32 | None, None, None),
    (u32 | None, 3, 3),
    (tuple[u8, ...], [1, 2], (1, 2)),
    (tuple[u8, str], [1, "a"], (1, "a")),
    (DispatchClass, "Normal", DispatchClass.Normal),
    (Recipe, {"epochs": 3}, Recipe(epochs=3)),
    (DigestItem, {"Other": {"payload": "0x01"}}, Other(b"\1")),
    (Hash, "0x" + "11" * 32, Hash(b"\x11" * 32)),
    (
        JobSpec,
        {"Evaluate": {"model": 1, "train_job": 2}},
        Evaluate(1, 2),
    ),
]


@pytest.mark.parametrize(("hint", "value", "parsed"), GOOD)
def test_values_are_parsed_by_type(hint: Any, value: Any, parsed: Any) -> None:
    assert parse_value(hint, value) == parsed


BAD: list[tuple[Any, Any, str]] = [
    (u8, 256, "8 bits"),
    (u8, -1, "8 bits"),
    (u8, True, "whole number"),
    (u8, 1.0, "whole number"),
    (u8, None, "whole number"),
    (bool, 1, "true or false"),
    (str, 1, "text"),
    (bytes, 1, "hex"),
    (bytes, "0xz", "value"),
    (Hash, "0x11", "32 bytes"),
    (AccountId, 5, "account"),
    (AccountId, "//", "value"),
    (tuple[u8, ...], 5, "list"),
    (tuple[u8, ...], [1, "x"], r"value\[1\]"),
    (tuple[u8, str], [1], "2 elements"),
    (DispatchClass, "Odd", "one of"),
    (DispatchClass, [], "one of"),
    (Recipe, [], "object"),
    (Recipe, {"epoch": 1}, "unknown epoch"),
    (Recipe, {"epochs": -1}, r"value\.epochs"),
    (DigestItem, {}, "variant"),
    (DigestItem, {"Other": {}, "Seal": {}}, "variant"),
    (DigestItem, "Odd", "one of"),
    (DigestItem, {"Other": {}}, "payload"),
    (u16, "1" * 5000, "digits"),
]


@pytest.mark.parametrize(("hint", "value", "reason"), BAD)
def test_what_does_not_fit_is_refused_with_its_place(hint: Any, value: Any, reason: str) -> None:
    with pytest.raises(ValueTextError, match=reason):
        parse_value(hint, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("hint", [u8, bytes, Hash, AccountId, Recipe, JobSpec, DispatchClass, bool])
@given(value=JSON)
def test_any_json_is_a_value_or_refused(hint: Any, value: Any) -> None:
    try:
        parse_value(hint, value)
    except ValueTextError as error:
        assert str(error)  # noqa: PT017
