"""Events of answers from a hostile server: an answer, or one error, whatever it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.client import Answer, RequestRefusedError, Text, UnreachableError
from node.client.answer_events import ANSWER_BYTES_MAX, LINE_BYTES_MAX, read_events
from runtime.types.primitives import Hash

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
"""NaN, infinities, halves of surrogate pairs and numbers of any size among it."""
PIECES = st.fixed_dictionaries({"delta": st.fixed_dictionaries({"content": ANYTHING}) | ANYTHING})
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(PIECES | ANYTHING, max_size=3) | ANYTHING,
        "usage": st.fixed_dictionaries(
            {}, optional={"prompt_tokens": ANYTHING, "completion_tokens": ANYTHING}
        )
        | ANYTHING,
        "attribution": st.fixed_dictionaries({"receipt": ANYTHING}) | ANYTHING,
        "error": ANYTHING,
    },
)


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def read(*parts: bytes) -> list[Text | Answer]:
    return list(read_events(parts))


def is_sane(pieces: list[Text | Answer]) -> bool:
    *texts, answer = pieces
    assert isinstance(answer, Answer)
    whole = "".join(piece.text for piece in texts)
    whole.encode()
    return answer.text == whole and answer.tokens_in >= 0 and answer.tokens_out >= 0


@given(st.lists(EVENTS | ANYTHING, max_size=4), st.integers(0, 200))
def test_any_events_are_an_answer_or_one_error(events: list[object], cut: int) -> None:
    stream = b"".join(event(each) for each in events)
    with suppress(UnreachableError, RequestRefusedError):
        assert is_sane(read(stream[:cut], stream[cut:]))


@given(st.lists(st.binary(max_size=60) | st.just(b"\ndata: "), max_size=8))
def test_any_bytes_are_an_answer_or_one_error(parts: list[bytes]) -> None:
    with suppress(UnreachableError, RequestRefusedError):
        assert is_sane(read(*parts))


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {\n",
        b"data: []\n",
        b"data: \xff\n",
        b'data: {"usage": {"prompt_tokens": NaN}}\n',
        b'data: {"usage": {"prompt_tokens": 1e999}}\n',
        b'data: {"usage": {"prompt_tokens": -1}}\n',
        b'data: {"usage": {"prompt_tokens": true}}\n',
        b'data: {"usage": {"completion_tokens": 4294967296}}\n',
        b'data: {"usage": {"completion_tokens": ' + b"9" * 5_000 + b"}}\n",
        b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n',
        b'data: {"choices": {}, "x": 1}\n'.replace(b"{}, ", b'"x", '),
        b'data: {"attribution": {"receipt": "0x00"}}\n',
        b"data: " + b"[" * 100_000 + b"\n",
    ],
    ids=lambda stream: stream[:40].decode(errors="replace"),
)
def test_what_no_node_sends_is_one_error(stream: bytes) -> None:
    with pytest.raises(UnreachableError, match="what no node sends"):
        read(stream)


def test_a_stream_without_an_end_is_given_up() -> None:
    def endless(part: bytes) -> Iterator[bytes]:
        while True:
            yield part

    for part in (b"x" * 65_536, b": keep waiting\n" * 4_096, event({}) * 4_096):
        with pytest.raises(UnreachableError, match="it has no end"):
            list(read_events(endless(part)))
    assert LINE_BYTES_MAX < ANSWER_BYTES_MAX


def test_an_answer_is_the_same_however_its_stream_is_cut() -> None:
    events = (
        {"choices": [{"delta": {"content": "Hél"}}]},
        {"choices": [{"delta": {"content": "lo"}}], "usage": None},
        {"usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        {"attribution": {"receipt": "ab" * 32}},
    )
    stream = b": a comment\r\n" + b"".join(map(event, events)).replace(b"\n", b"\r\n")
    stream += b"data: [DONE]\n\n"
    expected = [Text("Hél"), Text("lo")]
    answer = Answer("Héllo", 3, 2, {"receipt": "ab" * 32}, Hash(b"\xab" * 32))
    for cut in range(len(stream)):
        assert read(stream[:cut], stream[cut:]) == [*expected, answer]
