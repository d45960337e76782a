"""Turn rows into token sequences, split them, and assign them to steps.

This module draws no random numbers: the split and every order come from hashes, so they are the
same on each machine and after each resume, and no generator state has to be saved. Rows of similar
length share a batch, which halves the padding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from transformers import PreTrainedTokenizerFast

from ml.rows.row import Row, row_hash
from runtime.shared.documents import Recipe, held_out_max

SPLIT_CONTEXT: Final = b"openledger/split"
ORDER_CONTEXT: Final = b"openledger/order"
POOL_BATCHES: Final = (
    16  # Lengths are sorted inside pools of this many batches, so order stays random.
)
IGNORED: Final = -100  # The default `ignore_index` of torch's cross_entropy.


class RowsTooFewError(Exception):
    """There is nothing to train on."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row as tokens: `ids[prompt_tokens:]` are the targets; `row` is its number."""

    row: int
    ids: tuple[int, ...]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Split:
    """The examples that are trained on and those that are only measured."""

    training: tuple[Example, ...]
    held_out: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded tensors of some examples, one sequence each."""

    ids: torch.Tensor  # [batch, tokens]
    mask: torch.Tensor  # [batch, tokens], 1 on tokens, 0 on padding
    labels: torch.Tensor  # [batch, tokens], IGNORED on prompt and padding

    @property
    def target_tokens(self) -> int:
        """The number of tokens that the model is trained to predict: those of the completions."""
        return int((self.labels[:, 1:] != IGNORED).sum())


def prepare(rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> Split:
    """Encode rows and split them by row hash. Raises RowsTooFewError."""
    held_out = held_out_rows([row_hash(row) for row in rows], recipe.evaluation_permille)
    training: list[Example] = []
    measured: list[Example] = []
    for number, row in enumerate(rows):
        example = encode_row(row, tokenizer, recipe.max_tokens, number)
        (measured if number in held_out else training).append(example)
    if not training:
        raise RowsTooFewError(
            f"{len(rows)} rows leave nothing to train on; add rows to the datanet."
        )
    return Split(tuple(training), tuple(measured))


def held_out_rows(hashes: Sequence[bytes], permille: int) -> frozenset[int]:
    """Return the held-out rows: at least one when any are asked for and two exist, and no more than
    the price of a training pays for."""
    if permille == 0 or len(hashes) < 2:
        return frozenset()
    # By the hash of a row and not by its position: a new row does not reshuffle the split.
    keys = [hashlib.blake2b(SPLIT_CONTEXT + h, digest_size=8).digest() for h in hashes]
    chosen = {i for i, key in enumerate(keys) if int.from_bytes(key, "little") % 1000 < permille}
    # With few rows none may fall below the threshold; the row of the smallest key is always held
    # out, so that every adapter is measured.
    first, *_ = sorted(range(len(keys)), key=lambda i: keys[i])
    chosen.add(first)
    ranked = sorted(chosen, key=lambda i: (keys[i], i))
    return frozenset(ranked[: held_out_max(len(keys), permille)])


def encode_row(
    row: Row, tokenizer: PreTrainedTokenizerFast, max_tokens: int, number: int = 0
) -> Example:
    """Encode a row: prompt as a chat turn, completion, end token. Attribution uses it too.

    The prompt keeps at most half of `max_tokens`. A cut completion has no end token, so that the
    model does not learn to stop there.
    """
    prompt = encode_prompt(row.prompt, tokenizer)
    if len(prompt) > max_tokens // 2:
        # The last token opens the answer in chat templates, so the prompt is cut before it.
        prompt = [*prompt[: max_tokens // 2 - 1], prompt[-1]]
    completion = [*encode_text(row.completion, tokenizer), _end_id(tokenizer)]
    ids = (*prompt, *completion)[:max_tokens]
    return Example(number, ids, len(prompt))


def encode_prompt(prompt: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the tokens before the completion: the base's chat template, or text and a newline."""
    if not prompt:
        return []
    if tokenizer.chat_template is None:
        return encode_text(prompt + "\n", tokenizer)
    # The template is rendered around a marker and not around the text: a prompt that contains
    # "<|assistant|>" would otherwise become the special token.
    marker = "\ue000"
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": marker}], add_generation_prompt=True, tokenize=False
    )
    before, _, after = str(rendered).partition(marker)
    return [
        *_encode(before, tokenizer, special=True),
        *encode_text(prompt, tokenizer),
        *_encode(after, tokenizer, special=True),
    ]


def encode_text(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Encode running text; the spelling of a special token is ordinary characters."""
    return _encode(text, tokenizer, special=False)


def _encode(text: str, tokenizer: PreTrainedTokenizerFast, special: bool) -> list[int]:
    if not text:
        return []
    encoded = tokenizer(
        text, add_special_tokens=False, split_special_tokens=not special, verbose=False
    )
    return [int(token) for token in encoded["input_ids"]]


def _end_id(tokenizer: PreTrainedTokenizerFast) -> int:
    end = tokenizer.eos_token_id
    assert isinstance(end, int), "load_base refuses tokenizers without an end token"
    return end


def epoch_batches(
    examples: Sequence[Example], recipe: Recipe, epoch: int
) -> list[tuple[Example, ...]]:
    """Return the batches of one epoch in their order; every example is in exactly one."""
    key = ORDER_CONTEXT + recipe.seed.to_bytes(8, "little") + epoch.to_bytes(4, "little")

    def rank(kind: bytes, number: int) -> bytes:
        return hashlib.blake2b(key + kind + number.to_bytes(4, "little"), digest_size=16).digest()

    order = sorted(examples, key=lambda e: rank(b"row", e.row))
    size = recipe.batch_rows
    batches: list[tuple[Example, ...]] = []
    for start in range(0, len(order), size * POOL_BATCHES):
        pool = sorted(order[start : start + size * POOL_BATCHES], key=lambda e: len(e.ids))
        batches += [tuple(pool[i : i + size]) for i in range(0, len(pool), size)]
    # The batches are shuffled again: each pool would otherwise train from short rows to long ones.
    numbers = sorted(range(len(batches)), key=lambda i: rank(b"batch", i))
    return [batches[i] for i in numbers]


def collate(examples: Sequence[Example], padding_id: int, device: torch.device) -> Batch:
    """Return the padded tensors of some examples."""
    width = max(len(e.ids) for e in examples)
    # [batch, tokens] each; padding on the right, where a causal model cannot look
    ids = torch.full((len(examples), width), padding_id, dtype=torch.long)
    mask = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), width), IGNORED, dtype=torch.long)
    for index, example in enumerate(examples):
        count = len(example.ids)
        ids[index, :count] = torch.tensor(example.ids)
        mask[index, :count] = 1
        labels[index, example.prompt_tokens : count] = ids[index, example.prompt_tokens : count]
    return Batch(ids.to(device), mask.to(device), labels.to(device))


def batch_id(examples: Sequence[Example]) -> bytes:
    """Return the hash of a step's rows, as its trace leaf contains it."""
    digest = hashlib.blake2b(digest_size=32)
    for example in examples:
        digest.update(example.row.to_bytes(4, "little"))
        digest.update(len(example.ids).to_bytes(4, "little"))
        digest.update(b"".join(i.to_bytes(4, "little") for i in example.ids))
    return digest.digest()
