"""The next token from logits: greedy, or drawn with temperature and top-p from a seeded stream.

Each request draws from its own stream, so its tokens do not depend on its neighbours in the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Sampler:
    """Chooses the tokens of one answer."""

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self.temperature = temperature
        self.top_p = top_p
        # On the CPU even for a model on a GPU: the two generators give different streams.
        self._generator = torch.Generator().manual_seed(seed % (1 << 63))

    def choose(self, logits: Tensor) -> tuple[int, float]:
        """Return the next token and its log probability under the model, from logits [vocabulary].

        The log probability is the model's own, before temperature and top-p.
        """
        log_probabilities = torch.log_softmax(logits.float().cpu(), dim=-1)  # [vocabulary]
        if self.temperature == 0:
            token = int(log_probabilities.argmax())
        else:
            token = self._drawn(log_probabilities)
        return token, float(log_probabilities[token])

    def _drawn(self, log_probabilities: Tensor) -> int:
        probabilities = torch.softmax(log_probabilities / self.temperature, dim=-1)  # [vocabulary]
        if self.top_p >= 1:
            return int(torch.multinomial(probabilities, 1, generator=self._generator))
        # Stable, so that tokens of equal probability have one order on every machine.
        ordered, tokens = torch.sort(probabilities, descending=True, stable=True)  # [vocabulary]
        # A token stays while those before it sum to less than top_p, so at least one stays.
        before = ordered.cumsum(dim=-1) - ordered  # [vocabulary]
        nucleus = torch.where(before < self.top_p, ordered, torch.zeros_like(ordered))
        return int(tokens[torch.multinomial(nucleus, 1, generator=self._generator)])
