"""Recognise the common shapes of training rows and turn each into a canonical row.

Shapes: alpaca (instruction, input, output), sharegpt (conversations of from/value), messages
(role/content), prompt-completion and its common renamings, plain text. The shape is detected per
file from its first row, so one odd row is an error with its line number rather than a silent change
of meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from ml.rows.row import Row

MESSAGES_MAX: Final = 256
ASSISTANT_NAMES: Final = frozenset({"assistant", "gpt", "model", "bot", "chatgpt"})
OTHER_NAMES: Final = frozenset({"user", "human", "system", "tool", "function", "developer"})
PAIR_KEYS: Final = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("instruction", "response"),
)


class Shape(Enum):
    """The input shapes."""

    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt-completion"
    TEXT = "text"


class ShapeUnknownError(Exception):
    """The keys of a row match no shape."""


class FieldError(Exception):
    """A field is missing or has the wrong type."""


def detect_shape(record: Mapping[str, object]) -> Shape:
    """Return the shape of a record by its keys. Raises ShapeUnknownError."""
    if "instruction" in record and "output" in record:
        return Shape.ALPACA
    if "conversations" in record:
        return Shape.SHAREGPT
    if "messages" in record:
        return Shape.MESSAGES
    if any(left in record and right in record for left, right in PAIR_KEYS):
        return Shape.PROMPT_COMPLETION
    if "text" in record:
        return Shape.TEXT
    keys = ", ".join(sorted(map(str, record))[:8]) or "none"
    raise ShapeUnknownError(
        f"The keys of the row ({keys}) match no known shape; use prompt and completion, "
        "instruction and output, messages, conversations, or text."
    )


def convert_record(record: Mapping[str, object], shape: Shape) -> Row:
    """Convert one record of a shape to a row. Raises FieldError."""
    return CONVERTERS[shape](record)


def _text(record: Mapping[str, object], key: str, default: str | None = None) -> str:
    value = record.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise FieldError(f"The field {key!r} must be a text; it is {type(value).__name__}.")
    return value


def _alpaca(record: Mapping[str, object]) -> Row:
    extra = _text(record, "input", "")
    instruction = _text(record, "instruction")
    prompt = f"{instruction}\n\n{extra}" if extra.strip() else instruction
    return Row(prompt, _text(record, "output"))


def _pair(record: Mapping[str, object]) -> Row:
    for left, right in PAIR_KEYS:
        if left in record and right in record:
            return Row(_text(record, left), _text(record, right))
    raise FieldError("The row has no pair of prompt and completion fields.")


def _plain(record: Mapping[str, object]) -> Row:
    return Row("", _text(record, "text"))


def _sharegpt(record: Mapping[str, object]) -> Row:
    return _conversation(record, "conversations", "from", "value")


def _messages(record: Mapping[str, object]) -> Row:
    return _conversation(record, "messages", "role", "content")


def _conversation(record: Mapping[str, object], key: str, role_key: str, text_key: str) -> Row:
    turns = record.get(key)
    if not isinstance(turns, list) or not 1 <= len(turns) <= MESSAGES_MAX:
        raise FieldError(f"{key!r} must be a list of 1 to {MESSAGES_MAX} turns.")
    pairs: list[tuple[str, str]] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise FieldError(
                f"Each turn of {key!r} must be an object with {role_key} and {text_key}."
            )
        role = _text(turn, role_key).lower()
        if role not in ASSISTANT_NAMES | OTHER_NAMES:
            raise FieldError(f"The role {role[:32]!r} is unknown; use user, assistant or system.")
        pairs.append((role, _text(turn, text_key)))
    last = max((i for i, (role, _) in enumerate(pairs) if role in ASSISTANT_NAMES), default=-1)
    if last < 0:
        raise FieldError(f"{key!r} has no assistant turn, so there is nothing to learn.")
    # A row has one completion, so earlier answers are context like any other text. One row per
    # assistant turn was refused: their prompts repeat each other, and near-duplicates earn nothing.
    prompt = "\n\n".join(text.strip() for _, text in pairs[:last])
    return Row(prompt, pairs[last][1])


CONVERTERS: Final[dict[Shape, Callable[[Mapping[str, object]], Row]]] = {
    Shape.ALPACA: _alpaca,
    Shape.SHAREGPT: _sharegpt,
    Shape.MESSAGES: _messages,
    Shape.PROMPT_COMPLETION: _pair,
    Shape.TEXT: _plain,
}
