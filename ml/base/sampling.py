"""How a token is chosen from logits: by an engine for an answer, and by a check that repeats it.

The token with the largest logit + temperature x Gumbel noise is a sample of the softmax of logits /
temperature (the Gumbel-max trick). The noise of a token depends on seed, step and token alone. So
an answer does not depend on its neighbours in a batch, whoever knows the seed can repeat every
choice, and rounding of the logits changes a choice only where two tokens are that close.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from runtime.shared.receipts import MILLI, TOP_P_MILLI_MAX, Sampling

NUCLEUS_SLACK: Final = 0.02
"""Of probability: how far rounding may move the end of a nucleus. Engine and check differ by less
than 1e-3 in a logit, so by less than that from temperature 0.025 on; below, tokens at the end of a
nucleus are within any margin of each other."""
TIE_LOGITS: Final = 0.01
"""Tokens that close to each other may stand in either order."""
EXACT: Final = 1e-9
"""Sums of probabilities are that exact."""
_UNIFORM_BITS: Final = 52


class Sampler:
    """Chooses the tokens of one answer, one step after another."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._step = 0

    def choose(self, logits: Tensor) -> tuple[int, float]:
        """Return the next token and its log probability under the model, from logits [vocabulary].

        The log probability is the model's own, before temperature and top-p.
        """
        logits = logits.double().cpu()
        scores = logits
        if self._sampling.temperature_milli:
            allowed = _nucleus(logits, self._sampling)
            scores = _noisy(logits, self._sampling, self._step)
            scores = torch.where(allowed, scores, -torch.inf)
        self._step += 1
        token = int(scores.argmax())
        return token, float(torch.log_softmax(logits, dim=-1)[token])


def score_gap(logits: Tensor, tokens: Tensor, sampling: Sampling) -> float:
    """Return by how much the tokens of an answer [tokens] fall short of those that `sampling`
    chooses from logits [tokens, vocabulary], in logits; 0 where each is the chosen one."""
    gaps = (
        _gap_of(row.double(), int(token), sampling, step)
        for step, (row, token) in enumerate(zip(logits, tokens, strict=True))
    )
    return max(gaps, default=0.0)


def _gap_of(logits: Tensor, token: int, sampling: Sampling, step: int) -> float:
    """Return what one token [of vocabulary] falls short, whichever way the nucleus is rounded."""
    if sampling.temperature_milli == 0:
        return float(logits.max() - logits[token])
    noisy = _noisy(logits, sampling, step)
    surely, possibly = _nucleus_bounds(logits, sampling)
    best = torch.where(surely, noisy, -torch.inf).max()
    last = torch.where(possibly, logits, torch.inf).min()
    return float(max(best - noisy[token], last - logits[token]))


def _noisy(logits: Tensor, sampling: Sampling, step: int) -> Tensor:
    """Return the logits with the noise of a step [vocabulary]."""
    noise = _gumbel(sampling.seed, step, len(logits))
    return logits + sampling.temperature_milli / MILLI * noise


def _nucleus(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return which tokens may be chosen [vocabulary]: the fewest whose probabilities reach top-p,
    the most probable ones first, and at least one."""
    if sampling.top_p_milli == TOP_P_MILLI_MAX:
        return torch.ones_like(logits, dtype=torch.bool)
    # Stable, so that tokens of equal probability have one order on every machine.
    ordered, tokens = torch.sort(_probabilities(logits, sampling), descending=True, stable=True)
    is_within = ordered.cumsum(dim=-1) - ordered < sampling.top_p_milli / MILLI
    is_within[0] = True
    return torch.zeros_like(is_within).scatter(0, tokens, is_within)


def _nucleus_bounds(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return which tokens are in the nucleus and which can be [vocabulary each], however logits
    are rounded: tokens within `TIE_LOGITS` of each other may stand in either order."""
    if sampling.top_p_milli == TOP_P_MILLI_MAX:
        everything = torch.ones_like(logits, dtype=torch.bool)
        return everything, everything
    probabilities = _probabilities(logits, sampling)
    ordered, tokens = torch.sort(logits, descending=True)
    before = torch.nn.functional.pad(probabilities[tokens].cumsum(dim=-1), (1, 0))
    least = before[torch.searchsorted(-ordered, -(logits + TIE_LOGITS))]
    most = before[torch.searchsorted(-ordered, -(logits - TIE_LOGITS), right=True)] - probabilities
    top_p = sampling.top_p_milli / MILLI
    # A token with none before it is in every nucleus.
    return most < max(top_p - NUCLEUS_SLACK, EXACT), least < top_p + NUCLEUS_SLACK


def _probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    return torch.softmax(logits * (MILLI / sampling.temperature_milli), dim=-1)


def _gumbel(seed: int, step: int, size: int) -> Tensor:
    """Return the noise of a step [size], float64: a counter-based generator gives the bits, whose
    stream numpy guarantees."""
    raw = np.random.Philox(key=seed, counter=step << 64).random_raw(size)
    # Above 0 and below 1: both logarithms are finite.
    uniform = ((raw >> np.uint64(64 - _UNIFORM_BITS)) + 0.5) / (1 << _UNIFORM_BITS)
    return torch.from_numpy(-np.log(-np.log(uniform)))
