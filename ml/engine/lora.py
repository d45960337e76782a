"""Many LoRA adapters over one linear layer, and the slots that they live in.

A slot holds one adapter: for each layer A [rank, inputs] and B [outputs, rank], padded with zeros
to the rank of its bucket. Slots are allocated once; loading an adapter copies into them. A batch
names, per segment of rows, the slot to use; each segment costs one pair of matrix products.

Rules that hold here: an adapter is evicted only when no answer uses it (pin count 0), the least
recently used first; rows without an adapter see the base alone; the sums are ordered as peft
orders them, base + (x A^T B^T) * scaling, so that answers have the same tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from ml.adapters.lora import KEY_PREFIX

RANK_BUCKETS: Final = (8, 16, 32, 64, 128, 256)
SLOTS_DEFAULT: Final = 8
"""Adapters of one rank bucket that are resident at the same time."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one adapter: its rank bucket and its number there."""

    rank: int
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows of a batch that use one slot; `rows` is a slice where they lie together."""

    slot: Slot
    scaling: float
    rows: slice | Tensor


@dataclass(slots=True)
class BatchPlan:
    """Which rows use which slot; set before a forward pass and read by every layer."""

    segments: tuple[Segment, ...] = ()


class MultiLoRALinear(nn.Linear):
    """A linear layer that adds each segment's adapter; without segments it is the base layer.

    It is an nn.Linear with the weight of the layer it replaces, so names and shapes stay.
    """

    def __init__(self, base: nn.Linear, plan: BatchPlan, slots: int) -> None:
        nn.Module.__init__(self)
        self.in_features = base.in_features
        self.out_features = base.out_features
        self.weight = base.weight
        self.bias = base.bias
        self.plan = plan
        self.slots = slots
        self._downs: dict[int, Tensor] = {}  # rank -> [slots, rank, inputs]
        self._ups: dict[int, Tensor] = {}  # rank -> [slots, outputs, rank]

    def forward(self, entering: Tensor) -> Tensor:  # [rows, tokens, inputs]
        """Return base output plus each segment's low-rank part [rows, tokens, outputs]."""
        leaving = nn.functional.linear(entering, self.weight, self.bias)
        for segment in self.plan.segments:
            rank, number = segment.slot.rank, segment.slot.number
            if rank not in self._downs:
                continue  # No adapter of this rank has this layer among its targets.
            inner = entering[segment.rows] @ self._downs[rank][number].T
            leaving[segment.rows] += (inner @ self._ups[rank][number].T) * segment.scaling
        return leaving

    def load(self, slot: Slot, down: Tensor, up: Tensor) -> None:
        """Copy A [r, inputs] and B [outputs, r] into a slot, r at most the slot's rank."""
        if slot.rank not in self._downs:
            empty = self.weight.new_zeros
            self._downs[slot.rank] = empty(self.slots, slot.rank, self.in_features)
            self._ups[slot.rank] = empty(self.slots, self.out_features, slot.rank)
        self.clear(slot)
        self._downs[slot.rank][slot.number, : down.shape[0]] = down
        self._ups[slot.rank][slot.number, :, : up.shape[1]] = up

    def clear(self, slot: Slot) -> None:
        """Fill a slot with zeros, which add nothing."""
        if slot.rank in self._downs:
            self._downs[slot.rank][slot.number].zero_()
            self._ups[slot.rank][slot.number].zero_()


def install(model: nn.Module, plan: BatchPlan, slots: int) -> dict[str, MultiLoRALinear]:
    """Replace the linear layers inside the model's blocks; return them by their names.

    The output head stays: adapters of this chain never target it.
    """
    head = getattr(model, "lm_head", None)
    linears = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    installed: dict[str, MultiLoRALinear] = {}
    for name, module in linears.items():
        parent, _, attribute = name.rpartition(".")
        installed[name] = MultiLoRALinear(module, plan, slots)
        setattr(model.get_submodule(parent), attribute, installed[name])
    return installed


@dataclass(slots=True, eq=False)
class Adapter:
    """A registered adapter: its checked tensors in host memory."""

    name: str
    rank: int
    scaling: float
    tensors: Mapping[str, Tensor]
    pins: int = 0


@dataclass(slots=True)
class AdapterSlots:
    """Which adapter is in which slot; the order of `_resident` is that of last use.

    `acquire`, `release` and `evict` only keep books; the copying waits for `load_pending`, which
    belongs on the thread that computes.
    """

    layers: Mapping[str, MultiLoRALinear]
    slots: int = SLOTS_DEFAULT
    loads: int = 0
    evictions: int = 0
    _resident: OrderedDict[Adapter, Slot] = field(default_factory=OrderedDict)
    _pending: list[tuple[Adapter, Slot]] = field(default_factory=list)

    def acquire(self, adapter: Adapter) -> Slot | None:
        """Pin an adapter in a slot, to be loaded if needed; None while all its slots are pinned."""
        slot = self._resident.get(adapter)
        if slot is None:
            slot = self._free_slot(bucket_of(adapter.rank))
            if slot is None:
                return None
            self._resident[adapter] = slot
            self._pending.append((adapter, slot))
        self._resident.move_to_end(adapter)
        adapter.pins += 1
        return slot

    def release(self, adapter: Adapter) -> None:
        """Give one pin back; the adapter stays resident until its slot is needed."""
        assert adapter.pins > 0
        adapter.pins -= 1

    def evict(self, adapter: Adapter) -> None:
        """Free the slot of an adapter that nobody pins, if it has one."""
        assert adapter.pins == 0
        if self._resident.pop(adapter, None) is not None:
            self.evictions += 1

    def load_pending(self) -> None:
        """Copy the adapters that were acquired since the last time into their slots."""
        while self._pending:
            adapter, slot = self._pending.pop(0)
            for name, layer in self.layers.items():
                down = adapter.tensors.get(f"{KEY_PREFIX}{name}.lora_A.weight")
                up = adapter.tensors.get(f"{KEY_PREFIX}{name}.lora_B.weight")
                if down is None or up is None:
                    layer.clear(slot)
                else:
                    layer.load(slot, down, up)
            self.loads += 1

    @property
    def resident(self) -> int:
        """How many adapters are in slots."""
        return len(self._resident)

    def _free_slot(self, rank: int) -> Slot | None:
        held = set(self._resident.values())
        for number in range(self.slots):
            if Slot(rank, number) not in held:
                return Slot(rank, number)
        for adapter, slot in self._resident.items():
            if slot.rank == rank and adapter.pins == 0:
                self.evict(adapter)
                return slot
        return None


def bucket_of(rank: int) -> int:
    """Return the smallest bucket that holds a rank."""
    return next(bucket for bucket in RANK_BUCKETS if rank <= bucket)


def segments_of(uses: list[tuple[Slot, float] | None]) -> tuple[Segment, ...]:
    """Group the rows of a batch by slot; None is a row of the base alone."""
    rows_of: dict[tuple[Slot, float], list[int]] = {}
    for row, use in enumerate(uses):
        if use is not None:
            rows_of.setdefault(use, []).append(row)
    return tuple(
        Segment(slot, scaling, _as_slice(rows)) for (slot, scaling), rows in rows_of.items()
    )


def _as_slice(rows: list[int]) -> slice | Tensor:
    if rows[-1] - rows[0] == len(rows) - 1:
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows)
