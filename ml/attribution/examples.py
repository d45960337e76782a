"""A prompt with its completion as token ids, the same for training, row gradients and answers.

The tokenizer's chat template frames the prompt; an empty prompt is plain text. What looks like a
special token inside a text is ordinary characters, so no text can smuggle in a turn of the chat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

_MARKER = "\ue000"
"""Stands for the prompt while the chat template is rendered around it."""


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """Token ids; those from `first_target` on are the completion, whose loss is differentiated."""

    tokens: tuple[int, ...]
    first_target: int


class ExampleWithoutTarget(ValueError):
    """Nothing of the completion can be predicted."""


def encode_example(
    tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str, tokens_max: int
) -> EncodedExample:
    """Return the tokens of framed prompt, completion and end token, at most `tokens_max`.

    A prompt that leaves the completion less than half loses its beginning. A completion that is
    cut has no end token, so that the model does not learn to stop there.
    Raises ExampleWithoutTarget.
    """
    framed = encode_prompt(prompt, tokenizer)
    target = [*encode_text(completion, tokenizer), _end_of(tokenizer)]
    room = max(tokens_max - len(target), tokens_max // 2)
    framed = framed[max(0, len(framed) - room) :]
    tokens = (framed + target)[:tokens_max]
    first_target = max(1, len(framed))
    if first_target >= len(tokens):
        raise ExampleWithoutTarget(
            "The text has no token that a model could predict. Give a longer completion."
        )
    return EncodedExample(tuple(tokens), first_target)


def encode_prompt(prompt: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids of a prompt in the chat template, ready for the completion to follow.

    Without a template it is the text and a newline; an empty prompt is the begin token, if any.
    """
    if not prompt:
        begin: Any = tokenizer.bos_token_id
        return [] if begin is None else [int(begin)]
    if tokenizer.chat_template is None:
        return encode_text(prompt + "\n", tokenizer)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": _MARKER}], add_generation_prompt=True, tokenize=False
    )
    before, _, after = str(rendered).partition(_MARKER)
    return [
        *_encode(before, tokenizer, special=True),
        *encode_text(prompt, tokenizer),
        *_encode(after, tokenizer, special=True),
    ]


def encode_text(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids of running text."""
    return _encode(text, tokenizer, special=False)


def _encode(text: str, tokenizer: PreTrainedTokenizerFast, special: bool) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=not special)
    ids: Any = encoded["input_ids"]
    return [int(token) for token in ids]


def _end_of(tokenizer: PreTrainedTokenizerFast) -> int:
    end: Any = tokenizer.eos_token_id
    return int(end)
