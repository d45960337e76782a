"""A three-step training whose result proves that a machine computes by its profile.

Everything comes from counters and constants: a tiny Llama, a byte tokenizer, twelve rows. An
executor computes the hash at start-up and advertises a profile only when it is the profile's
registered one.
"""

from __future__ import annotations

from typing import Final

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ml.adapters.lora import initial_values
from ml.rows.row import Row
from ml.train.loop import train
from runtime.shared.documents import Recipe
from runtime.types.primitives import Hash

END: Final = "<|end|>"
SEED: Final = 1
RECIPE: Final = Recipe(
    learning_rate_nano=10_000_000,
    max_steps=3,
    batch_rows=4,
    micro_batch_rows=2,
    rank=4,
    dropout_permille=50,
    max_tokens=48,
    warmup_steps=1,
    seed=SEED,
    evaluation_permille=0,
)


def golden_hash(device: str) -> Hash:
    """Return the trace root of the three-step training under the process's profile."""
    rows = [Row(f"golden {i}", f"{i} times {i} is {i * i}, and that is that.") for i in range(12)]
    return train(golden_model(), golden_tokenizer(), rows, RECIPE, device=device).trace_root


def golden_model() -> LlamaForCausalLM:
    """Return a model whose weights come only from the counter RNG."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=257,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.copy_(initial_values(SEED, name, parameter.shape))
    model.requires_grad_(False)
    return model


def golden_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes and an end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([END, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=END, pad_token=END
    )
