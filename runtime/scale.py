"""SCALE, the codec of everything that is hashed, signed or served, compiled from type hints.

A type hint is parsed to a `Shape`; each shape is compiled once to a write and a read function.

- One encoding per value. A decoder refuses what the encoder would not produce (non-canonical
  compact integers, booleans above 1, unknown variants, trailing bytes) with `DecodeError` alone.
- Lengths are checked against the input before anything is allocated, and recursion is bounded.
- Runs of fixed-size integers inside a struct are flattened to one `struct.Struct`.

Source: the SCALE specification, docs.polkadot.com, and the behaviour of parity-scale-codec.
"""

from __future__ import annotations

import dataclasses
import struct
import typing
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from runtime.shape import (
    Blob,
    Boolean,
    Bytes4,
    Bytes8,
    Bytes20,
    Bytes32,
    Bytes64,
    Bytes65,
    Choice,
    Compact,
    CompactU16,
    CompactU32,
    CompactU64,
    CompactU128,
    Enumeration,
    Fixed,
    Integer,
    Option,
    Outer,
    Sequence,
    Shape,
    Struct,
    Tuple,
    Variants,
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

RECURSION_MAX = 64
SEQUENCE_MAX = 1 << 24

T = TypeVar("T")


class DecodeError(ValueError):
    """The bytes are not the SCALE encoding of a value of this type."""


class EncodeError(ValueError):
    """The value does not fit the type that it should be encoded as."""


# ------------------------------------------------------------------------------------------- codecs

Write = Callable[[Any, Callable[[bytes], Any]], None]
Read = Callable[[bytes, int, int], tuple[Any, int]]


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
        value, end = self.decode_from(data, 0)
        if end != len(data):
            raise DecodeError(f"{len(data) - end} bytes follow the value")
        return value

    def decode_from(self, data: bytes, at: int) -> tuple[T, int]:
        """Return the value that starts at offset `at`, and the offset behind it."""
        try:
            value, end = self.read(data, at, 0)
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise DecodeError(f"the input ends early or is damaged: {error}") from error
        return value, end


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
    return _Compiler(outer).codec(shape)


# -------------------------------------------------------------------------------- compact integers


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


def _count(data: bytes, at: int, minimum: int) -> tuple[int, int]:
    """Read a sequence length and refuse one that the rest of the input cannot hold."""
    count, at = read_compact(data, at, 4)
    if count > SEQUENCE_MAX or count * minimum > len(data) - at:
        raise DecodeError(f"a sequence of {count} elements does not fit the input")
    return count, at


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_compact(data, at, 4)
    end = at + size
    if end > len(data):
        raise DecodeError(f"{size} bytes do not fit the input")
    return data[at:end], end


def _fixed(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise DecodeError(f"the input ends within {size} fixed bytes")
    return data[at:end], end


def _exactly(value: bytes, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise EncodeError(f"{size} bytes expected, not {value!r:.80}")
    return value


# ----------------------------------------------------------------------------------------- compiler

_STRUCT_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class _Compiler:
    """Writes Python source for one shape. Structs and enums become functions of their own."""

    def __init__(self, outer: Mapping[str, Codec[Any]]) -> None:
        self._outer = outer
        self._space: dict[str, Any] = {
            "DecodeError": DecodeError,
            "EncodeError": EncodeError,
            "encode_compact": encode_compact,
            "read_compact": read_compact,
            "count_of": _count,
            "read_bytes": _bytes,
            "read_fixed": _fixed,
            "exactly": _exactly,
            "outer": outer,
        }
        self._functions: dict[Shape, str] = {}

    def codec(self, shape: Shape) -> Codec[Any]:
        name = self._function(shape)
        return Codec(shape, self._space["write_" + name], self._space["read_" + name])

    def _name(self, value: Any, stem: str) -> str:
        name = f"{stem}_{len(self._space)}"
        self._space[name] = value
        return name

    def _function(self, shape: Shape) -> str:
        """Compile write_NAME(value, put) and read_NAME(data, at, depth) for a shape, once."""
        if shape in self._functions:
            return self._functions[shape]
        name = self._functions[shape] = f"{type(shape).__name__.lower()}_{len(self._functions)}"
        writer, reader = [f"def write_{name}(v, put):"], [f"def read_{name}(data, at, depth):"]
        if isinstance(shape, Variants):
            self._variants(shape, writer, reader)
        else:
            writer += _indent(self._write(shape, "v"))
            reader += _indent([*self._read(shape, "v"), "return v, at"])
        exec("\n".join(writer), self._space)  # noqa: S102 - our own source, from type hints alone
        exec("\n".join(reader), self._space)  # noqa: S102
        return name

    def _variants(self, shape: Variants, writer: list[str], reader: list[str]) -> None:
        writers: dict[type, Any] = {}
        readers: dict[int, Any] = {}
        table_w, table_r = self._name(writers, "writers"), self._name(readers, "readers")
        for index, member in shape.members:
            inner = self._function(member)
            head = bytes((index,))
            writers[member.cls] = (head, self._space["write_" + inner])
            readers[index] = self._space["read_" + inner]
        writer += _indent(
            [
                f"entry = {table_w}.get(type(v))",
                f"if entry is None: raise EncodeError(f'{{v!r:.60}} is no {shape.cls.__name__}')",
                "put(entry[0]); entry[1](v, put)",
            ]
        )
        reader += _indent(
            [
                f"if depth > {RECURSION_MAX}: raise DecodeError('the value is nested too deeply')",
                f"reader = {table_r}.get(data[at])",
                "if reader is None:",
                f"    raise DecodeError(f'unknown variant {{data[at]}} of {shape.cls.__name__}')",
                "return reader(data, at + 1, depth + 1)",
            ]
        )

    # Both return lines; the value is the expression `v` (write) or the assigned name (read).

    def _write(self, shape: Shape, v: str) -> list[str]:
        match shape:
            case Integer(size=1, signed=False):
                return [f"put(({v}).to_bytes(1, 'little'))"]
            case Integer(size, signed):
                return [f"put(({v}).to_bytes({size}, 'little', signed={signed}))"]
            case Compact(size):
                return [
                    f"if ({v}) >> {8 * size}: raise EncodeError('compact above {size} bytes')",
                    f"put(encode_compact({v}))",
                ]
            case Boolean():
                return [f"put(b'\\1' if {v} else b'\\0')"]
            case Blob(text):
                name = "blob"
                source = f"({v}).encode()" if text else f"bytes({v})"
                check = [] if text else [f"if isinstance({v}, int): raise EncodeError('no bytes')"]
                return [*check, f"{name} = {source}", f"put(encode_compact(len({name})) + {name})"]
            case Fixed(size):
                return [f"put(exactly({v}, {size}))"]
            case Choice():
                return [f"put(({v}).value.to_bytes(1, 'little'))"]
            case Tuple(inner):
                lines = [f"if len({v}) != {len(inner)}: raise EncodeError('wrong tuple length')"]
                for index, member in enumerate(inner):
                    lines += self._write(member, f"{v}[{index}]")
                return lines
            case Struct():
                return self._write_struct(shape, v)
            case Sequence(inner):
                name = self._function(inner)
                return [
                    f"put(encode_compact(len({v})))",
                    f"for item in {v}: write_{name}(item, put)",
                ]
            case Option(inner):
                name = self._function(inner)
                return [
                    f"if {v} is None: put(b'\\0')",
                    f"else: put(b'\\1'); write_{name}({v}, put)",
                ]
            case Outer(name):
                return [f"outer[{name!r}].write({v}, put)"]
        return [f"write_{self._function(shape)}({v}, put)"]

    def _read(self, shape: Shape, v: str) -> list[str]:
        match shape:
            case Integer(size=1, signed=False):
                return [f"{v} = data[at]; at += 1"]
            case Integer(size, signed):
                return [
                    f"{v}, at = read_fixed(data, at, {size})",
                    f"{v} = int.from_bytes({v}, 'little', signed={signed})",
                ]
            case Compact(size):
                return [f"{v}, at = read_compact(data, at, {size})"]
            case Boolean():
                return [
                    f"{v} = data[at]; at += 1",
                    f"if {v} > 1: raise DecodeError(f'a boolean is 0 or 1, not {{{v}}}')",
                    f"{v} = {v} == 1",
                ]
            case Blob(text):
                lines = [f"{v}, at = read_bytes(data, at)"]
                return [*lines, f"{v} = {v}.decode()"] if text else lines
            case Fixed(size):
                return [f"{v}, at = read_fixed(data, at, {size})"]
            case Choice(cls):
                table = self._name({int(member): member for member in cls}, "choices")
                message = f"raise DecodeError(f'unknown variant {{data[at]}} of {cls.__name__}')"
                return [f"{v} = {table}.get(data[at])", f"if {v} is None: {message}", "at += 1"]
            case Tuple(inner):
                lines = []
                names = [f"{v}_{index}" for index in range(len(inner))]
                for name, member in zip(names, inner, strict=True):
                    lines += self._read(member, name)
                return [*lines, f"{v} = ({', '.join(names)}{',' if names else ''})"]
            case Struct():
                return self._read_struct(shape, v)
            case Sequence(inner):
                name = self._function(inner)
                return [
                    f"n, at = count_of(data, at, {max(1, inner.minimum)})",
                    f"{v}_items = []",
                    "for _ in range(n):",
                    f"    item, at = read_{name}(data, at, depth + 1)",
                    f"    {v}_items.append(item)",
                    f"{v} = tuple({v}_items)",
                ]
            case Option(inner):
                name = self._function(inner)
                return [
                    "flag = data[at]; at += 1",
                    "if flag > 1: raise DecodeError(f'an option is 0 or 1, not {flag}')",
                    f"{v}, at = read_{name}(data, at, depth + 1) if flag else (None, at)",
                ]
            case Outer(name):
                return [f"{v}, at = outer[{name!r}].read(data, at, depth + 1)"]
        return [f"{v}, at = read_{self._function(shape)}(data, at, depth + 1)"]

    def _write_struct(self, shape: Struct, v: str) -> list[str]:
        lines: list[str] = []
        for run in _runs(shape, v):
            if isinstance(run, _Packed) and len(run.leaves) > 1:
                pack = self._name(struct.Struct(run.format).pack, "pack")
                lines.append(f"put({pack}({', '.join(run.parts())}))")
                continue
            leaves = run.leaves if isinstance(run, _Packed) else [run]
            for path, member in leaves:
                inner = member
                if isinstance(inner, Struct | Variants | Option | Sequence):
                    lines.append(f"write_{self._function(inner)}({path}, put)")
                else:
                    lines += self._write(inner, path)
        return lines or ["pass"]

    def _read_struct(self, shape: Struct, v: str) -> list[str]:
        lines: list[str] = []
        names: dict[str, str] = {}
        for run in _runs(shape, "s"):
            if isinstance(run, _Packed) and len(run.leaves) > 1:
                unpack = self._name(struct.Struct(run.format), "layout")
                targets = run.targets(names)
                lines.append(f"{', '.join(targets)} = {unpack}.unpack_from(data, at)")
                lines.append(f"at += {struct.calcsize(run.format)}")
                lines += run.joins(names)
                continue
            for path, member in run.leaves if isinstance(run, _Packed) else [run]:
                names[path] = name = f"f{len(names)}"
                if isinstance(member, Struct | Variants | Option | Sequence):
                    lines.append(f"{name}, at = read_{self._function(member)}(data, at, depth + 1)")
                else:
                    lines += self._read(member, name)
        return [*lines, f"{v} = {self._construct(shape, 's', names)}"]

    def _construct(self, shape: Struct, path: str, names: dict[str, str]) -> str:
        parts = []
        for field in shape.fields:
            inner = f"{path}.{field.name}"
            nested = inner not in names
            assert not nested or isinstance(field.shape, Struct)
            parts.append(
                self._construct(typing.cast(Struct, field.shape), inner, names)
                if nested
                else names[inner]
            )
        return f"{self._name(shape.cls, 'cls')}({', '.join(parts)})"


@dataclasses.dataclass
class _Packed:
    """A run of fixed-size integers that one struct.Struct packs; 128-bit ones as two halves."""

    format: str
    leaves: list[tuple[str, Shape]]

    def parts(self) -> list[str]:
        parts: list[str] = []
        for path, shape in self.leaves:
            wide = isinstance(shape, Integer) and shape.size == 16
            parts += [f"{path} & 0xFFFFFFFFFFFFFFFF", f"{path} >> 64"] if wide else [path]
        return parts

    def targets(self, names: dict[str, str]) -> list[str]:
        targets: list[str] = []
        for path, shape in self.leaves:
            names[path] = name = f"f{len(names)}"
            wide = isinstance(shape, Integer) and shape.size == 16
            targets += [name, name + "h"] if wide else [name]
        return targets

    def joins(self, names: dict[str, str]) -> list[str]:
        wide = [p for p, shape in self.leaves if isinstance(shape, Integer) and shape.size == 16]
        return [f"{names[path]} |= {names[path]}h << 64" for path in wide]


def _leaves(shape: Struct, path: str) -> list[tuple[str, Shape]]:
    """The fields of a struct; a nested struct of integers alone is flattened into its parent."""
    leaves: list[tuple[str, Shape]] = []
    for field in shape.fields:
        inner = f"{path}.{field.name}"
        if isinstance(field.shape, Struct) and _is_flat(field.shape):
            leaves += _leaves(field.shape, inner)
        else:
            leaves.append((inner, field.shape))
    return leaves


def _is_flat(shape: Struct) -> bool:
    return bool(shape.fields) and all(
        (isinstance(field.shape, Integer) and field.shape.size <= 16)
        or (isinstance(field.shape, Struct) and _is_flat(field.shape))
        for field in shape.fields
    )


def _runs(shape: Struct, path: str) -> list[_Packed | tuple[str, Shape]]:
    runs: list[_Packed | tuple[str, Shape]] = []
    for leaf_path, leaf in _leaves(shape, path):
        if isinstance(leaf, Integer) and leaf.size <= 16 and not (leaf.size == 16 and leaf.signed):
            if not runs or not isinstance(runs[-1], _Packed):
                runs.append(_Packed("<", []))
            run = runs[-1]
            assert isinstance(run, _Packed)
            code = "QQ" if leaf.size == 16 else _STRUCT_CODES[leaf.size]
            run.format += code.lower() if leaf.signed else code
            run.leaves.append((leaf_path, leaf))
        else:
            runs.append((leaf_path, leaf))
    return runs


def _indent(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]
