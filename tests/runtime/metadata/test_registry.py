import pytest

from runtime.codec.scale import CompactU128, Enumeration, scale, u8, u128
from runtime.codec.shape import Outer, rust, shape_of
from runtime.metadata.registry import (
    CompositeDefinition,
    Primitive,
    PrimitiveDefinition,
    Registry,
    UnknownTypeError,
    VariantDefinition,
    type_name,
)
from runtime.types.primitives import Balance, CompactBalance


@rust("crate_of_test::Wrapper", T=u8)
@scale
class Wrapper:
    value_: u8


class Tree(Enumeration):
    """A tree."""


class Leaf(Tree, index=0):
    pass


class Node(Tree, index=1):
    """Two trees."""

    left: Tree
    right: Tree


def test_a_type_that_contains_itself_is_described_once() -> None:
    registry = Registry()
    number = registry.id_of(Tree)
    assert registry.id_of(Tree) == number
    [portable] = registry.types
    assert portable.type.path == ("openledger", __name__.split(".")[1], "Tree")
    assert portable.type.docs == ("A tree.",)
    assert isinstance(portable.type.definition, VariantDefinition)
    leaf, node = portable.type.definition.variants
    assert (leaf.name, leaf.docs, leaf.fields) == ("Leaf", (), ())
    assert node.docs == ("Two trees.",)
    assert [(field.name, field.type) for field in node.fields] == [
        ("left", number),
        ("right", number),
    ]


def test_a_declared_name_replaces_the_own_one() -> None:
    registry = Registry()
    number = registry.id_of(Wrapper)
    described = registry.types[number].type
    assert described.path == ("crate_of_test", "Wrapper")
    assert [parameter.name for parameter in described.parameters] == ["T"]
    assert described.docs == ()
    made = described.definition
    assert isinstance(made, CompositeDefinition)
    assert [(field.name, field.type_name) for field in made.fields] == [("value", "u8")]


def test_a_type_of_the_composed_runtime_must_be_reserved_first() -> None:
    with pytest.raises(UnknownTypeError):
        Registry().id_of_shape(Outer("call"))
    registry = Registry()
    assert registry.reserve_outer("call") == registry.id_of_shape(Outer("call"))


def test_a_primitive_is_described_as_such() -> None:
    registry = Registry()
    assert registry.types == ()
    registry.id_of(u8)
    assert registry.types[0].type.definition == PrimitiveDefinition(Primitive.U8)


def test_an_amount_has_a_name_of_its_own_and_the_type_of_its_number() -> None:
    registry = Registry()
    assert registry.id_of(Balance) == registry.id_of(u128)
    assert registry.id_of(CompactBalance) == registry.id_of(CompactU128)
    names = [type_name(shape_of(hint)) for hint in (Balance, Balance | None, CompactBalance, u128)]
    assert names == ["Balance", "Option<Balance>", "Compact<Balance>", "u128"]
