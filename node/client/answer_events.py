"""The events of an answer, as a server streams them: read strictly, because it may be hostile.

A server sends lines of `data: JSON` (server-sent events): pieces of the text, and at the end the
tokens that it counts and the id of its receipt. Anything else is one error, before it reaches the
asker's books: other types, numbers that are no counts, texts that have no encoding, lines and
answers without an end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from node.client.errors import RequestRefusedError, UnreachableError
from runtime.codec.hexadecimal import from_hex
from runtime.types.primitives import Hash

LINE_BYTES_MAX: Final = 4 << 20
ANSWER_BYTES_MAX: Final = 16 << 20
"""Of a whole stream; the longest answer has a few tens of thousands of bytes."""
COUNT_MAX: Final = 2**32 - 1
_DATA: Final = b"data:"
_END: Final = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of an answer, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with its attribution and the id of its receipt, where it was paid."""

    text: str
    tokens_in: int
    tokens_out: int
    attribution: Mapping[str, Any]
    receipt: Hash | None


class _MalformedEventError(ValueError):
    """An event is none that a node sends."""


def read_events(parts: Iterable[bytes]) -> Iterator[Text | Answer]:
    """Yield the pieces of the answer in a stream of bytes, then the Answer.

    Raises RequestRefusedError where the server says that it broke off, UnreachableError.
    """
    texts: list[str] = []
    usage: Mapping[str, Any] = {}
    attribution: Mapping[str, Any] = {}
    try:
        for line in _lines(parts):
            data = line.removeprefix(_DATA).strip()
            if not line.startswith(_DATA) or data == _END:
                continue
            event = _object("event", _read_json(data))
            if event.get("error") is not None:
                raise RequestRefusedError(f"The answer broke off: {event['error']!s:.500}")
            usage = _object("usage", event.get("usage") or usage)
            attribution = _object("attribution", event.get("attribution") or attribution)
            for piece in _pieces(event):
                texts.append(piece)
                yield Text(piece)
        yield Answer(
            text="".join(texts),
            tokens_in=_count("prompt_tokens", usage.get("prompt_tokens", 0)),
            tokens_out=_count("completion_tokens", usage.get("completion_tokens", 0)),
            attribution=attribution,
            receipt=_receipt(attribution.get("receipt")),
        )
    except _MalformedEventError as error:
        raise UnreachableError(
            f"The answer holds what no node sends ({error}). Ask another server."
        ) from error


def is_unicode(value: object) -> TypeGuard[str]:
    """Return whether a value is a text that has an encoding: half of a surrogate pair has none."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a number of 32 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNT_MAX


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a stream without their ends; a last line without one is cut and left."""
    begun: list[bytes] = []  # the parts of a line that has not ended...
    length, size = 0, 0  # ...their length, and that of all
    for part in parts:
        size += len(part)
        *ends, rest = part.split(b"\n")
        for end in ends:
            yield b"".join((*begun, end))
            begun, length = [], 0
        begun.append(rest)
        length += len(rest)
        if size > ANSWER_BYTES_MAX or length > LINE_BYTES_MAX:
            raise _MalformedEventError("it has no end")


def _read_json(data: bytes) -> object:
    try:
        value: object = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise _MalformedEventError(f"an event is no JSON: {error!s:.200}") from error
    return value


def _pieces(event: Mapping[str, Any]) -> Iterator[str]:
    choices = event.get("choices") or []
    if not isinstance(choices, list):
        raise _MalformedEventError("choices are no list")
    for choice in choices:
        piece = _object("delta", _object("choice", choice).get("delta") or {}).get("content")
        if piece:
            yield _text("content", piece)


def _object(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _MalformedEventError(f"{name} is no object")
    return value


def _text(name: str, value: object) -> str:
    if not is_unicode(value):
        raise _MalformedEventError(f"{name} is no text")
    return value


def _count(name: str, value: object) -> int:
    if not is_count(value):
        raise _MalformedEventError(f"{name} is no count")
    return value


def _receipt(value: object) -> Hash | None:
    if value is None:
        return None
    try:
        identity = from_hex(_text("receipt", value))
    except ValueError as error:
        raise _MalformedEventError("receipt is no hash") from error
    if len(identity) != 32:
        raise _MalformedEventError("receipt is no hash")
    return Hash(identity)
