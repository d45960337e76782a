"""Compact integers and length-checked slices: the smallest pieces of SCALE, and its two errors."""

from __future__ import annotations

from typing import Final

from runtime.errors import ExitCode, OpenLedgerError

SEQUENCE_MAX: Final = 1 << 24


class DecodeError(OpenLedgerError, ValueError):
    """The bytes are not the SCALE encoding of a value of this type."""

    exit_code = ExitCode.USAGE


class EncodeError(OpenLedgerError, ValueError):
    """The value does not fit the type that it should be encoded as."""

    exit_code = ExitCode.USAGE


def encode_compact(value: int) -> bytes:
    """Encode an unsigned integer below 2**536 as compact."""
    if value < 0:
        raise EncodeError(f"a compact integer is not negative: {value}")
    if value < 1 << 6:
        return bytes((value << 2,))
    if value < 1 << 14:
        return (value << 2 | 1).to_bytes(2, "little")
    if value < 1 << 30:
        return (value << 2 | 2).to_bytes(4, "little")
    size = (value.bit_length() + 7) // 8
    if size > 67:
        raise EncodeError("a compact integer is below 2**536")
    return bytes(((size - 4) << 2 | 3,)) + value.to_bytes(size, "little")


def read_compact(data: bytes, at: int, size_max: int = 67) -> tuple[int, int]:
    """Read a canonical compact integer of at most `size_max` bytes; (value, offset behind it)."""
    first = data[at]
    mode = first & 3
    if mode == 0:
        return first >> 2, at + 1
    if mode == 1:
        value, end, least = (first | data[at + 1] << 8) >> 2, at + 2, 1 << 6
    elif mode == 2:
        end, least = at + 4, 1 << 14
        value = int.from_bytes(data[at:end], "little") >> 2
    else:
        size = (first >> 2) + 4
        end = at + 1 + size
        least = max(1 << 30, 1 << (8 * (size - 1)))
        value = int.from_bytes(data[at + 1 : end], "little")
    if end > len(data):
        raise DecodeError("the input ends within a compact integer")
    if value < least:
        raise DecodeError("a compact integer is not in its shortest form")
    if value >> (8 * size_max):
        raise DecodeError(f"a compact integer exceeds {size_max} bytes")
    return value, end


def count_at(data: bytes, at: int, minimum: int) -> tuple[int, int]:
    """Read a sequence length and refuse one that the rest of the input cannot hold."""
    count, at = read_compact(data, at, 4)
    if count > SEQUENCE_MAX or count * minimum > len(data) - at:
        raise DecodeError(f"a sequence of {count} elements does not fit the input")
    return count, at


def bytes_at(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a Vec<u8>; (bytes, offset behind them)."""
    size, at = read_compact(data, at, 4)
    end = at + size
    if end > len(data):
        raise DecodeError(f"{size} bytes do not fit the input")
    return data[at:end], end


def fixed_at(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """Read `size` bytes; (bytes, offset behind them)."""
    end = at + size
    if end > len(data):
        raise DecodeError(f"the input ends within {size} fixed bytes")
    return data[at:end], end


def exactly(value: bytes, size: int) -> bytes:
    """Return the value if it is bytes of this size. Raises EncodeError."""
    if not isinstance(value, bytes) or len(value) != size:
        raise EncodeError(f"{size} bytes expected, not {value!r:.80}")
    return value
