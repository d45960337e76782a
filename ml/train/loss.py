"""The loss of a batch: summed negative log-likelihood of the completion tokens, nothing else.

For plain Llama-like models the output matrix is applied to the target positions only; a third of
the work of a small model is in that product. Models that transform their logits (soft caps,
scales) use the ordinary forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.rows.row import Row
from ml.train.data import IGNORED, Batch, Example, RowsTooFewError, collate, encode_row

# Model types whose logits are exactly output_embeddings(backbone(...)).
PLAIN_OUTPUT_TYPES: Final = frozenset({"llama", "mistral", "qwen2", "qwen3"})
EVALUATION_ROWS: Final = 16
MICRONATS: Final = 1_000_000
TOKENS_DEFAULT: Final = 192


def summed_loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Return the sum over completion tokens of their negative log-likelihood, in nats."""
    targets = batch.labels[:, 1:]  # [batch, tokens - 1]
    is_target = targets != IGNORED  # [batch, tokens - 1]
    if model.config.model_type in PLAIN_OUTPUT_TYPES:
        backbone = model.base_model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        hidden = backbone.last_hidden_state[:, :-1][is_target]  # [targets, hidden]
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        logits = head(hidden)  # [targets, vocabulary]
    else:
        outputs = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        logits = outputs.logits[:, :-1][is_target]  # [targets, vocabulary]
    # The sum and not the mean: micro-batches have different numbers of targets, so a mean of their
    # means would depend on how a batch is cut.
    return torch.nn.functional.cross_entropy(logits.float(), targets[is_target], reduction="sum")


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    max_tokens: int = TOKENS_DEFAULT,
) -> int:
    """Return the model's loss on rows in micro-nats per completion token.

    Raises RowsTooFewError.
    """
    examples = [encode_row(row, tokenizer, max_tokens, i) for i, row in enumerate(rows)]
    return evaluate_examples(model, examples, padding_id(tokenizer))


def evaluate_examples(model: PreTrainedModel, examples: Sequence[Example], padding: int) -> int:
    """Return the loss on encoded rows in micro-nats per completion token.

    Raises RowsTooFewError.
    """
    # By length, to pad little, then by number, so that every machine forms the same batches.
    order = sorted(examples, key=lambda e: (len(e.ids), e.row))
    total = 0.0
    tokens = 0
    was_training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for start in range(0, len(order), EVALUATION_ROWS):
            batch = collate(order[start : start + EVALUATION_ROWS], padding, model.device)
            total += float(summed_loss(model, batch))
            tokens += batch.target_tokens
    model.train(was_training)
    if tokens == 0:
        raise RowsTooFewError("The rows hold no completion token to measure; hold out more rows.")
    return round(total / tokens * MICRONATS)


def padding_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return the padding token; masked positions may hold any valid token."""
    value = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    assert isinstance(value, int)
    return value
