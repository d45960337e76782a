"""Compact integers have one form each, and slices never exceed the input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.compact import (
    SEQUENCE_MAX,
    DecodeError,
    EncodeError,
    bytes_at,
    count_at,
    encode_compact,
    exactly,
    fixed_at,
    read_compact,
)


@given(st.integers(0, 2**536 - 1), st.binary(max_size=3))
def test_an_integer_reads_back_from_between_other_bytes(value: int, rest: bytes) -> None:
    written = encode_compact(value)
    assert read_compact(b"x" + written + rest, 1) == (value, 1 + len(written))


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 1), (63, 1), (64, 2), (2**14 - 1, 2), (2**14, 4), (2**30 - 1, 4), (2**30, 5)],
)
def test_the_shortest_form_is_taken(value: int, size: int) -> None:
    assert len(encode_compact(value)) == size


@pytest.mark.parametrize("value", [-1, 2**536])
def test_an_integer_outside_the_range_is_not_encoded(value: int) -> None:
    with pytest.raises(EncodeError):
        encode_compact(value)


@pytest.mark.parametrize("data", ["0100", "02000000", "0300000000", "07ffffffff00"])
def test_a_longer_form_is_refused(data: str) -> None:
    with pytest.raises(DecodeError, match="shortest form"):
        read_compact(bytes.fromhex(data), 0)


def test_an_integer_has_its_maximum_and_no_more() -> None:
    assert read_compact(encode_compact(2**32 - 1), 0, 4)[0] == 2**32 - 1
    with pytest.raises(DecodeError, match="exceeds 4 bytes"):
        read_compact(encode_compact(2**32), 0, 4)


def test_a_sequence_that_the_input_cannot_hold_is_refused() -> None:
    assert count_at(encode_compact(2) + bytes(8), 0, 4) == (2, 1)
    with pytest.raises(DecodeError):
        count_at(encode_compact(2) + bytes(7), 0, 4)
    with pytest.raises(DecodeError):
        count_at(encode_compact(SEQUENCE_MAX + 1), 0, 0)


def test_slices_end_within_the_input() -> None:
    assert bytes_at(b"\x08ab", 0) == (b"ab", 3)
    assert fixed_at(b"abc", 1, 2) == (b"bc", 3)
    with pytest.raises(DecodeError):
        bytes_at(b"\x08a", 0)
    with pytest.raises(DecodeError):
        fixed_at(b"abc", 2, 2)


def test_a_value_of_another_size_is_not_encoded() -> None:
    assert exactly(b"ab", 2) == b"ab"
    with pytest.raises(EncodeError):
        exactly(b"abc", 2)
