from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.hexadecimal import from_hex, to_hex


@given(st.binary(max_size=40))
def test_bytes_are_written_with_their_prefix_in_lower_case(data: bytes) -> None:
    text = to_hex(data)
    assert text == text.lower()
    assert text[:2] == "0x"
    assert bytes.fromhex(text[2:]) == data
    assert from_hex(text) == from_hex(text[2:]) == data
