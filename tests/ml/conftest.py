"""A base of a few thousand parameters with a byte tokenizer, as a folder and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from ml.base.base import load_base
from ml.base.pretraining.pretrain import SPECIAL_TOKENS, save_tokenizer
from ml.rows.row import Row


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-base")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    save_tokenizer(tokenizer, folder)
    torch.manual_seed(7)
    configuration = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(configuration).save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_base(tiny_folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    return load_base(str(tiny_folder))


@pytest.fixture(scope="session")
def tiny_rows() -> list[Row]:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    return [
        Row(f"{a}.{b}(x)", f"Return {b} of {a}, number {i * 8 + j}, for {words[(i + j) % 8]}.")
        for i, a in enumerate(words)
        for j, b in enumerate(words)
    ]
