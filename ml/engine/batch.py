"""The running batch: rows that join and leave between steps, with their keys and values.

Rows are aligned at their end: a shorter row has padding on the left, which the mask hides. A row
is prefilled alone and then joins; when one leaves, padding that nobody needs is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ml.engine.interface import FinishReason, GenerationRequest, TokenEvent
from ml.engine.lora import Adapter, BatchPlan, Slot, segments_of
from ml.engine.sampling import Sampler


@dataclass(slots=True, eq=False)
class Lane:
    """One answer in the making; `length` counts the tokens whose keys and values are stored."""

    request: GenerationRequest
    adapter: Adapter | None
    slot: Slot | None
    sampler: Sampler
    length: int = 0
    last_token: int = 0
    generated: int = 0

    @property
    def use(self) -> tuple[Slot, float] | None:
        """The slot and scaling that this row is computed with."""
        if self.slot is None or self.adapter is None:
            return None
        return self.slot, self.adapter.scaling

    def take(self, logits: Tensor) -> TokenEvent:
        """Choose the next token from logits [tokens] and say whether it is the last."""
        token, log_probability = self.sampler.choose(logits)
        self.last_token = token
        self.generated += 1
        reason = None
        if token in self.request.stop_tokens:
            reason = FinishReason.STOP
        elif self.generated >= self.request.max_tokens:
            reason = FinishReason.LENGTH
        return TokenEvent(token, log_probability, reason)


class _KeysAndValues(Protocol):
    """A layer of the cache once it holds something: [rows, heads, tokens, size] each."""

    keys: Tensor
    values: Tensor


class RunningBatch:
    """The lanes that are decoded together; all methods block and belong on a worker thread."""

    def __init__(self, model: nn.Module, plan: BatchPlan) -> None:
        self.lanes: list[Lane] = []
        self._model = model
        self._plan = plan
        self._cache = DynamicCache()

    def join(self, lane: Lane) -> TokenEvent:
        """Prefill a lane, add it to the batch, and return its first token."""
        device = next(self._model.parameters()).device
        tokens = torch.tensor([lane.request.prompt_tokens], device=device)
        cache = DynamicCache()
        logits = self._forward([lane], tokens, None, None, cache)
        lane.length = tokens.shape[1]
        self._append(cache)
        self.lanes.append(lane)
        return lane.take(logits[0])

    def step(self) -> list[TokenEvent]:
        """Decode one token of every lane, in the order of `lanes`."""
        device = next(self._model.parameters()).device
        tokens = torch.tensor([[lane.last_token] for lane in self.lanes], device=device)
        lengths = torch.tensor([[lane.length] for lane in self.lanes], device=device)
        width = int(lengths.max()) + 1
        mask = (torch.arange(width, device=device) >= width - 1 - lengths).long()
        logits = self._forward(self.lanes, tokens, mask, lengths, self._cache)
        for lane in self.lanes:
            lane.length += 1
        return [lane.take(logits[row]) for row, lane in enumerate(self.lanes)]

    def leave(self, lanes: list[Lane]) -> None:
        """Drop lanes and what only they needed."""
        leaving = {id(lane) for lane in lanes}
        rows = [row for row, lane in enumerate(self.lanes) if id(lane) not in leaving]
        self.lanes = [self.lanes[row] for row in rows]
        if not rows:
            self._cache = DynamicCache()
            return
        width = max(lane.length for lane in self.lanes)
        for layer in _layers(self._cache):
            layer.keys = layer.keys[rows, :, -width:].contiguous()
            layer.values = layer.values[rows, :, -width:].contiguous()

    def _forward(
        self,
        lanes: list[Lane],
        tokens: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
        cache: DynamicCache,
    ) -> Tensor:
        """Return the logits of the last position [rows, tokens]."""
        self._plan.segments = segments_of([lane.use for lane in lanes])
        try:
            with torch.inference_mode():
                output = self._model(
                    input_ids=tokens,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
        finally:
            self._plan.segments = ()
        logits: Tensor = output.logits[:, -1]
        return logits

    def _append(self, joining: DynamicCache) -> None:
        if not self.lanes:
            self._cache = joining
            return
        for held, new in zip(_layers(self._cache), _layers(joining), strict=True):
            width = max(held.keys.shape[2], new.keys.shape[2])
            held.keys = torch.cat([_aligned(held.keys, width), _aligned(new.keys, width)])
            held.values = torch.cat([_aligned(held.values, width), _aligned(new.values, width)])


def _layers(cache: DynamicCache) -> list[_KeysAndValues]:
    return cast(list[_KeysAndValues], cache.layers)


def _aligned(states: Tensor, width: int) -> Tensor:
    """Pad [rows, heads, tokens, size] on the left to `width` tokens."""
    return nn.functional.pad(states, (0, 0, width - states.shape[2], 0))
