from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.rows.row import Row
from ml.train.data import collate, encode_row
from ml.train.loss import evaluate, summed_loss

Base = tuple[PreTrainedModel, PreTrainedTokenizerFast]


def test_padding_does_not_change_the_loss(tiny_base: Base) -> None:
    model, tokenizer = tiny_base
    examples = [encode_row(Row("a", "b" * n), tokenizer, 64) for n in (3, 20)]
    device = torch.device("cpu")
    with torch.no_grad():
        together = float(summed_loss(model, collate(examples, 0, device)))
        alone = sum(float(summed_loss(model, collate([e], 0, device))) for e in examples)
    assert together == pytest.approx(alone, rel=1e-5)


def test_the_loss_of_plain_models_is_that_of_their_logits(tiny_base: Base) -> None:
    model, tokenizer = tiny_base
    example = encode_row(Row("ab", "cdef"), tokenizer, 64)
    ids = torch.tensor([example.ids])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, example.prompt_tokens - 1 : -1]
        expected = torch.nn.functional.cross_entropy(logits, ids[0, example.prompt_tokens :])
    loss = evaluate(model, tokenizer, [Row("ab", "cdef")])
    assert loss == pytest.approx(float(expected) * 1_000_000, abs=3)
