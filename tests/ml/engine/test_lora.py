"""Slots: adapters come and go, pinned ones stay, and nothing of an old one is left."""

import pytest
import torch
from torch import nn

from ml.adapters.lora import KEY_PREFIX
from ml.engine.lora import (
    Adapter,
    AdapterSlots,
    BatchPlan,
    MultiLoRALinear,
    bucket_of,
    install,
    segments_of,
)


def adapter(name, rank=4, layers=("first", "second")):
    draws = torch.Generator().manual_seed(len(name) + rank)
    tensors = {}
    for layer in layers:
        tensors[f"{KEY_PREFIX}{layer}.lora_A.weight"] = torch.randn(rank, 6, generator=draws)
        tensors[f"{KEY_PREFIX}{layer}.lora_B.weight"] = torch.randn(5, rank, generator=draws)
    return Adapter(name, rank, 2.0, tensors)


@pytest.fixture
def plan():
    return BatchPlan()


@pytest.fixture
def slots(plan):
    torch.manual_seed(0)
    layers = {name: MultiLoRALinear(nn.Linear(6, 5), plan, 2) for name in ("first", "second")}
    return AdapterSlots(layers, 2)


def added_by(adapter, layer):
    lora_a = adapter.tensors[f"{KEY_PREFIX}{layer}.lora_A.weight"]
    lora_b = adapter.tensors[f"{KEY_PREFIX}{layer}.lora_B.weight"]
    return lambda x: x @ lora_a.T @ lora_b.T * adapter.scaling


def test_each_row_gets_its_own_adapter_and_the_others_the_base(slots, plan):
    one, other = adapter("one", 4), adapter("other", 12)
    uses = [(slots.acquire(one), 2.0), None, (slots.acquire(other), 2.0), (slots.acquire(one), 2.0)]
    slots.load_pending()
    layer, x = slots.layers["first"], torch.randn(4, 3, 6)
    base = layer(x)
    plan.segments = segments_of(uses)
    added = (layer(x) - base).detach()
    torch.testing.assert_close(added[[0, 3]], added_by(one, "first")(x[[0, 3]]))
    torch.testing.assert_close(added[2], added_by(other, "first")(x[2]))
    assert not added[1].any()


def test_the_least_recently_used_adapter_without_a_pin_goes(slots):
    first, second, third = adapter("a"), adapter("b"), adapter("c")
    for used in (first, second, first):
        slots.acquire(used)
        slots.release(used)
    slots.acquire(third)
    assert slots.resident == 2
    assert slots.acquire(first) is not None
    assert slots.evictions == 1
    assert slots.acquire(second) is None


def test_pinned_adapters_are_never_evicted_and_other_ranks_have_their_own_slots(slots):
    for name in ("a", "b"):
        assert slots.acquire(adapter(name)) is not None
    assert slots.acquire(adapter("c")) is None
    assert slots.acquire(adapter("d", rank=9)) is not None


def test_a_slot_keeps_nothing_of_the_adapter_before(slots, plan):
    wide, narrow = adapter("wide", 8), adapter("narrow", 2, layers=("second",))
    slots.acquire(wide)
    slots.load_pending()
    slots.release(wide)
    slots.evict(wide)
    slot = slots.acquire(narrow)
    slots.load_pending()
    x = torch.randn(1, 3, 6)
    base = {name: layer(x) for name, layer in slots.layers.items()}
    plan.segments = segments_of([(slot, 2.0)])
    assert torch.equal(slots.layers["first"](x), base["first"])
    added = (slots.layers["second"](x) - base["second"]).detach()
    torch.testing.assert_close(added, added_by(narrow, "second")(x))


def test_buckets_hold_every_rank():
    assert [bucket_of(rank) for rank in (1, 8, 9, 64, 256)] == [8, 8, 16, 64, 256]


def test_installing_keeps_names_shapes_and_outputs_and_leaves_the_head():
    torch.manual_seed(0)
    model = nn.ModuleDict({"body": nn.Linear(4, 4), "lm_head": nn.Linear(4, 9)})
    model.lm_head = model["lm_head"]
    names, x = list(model.state_dict()), torch.randn(2, 4)
    before = model["body"](x)
    installed = install(model, BatchPlan(), 2)
    assert list(installed) == ["body"]
    assert list(model.state_dict()) == names
    assert torch.equal(model["body"](x), before)
