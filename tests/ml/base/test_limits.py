"""How much text fits a model."""

from transformers import LlamaConfig, PretrainedConfig

from ml.base.base import load_base
from ml.base.limits import CONTEXT_TOKENS_DEFAULT, context_tokens, longest_token_bytes


def test_a_context_is_what_the_configuration_says_or_a_default():
    assert context_tokens(LlamaConfig(max_position_embeddings=64)) == 64
    assert context_tokens(PretrainedConfig()) == CONTEXT_TOKENS_DEFAULT


def test_no_token_spells_more_bytes_than_the_longest():
    _, tokenizer = load_base()
    longest = longest_token_bytes(tokenizer)
    for token in range(0, len(tokenizer), 7):
        assert len(tokenizer.decode([token]).encode()) <= longest
