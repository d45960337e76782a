"""SCALE, the codec of everything that is hashed, signed or served, compiled from type hints.

A type hint is parsed to a `Shape`; each shape is compiled once to a write and a read function.

- One encoding per value. A decoder refuses what the encoder would not produce (non-canonical
  compact integers, booleans above 1, unknown variants, trailing bytes) and raises only
  `DecodeError`.
- Lengths are checked against the input before anything is allocated, and recursion is bounded.
- Runs of fixed-size integers inside a struct are flattened to one `struct.Struct`.

Source: the SCALE specification, docs.polkadot.com, and the behaviour of parity-scale-codec.
"""

from __future__ import annotations

import struct
import typing
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from runtime.codec.compact import DecodeError, EncodeError, encode_compact, read_compact
from runtime.codec.compiler import Compiler, Read, Write
from runtime.codec.shape import (
    Bytes4,
    Bytes8,
    Bytes20,
    Bytes32,
    Bytes64,
    Bytes65,
    CompactU16,
    CompactU32,
    CompactU64,
    CompactU128,
    Enumeration,
    Shape,
    declare,
    i8,
    i16,
    i32,
    i64,
    i128,
    scale,
    shape_of,
    u8,
    u16,
    u32,
    u64,
    u128,
    u256,
)

__all__ = [
    "Codec",
    "DecodeError",
    "EncodeError",
    "codec",
    "compile_codec",
    "decode",
    "encode",
    "encode_compact",
    "read_compact",
    "Bytes4",
    "Bytes8",
    "Bytes20",
    "Bytes32",
    "Bytes64",
    "Bytes65",
    "CompactU16",
    "CompactU32",
    "CompactU64",
    "CompactU128",
    "Enumeration",
    "declare",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "scale",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "u256",
]

T = TypeVar("T")


class Codec(Generic[T]):
    """Encodes and decodes values of one type."""

    __slots__ = ("read", "shape", "write")

    def __init__(self, shape: Shape, write: Write, read: Read) -> None:
        self.shape = shape
        self.write = write
        self.read = read

    def encode(self, value: T) -> bytes:
        """Return the encoding. Raises EncodeError when the value does not fit the type."""
        parts: list[bytes] = []
        try:
            self.write(value, parts.append)
        except (struct.error, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise EncodeError(f"{value!r:.80} does not fit {self.shape}: {error}"[:400]) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def decode(self, data: bytes) -> T:
        """Return the value whose encoding is exactly `data`. Raises DecodeError otherwise."""
        value: T
        try:
            value, end = self.read(data, 0, 0)
        except _ENDS_EARLY as error:
            raise _ended_early(error) from error
        if end != len(data):
            raise DecodeError(f"{len(data) - end} bytes follow the value")
        return value

    def decode_from(self, data: bytes, at: int) -> tuple[T, int]:
        """Return the value that starts at offset `at`, and the offset behind it."""
        try:
            value, end = self.read(data, at, 0)
        except _ENDS_EARLY as error:
            raise _ended_early(error) from error
        return value, end


_ENDS_EARLY: Final = (struct.error, IndexError, UnicodeDecodeError)


def _ended_early(error: Exception) -> DecodeError:
    return DecodeError(f"the input ends early or is damaged: {error}")


_codecs: dict[Any, Codec[Any]] = {}


@typing.overload
def codec(hint: type[T]) -> Codec[T]: ...
@typing.overload
def codec(hint: Any) -> Codec[Any]: ...
def codec(hint: Any) -> Codec[Any]:
    """Return the codec of a type hint that needs no composed runtime."""
    if hint not in _codecs:
        _codecs[hint] = compile_codec(shape_of(hint), {})
    return _codecs[hint]


def encode(hint: Any, value: Any) -> bytes:
    """Encode one value as the type `hint`."""
    return codec(hint).encode(value)


def decode(hint: type[T], data: bytes) -> T:
    """Decode exactly one value of the type `hint`. Raises DecodeError."""
    return codec(hint).decode(data)


def compile_codec(shape: Shape, outer: Mapping[str, Codec[Any]]) -> Codec[Any]:
    """Compile a shape; `outer` binds the names that only a composed runtime knows."""
    return Codec(shape, *Compiler(outer).compile(shape))
