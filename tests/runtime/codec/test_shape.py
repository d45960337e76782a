import enum
from typing import Any, NewType

import pytest

from runtime.codec.scale import Bytes32, Enumeration, declare, encode, scale, u8, u32
from runtime.codec.shape import (
    Blob,
    Boolean,
    Choice,
    CompactNothing,
    Fixed,
    Integer,
    Option,
    Sequence,
    ShapeError,
    Struct,
    Tuple,
    Variants,
    rust,
    rust_name,
    shape_of,
)


@scale
class Point:
    x: u32
    y: u32 = 5


class Mood(enum.IntEnum):
    Good = 0


class Form(Enumeration):
    """Forms."""


class Dot(Form, index=3):
    at: Point


class Blank(Form, index=1):
    pass


@pytest.mark.parametrize(
    ("hint", "shape"),
    [
        (u8, Integer(1)),
        (bool, Boolean()),
        (bytes, Blob()),
        (str, Blob(text=True)),
        (Bytes32, Fixed(32)),
        (tuple[u8, ...], Sequence(Integer(1))),
        (tuple[u8, bool], Tuple((Integer(1), Boolean()))),
        (tuple[()], Tuple(())),
        (u8 | None, Option(Integer(1))),
        (Mood, Choice(Mood)),
        (Form, Variants(Form)),
    ],
)
def test_a_hint_has_one_shape(hint: Any, shape: Any) -> None:
    assert shape_of(hint) == shape


def test_a_struct_has_its_fields_in_order() -> None:
    shape = shape_of(Point)
    assert isinstance(shape, Struct)
    assert [field.name for field in shape.fields] == ["x", "y"]
    assert shape.minimum == 8
    assert encode(Point, Point(1)) == b"\1\0\0\0\5\0\0\0"


def test_variants_are_in_order_of_their_index() -> None:
    shape = shape_of(Form)
    assert isinstance(shape, Variants)
    assert [(index, member.cls) for index, member in shape.members] == [(1, Blank), (3, Dot)]


def test_a_variant_alone_is_a_struct_without_index() -> None:
    assert encode(Dot, Dot(Point(1, 2))) == encode(Point, Point(1, 2))
    assert encode(Form, Dot(Point(1, 2))) == b"\3" + encode(Point, Point(1, 2))


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Dot(Point(1)).at = Point(2)  # type: ignore[misc]


def test_an_index_is_used_once() -> None:
    with pytest.raises(ShapeError, match="already Dot"):

        class Second(Form, index=3):
            pass


class NoEncoding:
    pass


@pytest.mark.parametrize("hint", [int, float, list[u8], dict[u8, u8], u8 | bool | None, NoEncoding])
def test_a_hint_without_encoding_is_refused(hint: Any) -> None:
    with pytest.raises(ShapeError):
        shape_of(hint)


def test_an_identifier_gets_its_encoding_once() -> None:
    name = NewType("name", bytes)
    declare(name, Fixed(2, ("crate", "Name")))
    assert shape_of(name) == Fixed(2, ("crate", "Name"))
    with pytest.raises(AssertionError, match="already has an encoding"):
        declare(name, Fixed(3))


def test_a_class_without_a_rust_name_has_none() -> None:
    assert rust_name(Point) is None


def test_a_rust_name_has_a_path_and_parameters() -> None:
    @rust("crate::module::Named", bare=True, T=u8)
    @scale
    class Other:
        x: u8

    named = rust_name(Other)
    assert named is not None
    assert named.path == ("crate", "module", "Named")
    assert named.parameters == (("T", u8),)
    assert named.has_bare_fields


def test_compact_nothing_has_no_bytes() -> None:
    assert encode(CompactNothing, ()) == b""
    assert shape_of(CompactNothing) != shape_of(tuple[()])
