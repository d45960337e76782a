"""Many LoRA adapters over one linear layer, and the slots in device memory that hold them.

A slot holds one adapter: for each layer A [rank, inputs] and B [outputs, rank], padded with zeros
to the rank of its bucket. Slots are allocated once; loading an adapter copies into them. A batch
names the slot of each segment of its sequences; each segment costs one pair of matrix products.

Rules that hold here: an adapter is evicted only when no answer uses it (pin count 0), the least
recently used first; sequences without an adapter get the base layer only; the sums are ordered as
peft orders them, base + (x A^T B^T) * scaling, so that answers have the same tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from ml.adapters.lora import KEY_PREFIX

# Buckets of rank, not slots of the largest rank: rank 8 padded to 256 would cost 32 times the
# memory and products. Not one bucket per rank either: its slots could not serve other ranks.
RANK_BUCKETS: Final = (8, 16, 32, 64, 128, 256)
SLOTS_DEFAULT: Final = 8
"""Adapters of one rank bucket that are resident at the same time."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The address of one resident adapter: its rank bucket and its number in the bucket."""

    rank: int
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """The sequences of a batch that use one slot: a slice where they are adjacent, else indices."""

    slot: Slot
    scaling: float
    sequences: slice | Tensor  # indices: [sequences of the segment]


@dataclass(slots=True)
class BatchPlan:
    """The slots of a batch's sequences; set before a forward pass and read by every layer."""

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
        self._lora_a: dict[int, Tensor] = {}  # bucket rank -> [slots, rank, inputs]
        self._lora_b: dict[int, Tensor] = {}  # bucket rank -> [slots, outputs, rank]

    def forward(self, x: Tensor) -> Tensor:  # [batch, tokens, inputs]
        """Return the base output plus each segment's low-rank part [batch, tokens, outputs]."""
        output = nn.functional.linear(x, self.weight, self.bias)  # [batch, tokens, outputs]
        for segment in self.plan.segments:
            rank, number = segment.slot.rank, segment.slot.number
            if rank not in self._lora_a:
                continue  # No adapter of this rank has this layer among its targets.
            # A and B are not merged into the weight: a batch mixes adapters, and a merged weight
            # rounds differently, so that answers would no longer be peft's.
            inner = x[segment.sequences] @ self._lora_a[rank][number].T  # [segment, tokens, rank]
            update = inner @ self._lora_b[rank][number].T  # [segment, tokens, outputs]
            output[segment.sequences] += update * segment.scaling
        return output

    def load(self, slot: Slot, lora_a: Tensor, lora_b: Tensor) -> None:
        """Copy A [r, inputs] and B [outputs, r] into a slot, r at most the slot's rank."""
        if slot.rank not in self._lora_a:
            zeros = self.weight.new_zeros
            self._lora_a[slot.rank] = zeros(self.slots, slot.rank, self.in_features)
            self._lora_b[slot.rank] = zeros(self.slots, self.out_features, slot.rank)
        self.clear(slot)
        self._lora_a[slot.rank][slot.number, : lora_a.shape[0]] = lora_a  # [r, inputs]
        self._lora_b[slot.rank][slot.number, :, : lora_b.shape[1]] = lora_b  # [outputs, r]

    def clear(self, slot: Slot) -> None:
        """Fill a slot with zeros, which add nothing to the base output."""
        if slot.rank in self._lora_a:
            self._lora_a[slot.rank][slot.number].zero_()
            self._lora_b[slot.rank][slot.number].zero_()


def install(model: nn.Module, plan: BatchPlan, slots: int) -> dict[str, MultiLoRALinear]:
    """Replace the linear layers inside the model's blocks; return the new ones by module name.

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
    """A registered adapter: its checked tensors in host memory, `pins` counts its answers."""

    name: str
    rank: int
    scaling: float
    tensors: Mapping[str, Tensor]
    pins: int = 0


@dataclass(slots=True)
class AdapterSlots:
    """The adapters in the slots; the order of `_resident` is that of their last use.

    `acquire`, `release` and `evict` only change the assignment; `load_pending` copies, because only
    the thread that computes may write into tensors that a forward pass reads.
    """

    layers: Mapping[str, MultiLoRALinear]
    slots: int
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
        """Remove one pin; the adapter stays resident until its slot is needed."""
        assert adapter.pins > 0
        adapter.pins -= 1

    def evict(self, adapter: Adapter) -> None:
        """Free the slot of an adapter without pins, if it has one."""
        assert adapter.pins == 0
        if self._resident.pop(adapter, None) is not None:
            self.evictions += 1

    def load_pending(self) -> None:
        """Copy the adapters that were acquired since the last call into their slots."""
        while self._pending:
            adapter, slot = self._pending.pop(0)
            for name, layer in self.layers.items():
                lora_a = adapter.tensors.get(f"{KEY_PREFIX}{name}.lora_A.weight")
                lora_b = adapter.tensors.get(f"{KEY_PREFIX}{name}.lora_B.weight")
                if lora_a is None or lora_b is None:
                    # The slot's last adapter may have had this layer among its targets.
                    layer.clear(slot)
                else:
                    layer.load(slot, lora_a, lora_b)
            self.loads += 1

    @property
    def resident(self) -> int:
        """The number of adapters in slots."""
        return len(self._resident)

    def _free_slot(self, rank: int) -> Slot | None:
        occupied = set(self._resident.values())
        for number in range(self.slots):
            if Slot(rank, number) not in occupied:
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
    """Group the sequences of a batch by slot and scaling; None is a sequence of the base only."""
    sequences_of: dict[tuple[Slot, float], list[int]] = {}
    for sequence, use in enumerate(uses):
        if use is not None:
            sequences_of.setdefault(use, []).append(sequence)
    return tuple(
        Segment(slot, scaling, _as_index(sequences))
        for (slot, scaling), sequences in sequences_of.items()
    )


def _as_index(sequences: list[int]) -> slice | Tensor:
    # A slice is a view; indexing by a tensor copies the segment's activations in every layer.
    if sequences[-1] - sequences[0] == len(sequences) - 1:
        return slice(sequences[0], sequences[-1] + 1)
    return torch.tensor(sequences)
