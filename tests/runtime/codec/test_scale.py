import dataclasses
import enum
import importlib.util
import struct
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.codec.compiler import RECURSION_MAX
from runtime.codec.scale import (
    Bytes4,
    Bytes32,
    CompactU16,
    CompactU32,
    CompactU64,
    CompactU128,
    DecodeError,
    EncodeError,
    Enumeration,
    codec,
    decode,
    encode,
    encode_compact,
    i8,
    i16,
    i32,
    i64,
    i128,
    read_compact,
    scale,
    u8,
    u16,
    u32,
    u64,
    u128,
    u256,
)

# ------------------------------------------------------------------------------ every kind of shape


class Colour(enum.IntEnum):
    Red = 0
    Blue = 7


@scale
class Flat:
    a: u8
    b: u128
    c: i32
    d: u64


@scale
class Mixed:
    name: str
    flat: Flat
    wide: i128
    huge: u256
    maybe: u16 | None
    rows: tuple[bytes, ...]
    pair: tuple[bool, CompactU64]


class Form(Enumeration):
    """An enum with fields."""


class Circle(Form, index=0):
    radius: u32


class Nothing(Form, index=5):
    pass


class Group(Form, index=255):
    members: tuple[Form, ...]
    named: Form | None


def integers(bits: int, signed: bool = False) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    edges = [1 << n for n in (5, 6, 13, 14, 29, 30, 31, 32, 63, 64) if 1 << n <= high]
    return st.integers(low, high) | st.sampled_from([low, high, *edges])


FLATS = st.builds(Flat, integers(8), integers(128), integers(32, True), integers(64))
MIXED = st.builds(
    Mixed,
    st.text(max_size=5),
    FLATS,
    integers(128, True),
    integers(256),
    st.none() | integers(16),
    st.lists(st.binary(max_size=4), max_size=3).map(tuple),
    st.tuples(st.booleans(), integers(64)),
)
FORMS = st.recursive(
    st.builds(Circle, integers(32)) | st.just(Nothing()),
    lambda inner: st.builds(Group, st.lists(inner, max_size=3).map(tuple), st.none() | inner),
    max_leaves=6,
)

UNSIGNED = [(u8, 8), (u16, 16), (u32, 32), (u64, 64), (u128, 128), (u256, 256)]
SIGNED = [(i8, 8), (i16, 16), (i32, 32), (i64, 64), (i128, 128)]
COMPACT = [(CompactU16, 16), (CompactU32, 32), (CompactU64, 64), (CompactU128, 128)]
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    *((hint, integers(bits)) for hint, bits in UNSIGNED + COMPACT),
    *((hint, integers(bits, signed=True)) for hint, bits in SIGNED),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=80)),
    (str, st.text(max_size=20)),
    (Bytes4, st.binary(min_size=4, max_size=4)),
    (Bytes32, st.binary(min_size=32, max_size=32)),
    (Colour, st.sampled_from(Colour)),
    (Flat, FLATS),
    (Mixed, MIXED),
    (Form, FORMS),
    (tuple[()], st.just(())),
    (tuple[u8, str, CompactU32], st.tuples(integers(8), st.text(max_size=3), integers(32))),
    (tuple[Flat, ...], st.lists(FLATS, max_size=3).map(tuple)),
    (tuple[tuple[u16, ...], ...], st.lists(st.lists(integers(16)).map(tuple)).map(tuple)),
    (Form | None, st.none() | FORMS),
    (tuple[bool | None, ...], st.lists(st.none() | st.booleans()).map(tuple)),
]
NAMES = [str(getattr(hint, "__name__", hint)) for hint, _ in KINDS]
each_kind = pytest.mark.parametrize(("hint", "values"), KINDS, ids=NAMES)


@each_kind
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_value_survives_a_round_trip(hint: Any, values: Any, data: st.DataObject) -> None:
    value = data.draw(values)
    assert decode(hint, encode(hint, value)) == value


@each_kind
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_decodes_is_the_encoding_of_its_value(
    hint: Any, values: Any, data: st.DataObject
) -> None:
    raw = data.draw(st.binary(max_size=120))
    try:
        value = decode(hint, raw)
    except DecodeError:
        return
    assert encode(hint, value) == raw


@each_kind
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_damaged_encoding_never_raises_anything_else(
    hint: Any, values: Any, data: st.DataObject
) -> None:
    raw = bytearray(encode(hint, data.draw(values)))
    for _ in range(data.draw(st.integers(1, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = decode(hint, bytes(raw))
    except DecodeError:
        return
    assert encode(hint, value) == raw


@each_kind
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_shorter_or_longer_input_is_refused(hint: Any, values: Any, data: st.DataObject) -> None:
    raw = encode(hint, data.draw(values))
    with pytest.raises(DecodeError):
        decode(hint, raw + b"\0")
    if raw:
        with pytest.raises(DecodeError):
            decode(hint, raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_values_follow_each_other_without_a_gap(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(KINDS))), min_size=1, max_size=4))
    values = [data.draw(KINDS[number][1]) for number in chosen]
    hints = [KINDS[number][0] for number in chosen]
    raw = b"".join(encode(hint, value) for hint, value in zip(hints, values, strict=True))
    at = 0
    for hint, value in zip(hints, values, strict=True):
        decoded, at = codec(hint).decode_from(raw, at)
        assert decoded == value
    assert at == len(raw)


# --------------------------------------------------------------------------------- known encodings


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (0, "00"),
        (1, "04"),
        (63, "fc"),
        (64, "0101"),
        (16383, "fdff"),
        (16384, "02000100"),
        (1073741823, "feffffff"),
        (1073741824, "0300000040"),
        (2**32 - 1, "03ffffffff"),
        (2**32, "070000000001"),
        (100000000000000, "0b00407a10f35a"),
        (2**64 - 1, "13ffffffffffffffff"),
        (2**536 - 1, "ff" + "ff" * 67),
    ],
)
def test_compact_integers_have_their_known_encoding(value: int, known: str) -> None:
    assert encode_compact(value).hex() == known
    assert read_compact(bytes.fromhex(known), 0) == (value, len(known) // 2)


@pytest.mark.parametrize(
    ("hint", "value", "known"),
    [
        (i8, -1, "ff"),
        (u16, 42, "2a00"),
        (u32, 16777215, "ffffff00"),
        (tuple[u16, ...], (4, 8, 15, 16, 23, 42), "18040008000f00100017002a00"),
        (str, "Hamlet", "1848616d6c6574"),
        (tuple[CompactU32, bool], (3, False), "0c00"),
        (u8 | None, None, "00"),
        (u8 | None, 1, "0101"),
        (Form, Circle(7), "0007000000"),
        (Form, Nothing(), "05"),
        (Colour, Colour.Blue, "07"),
    ],
)
def test_values_have_the_encoding_of_the_specification(hint: Any, value: Any, known: str) -> None:
    assert encode(hint, value).hex() == known
    assert decode(hint, bytes.fromhex(known)) == value


@pytest.mark.parametrize(
    ("hint", "raw"),
    [
        (bool, "02"),
        (u8 | None, "0201"),
        (Colour, "01"),
        (Form, "01"),
        (str, "04ff"),
        (CompactU16, "0300000040"),
        (CompactU32, "0100"),
        (CompactU32, "fd00"),
        (CompactU32, "02000000"),
        (CompactU32, "0300000000"),
        (CompactU64, "07ffffff3f00"),
        (CompactU64, "1700000000000000000001"),
        (bytes, "0101"),
        (u8, ""),
    ],
)
def test_what_the_encoder_would_not_write_is_refused(hint: Any, raw: str) -> None:
    with pytest.raises(DecodeError):
        decode(hint, bytes.fromhex(raw))


@pytest.mark.parametrize("hint", [bytes, str, tuple[u8, ...], tuple[Flat, ...], tuple[Form, ...]])
@pytest.mark.parametrize("count", [100, 2**24, 2**30 - 1, 2**32 - 1, 2**64, 2**500])
def test_a_length_beyond_the_input_is_refused_before_anything_is_allocated(
    hint: Any, count: int
) -> None:
    with pytest.raises(DecodeError):
        decode(hint, encode_compact(count) + b"\0" * 90)


def test_a_sequence_of_nothing_cannot_be_longer_than_its_input() -> None:
    with pytest.raises(DecodeError):
        decode(tuple[tuple[()], ...], encode_compact(2**24))


def test_deep_nesting_is_refused_instead_of_exhausting_the_stack() -> None:
    deep = b"\xff\x04" * 100_000
    with pytest.raises(DecodeError, match="nested too deeply"):
        decode(Form, deep)
    with pytest.raises(DecodeError, match="nested too deeply"):
        decode(Form, b"\xff\x00\x01" * 100_000)


def test_nesting_within_the_limit_is_fine() -> None:
    form: Form = Nothing()
    for _ in range(RECURSION_MAX // 4):
        form = Group((form,), None)
    assert decode(Form, encode(Form, form)) == form


# ----------------------------------------------------------------------------------------- encoding


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (u8, 256),
        (u8, -1),
        (u64, 2**64),
        (u256, 2**256),
        (i8, 128),
        (i128, -(2**127) - 1),
        (CompactU16, 2**16),
        (CompactU32, -1),
        (CompactU128, 2**128),
        (Bytes4, b"abc"),
        (Bytes4, "abcd"),
        (Bytes4, [1, 2, 3, 4]),
        (bytes, 5),
        (bytes, "text"),
        (str, b"bytes"),
        (str, "\ud800"),
        (tuple[u8, u8], (1,)),
        (tuple[u8, ...], (1, None)),
        (u8, None),
        (Flat, Flat(1, -1, 0, 0)),
        (Flat, Flat(1, 2**128, 0, 0)),
        (Flat, None),
        (Form, None),
        (Form, Colour.Red),
    ],
)
def test_a_value_that_does_not_fit_raises_an_encode_error(hint: Any, value: Any) -> None:
    with pytest.raises(EncodeError):
        encode(hint, value)


@given(FLATS)
def test_packed_integers_equal_separate_ones(flat: Flat) -> None:
    parts = zip((u8, u128, i32, u64), dataclasses.astuple(flat), strict=True)
    assert encode(Flat, flat) == b"".join(encode(hint, value) for hint, value in parts)
    assert len(encode(Flat, flat)) == 1 + 16 + struct.calcsize("<iQ")


# ---------------------------------------------------------------------------- against another codec

OTHER: list[tuple[Any, str, st.SearchStrategy[Any]]] = [
    *((hint, f"u{bits}", integers(bits)) for hint, bits in UNSIGNED),
    *((hint, f"i{bits}", integers(bits, signed=True)) for hint, bits in SIGNED),
    *((hint, f"Compact<u{bits}>", integers(bits)) for hint, bits in COMPACT),
    (bool, "bool", st.booleans()),
    (str, "String", st.text(max_size=20)),
    (bytes, "HexBytes", st.binary(max_size=40)),
    (Bytes32, "[u8; 32]", st.binary(min_size=32, max_size=32)),
    (tuple[u16, ...], "Vec<u16>", st.lists(integers(16), max_size=5).map(tuple)),
    (tuple[u8, u64], "(u8, u64)", st.tuples(integers(8), integers(64))),
    (u32 | None, "Option<u32>", st.none() | integers(32)),
]


def other_codec() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scalecodec.base import RuntimeConfigurationObject
        from scalecodec.type_registry import load_type_registry_preset
    configuration = RuntimeConfigurationObject()
    configuration.update_type_registry(load_type_registry_preset("legacy"))
    return configuration


@pytest.mark.skipif(
    importlib.util.find_spec("scalecodec") is None, reason="scalecodec is not installed"
)
@pytest.mark.parametrize(("hint", "name", "values"), OTHER, ids=[name for _, name, _ in OTHER])
def test_scalecodec_writes_and_reads_the_same_bytes(hint: Any, name: str, values: Any) -> None:
    configuration = other_codec()
    scale_bytes = sys.modules["scalecodec.base"].ScaleBytes

    @given(values)
    @settings(max_examples=40, deadline=None)
    def check(value: Any) -> None:
        outside = "0x" + value.hex() if isinstance(value, bytes) else value
        outside = list(outside) if isinstance(outside, tuple) and "Vec" in name else outside
        written = configuration.create_scale_object(name).encode(outside)
        assert bytes(written.data) == encode(hint, value)
        read = configuration.create_scale_object(name, scale_bytes(encode(hint, value))).decode()
        assert (tuple(read) if isinstance(read, list) else read) == (
            tuple(outside) if isinstance(outside, list) else outside
        )

    check()
