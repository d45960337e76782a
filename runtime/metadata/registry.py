"""The portable type registry: every type that metadata mentions, described for clients.

A type gets its id when it is first mentioned, so ids depend only on the order of mentioning. The
classes above `Registry` are the encoding of scale-info; below them, shapes turn into it:

- A class has the path that `runtime.codec.shape.rust` gives it, else
  `openledger::<module>::<Name>`.
- A name that Python cannot use (`from_`, `class_`) loses its trailing underscore.
- Each field carries a Rust-looking `type_name`; some clients fail without.

Source: the crates scale-info 2 and frame-metadata 16.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from typing import Any, Final

from runtime.codec.scale import CompactU32, Enumeration, scale, u8, u32
from runtime.codec.shape import (
    Blob,
    Boolean,
    Choice,
    Compact,
    CompactUnit,
    Field,
    Fixed,
    Integer,
    Option,
    Outer,
    RustName,
    Sequence,
    Shape,
    Struct,
    Tuple,
    Variants,
    rust_name,
    shape_of,
)

TypeId = CompactU32

OWN_CRATE: Final = "openledger"


class UnknownTypeError(LookupError):
    """A shape has no description; an outer type is reserved before it is mentioned."""


# ----------------------------------------------------------------------- the encoding of scale-info


@scale
class TypeParameter:
    """A type parameter of a generic type; without a type it is the runtime's configuration."""

    name: str
    type: TypeId | None


@scale
class FieldType:
    """A field of a composite or variant."""

    name: str | None
    type: TypeId
    type_name: str | None
    docs: tuple[str, ...] = ()


@scale
class VariantType:
    """One variant of an enum."""

    name: str
    fields: tuple[FieldType, ...]
    index: u8
    docs: tuple[str, ...] = ()


class Primitive(enum.IntEnum):
    """Types that need no description."""

    Bool = 0
    Char = 1
    Str = 2
    U8 = 3
    U16 = 4
    U32 = 5
    U64 = 6
    U128 = 7
    U256 = 8
    I8 = 9
    I16 = 10
    I32 = 11
    I64 = 12
    I128 = 13
    I256 = 14


class Definition(Enumeration):
    """The structure of a type."""


class CompositeDefinition(Definition, index=0):
    """Fields in order."""

    fields: tuple[FieldType, ...]


class VariantDefinition(Definition, index=1):
    """One of several variants."""

    variants: tuple[VariantType, ...]


class SequenceDefinition(Definition, index=2):
    """Any number of one type."""

    inner: TypeId


class ArrayDefinition(Definition, index=3):
    """A fixed number of one type."""

    length: u32
    inner: TypeId


class TupleDefinition(Definition, index=4):
    """Types in order."""

    inner: tuple[TypeId, ...]


class PrimitiveDefinition(Definition, index=5):
    """A primitive type."""

    primitive: Primitive


class CompactDefinition(Definition, index=6):
    """A type in compact encoding."""

    inner: TypeId


@scale
class TypeDescription:
    """A type: where it lives, its parameters, what it is made of."""

    path: tuple[str, ...]
    parameters: tuple[TypeParameter, ...]
    definition: Definition
    docs: tuple[str, ...] = ()


@scale
class PortableType:
    """A described type and its id."""

    id: TypeId
    type: TypeDescription


# ------------------------------------------------------------------------------------ the registry


class Registry:
    """Collects descriptions. Outer types (the runtime's call) are reserved and described first."""

    def __init__(self) -> None:
        self._ids: dict[Any, int] = {}
        self._types: list[TypeDescription | None] = []

    @property
    def types(self) -> tuple[PortableType, ...]:
        """All types in order of their ids."""
        described = []
        for number, description in enumerate(self._types):
            assert description is not None, f"type {number} was reserved and never described"
            described.append(PortableType(number, description))
        return tuple(described)

    def id_of(self, hint: Any) -> int:
        """Return the id of the type that a hint means, describing it if it is new."""
        return self.id_of_shape(shape_of(hint))

    def id_of_shape(self, shape: Shape) -> int:
        """Return the id of a shape. Raises UnknownTypeError for an outer type not reserved."""
        key: Any = shape
        if isinstance(shape, Struct | Variants | Choice):
            key = shape.cls
        elif isinstance(shape, Integer | Compact):
            key = dataclasses.replace(shape, name="")  # a name is the field's, the type is one
        described = self._ids.get(key)
        if described is not None:
            return described
        number = self.reserve(key)  # before its parts: a type may contain itself
        self._types[number] = self._describe(shape)
        return number

    def reserve(self, key: Any) -> int:
        """Return a new id, which `describe` describes later."""
        assert key not in self._ids, f"{key} has an id already"
        self._ids[key] = len(self._types)
        self._types.append(None)
        return self._ids[key]

    def describe(self, number: int, description: TypeDescription) -> None:
        """Describe the type of a reserved id."""
        assert self._types[number] is None, f"type {number} is described twice"
        self._types[number] = description

    def reserve_outer(self, name: str) -> int:
        """Return the new id of an outer type, such as the runtime's call enum."""
        return self.reserve(Outer(name))

    def add(self, description: TypeDescription) -> int:
        """Add a type that no hint means, such as a pallet's call enum."""
        number = self.reserve(("added", len(self._types)))
        self.describe(number, description)
        return number

    def fields(self, fields: tuple[Field, ...], *, bare: bool = False) -> tuple[FieldType, ...]:
        """Describe fields in order; bare ones have no name."""
        return tuple(
            FieldType(
                None if bare else plain_name(field.name),
                self.id_of_shape(field.shape),
                type_name(field.shape),
            )
            for field in fields
        )

    # ------------------------------------------------------------------------------ by shape

    def _describe(self, shape: Shape) -> TypeDescription:
        match shape:
            case Struct(cls, fields):
                described = self.fields(fields, bare=_has_bare_fields(cls))
                return self._named(cls, CompositeDefinition(described))
            case Variants():
                return self._named(shape.cls, self._variants(shape))
            case Choice(cls):
                members = tuple(VariantType(plain_name(m.name), (), int(m)) for m in cls)
                return self._named(cls, VariantDefinition(members))
            case Fixed(size, path) if path:
                inner = FieldType(None, self.id_of_shape(Fixed(size)), f"[u8; {size}]")
                return TypeDescription(path, (), CompositeDefinition((inner,)))
            case Option(inner_shape):
                return self._option(inner_shape)
            case Integer(size=32):
                words = FieldType(None, self._array(4, Integer(8)), "[u64; 4]")
                return TypeDescription(
                    ("primitive_types", "U256"), (), CompositeDefinition((words,))
                )
        return TypeDescription((), (), self._anonymous(shape))

    def _anonymous(self, shape: Shape) -> Definition:
        match shape:
            case Integer(size, signed):
                return PrimitiveDefinition(Primitive[f"{'I' if signed else 'U'}{8 * size}"])
            case Compact(size):
                return CompactDefinition(self.id_of_shape(Integer(size)))
            case CompactUnit():
                return CompactDefinition(self.id_of_shape(Tuple(())))
            case Boolean():
                return PrimitiveDefinition(Primitive.Bool)
            case Blob(text):
                if text:
                    return PrimitiveDefinition(Primitive.Str)
                return SequenceDefinition(self.id_of_shape(Integer(1)))
            case Fixed(size):
                return ArrayDefinition(size, self.id_of_shape(Integer(1)))
            case Sequence(inner):
                return SequenceDefinition(self.id_of_shape(inner))
            case Tuple(members):
                return TupleDefinition(tuple(self.id_of_shape(member) for member in members))
        raise UnknownTypeError(f"{shape} has no description in metadata")

    def _array(self, length: int, inner: Shape) -> int:
        key = ("array", length, inner)
        if key not in self._ids:
            number = self.reserve(key)
            definition = ArrayDefinition(length, self.id_of_shape(inner))
            self.describe(number, TypeDescription((), (), definition))
        return self._ids[key]

    def _option(self, inner: Shape) -> TypeDescription:
        number = self.id_of_shape(inner)
        some = VariantType("Some", (FieldType(None, number, None),), 1)
        variants = (VariantType("None", (), 0), some)
        parameters = (TypeParameter("T", number),)
        return TypeDescription(("Option",), parameters, VariantDefinition(variants))

    def _variants(self, shape: Variants) -> Definition:
        bare = _has_bare_fields(shape.cls)
        variants = []
        for index, member in shape.members:
            own = rust_name(member.cls)
            fields: tuple[FieldType, ...]
            if own is not None and own.inner:
                fields = (self._inner_field(own, member),)
            else:
                fields = self.fields(member.fields, bare=bare)
            docs = docs_of(member.cls)
            variants.append(VariantType(class_name(member.cls), fields, index, docs))
        return VariantDefinition(tuple(variants))

    def _inner_field(self, own: RustName, member: Struct) -> FieldType:
        composite = CompositeDefinition(self.fields(member.fields))
        number = self.add(TypeDescription(own.inner, (), composite, docs_of(member.cls)))
        return FieldType(None, number, own.inner[-1])

    def _named(self, cls: type, definition: Definition) -> TypeDescription:
        declared = rust_name(cls)
        parameters = tuple(
            TypeParameter(name, self.id_of(hint))
            for name, hint in (declared.parameters if declared else ())
        )
        return TypeDescription(path_of(cls), parameters, definition, docs_of(cls))


# ------------------------------------------------------------------------------------------- names


def plain_name(name: str) -> str:
    """Return a field's name as clients see it."""
    return name.removesuffix("_")


def class_name(cls: type) -> str:
    """Return the name of a class as clients see it."""
    declared = rust_name(cls)
    return declared.path[-1] if declared else cls.__name__


def path_of(cls: type) -> tuple[str, ...]:
    """Return the path of a class: the declared one, or one made from its module."""
    declared = rust_name(cls)
    is_variant = "_index" in vars(cls)
    if declared is not None and not is_variant:
        return declared.path
    modules = cls.__module__.split(".")
    return (OWN_CRATE, modules[min(1, len(modules) - 1)], cls.__name__)


def _has_bare_fields(cls: type) -> bool:
    declared = rust_name(cls)
    return declared is not None and declared.has_bare_fields


def docs_of(cls: type) -> tuple[str, ...]:
    """Return the docstring's lines; the signature that dataclasses write is none."""
    written = vars(cls).get("__doc__") or ""
    if dataclasses.is_dataclass(cls) and written.startswith(f"{cls.__name__}("):
        return ()
    return doc_lines(written)


def doc_lines(text: str) -> tuple[str, ...]:
    """Return the lines of a docstring without its indentation."""
    return tuple(inspect.cleandoc(text).splitlines()) if text.strip() else ()


def type_name(shape: Shape) -> str:
    """Return how Rust would write a type, for the `type_name` of fields."""
    match shape:
        case Struct(cls) | Choice(cls):
            return class_name(cls)
        case Variants():
            return class_name(shape.cls)
        case Integer(size, signed, name):
            return name or (f"{'i' if signed else 'u'}{8 * size}" if size < 32 else "U256")
        case Compact(size, name):
            return f"Compact<{name or f'u{8 * size}'}>"
        case CompactUnit():
            return "Compact<()>"
        case Boolean():
            return "bool"
        case Blob(text):
            return "String" if text else "Vec<u8>"
        case Fixed(size, path):
            return path[-1] if path else f"[u8; {size}]"
        case Sequence(inner):
            return f"Vec<{type_name(inner)}>"
        case Option(inner):
            return f"Option<{type_name(inner)}>"
        case Tuple(members):
            return f"({', '.join(type_name(member) for member in members)})"
        case Outer(name):
            return OUTER_NAMES[name]
    raise UnknownTypeError(f"{shape} has no name in metadata")


OUTER_NAMES: Final = {
    "call": "RuntimeCall",
    "event": "RuntimeEvent",
    "era": "Era",
    "extrinsic": "UncheckedExtrinsic",
}
