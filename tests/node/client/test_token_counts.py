"""Token counts: no honest receipt is refused, and none can count what its texts cannot have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from ml.base.base import load_base
from ml.base.content import content_hash
from ml.train.data import encode_prompt, encode_text
from node.client.token_counts import (
    TEMPLATE_TOKENS,
    count_problem,
    tokens_in_at_most,
    tokens_in_counted,
    tokens_out_at_most,
)
from runtime.types.primitives import Hash
from tests.node.support.paid_answers import receipt_for, signed, voucher

BASE = Hash(content_hash())
OTHER = Hash(bytes(32))
RECEIPT = receipt_for(signed(voucher())).receipt
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["", "<|assistant|>", "<|end|> why?", "é" * 40, "\ufffd", " \n\t"]
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_base()[1]


@settings(deadline=None)
@given(question=TEXTS, answer=TEXTS)
def test_no_honest_count_is_refused(
    tokenizer: PreTrainedTokenizerFast, question: str, answer: str
) -> None:
    tokens_in, tokens = len(encode_prompt(question, tokenizer)), encode_text(answer, tokenizer)
    assert tokens_in <= tokens_in_counted(question, BASE) <= tokens_in_at_most(question)
    shown = str(tokenizer.decode(tokens, skip_special_tokens=True))
    assert len(tokens) <= tokens_out_at_most(shown)
    honest = replace(RECEIPT, tokens_in=tokens_in, tokens_out=len(tokens))
    assert count_problem(honest, question, shown, tokenizer) == ""


def test_a_question_is_counted_by_the_tokenizer_of_its_base_alone() -> None:
    question = "What is the capital of France? " * 20
    assert tokens_in_counted(question, OTHER) == tokens_in_at_most(question)
    assert tokens_in_counted(question, BASE) < len(question) // 2 + TEMPLATE_TOKENS


def test_counts_that_the_texts_cannot_have_are_said(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens_in = len(encode_prompt("why?", tokenizer))
    for changed, answer, sentence in (
        ({"tokens_in": tokens_in + 1}, "because.", "the question has"),
        ({"tokens_out": 2_000}, "because.", "cannot have 2000 tokens"),
        ({"tokens_out": 5}, "because." + "!" * 2_000, "5 tokens cannot have the 2008 bytes"),
    ):
        receipt = replace(RECEIPT, **{"tokens_in": tokens_in, **changed})
        assert sentence in count_problem(receipt, "why?", answer, tokenizer)


def test_a_stop_text_is_counted_though_it_is_not_shown(tokenizer: PreTrainedTokenizerFast) -> None:
    stop = tokenizer.encode("#9Q!x7~Zk@4%Jw^2&Vb*6(Ng)1_Xc+8}Pd{3|Lf" * 6, add_special_tokens=False)
    counts = {"tokens_in": len(encode_prompt("why?", tokenizer)), "tokens_out": 1 + len(stop)}
    assert count_problem(replace(RECEIPT, **counts), "why?", "ok", tokenizer) == ""
