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
        self._draws = torch.Generator().manual_seed(seed % (1 << 63))

    def choose(self, logits: Tensor) -> tuple[int, float]:
        """Return the next token and its log probability under the model, from logits [tokens]."""
        likely = torch.log_softmax(logits.float().cpu(), dim=-1)
        token = int(likely.argmax()) if self.temperature == 0 else self._drawn(likely)
        return token, float(likely[token])

    def _drawn(self, likely: Tensor) -> int:
        chances = torch.softmax(likely / self.temperature, dim=-1)
        if self.top_p >= 1:
            return int(torch.multinomial(chances, 1, generator=self._draws))
        ordered, tokens = torch.sort(chances, descending=True, stable=True)
        # A token stays while those before it hold less than top_p, so one always stays.
        before = ordered.cumsum(dim=-1) - ordered
        kept = torch.where(before < self.top_p, ordered, torch.zeros_like(ordered))
        return int(tokens[torch.multinomial(kept, 1, generator=self._draws)])
