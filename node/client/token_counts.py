"""How many tokens a receipt may count: bounds that hold for every honest server, by the texts.

A token has at least one byte and at most as many as the longest of its vocabulary, whatever the
tokenizer. Where the model's tokenizer is on this machine, the question is counted by it. An answer
is not: a model may cut it into other tokens than a tokenizer would, so its bytes alone bound it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from ml.base.content import SHIPPED_FOLDER, content_hash
from runtime.shared.receipts import Receipt
from runtime.types.primitives import Hash

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

TEMPLATE_TOKENS: Final = 64
"""More than any chat template adds to the question."""
SILENT_TOKENS: Final = 16
"""Tokens of an answer that leave no text, such as the first bytes of a character that never ends;
more are not paid for."""
STOP_BYTES_MAX: Final = 1_024
"""The bytes of a stop text, which an asker may name and which is counted but not shown; `ask` names
none."""
SHOWN_BYTES: Final = 3
"""A byte that is no character is shown as a character of so many."""


def tokens_in_at_most(question: str) -> int:
    """Return more tokens than a question has, whatever the tokenizer."""
    return len(question.encode()) + TEMPLATE_TOKENS


def tokens_in_counted(question: str, base: Hash) -> int:
    """Return more tokens than a question has for a base: counted, where this is the one here."""
    if content_hash() != base:
        return tokens_in_at_most(question)
    return len(_tokenizer().encode(question, add_special_tokens=False)) + TEMPLATE_TOKENS


def tokens_out_at_most(answer: str) -> int:
    """Return the most tokens that an answer can have, whatever the tokenizer."""
    return len(answer.encode()) + SILENT_TOKENS


def count_problem(
    receipt: Receipt, question: str, answer: str, tokenizer: PreTrainedTokenizerFast
) -> str:
    """Return what is wrong with the token counts of a receipt, in a clause; empty where nothing
    is. An answer with more text than its tokens can have had something added to it."""
    from ml.base.limits import longest_token_bytes
    from ml.train.data import encode_prompt

    tokens_in = len(encode_prompt(question, tokenizer))
    if receipt.tokens_in != tokens_in:
        return f"the question has {tokens_in} tokens and the receipt counts {receipt.tokens_in}"
    longest = SHOWN_BYTES * longest_token_bytes(tokenizer)
    size = len(answer.encode())
    if not size <= receipt.tokens_out * longest:
        return f"{receipt.tokens_out} tokens cannot have the {size} bytes of the answer"
    if receipt.tokens_out > tokens_out_at_most(answer) + STOP_BYTES_MAX:
        return f"the {size} bytes of the answer cannot have {receipt.tokens_out} tokens"
    return ""


@cache
def _tokenizer() -> Tokenizer:
    """Return the shipped base's tokenizer without its model, to which special tokens are text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(SHIPPED_FOLDER / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer
