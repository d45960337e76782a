"""Bytes as hexadecimal text, the form in which clients and logs show them."""

from __future__ import annotations


def to_hex(data: bytes) -> str:
    """Return the bytes as `0x` and two lower-case digits for each."""
    return "0x" + data.hex()


def from_hex(text: str) -> bytes:
    """Return the bytes of hexadecimal text, `0x` optional. Raises ValueError."""
    return bytes.fromhex(text.removeprefix("0x"))
