"""Decode the bodies of /v1/completions and /v1/chat/completions, strictly.

A field that this server does not know is refused by name, and so is a known field with a value
that would have to change the answer (n, penalties, tools): no field is ignored in silence. Fields
that only describe the client are accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from ml.api.service import AnswerRequest, Message, Role

BODY_BYTES_MAX: Final = 1 << 20
MESSAGES_MAX: Final = 256
STOPS_MAX: Final = 4
STOP_CHARACTERS_MAX: Final = 256
MODEL_CHARACTERS_MAX: Final = 256
TOKENS_DEFAULT: Final = 256
TOKENS_MAX: Final = 4096
TEMPERATURE_MAX: Final = 2.0
TOP_P_MIN: Final = 1e-6
HEADER_BYTES_MAX: Final = 4096

Body = Mapping[str, object]
T = TypeVar("T")
D = TypeVar("D")

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_SHARED: Final = {"model", "stream", "stream_options", "temperature", "top_p", "seed", "stop"}
_ABOUT_THE_CLIENT: Final = {"user", "metadata", "safety_identifier", "prompt_cache_key"}
_CHAT: Final = {"messages", "max_tokens", "max_completion_tokens"}
_PLAIN: Final = {"prompt", "max_tokens"}
_NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "store": (None, False),
    "logprobs": (None, False, 0),
    "top_logprobs": (None, 0),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "suffix": (None, ""),
    "tools": (None, []),
    "response_format": (None, {"type": "text"}),
}


class RequestMalformedError(ValueError):
    """The request is not valid; `parameter` names the field."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Question:
    """A request as received over HTTP: the question and the form of the response."""

    request: AnswerRequest
    is_chat: bool
    is_streamed: bool
    wants_usage: bool


def read_question(
    data: bytes, is_chat: bool, voucher: str | None, salt: str | None = None
) -> Question:
    """Decode the question of a body, with the headers that pay for it.

    Raises RequestMalformedError.
    """
    body = _object(data)
    _refuse_unknown(body, _CHAT if is_chat else _PLAIN)
    is_streamed = _field(body, "stream", _boolean, False)
    request = AnswerRequest(
        model=_model(body),
        messages=_messages(body) if is_chat else (),
        prompt="" if is_chat else _prompt(body),
        max_tokens=_tokens(body, is_chat),
        temperature=_field(body, "temperature", _number(0.0, TEMPERATURE_MAX), None),
        top_p=_field(body, "top_p", _number(TOP_P_MIN, 1.0), None),
        seed=_field(body, "seed", _integer(-(1 << 63), (1 << 64) - 1), None),
        stop=_field(body, "stop", _stops, ()),
        voucher=None if voucher is None else read_hex("voucher", voucher),
        salt=None if salt is None else read_hex("salt", salt),
    )
    return Question(request, is_chat, is_streamed, _wants_usage(body, is_streamed))


def read_hex(name: str, text: str) -> bytes:
    """Return the bytes of a header, hexadecimal digits. Raises RequestMalformedError."""
    digits = text.removeprefix("0x")
    if len(digits) > 2 * HEADER_BYTES_MAX:
        raise RequestMalformedError(f"The {name} exceeds {HEADER_BYTES_MAX} bytes.", name)
    try:
        return bytes.fromhex(digits)
    except ValueError as error:
        raise RequestMalformedError(
            f"The {name} is not hexadecimal. Send its bytes as hexadecimal digits.", name
        ) from error


# ------------------------------------------------------------------------------------------- fields


def _object(data: bytes) -> Body:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestMalformedError(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestMalformedError("The body is not a JSON object.")
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RequestMalformedError(
            "A text of the body holds half of a surrogate pair. Send whole characters."
        ) from error
    return body


def _refuse_unknown(body: Body, own: set[str]) -> None:
    for name, value in body.items():
        # The type as well: True == 1 in Python, and "n": true is not "n": 1.
        if name in _NEUTRAL:
            if not any(
                type(value) is type(neutral) and value == neutral for neutral in _NEUTRAL[name]
            ):
                raise RequestMalformedError(
                    f"{name} is not supported by this server. Leave it out.", name
                )
        elif name not in own | _SHARED | _ABOUT_THE_CLIENT:
            raise RequestMalformedError(f"Unrecognized request argument: {name[:80]}.", name[:80])


def _field(body: Body, name: str, read: Callable[[str, object], T], default: D) -> T | D:
    value = body.get(name)
    return default if value is None else read(name, value)


def _model(body: Body) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MODEL_CHARACTERS_MAX:
        raise RequestMalformedError("You must provide a model as a string.", "model")
    return model


def _prompt(body: Body) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not isinstance(prompt, str) or not prompt:
        raise RequestMalformedError("prompt must be one string that is not empty.", "prompt")
    return prompt


def _messages(body: Body) -> tuple[Message, ...]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= MESSAGES_MAX:
        raise RequestMalformedError(f"messages must be a list of 1 to {MESSAGES_MAX}.", "messages")
    return tuple(_message(f"messages[{at}]", message) for at, message in enumerate(messages))


def _message(where: str, message: object) -> Message:
    if not isinstance(message, dict) or not message.keys() <= {"role", "content", "name"}:
        raise RequestMalformedError(f"{where} must be an object of role and content.", where)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RequestMalformedError(
            f"{where}.role must be system, user or assistant.", f"{where}.role"
        )
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_text_part(f"{where}.content", part) for part in content)
    if not isinstance(content, str):
        raise RequestMalformedError(f"{where}.content must be text.", f"{where}.content")
    return Message(_ROLES[role], content)


def _text_part(where: str, part: object) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case _:
            raise RequestMalformedError(f"{where} may hold parts of type text only.", where)


def _tokens(body: Body, is_chat: bool) -> int:
    read = _integer(1, TOKENS_MAX)
    newer = _field(body, "max_completion_tokens", read, None) if is_chat else None
    older = _field(body, "max_tokens", read, None)
    if newer is not None and older is not None and newer != older:
        raise RequestMalformedError("max_tokens and max_completion_tokens differ.", "max_tokens")
    return newer or older or TOKENS_DEFAULT


def _wants_usage(body: Body, is_streamed: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not is_streamed or not isinstance(options, dict) or options.keys() - {"include_usage"}:
        raise RequestMalformedError(
            "stream_options goes with stream and may hold include_usage only.", "stream_options"
        )
    return _field(options, "include_usage", _boolean, False)


def _stops(name: str, value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > STOPS_MAX:
        raise RequestMalformedError(f"{name} must be up to {STOPS_MAX} strings.", name)
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= STOP_CHARACTERS_MAX:
            raise RequestMalformedError(
                f"{name} must hold strings of 1 to {STOP_CHARACTERS_MAX} characters.", name
            )
    return tuple(stops)


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RequestMalformedError(f"{name} must be true or false.", name)
    return value


def _number(least: float, most: float) -> Callable[[str, object], float]:
    def read(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RequestMalformedError(f"{name} must be a number.", name)
        if not least <= value <= most:
            raise RequestMalformedError(f"{name} must lie between {least:g} and {most:g}.", name)
        return float(value)

    return read


def _integer(least: int, most: int) -> Callable[[str, object], int]:
    def read(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise RequestMalformedError(f"{name} must be an integer.", name)
        if not least <= value <= most:
            raise RequestMalformedError(f"{name} must lie between {least} and {most}.", name)
        return value

    return read
