"""Sampling: greedy, by the probabilities, cut at top-p; and every choice can be repeated."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ml.base.sampling
from ml.base.sampling import Sampler, score_gap
from runtime.shared.receipts import GREEDY, Sampling

LOGITS = torch.log(torch.tensor([0.1, 0.6, 0.25, 0.05]))
SHAPES = st.sampled_from([(1, 2), (3, 50), (20, 500)])


def draws(temperature_milli: int, top_p_milli: int, seed: int, count: int = 200) -> list[int]:
    sampler = Sampler(Sampling(temperature_milli, top_p_milli, seed))
    return [sampler.choose(LOGITS)[0] for _ in range(count)]


def answer(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    sampler = Sampler(sampling)
    return torch.tensor([sampler.choose(row)[0] for row in logits])


def test_temperature_zero_is_greedy_with_its_log_probability():
    token, log_probability = Sampler(GREEDY).choose(LOGITS)
    assert token == 1
    assert abs(log_probability - LOGITS[1].item()) < 1e-6


def test_draws_follow_the_probabilities():
    counts = torch.bincount(torch.tensor(draws(1_000, 1_000, 3, 2_000)), minlength=4) / 2_000
    assert torch.allclose(counts, LOGITS.exp(), atol=0.05)


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    assert set(draws(1_000, 700, 5)) == {1, 2}
    assert set(draws(1_000, 1, 5)) == {1}


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(2_000, 1_000, 3), Sampling(900, 500, 3)])
def test_rows_that_no_text_stands_for_are_never_chosen(sampling):
    sampler = Sampler(sampling, vocabulary=3)
    padded = torch.tensor([1.0, 2.0, 0.0, 9.0, 9.0])
    chosen = [sampler.choose(padded) for _ in range(100)]
    assert max(token for token, _ in chosen) < 3
    assert all(chance == float(padded[:3].double().log_softmax(-1)[t]) for t, chance in chosen)


def test_a_low_temperature_sharpens():
    assert draws(300, 1_000, 5).count(1) > draws(1_000, 1_000, 5).count(1)


def test_the_same_seed_draws_the_same_and_another_one_does_not():
    assert draws(1_000, 1_000, 5) == draws(1_000, 1_000, 5)
    assert draws(1_000, 1_000, 5) != draws(1_000, 1_000, 2**64 - 1)


@settings(deadline=None, max_examples=200)
@given(
    SHAPES,
    st.floats(0.05, 40),
    st.integers(0, 2_000),
    st.integers(1, 1_000),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_an_honest_answer_is_repeated_also_where_logits_round_otherwise(
    shape, spread, temperature_milli, top_p_milli, seed, has_ties
):
    source = torch.Generator().manual_seed(seed % 2**63)
    logits = torch.randn(shape, generator=source) * spread
    if has_ties:
        logits = logits.round()
    sampling = Sampling(temperature_milli, top_p_milli, seed)
    rounded = logits + 1e-3 * (2 * torch.rand(shape, generator=source) - 1)
    assert score_gap(rounded, answer(logits, sampling), sampling) < 0.05


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([1, 2, 15, 16, 17, 64, 300]),
    st.floats(0.01, 10),
    st.integers(1, 2_000),
    st.integers(1, 999),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_a_nucleus_is_the_same_wherever_it_is_looked_for(
    size, spread, temperature_milli, top_p_milli, seed, has_ties
):
    source = torch.Generator().manual_seed(seed % 2**63)
    logits = torch.randn((3, size), generator=source) * spread
    if has_ties:
        logits = (4 * logits).round() / 4
    sampling = Sampling(temperature_milli, top_p_milli, seed)
    found = []
    for candidates in ((), (2, 16)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ml.base.sampling, "CANDIDATES", candidates)
            tokens = answer(logits, sampling)
            gaps = [score_gap(logits, tokens.roll(by), sampling) for by in range(3)]
            found.append((tokens.tolist(), gaps))
    assert found[0] == found[1]


@pytest.mark.parametrize("top_p_milli", [1_000, 900])
def test_tokens_of_another_seed_or_model_fall_short(top_p_milli):
    source = torch.Generator().manual_seed(5)
    own, other = (torch.randn(30, 1_000, generator=source) * 2 for _ in range(2))
    sampling = Sampling(1_000, top_p_milli, 7)
    assert score_gap(own, answer(own, sampling), sampling) == 0
    assert score_gap(own, answer(other, sampling), sampling) > 1
    assert score_gap(own, answer(own, Sampling(1_000, top_p_milli, 8)), sampling) > 1


@pytest.mark.parametrize("top_p_milli", [100, 200, 900])
def test_which_of_two_equal_tokens_ends_a_nucleus_convicts_nobody(top_p_milli):
    source = torch.Generator().manual_seed(1)
    for seed in range(50):
        logits = torch.randn(1_000, generator=source)
        logits[0] = logits[1] = 6.0
        here, there = logits.clone(), logits.clone()
        here[0] += 1e-4  # rounding decides which is first
        there[1] += 1e-4
        sampling = Sampling(1_000, top_p_milli, seed)
        assert score_gap(there[None], answer(here[None], sampling), sampling) < 0.05


def test_a_token_outside_the_nucleus_falls_short_by_its_distance_to_it():
    logits = torch.tensor([[5.0, 4.0, 1.0]])
    assert score_gap(logits, torch.tensor([2]), Sampling(1_000, 900, 1)) >= 3


def test_the_greedy_gap_is_how_far_the_worst_token_falls_short():
    logits = torch.tensor([[1.0, 3.0], [2.0, 1.5]])
    assert score_gap(logits, torch.tensor([1, 0]), GREEDY) == 0
    assert score_gap(logits, torch.tensor([0, 1]), GREEDY) == 2
    assert score_gap(logits[:0], torch.tensor([], dtype=torch.long), GREEDY) == 0
