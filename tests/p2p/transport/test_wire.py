"""The wire's envelope: one encoding for each message, and one error for everything else."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.transport.transport import (
    ANSWER_BYTES_MAX,
    FRAME_BYTES_MAX,
    GOSSIP_BYTES_MAX,
    REQUEST_BYTES_MAX,
)
from p2p.transport.wire import (
    ANSWER_SIZE_MAX,
    CHANNELS,
    ENVELOPE_SIZE_MAX,
    REQUEST_SIZE_MAX,
    SIZE_MAX,
    VERSION,
    Envelope,
    MessageKind,
    RequestEnvelope,
    RequestKind,
    WireDecodeError,
    decode,
    decode_request,
    encode,
)

messages = st.sampled_from(MessageKind).flatmap(
    lambda kind: st.builds(Envelope, st.just(kind), st.binary(max_size=min(SIZE_MAX[kind], 400)))
)
requests = st.builds(RequestEnvelope, st.sampled_from(RequestKind), st.binary(max_size=400))
forms = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=8,
)


def packed(value: object) -> bytes:
    result: bytes = msgpack.packb(value, use_bin_type=True)
    return result


@given(messages)
def test_every_message_is_read_as_it_was_written(envelope: Envelope) -> None:
    assert decode(encode(envelope.kind, envelope.body)) == envelope


@given(requests)
def test_every_request_is_read_as_it_was_written(envelope: RequestEnvelope) -> None:
    assert decode_request(encode(envelope.kind, envelope.body)) == envelope


@given(st.binary(max_size=200) | forms.map(packed))
def test_garbage_is_a_decode_error_or_the_one_encoding_of_a_message(data: bytes) -> None:
    try:
        envelope = decode(data)
    except WireDecodeError:
        return
    assert encode(envelope.kind, envelope.body) == data


@given(messages, st.data())
def test_a_damaged_message_is_a_decode_error_or_another_message(
    envelope: Envelope, data: st.DataObject
) -> None:
    frame = bytearray(encode(envelope.kind, envelope.body))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    try:
        read = decode(bytes(frame))
    except WireDecodeError:
        return
    assert encode(read.kind, read.body) == bytes(frame)


@given(messages, st.binary(min_size=1, max_size=10))
def test_nothing_may_follow_a_message(envelope: Envelope, rest: bytes) -> None:
    with pytest.raises(WireDecodeError):
        decode(encode(envelope.kind, envelope.body) + rest)


@pytest.mark.parametrize("kind", MessageKind)
def test_a_body_has_its_maximum_and_no_more(kind: MessageKind) -> None:
    body = bytes(SIZE_MAX[kind])
    assert decode(encode(kind, body)).body == body
    with pytest.raises(WireDecodeError):
        decode(packed([VERSION, int(kind), body + b"x"]))
    with pytest.raises(AssertionError):
        encode(kind, body + b"x")


def test_a_request_has_its_maximum_and_no_more() -> None:
    body = bytes(REQUEST_SIZE_MAX)
    assert decode_request(encode(RequestKind.BLOB, body)).body == body
    with pytest.raises(WireDecodeError):
        decode_request(packed([VERSION, int(RequestKind.BLOB), body + b"x"]))


@pytest.mark.parametrize(
    "fields",
    [
        [VERSION + 1, 17, b""],
        [VERSION, 99, b""],
        [VERSION, 64, b""],
        [VERSION, -1, b""],
        [VERSION, 17, "text"],
        [True, 17, b""],
        [VERSION, 17],
        [VERSION, 17, b"", b""],
        [VERSION, 17.0, b""],
        {VERSION: 17},
        None,
    ],
    ids=repr,
)
def test_what_is_no_message_is_refused(fields: object) -> None:
    with pytest.raises(WireDecodeError):
        decode(packed(fields))


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("93cc0111c400"),
        bytes.fromhex("9301cc11c400"),
        bytes.fromhex("930111c50000"),
        bytes.fromhex("dc00030111c400"),
        bytes.fromhex("930111c6ffffffff"),
        bytes.fromhex("ddffffffff"),
        b"\x93" * 2000,
        b"",
    ],
    ids=lambda data: data[:8].hex(),
)
def test_longer_forms_and_false_lengths_are_refused(data: bytes) -> None:
    with pytest.raises(WireDecodeError):
        decode(data)


def test_a_message_is_no_request_and_a_request_no_message() -> None:
    with pytest.raises(WireDecodeError):
        decode_request(encode(MessageKind.VOTE, b""))
    with pytest.raises(WireDecodeError):
        decode(encode(RequestKind.BODY, b""))


def test_everything_fits_what_carries_it() -> None:
    assert all(SIZE_MAX[kind] + ENVELOPE_SIZE_MAX <= FRAME_BYTES_MAX for kind in CHANNELS)
    assert SIZE_MAX[MessageKind.TRANSACTIONS] + ENVELOPE_SIZE_MAX <= GOSSIP_BYTES_MAX
    assert REQUEST_SIZE_MAX + ENVELOPE_SIZE_MAX <= REQUEST_BYTES_MAX
    assert max(ANSWER_SIZE_MAX.values()) <= ANSWER_BYTES_MAX
    assert set(SIZE_MAX) == set(MessageKind)
    assert set(ANSWER_SIZE_MAX) == set(RequestKind)


def test_the_bytes_of_a_vote_do_not_change() -> None:
    assert encode(MessageKind.VOTE, b"\x01\x02").hex() == "930111c4020102"
