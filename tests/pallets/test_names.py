"""Names: which are well formed, and which are the same."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from pallets.names import NAME_BYTES_MAX, is_name, name_key


@pytest.mark.parametrize("name", ["abc", "My data 2.0", "a_b-c", "x" * NAME_BYTES_MAX])
def test_plain_names_are_taken(name: str) -> None:
    assert is_name(name)


@given(strategies.text(max_size=80))
def test_a_name_is_ascii_of_bounded_length(text: str) -> None:
    if is_name(text):
        assert text.isascii()
        assert 3 <= len(text.encode()) <= NAME_BYTES_MAX
        assert is_name(name_key(text))


def test_letter_case_makes_no_other_name() -> None:
    assert name_key("Python Docs") == name_key("PYTHON docs")
