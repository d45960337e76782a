"""The running batch: sequences that are added and removed between steps, with keys and values.

Sequences are aligned at their end: a shorter one has padding on the left, which the mask hides.
Padding on the left and not on the right, because every sequence then writes its next token at the
same position of the cache: a step appends one column, without scatter or a copy. A sequence is
prefilled in a pass of its own and then added: prefilling it within the batch would pad the others
to the length of its prompt. When a sequence is removed, padding that no other needs is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from ml.base.sampling import Sampler
from ml.engine.interface import FinishReason, GenerationRequest, TokenEvent
from ml.engine.lora import Adapter, BatchPlan, Slot, segments_of


@dataclass(slots=True, eq=False)
class Lane:
    """The state of one unfinished answer; `length` counts its tokens in the cache."""

    request: GenerationRequest
    adapter: Adapter | None
    slot: Slot | None
    sampler: Sampler
    length: int = 0
    last_token: int = 0
    generated: int = 0

    @property
    def use(self) -> tuple[Slot, float] | None:
        """The slot and scaling of this sequence, None for the base only."""
        if self.slot is None or self.adapter is None:
            return None
        return self.slot, self.adapter.scaling

    def next_token(self, logits: Tensor) -> TokenEvent:
        """Choose the next token from logits [vocabulary], with the reason if it is the last."""
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
    """A layer of a cache that is not empty."""

    keys: Tensor  # [batch, key-value heads, tokens, head size]
    values: Tensor  # [batch, key-value heads, tokens, head size]


class RunningBatch:
    """The lanes that are decoded together; all methods block, call them on a worker thread."""

    def __init__(self, model: nn.Module, plan: BatchPlan) -> None:
        self.lanes: list[Lane] = []
        self._model = model
        self._plan = plan
        self._cache = DynamicCache()

    def add_lane(self, lane: Lane) -> TokenEvent:
        """Prefill a lane, add it to the batch, and return its first token."""
        device = next(self._model.parameters()).device
        tokens = torch.tensor([lane.request.prompt_tokens], device=device)  # [1, tokens]
        cache = DynamicCache()
        logits = self._forward(
            [lane], tokens, mask=None, positions=None, cache=cache
        )  # [1, vocabulary]
        lane.length = tokens.shape[1]
        self._append_cache(cache)
        self.lanes.append(lane)
        return lane.next_token(logits[0])

    def step(self) -> list[TokenEvent]:
        """Decode one token of every lane, in the order of `lanes`."""
        device = next(self._model.parameters()).device
        tokens = torch.tensor(
            [[lane.last_token] for lane in self.lanes], device=device
        )  # [batch, 1]
        # [batch, 1]
        lengths = torch.tensor([[lane.length] for lane in self.lanes], device=device)
        width = int(lengths.max()) + 1
        # [batch, width]: 1 on the last `length` columns of the cache and on the new token.
        mask = (torch.arange(width, device=device) >= width - 1 - lengths).long()
        # Positions count a sequence's own tokens, padding left out, as in a batch of one.
        logits = self._forward(
            self.lanes, tokens, mask=mask, positions=lengths, cache=self._cache
        )  # [batch, vocabulary]
        for lane in self.lanes:
            lane.length += 1
        return [lane.next_token(logits[index]) for index, lane in enumerate(self.lanes)]

    def remove_lanes(self, lanes: list[Lane]) -> None:
        """Remove lanes, their keys and values, and the padding that only they required."""
        removed = {id(lane) for lane in lanes}
        remaining = [index for index, lane in enumerate(self.lanes) if id(lane) not in removed]
        self.lanes = [self.lanes[index] for index in remaining]
        if not remaining:
            self._cache = DynamicCache()
            return
        width = max(lane.length for lane in self.lanes)
        for layer in _layers(self._cache):
            # [remaining, key-value heads, width, head size] each
            layer.keys = layer.keys[remaining, :, -width:].contiguous()
            layer.values = layer.values[remaining, :, -width:].contiguous()

    def _forward(
        self,
        lanes: list[Lane],
        tokens: Tensor,  # [batch, tokens]
        *,
        mask: Tensor | None,  # [batch, cached tokens + tokens]
        positions: Tensor | None,  # [batch, tokens]
        cache: DynamicCache,
    ) -> Tensor:
        """Return the logits of the last position [batch, vocabulary]."""
        self._plan.segments = segments_of([lane.use for lane in lanes])
        try:
            with torch.inference_mode():
                output = self._model(
                    input_ids=tokens,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    # Of a prompt only the last position is sampled; the others' logits would be
                    # the largest tensor of a prefill.
                    logits_to_keep=1,
                )
        finally:
            self._plan.segments = ()
        logits: Tensor = output.logits[:, -1]  # [batch, vocabulary]
        return logits

    def _append_cache(self, added: DynamicCache) -> None:
        """Add the keys and values of one sequence as the last of the batch."""
        if not self.lanes:
            self._cache = added
            return
        for layer, new in zip(_layers(self._cache), _layers(added), strict=True):
            width = max(layer.keys.shape[2], new.keys.shape[2])
            # [batch + 1, key-value heads, width, head size] each
            layer.keys = torch.cat([_aligned(layer.keys, width), _aligned(new.keys, width)])
            layer.values = torch.cat([_aligned(layer.values, width), _aligned(new.values, width)])


def _layers(cache: DynamicCache) -> list[_KeysAndValues]:
    return cast(list[_KeysAndValues], cache.layers)


def _aligned(states: Tensor, width: int) -> Tensor:
    """Pad [batch, heads, tokens, head size] on the left to `width` tokens."""
    return nn.functional.pad(states, (0, 0, width - states.shape[2], 0))
