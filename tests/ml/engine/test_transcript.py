"""Transcripts: what was streamed is exactly the answer, whatever the stops and the characters."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ml.base.characters import UNFINISHED
from ml.engine.interface import FinishReason, TokenEvent
from ml.engine.transcript import Transcript


class Bytes:
    """A tokenizer whose tokens are bytes."""

    chat_template = None
    eos_token_id = 256

    def __len__(self) -> int:
        return 257

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return bytes(tokens).decode(errors="replace")


def transcript(*stops: str) -> Transcript:
    return Transcript(cast(Any, Bytes()), "", stops)


def stream(made: Transcript, data: bytes, last: FinishReason | None = None) -> list[str]:
    """Feed bytes as tokens until a stop; returns the pieces that went out."""
    pieces = []
    for at, token in enumerate(data):
        reason = last if at == len(data) - 1 else None
        pieces.append(made.add(TokenEvent(token, 0.0, reason)))
        if made.is_stopped:
            break
    pieces.append(made.finish())
    return pieces


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=4), max_size=3))
@example("\x80", [UNFINISHED])
@example(f"a{UNFINISHED}", [UNFINISHED])
def test_what_was_streamed_is_the_answer_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    made = transcript(*stops)
    pieces = stream(made, text.encode())
    assert "".join(pieces) == made.text
    assert text.startswith(made.text)
    assert not any(stop in made.text for stop in stops)
    assert made.is_stopped == any(stop in text for stop in stops)
    if not made.is_stopped:
        assert made.text == text


@given(st.binary(max_size=20), st.sampled_from([(), ("a",), ("ab", "b")]))
def test_any_bytes_are_streamed_once(data: bytes, stops: tuple[str, ...]) -> None:
    made = transcript(*stops)
    assert "".join(stream(made, data)) == made.text


def test_a_character_goes_out_when_it_is_whole() -> None:
    pieces = stream(transcript(), "aé€".encode())
    assert pieces == ["a", "", "é", "", "", "€", ""]
    assert UNFINISHED not in "".join(pieces)


def test_an_answer_that_ends_within_a_character_says_so_at_the_end() -> None:
    assert stream(transcript(), b"a\xe2") == ["a", "", UNFINISHED]


def test_the_beginning_of_a_stop_is_held_back() -> None:
    assert stream(transcript("END"), b"xEN!") == ["x", "", "", "EN!", ""]
    made = transcript("END")
    assert "".join(stream(made, b"xEND more")) == "x"
    assert (made.reason, len(made.answer_tokens)) == (FinishReason.STOP, 4)


@pytest.mark.parametrize("stops", [("ab", "xa"), ("xa", "ab")])
def test_the_earliest_stop_counts_whatever_the_order(stops: tuple[str, ...]) -> None:
    made = transcript(*stops)
    made.add(TokenEvent(ord("x"), 0.0))
    made._tokens += b"a"
    made.add(TokenEvent(ord("b"), 0.0))
    assert made.text == ""


@pytest.mark.parametrize("reason", [FinishReason.STOP, FinishReason.ABORTED])
def test_the_token_that_ends_an_answer_is_not_part_of_it(reason: FinishReason) -> None:
    made = transcript()
    stream(made, b"ok\0", reason)
    assert (made.text, made.answer_tokens, made.reason) == ("ok", (111, 107), reason)


def test_the_last_token_of_a_full_answer_is_part_of_it() -> None:
    made = transcript()
    stream(made, b"ok", FinishReason.LENGTH)
    assert (made.text, made.reason) == ("ok", FinishReason.LENGTH)
    assert made.stop_tokens == (256,)
    assert made.prompt_tokens == ()


@given(st.text(min_size=1, max_size=30), st.sampled_from([(), ("ab",)]), st.integers(0, 60))
def test_an_answer_that_is_cut_is_what_was_sent_and_no_token_more(
    text: str, stops: tuple[str, ...], tokens: int
) -> None:
    made, sent = transcript(*stops), ""
    for token in text.encode()[:tokens]:
        sent += made.add(TokenEvent(token, 0.0, None))
        if made.is_stopped:
            break
    assert made.cut() == bool(sent)
    assert made.text == sent
    assert bytes(made.answer_tokens).decode(errors="replace").startswith(sent)
    assert len(made.answer_tokens) <= len(sent.encode()) + max(map(len, stops), default=0) + 3
