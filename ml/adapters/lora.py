"""Attach LoRA layers to a base model, initialise them deterministically, and write them as bytes.

The layers are PEFT's, so PEFT and other servers load the file. Two things differ. A is initialised
from a counter RNG over blake2b instead of torch.randn, whose stream depends on device and build.
Tensors are written in sorted key order, so that equal adapters are equal bytes.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save
from transformers import PreTrainedModel

from runtime.shared.documents import Recipe

RANK_MAX: Final = 256
COUNTER_CONTEXT: Final = b"openledger/lora-a"
KEY_PREFIX: Final = "base_model.model."


class RecipeRefusedError(Exception):
    """The recipe cannot be applied to this base."""


def attach_lora(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """Return the model with fresh LoRA layers: A from the recipe's seed, B zero. Raises
    RecipeRefusedError.
    """
    check_targets(model, recipe)
    configuration = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout_permille / 1000,
        target_modules=list(recipe.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # PEFT reads a renamed transformers property.
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = get_peft_model(model, configuration)
    with torch.no_grad():
        for name, parameter in lora_parameters(wrapped).items():
            # B is zero, so that an untrained adapter is exactly the base; with A zero as well both
            # gradients would stay zero.
            if ".lora_A." in name:
                parameter.copy_(initial_values(recipe.seed, name, parameter.shape))
            else:
                parameter.zero_()
    return wrapped


@contextmanager
def attached_lora(model: PreTrainedModel, recipe: Recipe) -> Iterator[PeftModel]:
    """Attach LoRA layers for the duration of a `with` block; they are removed on errors too."""
    wrapped = attach_lora(model, recipe)
    try:
        yield wrapped
    finally:
        wrapped.unload()
        # PEFT leaves an attribute on the base; a second attach would warn of stacked adapters.
        if hasattr(model, "peft_config"):
            del model.peft_config
        model.requires_grad_(False)


def check_targets(model: PreTrainedModel, recipe: Recipe) -> None:
    """Refuse a rank out of range and targets that are not linear layers of the base."""
    if not 1 <= recipe.rank <= RANK_MAX:
        raise RecipeRefusedError(f"The rank must be 1 to {RANK_MAX}; it is {recipe.rank}.")
    if not recipe.targets or len(set(recipe.targets)) != len(recipe.targets):
        raise RecipeRefusedError("The targets must be one or more distinct names of linear layers.")
    present = {name.rpartition(".")[2] for name, _ in target_layers(model, recipe)}
    missing = sorted(set(recipe.targets) - present)
    if missing:
        raise RecipeRefusedError(
            f"The base has no linear layer named {', '.join(missing)}; choose targets that it has."
        )


def target_layers(model: PreTrainedModel, recipe: Recipe) -> Iterator[tuple[str, torch.nn.Linear]]:
    """Yield (module name, linear layer) of the base's targets."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in recipe.targets:
            yield name, module


def expected_shapes(model: PreTrainedModel, recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Return the key and shape of every tensor of an adapter of this recipe."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, layer in target_layers(model, recipe):
        shapes[f"{KEY_PREFIX}{name}.lora_A.weight"] = (recipe.rank, layer.in_features)
        shapes[f"{KEY_PREFIX}{name}.lora_B.weight"] = (layer.out_features, recipe.rank)
    return dict(sorted(shapes.items()))


def lora_parameters(wrapped: PeftModel) -> dict[str, torch.nn.Parameter]:
    """Return the LoRA parameters by the key they have in the file, sorted."""
    return {
        name.replace(".default.", "."): parameter
        for name, parameter in sorted(wrapped.named_parameters())
        if ".lora_A." in name or ".lora_B." in name
    }


def initial_values(seed: int, name: str, shape: torch.Size) -> torch.Tensor:
    """Return uniform values in +-1/sqrt(inputs) from blake2b(seed, name, counter), float32.

    Each value is a 24-bit integer scaled by a power of two and one multiplication, all exact or
    correctly rounded, so every machine computes the same bits.
    """
    count = math.prod(shape)
    key = seed.to_bytes(8, "little") + name.encode()
    stream = b"".join(
        hashlib.blake2b(COUNTER_CONTEXT + key + counter.to_bytes(8, "little")).digest()
        for counter in range((count * 4 + 63) // 64)
    )
    # 24 bits, the precision of float32: every integer converts without rounding.
    words = numpy.frombuffer(stream[: count * 4], dtype="<u4") >> 8  # [count]
    signed = words.astype(numpy.int32) - (1 << 23)  # [count]
    bound = numpy.float32(1 / math.sqrt(shape[1]))
    values = signed.astype(numpy.float32) * numpy.float32(2.0**-23) * bound  # [count]
    return torch.from_numpy(values.reshape(tuple(shape)))


def tensors_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return a safetensors file of the tensors in sorted key order; equal tensors, equal bytes."""
    ordered = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    data: bytes = save(ordered, metadata={"format": "pt"})
    return data


def adapter_bytes(wrapped: PeftModel) -> bytes:
    """Return the adapter as a safetensors file."""
    return tensors_bytes(lora_parameters(wrapped))
