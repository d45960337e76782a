"""Sealed boxes: all readers get the same content, nobody else any, and nothing odd opens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import PrivateKey

from node.keys.sealed_box import Box, BoxUnreadableError, open_box, seal
from runtime.codec.scale import codec


def pair() -> tuple[PrivateKey, bytes]:
    key = PrivateKey.generate()
    return key, bytes(key.public_key)


ALICE, BOB, EVE = pair(), pair(), pair()
CONTENT = b"What did they ask?"


@given(st.binary(max_size=2_000))
@settings(deadline=None, max_examples=20)
def test_every_reader_opens_the_same_content(content: bytes) -> None:
    box = seal(content, [ALICE[1], BOB[1]])
    assert open_box(box, ALICE[0]) == open_box(box, BOB[0]) == content


def test_nobody_else_opens_a_box() -> None:
    with pytest.raises(BoxUnreadableError, match="not for this reader"):
        open_box(seal(CONTENT, [ALICE[1]]), EVE[0])


def test_two_boxes_of_one_content_have_nothing_in_common() -> None:
    first, second = (codec(Box).decode(seal(CONTENT, [ALICE[1]])) for _ in range(2))
    assert first.ciphertext != second.ciphertext
    assert first.keys[0].wrapped != second.keys[0].wrapped


def test_a_reader_whose_key_agrees_on_nothing_is_left_out() -> None:
    box = codec(Box).decode(seal(CONTENT, [bytes(32), ALICE[1]]))
    assert [bytes(wrapped.reader) for wrapped in box.keys] == [ALICE[1]]


def test_a_key_wrapped_for_another_reader_opens_nothing() -> None:
    box = codec(Box).decode(seal(CONTENT, [ALICE[1]]))
    [wrapped] = box.keys
    stolen = type(wrapped)(EVE[1], wrapped.wrapped)
    forged = codec(Box).encode(Box((stolen,), box.ciphertext))
    with pytest.raises(BoxUnreadableError):
        open_box(forged, EVE[0])


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_changed_box_does_not_open(data: st.DataObject) -> None:
    box = bytearray(seal(CONTENT, [ALICE[1]]))
    at = data.draw(st.integers(0, len(box) - 1))
    box[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BoxUnreadableError):
        open_box(bytes(box), ALICE[0])


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_garbage_is_no_box(garbage: bytes) -> None:
    with pytest.raises(BoxUnreadableError):
        open_box(garbage, ALICE[0])
