"""Sampling: greedy, cut at top-p, and the same for the same seed."""

import torch

from ml.engine.sampling import Sampler

LOGITS = torch.log(torch.tensor([0.1, 0.6, 0.25, 0.05]))


def draws(sampler, count=200):
    return [sampler.choose(LOGITS)[0] for _ in range(count)]


def test_temperature_zero_is_greedy_with_its_log_probability():
    token, log_probability = Sampler(0, 1, 0).choose(LOGITS)
    assert token == 1
    assert abs(log_probability - LOGITS[1].item()) < 1e-6


def test_draws_follow_the_probabilities():
    counts = torch.bincount(torch.tensor(draws(Sampler(1, 1, 3), 2000)), minlength=4) / 2000
    assert torch.allclose(counts, LOGITS.exp(), atol=0.05)


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    assert set(draws(Sampler(1, 0.7, 5))) == {1, 2}
    assert set(draws(Sampler(1, 0.01, 5))) == {1}


def test_a_low_temperature_sharpens():
    assert draws(Sampler(0.3, 1, 5)).count(1) > draws(Sampler(1, 1, 5)).count(1)


def test_the_same_seed_draws_the_same():
    assert draws(Sampler(1, 1, 5)) == draws(Sampler(1, 1, 5))
    assert draws(Sampler(1, 1, 5)) != draws(Sampler(1, 1, 6))
