"""Shapes: the SCALE layout that a type hint means, and the declared types that pallets use.

`shape_of(hint)` parses a hint into a `Shape`; `runtime.codec.scale` compiles shapes to codecs and
`runtime.metadata.metadata` describes them to clients. This module reads and writes no bytes.

    @scale                                   class Colour(Enumeration): ...
    class Point:                             class Named(Colour, index=0):
        x: u32                                   name: str
        y: u32
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, dataclass_transform

T = TypeVar("T")


class ShapeError(TypeError):
    """A type hint has no SCALE encoding."""


# ------------------------------------------------------------------------------------------- shapes


@dataclasses.dataclass(frozen=True)
class Shape:
    """The layout of a type. `minimum` is the least number of bytes of an encoding."""

    @property
    def minimum(self) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class Integer(Shape):
    """A little-endian integer of `size` bytes; `name` is what metadata calls its type."""

    size: int
    signed: bool = False
    name: str = dataclasses.field(default="", repr=False)

    @property
    def minimum(self) -> int:
        return self.size


@dataclasses.dataclass(frozen=True)
class Compact(Shape):
    """A compact integer that must be below 2 ** (8 * size); `name` as for Integer."""

    size: int
    name: str = dataclasses.field(default="", repr=False)

    @property
    def minimum(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Boolean(Shape):
    """One byte, 0 or 1."""

    @property
    def minimum(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Blob(Shape):
    """Vec<u8>, or String when `text`."""

    text: bool = False

    @property
    def minimum(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Fixed(Shape):
    """[u8; size], optionally with the Rust path that names it in metadata."""

    size: int
    path: tuple[str, ...] = ()

    @property
    def minimum(self) -> int:
        return self.size


@dataclasses.dataclass(frozen=True)
class Sequence(Shape):
    """Vec<inner>."""

    inner: Shape

    @property
    def minimum(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Tuple(Shape):
    """(inner, inner, ...)."""

    inner: tuple[Shape, ...]

    @property
    def minimum(self) -> int:
        return sum(shape.minimum for shape in self.inner)


@dataclasses.dataclass(frozen=True)
class CompactUnit(Tuple):
    """Compact<()>: no bytes; clients expect it as the index of a MultiAddress."""


@dataclasses.dataclass(frozen=True)
class Option(Shape):
    """Option<inner>; None is the absent value."""

    inner: Shape

    @property
    def minimum(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Outer(Shape):
    """A type that only the composed runtime knows, such as its call enum; bound by name later."""

    name: str

    @property
    def minimum(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Field:
    """One named field of a struct or variant."""

    name: str
    shape: Shape
    hint: Any = dataclasses.field(compare=False, hash=False, default=None)


@dataclasses.dataclass(frozen=True)
class Struct(Shape):
    """A composite: the fields in order."""

    cls: Any
    fields: tuple[Field, ...]

    @property
    def minimum(self) -> int:
        return sum(field.shape.minimum for field in self.fields)


@dataclasses.dataclass(frozen=True)
class Variants(Shape):
    """An enum: one index byte, then the fields of that variant."""

    cls: type

    @property
    def members(self) -> tuple[tuple[int, Struct], ...]:
        variants: dict[int, type] = self.cls._variants  # type: ignore[attr-defined]
        return tuple((index, struct_shape(cls)) for index, cls in sorted(variants.items()))

    @property
    def minimum(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True)
class Choice(Shape):
    """An enum without fields: a Python IntEnum, one byte."""

    cls: type[enum.IntEnum]

    @property
    def minimum(self) -> int:
        return 1


# ----------------------------------------------------------------------------------- declared types

u8 = Annotated[int, Integer(1)]
u16 = Annotated[int, Integer(2)]
u32 = Annotated[int, Integer(4)]
u64 = Annotated[int, Integer(8)]
u128 = Annotated[int, Integer(16)]
u256 = Annotated[int, Integer(32)]
i8 = Annotated[int, Integer(1, signed=True)]
i16 = Annotated[int, Integer(2, signed=True)]
i32 = Annotated[int, Integer(4, signed=True)]
i64 = Annotated[int, Integer(8, signed=True)]
i128 = Annotated[int, Integer(16, signed=True)]
CompactU16 = Annotated[int, Compact(2)]
CompactU32 = Annotated[int, Compact(4)]
CompactU64 = Annotated[int, Compact(8)]
CompactU128 = Annotated[int, Compact(16)]
CompactNothing = Annotated[tuple[()], CompactUnit(())]
Bytes4 = Annotated[bytes, Fixed(4)]
Bytes8 = Annotated[bytes, Fixed(8)]
Bytes20 = Annotated[bytes, Fixed(20)]
Bytes32 = Annotated[bytes, Fixed(32)]
Bytes64 = Annotated[bytes, Fixed(64)]
Bytes65 = Annotated[bytes, Fixed(65)]

_named: dict[Any, Shape] = {}


def declare(hint: Any, shape: Shape) -> None:
    """Give a NewType (an id such as AccountId) its encoding."""
    assert hint not in _named, f"{hint} already has an encoding"
    _named[hint] = shape


@dataclass_transform(frozen_default=True)
def scale(cls: type[T]) -> type[T]:
    """Make a class a frozen, slotted dataclass with a SCALE encoding: its fields in order."""
    made = dataclasses.dataclass(frozen=True, slots=True)(cls)
    made._scale_struct = True  # type: ignore[attr-defined]
    return made


@dataclasses.dataclass(frozen=True)
class RustName:
    """The name under which Substrate clients know a class: see `rust`."""

    path: tuple[str, ...]
    parameters: tuple[tuple[str, Any], ...]
    has_bare_fields: bool
    inner: tuple[str, ...]


_rust_names: dict[type, RustName] = {}


def rust(
    path: str, *, bare: bool = False, inner: str = "", **parameters: Any
) -> Callable[[type[T]], type[T]]:
    """Give a class the name that Substrate clients know: a path, or a variant's own name.

    `parameters` are its type parameters. The variants of a `bare` enum have fields without names.
    A variant with an `inner` path has one field, a composite of that path with its fields.
    """
    named = RustName(
        tuple(path.split("::")),
        tuple(parameters.items()),
        bare,
        tuple(inner.split("::")) if inner else (),
    )

    def name(cls: type[T]) -> type[T]:
        _rust_names[cls] = named
        return cls

    return name


def rust_name(cls: type) -> RustName | None:
    """Return the declared Rust name of a class, if it has one."""
    return _rust_names.get(cls)


class _EnumerationMeta(type):
    """Turns each variant into a frozen dataclass and files it under its index."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], index: int | None = None
    ) -> _EnumerationMeta:
        annotations = space.get("__annotations__", {})
        space.setdefault("__slots__", tuple(annotations) if index is not None else ())
        cls = super().__new__(mcs, name, bases, space)
        if index is None:
            cls._variants = {}  # type: ignore[attr-defined]
            return cls
        variants = cls._variants  # type: ignore[attr-defined]
        if index in variants:
            raise ShapeError(f"{name}: index {index} is already {variants[index].__name__}")
        dataclasses.dataclass(frozen=True)(typing.cast(type, cls))
        variants[index] = cls
        cls._index = index  # type: ignore[attr-defined]
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, space)


@dataclass_transform(frozen_default=True)
class Enumeration(metaclass=_EnumerationMeta):
    """Base of SCALE enums: `class Form(Enumeration)`, then `class Circle(Form, index=0): r: u8`."""


def shape_of(hint: Any) -> Shape:
    """Parse a type hint. Raises ShapeError where it has no encoding."""
    if hint in _cache:
        return _cache[hint]
    shape = _parse(hint)
    _cache[hint] = shape
    return shape


_cache: dict[Any, Shape] = {}


def _parse(hint: Any) -> Shape:
    if hint in _named:
        return _named[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for extra in arguments[1:]:
            if isinstance(extra, Shape):
                return extra
        return shape_of(arguments[0])
    if hint is bool:
        return Boolean()
    if hint is bytes:
        return Blob()
    if hint is str:
        return Blob(text=True)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return Sequence(shape_of(arguments[0]))
        return Tuple(tuple(shape_of(argument) for argument in arguments))
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) == 1 and len(arguments) == 2:
            return Option(shape_of(inner[0]))
    if isinstance(hint, type):
        return _parse_class(hint)
    raise ShapeError(f"{hint!r} has no SCALE encoding; use the types of runtime.codec.scale")


def _parse_class(cls: type) -> Shape:
    if getattr(cls, "_scale_struct", False):
        return struct_shape(cls)
    if issubclass(cls, Enumeration):
        return struct_shape(cls) if "_index" in vars(cls) else Variants(cls)
    if issubclass(cls, enum.IntEnum):
        return Choice(cls)
    raise ShapeError(f"{cls.__name__} has no SCALE encoding; use the types of runtime.codec.scale")


_structs: dict[type, Struct] = {}


def struct_shape(cls: type) -> Struct:
    """Return the fields of a dataclass in order, names resolved where it was declared."""
    if cls not in _structs:
        hints = typing.get_type_hints(cls, localns=dict(vars(cls)), include_extras=True)
        fields = tuple(
            Field(field.name, shape_of(hints[field.name]), hints[field.name])
            for field in dataclasses.fields(cls)
        )
        _structs[cls] = Struct(cls, fields)
    return _structs[cls]
