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
CANDIDATES: Final = (256, 4_096)
"""Of so many tokens a nucleus is looked for, before it is in the whole vocabulary."""
EXACT: Final = 1e-9
"""Sums of probabilities are that exact."""
_UNIFORM_BITS: Final = 52


class Sampler:
    """Chooses the tokens of one answer, one step after another."""

    def __init__(self, sampling: Sampling, vocabulary: int | None = None) -> None:
        """Choose among the first `vocabulary` tokens, None for all."""
        self._sampling = sampling
        self._vocabulary = vocabulary
        self._step = 0

    def choose(self, logits: Tensor) -> tuple[int, float]:
        """Return the next token and its log probability under the model, from logits [vocabulary].

        The log probability is the model's own, before temperature and top-p.
        """
        logits = logits[: self._vocabulary].double().cpu()
        if self._sampling.temperature_milli:
            allowed = _nucleus(logits, self._sampling)
            scores = _noisy(logits, allowed, self._sampling, self._step)
            token = int(allowed[scores.argmax()])
        else:
            token = int(logits.argmax())
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
    if sampling.temperature_milli == 0:
        return float(logits.max() - logits[token])
    surely, possibly = _nucleus_bounds(logits, sampling)
    noisy = _noisy(logits, torch.cat((torch.tensor([token]), surely)), sampling, step)
    to_the_best = noisy.max() - noisy[0]  # 0 too where none is sure, among many equal ones
    return float(max(to_the_best, logits[possibly].min() - logits[token]))


def _noisy(logits: Tensor, tokens: Tensor, sampling: Sampling, step: int) -> Tensor:
    """Return the logits of tokens with their noise of a step [tokens]."""
    noise = _gumbel(sampling.seed, step, tokens)
    return logits[tokens] + sampling.temperature_milli / MILLI * noise


def _nucleus(logits: Tensor, sampling: Sampling) -> Tensor:
    """Return which tokens may be chosen [nucleus]: the fewest whose probabilities reach top-p, the
    most probable ones first, and at least one."""
    if sampling.top_p_milli == TOP_P_MILLI_MAX:
        return torch.arange(len(logits))
    top_p, probabilities = sampling.top_p_milli / MILLI, _probabilities(logits, sampling)
    tokens = _most_probable(probabilities, probabilities, top_p, margin=0.0)
    # Stable, so that tokens of equal probability have one order on every machine.
    ordered, places = torch.sort(probabilities[tokens], descending=True, stable=True)
    is_within = ordered.cumsum(dim=-1) - ordered < top_p
    is_within[0] = True
    return tokens[places[is_within]]


def _nucleus_bounds(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Return which tokens are in the nucleus and which can be, however logits are rounded: tokens
    within `TIE_LOGITS` of each other may stand in either order."""
    if sampling.top_p_milli == TOP_P_MILLI_MAX:
        everything = torch.arange(len(logits))
        return everything, everything
    top_p, probabilities = sampling.top_p_milli / MILLI, _probabilities(logits, sampling)
    tokens = _most_probable(logits, probabilities, top_p + NUCLEUS_SLACK, margin=TIE_LOGITS)
    ordered, places = torch.sort(logits[tokens], descending=True)
    tokens = tokens[places]
    before = torch.nn.functional.pad(probabilities[tokens].cumsum(dim=-1), (1, 0))
    least = before[torch.searchsorted(-ordered, -(ordered + TIE_LOGITS))]
    most = before[torch.searchsorted(-ordered, -(ordered - TIE_LOGITS), right=True)]
    # A token with none before it is in every nucleus.
    is_surely = most - probabilities[tokens] < max(top_p - NUCLEUS_SLACK, EXACT)
    return tokens[is_surely], tokens[least < top_p + NUCLEUS_SLACK]


def _most_probable(order: Tensor, probabilities: Tensor, mass: float, margin: float) -> Tensor:
    """Return the first tokens by an order [vocabulary], ascending, of which those that lead the
    last one by more than a margin have a mass of probability: no other token matters then. Most
    vocabularies have few such tokens, and sorting all takes longer than a small model."""
    for count in CANDIDATES:
        if count >= len(order):
            break
        last = order.topk(count).values[-1]
        if float(probabilities[order > last + margin].sum()) >= mass + EXACT:
            return (order >= last).nonzero()[:, 0]
    return torch.arange(len(order))


def _probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    return torch.softmax(logits * (MILLI / sampling.temperature_milli), dim=-1)


def _gumbel(seed: int, step: int, tokens: Tensor) -> Tensor:
    """Return the noise of tokens in a step [tokens], float64: a counter-based generator gives the
    bits, whose stream numpy guarantees."""
    size = int(tokens.max()) + 1
    raw = np.random.Philox(key=seed, counter=step << 64).random_raw(size)[tokens.numpy()]
    # Above 0 and below 1: both logarithms are finite.
    uniform = ((raw >> np.uint64(64 - _UNIFORM_BITS)) + 0.5) / (1 << _UNIFORM_BITS)
    return torch.from_numpy(-np.log(-np.log(uniform)))
