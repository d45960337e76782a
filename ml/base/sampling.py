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

from runtime.shared.receipts import Sampling

MILLI: Final = 1_000
NUCLEUS_SLACK: Final = 0.02
"""Of probability: how far rounding may move the end of a nucleus. Engine and check differ by less
than 1e-3 in a logit, so by less than that from temperature 0.025 on; below, tokens at the end of a
nucleus are within any margin of each other."""
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
        token = int(_scores(logits, self._sampling, self._step).argmax())
        self._step += 1
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
    top_p = sampling.top_p_milli / MILLI
    surely = _scores(logits, sampling, step, top_p - NUCLEUS_SLACK)
    best = float(surely.max())
    own = float(_scores(logits, sampling, step, 1.0)[token])
    if sampling.temperature_milli == 0:
        return best - own
    possibly = _nucleus(logits, sampling, top_p + NUCLEUS_SLACK)
    outside = float(logits[possibly].min() - logits[token])
    return max(best - own, outside)


def _scores(logits: Tensor, sampling: Sampling, step: int, top_p: float | None = None) -> Tensor:
    """Return what is compared [vocabulary]; -inf for tokens outside the nucleus."""
    if sampling.temperature_milli == 0:
        return logits
    allowed = _nucleus(logits, sampling, sampling.top_p_milli / MILLI if top_p is None else top_p)
    noise = _gumbel(sampling.seed, step, len(logits))
    noisy = logits + sampling.temperature_milli / MILLI * noise
    return torch.where(allowed, noisy, -torch.inf)


def _nucleus(logits: Tensor, sampling: Sampling, top_p: float) -> Tensor:
    """Return which tokens may be chosen [vocabulary]: the fewest whose probabilities reach `top_p`,
    the most probable ones first, and at least one."""
    if top_p >= 1:
        return torch.ones_like(logits, dtype=torch.bool)
    probabilities = torch.softmax(logits * (MILLI / sampling.temperature_milli), dim=-1)
    # Stable, so that tokens of equal probability have one order on every machine.
    ordered, tokens = torch.sort(probabilities, descending=True, stable=True)  # [vocabulary]
    is_within = ordered.cumsum(dim=-1) - ordered < top_p
    is_within[0] = True
    return torch.zeros_like(is_within).scatter(0, tokens, is_within)


def _gumbel(seed: int, step: int, size: int) -> Tensor:
    """Return the noise of a step [size], float64: a counter-based generator gives the bits, whose
    stream numpy guarantees."""
    raw = np.random.Philox(key=seed, counter=step << 64).random_raw(size)
    # Above 0 and below 1: both logarithms are finite.
    uniform = ((raw >> np.uint64(64 - _UNIFORM_BITS)) + 0.5) / (1 << _UNIFORM_BITS)
    return torch.from_numpy(-np.log(-np.log(uniform)))
