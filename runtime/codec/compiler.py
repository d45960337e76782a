"""The compiler of SCALE: from a shape to one write and one read function, as Python source.

Structs and enums become functions of their own; everything else is inlined where it stands. Runs of
fixed-size integers inside a struct are flattened to one `struct.Struct`. The source is made from
type hints of this program, never from input.
"""

from __future__ import annotations

import dataclasses
import struct
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from runtime.codec.compact import (
    DecodeError,
    EncodeError,
    bytes_at,
    count_at,
    encode_compact,
    exactly,
    fixed_at,
    read_compact,
)
from runtime.codec.shape import (
    Blob,
    Boolean,
    Choice,
    Compact,
    Fixed,
    Integer,
    Option,
    Outer,
    Sequence,
    Shape,
    Struct,
    Tuple,
    Variants,
)

RECURSION_MAX: Final = 64

Write = Callable[[Any, Callable[[bytes], Any]], None]
Read = Callable[[bytes, int, int], tuple[Any, int]]


class Compiled(Protocol):
    """The methods of a codec that a composed runtime binds by name."""

    write: Write
    read: Read


_STRUCT_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Compiler:
    """Writes Python source for one shape. Structs and enums become functions of their own."""

    def __init__(self, outer: Mapping[str, Compiled]) -> None:
        self._outer = outer
        self._space: dict[str, Any] = {
            "DecodeError": DecodeError,
            "new": object.__new__,
            "EncodeError": EncodeError,
            "encode_compact": encode_compact,
            "read_compact": read_compact,
            "count_of": count_at,
            "read_bytes": bytes_at,
            "read_fixed": fixed_at,
            "exactly": exactly,
            "outer": outer,
        }
        self._functions: dict[Shape, str] = {}

    def compile(self, shape: Shape) -> tuple[Write, Read]:
        """Return write(value, put) and read(data, at, depth) -> (value, offset behind it)."""
        name = self._function(shape)
        return self._space["write_" + name], self._space["read_" + name]

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
        exec("\n".join(writer), self._space)  # noqa: S102 - our own source, from type hints
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
        made, value = self._construct(shape, "s", names)
        return [*lines, *made, f"{v} = {value}"]

    def _construct(self, shape: Struct, path: str, names: dict[str, str]) -> tuple[list[str], str]:
        """Return the lines that make a struct from its decoded fields, and the name of the result.

        Slots are set directly: the __init__ of a frozen dataclass costs half as much again.
        """
        lines: list[str] = []
        values: list[str] = []
        for field in shape.fields:
            inner = f"{path}.{field.name}"
            if inner in names:
                values.append(names[inner])
            else:
                assert isinstance(field.shape, Struct), "only flat structs are flattened"
                made, value = self._construct(field.shape, inner, names)
                lines += made
                values.append(value)
        cls = self._name(shape.cls, "cls")
        if not _has_slots_alone(shape):
            return lines, f"{cls}({', '.join(values)})"
        result = f"made_{len(self._space)}"
        lines.append(f"{result} = new({cls})")
        for field, value in zip(shape.fields, values, strict=True):
            setter = self._name(getattr(shape.cls, field.name).__set__, "set")
            lines.append(f"{setter}({result}, {value})")
        return lines, result


def _has_slots_alone(shape: Struct) -> bool:
    """Return whether all that making a value does is to fill the slots of its fields."""
    cls = shape.cls
    if not isinstance(cls, type) or not shape.fields or hasattr(cls, "__post_init__"):
        return False
    space = vars(cls)
    return all(
        isinstance(space.get(field.name), types.MemberDescriptorType) for field in shape.fields
    )


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
    """The fields of a struct; nested structs of only integers are flattened into their parent."""
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
