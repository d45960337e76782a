from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.adapters.lora import (
    attach_lora,
    attached_lora,
    initial_values,
    lora_parameters,
    tensors_bytes,
)
from runtime.shared.documents import Recipe

FROZEN = [
    "-0x1.dd327c0000000p-2",
    "-0x1.d6c5100000000p-2",
    "0x1.5e8b840000000p-2",
    "-0x1.4800b00000000p-2",
]
Base = tuple[PreTrainedModel, PreTrainedTokenizerFast]


def test_initial_values_are_frozen() -> None:
    values = initial_values(1, "layer", torch.Size((1, 4)))
    assert values.dtype == torch.float32
    assert [value.hex() for value in values[0].tolist()] == FROZEN


def test_initial_values_depend_on_seed_and_name_and_stay_in_their_bound() -> None:
    shape = torch.Size((8, 64))
    first = initial_values(1, "a", shape)
    assert not torch.equal(first, initial_values(2, "a", shape))
    assert not torch.equal(first, initial_values(1, "b", shape))
    assert float(first.abs().max()) <= 1 / 8
    assert abs(float(first.mean())) < 0.02


def test_a_fresh_adapter_changes_no_logit(tiny_base: Base) -> None:
    model, _ = tiny_base
    ids = torch.arange(8)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = attach_lora(model, Recipe(rank=2)).eval()(input_ids=ids).logits
    assert torch.equal(before, after)


def test_the_global_random_state_does_not_matter(tiny_base: Base) -> None:
    model, _ = tiny_base
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with attached_lora(model, Recipe(rank=2, seed=9)) as wrapped:
            files.append(tensors_bytes(lora_parameters(wrapped)))
    assert files[0] == files[1]


def test_bytes_do_not_depend_on_the_order_of_tensors() -> None:
    ones, zeros = torch.ones(2), torch.zeros(3)
    assert tensors_bytes({"a": ones, "b": zeros}) == tensors_bytes({"b": zeros, "a": ones})
