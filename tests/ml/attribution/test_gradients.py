"""Gradients of single rows: the hooks see what autograd would compute."""

import pytest
import torch

from ml.attribution.gradients import (
    NoLoraSiteError,
    batches,
    canonical_name,
    lora_sites,
    row_gradients,
)
from ml.train.data import Example, encode_row


def gradients_of(model, examples):
    gradients = {}

    def receive(site, gradient_a, gradient_b):
        gradients[f"{site.name}.lora_A"] = gradient_a.clone()
        gradients[f"{site.name}.lora_B"] = gradient_b.clone()

    losses = row_gradients(model, lora_sites(model), examples, receive)
    return losses, gradients


def autograd_of(model, example):
    tokens = torch.tensor([example.ids])
    labels = tokens.clone()
    labels[:, : example.prompt_tokens] = -100
    named = {
        canonical_name(name): parameter
        for name, parameter in model.named_parameters()
        if "lora_" in name
    }
    for parameter in named.values():
        parameter.requires_grad_()
    loss = model(input_ids=tokens, labels=labels).loss
    return loss.detach(), dict(zip(named, torch.autograd.grad(loss, named.values()), strict=True))


def test_row_gradients_equal_those_of_autograd_one_row_at_a_time(model, tokenizer, rows):
    examples = [encode_row(row, tokenizer, 192) for row in rows[:6]]
    losses, gradients = gradients_of(model, examples)
    for at, example in enumerate(examples):
        loss, expected = autograd_of(model, example)
        torch.testing.assert_close(losses[at], loss, rtol=1e-5, atol=1e-6)
        assert expected.keys() == gradients.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name][at], gradient, rtol=1e-4, atol=1e-7)


def test_gradients_leave_nothing_on_the_model(model, tokenizer, rows):
    examples = [encode_row(row, tokenizer, 192) for row in rows[:2]]
    model.train()
    gradients_of(model, examples)
    assert model.training
    model.eval()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_are_the_same_each_time(model, tokenizer, rows):
    examples = [encode_row(row, tokenizer, 192) for row in rows[:4]]
    first, second = gradients_of(model, examples)[1], gradients_of(model, examples)[1]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_batches_cover_every_row_once_and_group_similar_lengths():
    examples = [Example(0, tuple(range(length)), 1) for length in (9, 3, 5, 3, 8)]
    assert batches(examples, 2) == [[1, 3], [2, 4], [0]]


def test_a_model_without_the_adapter_is_refused(model):
    with pytest.raises(NoLoraSiteError):
        lora_sites(model, "other")
