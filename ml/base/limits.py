"""How much text fits a model: bounds by which a text is refused before anything tokenizes it."""

from __future__ import annotations

from typing import Final

from transformers import PretrainedConfig, PreTrainedTokenizerFast

CONTEXT_TOKENS_DEFAULT: Final = 2_048


def context_tokens(config: PretrainedConfig) -> int:
    """Return how many tokens question and answer may have together."""
    return int(getattr(config, "max_position_embeddings", None) or CONTEXT_TOKENS_DEFAULT)


def longest_token_bytes(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return no less than the bytes of the longest token; it takes a walk over the vocabulary."""
    return max(len(token.encode()) for token in tokenizer.get_vocab())
