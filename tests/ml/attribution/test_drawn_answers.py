"""The model's own words: honest tokens are never convicted, another's words soon are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.attribution.drawn_answers import excess_surprise, greedy_gap

SHAPES = st.sampled_from([(1, 2), (3, 50), (20, 500), (200, 40)])


def sampled(logits, source):
    return torch.multinomial(torch.softmax(logits, dim=1), 1, generator=source)[:, 0]


@settings(deadline=None, max_examples=200)
@given(SHAPES, st.floats(0.05, 40), st.integers(0, 2**31))
def test_what_a_distribution_samples_never_surprises_it_too_much(shape, spread, seed):
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=source) * spread
    assert excess_surprise(logits, sampled(logits, source)) <= 0


def test_a_single_rare_token_in_an_answer_without_doubt_is_no_fault():
    logits = torch.zeros(30, 1_000)
    logits[:, 0] = 40.0
    chosen = torch.zeros(30, dtype=torch.long)
    chosen[7] = 3  # of a chance of e^-40
    assert excess_surprise(logits, chosen) <= 0


@pytest.mark.parametrize("tokens", [30, 100])
def test_words_of_another_distribution_are_a_fault(tokens):
    source = torch.Generator().manual_seed(5)
    own, other = (torch.randn(tokens, 1_000, generator=source) * 4 for _ in range(2))
    assert excess_surprise(own, sampled(other, source)) > 0


def test_the_greedy_gap_is_how_far_the_worst_token_falls_short():
    logits = torch.tensor([[1.0, 3.0], [2.0, 1.5]])
    assert greedy_gap(logits, torch.tensor([1, 0])) == 0
    assert greedy_gap(logits, torch.tensor([0, 1])) == 2
