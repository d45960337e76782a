"""A tiny base, adapters of several ranks for it, and an engine that runs inside a test."""

import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

import torch
import trio
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from ml.adapters.lora import adapter_bytes, attach_lora, lora_parameters
from ml.adapters.validation import load_adapter
from ml.engine.builtin import BuiltinEngine
from ml.engine.interface import FinishReason, GenerationRequest
from runtime.shared.documents import Recipe

VOCABULARY = 96
RANKS = {"first": 4, "second": 8, "third": 16, "fourth": 3}
PATIENCE_SECONDS = 30


def tiny_base():
    torch.manual_seed(7)
    configuration = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.4,
    )
    return LlamaForCausalLM(configuration).float().eval()


def recipe_of(name):
    targets = ("q_proj", "down_proj") if name == "fourth" else Recipe().targets
    return Recipe(rank=RANKS[name], alpha=2 * RANKS[name], seed=RANKS[name], targets=targets)


@cache
def adapter_file(name):
    with warnings.catch_warnings():
        # peft asks transformers for a property that it is about to rename.
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = attach_lora(tiny_base(), recipe_of(name))
    draws = torch.Generator().manual_seed(RANKS[name])
    with torch.no_grad():
        for parameter in lora_parameters(wrapped).values():
            parameter.copy_(torch.randn(parameter.shape, generator=draws) * 0.3)
    return adapter_bytes(wrapped)


@cache
def peft_model(name) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return load_adapter(adapter_file(name), recipe_of(name), tiny_base())


def expected_tokens(name, prompt, count):
    """Return the greedy tokens of peft's own model, in a batch of one and without a cache."""
    model = tiny_base() if name is None else peft_model(name)
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tuple(tokens[len(prompt) :])


@dataclass(frozen=True)
class Record:
    """A finished answer; `tokens` are without the stop token."""

    request: GenerationRequest
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finish_reason: FinishReason


def record_of(request, events):
    """Return the record of an answer from all of its events, in order."""
    reason = events[-1].finish_reason if events else FinishReason.ABORTED
    kept = events if reason is FinishReason.LENGTH else events[:-1]
    return Record(
        request,
        tuple(event.token for event in kept),
        tuple(event.log_probability for event in kept),
        reason or FinishReason.ABORTED,
    )


@asynccontextmanager
async def running_engine(adapters=tuple(RANKS), **settings):
    engine = BuiltinEngine(tiny_base(), **settings)
    for name in adapters:
        await engine.register(name, adapter_file(name), recipe_of(name))
    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            try:
                yield engine
            finally:
                await engine.close()
