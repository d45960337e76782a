"""Metadata is checked against the codecs that it describes: values made by reading the registry
alone, as a client does, must decode in the runtime and encode to the same bytes."""

import random
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallets import PALLETS
from runtime.codec.scale import decode, encode, encode_compact, read_compact
from runtime.frame.events import EventRecord, Initialization
from runtime.frame.extrinsic import EXTENSIONS
from runtime.frame.machine import Machine
from runtime.metadata.frame_metadata import (
    Constant,
    MapEntry,
    Metadata14,
    Metadata15,
    PlainEntry,
)
from runtime.metadata.metadata import (
    UnknownMetadataVersionError,
    metadata,
    pascal_case,
    snake_case,
)
from runtime.metadata.registry import (
    ArrayDefinition,
    CompactDefinition,
    CompositeDefinition,
    Definition,
    FieldType,
    Primitive,
    SequenceDefinition,
    TupleDefinition,
    TypeDescription,
    VariantDefinition,
    VariantType,
)
from runtime.types.primitives import RuntimeVersion

MACHINE = Machine(PALLETS, RuntimeVersion("test", "test", 1, 1, 1, (), 1, 1))
V14, V15 = (metadata(MACHINE, version) for version in (14, 15))
OLD, NEW = decode(Metadata14, V14[5:]), decode(Metadata15, V15[5:])
TYPES = [portable.type for portable in NEW.types]
PATHS = {"::".join(description.path): number for number, description in enumerate(TYPES)}
PALLETS_15 = [described.pallet for described in NEW.pallets]

UNSIGNED = {
    Primitive.U8: 1,
    Primitive.U16: 2,
    Primitive.U32: 4,
    Primitive.U64: 8,
    Primitive.U128: 16,
}
SIGNED = {Primitive.I8: 1, Primitive.I16: 2, Primitive.I32: 4, Primitive.I64: 8, Primitive.I128: 16}


# ----------------------------------------------------------- a client that knows the registry alone


def definition(number: int) -> Any:
    return TYPES[number].definition


def end_of(number: int, data: bytes, at: int) -> int:
    """Return where a value of a type ends."""
    made = definition(number)
    if isinstance(made, CompositeDefinition):
        for field in made.fields:
            at = end_of(field.type, data, at)
        return at
    if isinstance(made, VariantDefinition):
        [variant] = [variant for variant in made.variants if variant.index == data[at]]
        at += 1
        for field in variant.fields:
            at = end_of(field.type, data, at)
        return at
    if isinstance(made, SequenceDefinition):
        count, at = read_compact(data, at)
        for _ in range(count):
            at = end_of(made.inner, data, at)
        return at
    if isinstance(made, ArrayDefinition):
        for _ in range(made.length):
            at = end_of(made.inner, data, at)
        return at
    if isinstance(made, TupleDefinition):
        for inner in made.inner:
            at = end_of(inner, data, at)
        return at
    if isinstance(made, CompactDefinition):
        return at if definition(made.inner) == TupleDefinition(()) else read_compact(data, at)[1]
    if made.primitive is Primitive.Str:
        size, at = read_compact(data, at)
        return at + size
    return at + (1 if made.primitive is Primitive.Bool else (UNSIGNED | SIGNED)[made.primitive])


def some_value(number: int, dice: random.Random, depth: int = 0) -> bytes:
    """Return some encoding that a type allows; deep down, the plainest one."""
    made = definition(number)
    if isinstance(made, CompositeDefinition):
        return b"".join(some_value(field.type, dice, depth + 1) for field in made.fields)
    if isinstance(made, VariantDefinition):
        variant = made.variants[0] if depth > 12 else dice.choice(made.variants)
        inner = b"".join(some_value(field.type, dice, depth + 1) for field in variant.fields)
        return bytes((variant.index,)) + inner
    if isinstance(made, SequenceDefinition):
        count = 0 if depth > 8 else dice.randrange(4)
        inner = b"".join(some_value(made.inner, dice, depth + 1) for _ in range(count))
        return encode_compact(count) + inner
    if isinstance(made, ArrayDefinition):
        return b"".join(some_value(made.inner, dice, depth) for _ in range(made.length))
    if isinstance(made, TupleDefinition):
        return b"".join(some_value(inner, dice, depth + 1) for inner in made.inner)
    if isinstance(made, CompactDefinition):
        inner_made = definition(made.inner)
        if inner_made == TupleDefinition(()):
            return b""
        return encode_compact(
            dice.getrandbits(dice.randrange(1 + 8 * UNSIGNED[inner_made.primitive]))
        )
    if made.primitive is Primitive.Str:
        return dice.choice((b"\0", b"\4a", b"\x0cabc"))
    if made.primitive is Primitive.Bool:
        return dice.choice((b"\0", b"\1"))
    return dice.randbytes((UNSIGNED | SIGNED)[made.primitive])


SEEDS = st.integers(0, 2**32)
VALUE_TYPES = [
    (pallet.name, entry.name, entry.kind.value)
    for pallet in PALLETS_15
    for entry in (pallet.storage.entries if pallet.storage else ())
    if isinstance(entry.kind, PlainEntry | MapEntry)
]


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_every_call_that_the_registry_allows_decodes_to_the_same_bytes(seed: int) -> None:
    raw = some_value(NEW.outer_call, random.Random(seed))
    assert MACHINE.call_codec.encode(MACHINE.call_codec.decode(raw)) == raw


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_every_event_that_the_registry_allows_decodes_to_the_same_bytes(seed: int) -> None:
    raw = some_value(NEW.outer_event, random.Random(seed))
    codec = MACHINE.outer["event"]
    assert codec.encode(codec.decode(raw)) == raw
    record = EventRecord(Initialization(), codec.decode(raw))
    encoded = MACHINE.codec(EventRecord).encode(record)
    assert end_of(PATHS["frame_system::EventRecord"], encoded, 0) == len(encoded)


@pytest.mark.parametrize(("pallet", "name", "number"), VALUE_TYPES, ids=lambda v: str(v))
@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_every_stored_value_that_the_registry_allows_decodes_to_the_same_bytes(
    pallet: str, name: str, number: int, seed: int
) -> None:
    [spec] = [spec for spec in MACHINE.pallets[pallet].item_specs.values() if spec.name == name]
    codec, raw = MACHINE.codec(spec.value), some_value(number, random.Random(seed))
    assert codec.encode(codec.decode(raw)) == raw


# ----------------------------------------------------------------------------------- structure


def mentioned(description: TypeDescription) -> Iterator[int]:
    yield from (
        parameter.type for parameter in description.parameters if parameter.type is not None
    )
    made: Definition = description.definition
    if isinstance(made, CompositeDefinition):
        yield from (field.type for field in made.fields)
    elif isinstance(made, VariantDefinition):
        yield from (field.type for variant in made.variants for field in variant.fields)
    elif isinstance(made, TupleDefinition):
        yield from made.inner
    elif isinstance(made, SequenceDefinition | ArrayDefinition | CompactDefinition):
        yield made.inner


def variants_of(number: int | None) -> tuple[VariantType, ...]:
    if number is None:
        return ()
    made = definition(number)
    assert isinstance(made, VariantDefinition)
    return made.variants


@pytest.mark.parametrize("described", [OLD, NEW], ids=["14", "15"])
def test_no_type_id_dangles(described: Metadata14 | Metadata15) -> None:
    assert [portable.id for portable in described.types] == list(range(len(described.types)))
    for portable in described.types:
        assert all(number < len(described.types) for number in mentioned(portable.type))


def test_every_type_can_be_reached() -> None:
    roots = {NEW.runtime, NEW.outer_call, NEW.outer_event, NEW.outer_error}
    roots |= {NEW.extrinsic.address, NEW.extrinsic.signature, NEW.extrinsic.extra}
    for extension in NEW.extrinsic.signed_extensions:
        roots |= {extension.type, extension.additional_signed}
    for pallet in PALLETS_15:
        roots |= {constant.type for constant in pallet.constants}
        for entry in pallet.storage.entries if pallet.storage else ():
            assert isinstance(entry.kind, PlainEntry | MapEntry)
            roots |= {entry.kind.value} | (
                {entry.kind.key} if isinstance(entry.kind, MapEntry) else set()
            )
    for api in NEW.apis:
        for method in api.methods:
            roots |= {method.output} | {parameter.type for parameter in method.inputs}
    reached: set[int] = set()
    while roots:
        number = roots.pop()
        reached.add(number)
        roots |= set(mentioned(TYPES[number])) - reached
    # Version 14 roots its extrinsic type; clients of version 15 look it up by its path.
    reached.add(PATHS["sp_runtime::generic::unchecked_extrinsic::UncheckedExtrinsic"])
    assert reached == set(range(len(TYPES)))


def test_a_path_names_one_type_unless_it_is_generic() -> None:
    paths = [portable.type.path for portable in NEW.types if portable.type.path]
    repeated = {path for path in paths if paths.count(path) > 1}
    assert repeated <= {("Option",), ("Result",)}


@pytest.mark.parametrize("number", range(len(TYPES)))
def test_variants_and_fields_have_names_of_their_own(number: int) -> None:
    made = definition(number)
    groups: list[tuple[FieldType, ...]] = []
    if isinstance(made, CompositeDefinition):
        groups = [made.fields]
    elif isinstance(made, VariantDefinition):
        groups = [variant.fields for variant in made.variants]
        assert len({variant.index for variant in made.variants}) == len(made.variants)
        assert len({variant.name for variant in made.variants}) == len(made.variants)
    for fields in groups:
        names = [field.name for field in fields if field.name is not None]
        assert len(names) in (0, len(fields))
        assert len(set(names)) == len(names)
        assert not any(name.endswith("_") for name in names)


@pytest.mark.parametrize("pallet", PALLETS_15, ids=lambda pallet: pallet.name)
class TestPallet:
    def test_every_call_argument_has_a_rust_name_and_every_call_a_text(self, pallet: Any) -> None:
        declared = MACHINE.pallets[pallet.name].call_specs
        assert {call.index for call in variants_of(pallet.calls)} == set(declared)
        for call in variants_of(pallet.calls):
            assert call.docs
            assert call.name == declared[call.index].name
            assert all(argument.name and argument.type_name for argument in call.fields)

    def test_every_event_and_error_says_what_it_means(self, pallet: Any) -> None:
        instance = MACHINE.pallets[pallet.name]
        for number, declared in (
            (pallet.event, instance.event_types),
            (pallet.error, instance.error_types),
        ):
            kinds = {variant.index: variant for variant in variants_of(number)}
            assert set(kinds) == set(declared)
            assert all(variant.docs for variant in kinds.values())

    def test_types_are_in_the_pallets_crate(self, pallet: Any) -> None:
        crate = "frame_system" if pallet.name == "System" else f"pallet_{snake_case(pallet.name)}"
        kinds = ((pallet.calls, "Call"), (pallet.event, "Event"), (pallet.error, "Error"))
        for number, kind in kinds:
            assert number is None or TYPES[number].path == (crate, "pallet", kind)

    def test_a_fallback_is_a_value_of_its_type(self, pallet: Any) -> None:
        for entry in pallet.storage.entries if pallet.storage else ():
            if entry.modifier == 0:
                assert entry.fallback == b"\0"
            else:
                assert end_of(entry.kind.value, entry.fallback, 0) == len(entry.fallback)

    def test_a_map_has_a_hasher_for_each_key(self, pallet: Any) -> None:
        for entry in pallet.storage.entries if pallet.storage else ():
            if isinstance(entry.kind, MapEntry) and len(entry.kind.hashers) > 1:
                made = definition(entry.kind.key)
                assert isinstance(made, TupleDefinition)
                assert len(made.inner) == len(entry.kind.hashers)

    def test_a_constant_is_a_value_of_its_type(self, pallet: Any) -> None:
        for constant in pallet.constants:
            assert end_of(constant.type, constant.value, 0) == len(constant.value)

    def test_its_errors_are_in_the_outer_error(self, pallet: Any) -> None:
        outer = {variant.name: variant for variant in variants_of(NEW.outer_error)}
        assert (pallet.name in outer) == (pallet.error is not None)
        if pallet.error is not None:
            assert outer[pallet.name].index == pallet.index
            assert outer[pallet.name].fields[0].type == pallet.error


# ------------------------------------------------------------------------ what clients rely on


@pytest.mark.parametrize(
    "path",
    [
        "sp_core::crypto::AccountId32",
        "primitive_types::H256",
        "sp_runtime::multiaddress::MultiAddress",
        "sp_runtime::MultiSignature",
        "sp_runtime::generic::era::Era",
        "sp_runtime::generic::digest::Digest",
        "sp_runtime::generic::digest::DigestItem",
        "sp_runtime::generic::unchecked_extrinsic::UncheckedExtrinsic",
        "frame_system::AccountInfo",
        "frame_system::EventRecord",
        "frame_system::Phase",
        "pallet_balances::types::AccountData",
        "sp_weights::weight_v2::Weight",
        "sp_runtime::DispatchError",
        "sp_runtime::ModuleError",
        "sp_runtime::TokenError",
        "sp_arithmetic::ArithmeticError",
        "sp_runtime::TransactionalError",
        "frame_support::dispatch::DispatchInfo",
        "frame_support::dispatch::DispatchClass",
        "frame_support::dispatch::Pays",
        "sp_version::RuntimeVersion",
        "openledger_runtime::RuntimeCall",
        "openledger_runtime::RuntimeEvent",
        "openledger_runtime::RuntimeError",
        "openledger_runtime::Runtime",
    ],
)
def test_a_type_that_clients_know_is_in_both_versions(path: str) -> None:
    assert path in PATHS
    assert tuple(path.split("::")) in [portable.type.path for portable in OLD.types]


def test_an_era_has_a_variant_for_each_first_byte() -> None:
    variants = variants_of(PATHS["sp_runtime::generic::era::Era"])
    assert [variant.index for variant in variants] == list(range(256))
    assert [len(variant.fields) for variant in variants] == [0] + [1] * 255
    assert (variants[0].name, variants[1].name, variants[255].name) == (
        "Immortal",
        "Mortal1",
        "Mortal255",
    )


def test_dispatch_errors_have_the_names_of_substrate() -> None:
    variants = variants_of(PATHS["sp_runtime::DispatchError"])
    assert [variant.name for variant in variants] == [
        "Other",
        "CannotLookup",
        "BadOrigin",
        "Module",
        "ConsumerRemaining",
        "NoProviders",
        "TooManyConsumers",
        "Token",
        "Arithmetic",
        "Transactional",
        "Exhausted",
        "Corruption",
        "Unavailable",
        "RootNotAllowed",
    ]
    [module] = variants[3].fields
    assert module.name is None
    assert TYPES[module.type].path == ("sp_runtime", "ModuleError")
    assert [field.name for field in definition(module.type).fields] == ["index", "error"]


def test_variants_that_python_renames_keep_their_names() -> None:
    crate = "sp_runtime::transaction_validity::"
    invalid = variants_of(PATHS[crate + "InvalidTransaction"])
    assert (invalid[0].name, invalid[7].name) == ("Call", "Custom")
    unknown = variants_of(PATHS[crate + "UnknownTransaction"])
    assert [variant.name for variant in unknown] == [
        "CannotLookup",
        "NoUnsignedValidator",
        "Custom",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "sp_runtime::multiaddress::MultiAddress",
        "sp_runtime::MultiSignature",
        "sp_runtime::generic::digest::DigestItem",
        "frame_system::Phase",
        "sp_runtime::DispatchError",
        "sp_runtime::transaction_validity::TransactionValidityError",
        "Result",
    ],
)
def test_fields_of_known_enums_have_no_names(path: str) -> None:
    fields = [field for variant in variants_of(PATHS[path]) for field in variant.fields]
    assert fields
    assert all(field.name is None for field in fields)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("sp_runtime::multiaddress::MultiAddress", ["AccountId", "AccountIndex"]),
        ("frame_system::EventRecord", ["E", "T"]),
        ("Result", ["T", "E"]),
        (
            "sp_runtime::generic::unchecked_extrinsic::UncheckedExtrinsic",
            ["Address", "Call", "Signature", "Extra"],
        ),
    ],
)
def test_generic_types_have_their_parameters(path: str, names: list[str]) -> None:
    assert [parameter.name for parameter in TYPES[PATHS[path]].parameters] == names


def test_extensions_are_composites_with_a_path_even_when_empty() -> None:
    assert len(NEW.extrinsic.signed_extensions) == len(EXTENSIONS)
    for extension, (name, extra, additional) in zip(
        NEW.extrinsic.signed_extensions, EXTENSIONS, strict=True
    ):
        assert extension.identifier == name
        assert TYPES[extension.type].path[-1] == name
        made = definition(extension.type)
        assert isinstance(made, CompositeDefinition)
        assert len(made.fields) == (extra is not None)
        is_empty = definition(extension.additional_signed) == TupleDefinition(())
        assert is_empty == (additional is None)
    assert definition(NEW.extrinsic.extra) == TupleDefinition(
        tuple(extension.type for extension in NEW.extrinsic.signed_extensions)
    )


def test_the_version_constant_tells_what_signatures_cover() -> None:
    [system] = [pallet for pallet in PALLETS_15 if pallet.name == "System"]
    constants: dict[str, Constant] = {constant.name: constant for constant in system.constants}
    version = decode(RuntimeVersion, constants["Version"].value)
    assert (version.spec_name, version.spec_version) == ("test", 1)
    assert len(version.apis) == len(NEW.apis)
    assert constants["SS58Prefix"].value == b"\x2a\0"


def test_a_field_named_after_a_python_keyword_has_its_own_name() -> None:
    [balances] = [pallet for pallet in PALLETS_15 if pallet.name == "Balances"]
    [transfer] = [event for event in variants_of(balances.event) if event.name == "Transfer"]
    assert [field.name for field in transfer.fields] == ["from", "to", "amount"]


def test_both_versions_describe_the_same_pallets() -> None:
    assert [pallet.name for pallet in OLD.pallets] == [kind.__name__ for kind in PALLETS]
    assert tuple(OLD.pallets) == tuple(PALLETS_15)
    assert all(described.docs for described in NEW.pallets)


def test_metadata_begins_with_its_magic_and_version_and_is_the_same_each_time() -> None:
    assert (V14[:5], V15[:5]) == (b"meta\x0e", b"meta\x0f")
    again = Machine(PALLETS, RuntimeVersion("test", "test", 1, 1, 1, (), 1, 1))
    assert (metadata(again, 14), metadata(again, 15)) == (V14, V15)
    assert (encode(Metadata14, OLD), encode(Metadata15, NEW)) == (V14[5:], V15[5:])


@pytest.mark.parametrize("version", [0, 13, 16])
def test_another_version_is_refused(version: int) -> None:
    with pytest.raises(UnknownMetadataVersionError, match="14, 15"):
        metadata(MACHINE, version)


@pytest.mark.parametrize(
    ("name", "made", "kind"),
    [
        ("TransactionPayment", "transaction_payment", "snake"),
        ("System", "system", "snake"),
        ("ss58_prefix", "SS58Prefix", "pascal"),
        ("existential_deposit", "ExistentialDeposit", "pascal"),
    ],
)
def test_names_change_their_case(name: str, made: str, kind: Literal["snake", "pascal"]) -> None:
    assert (snake_case(name) if kind == "snake" else pascal_case(name)) == made
