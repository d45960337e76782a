"""Gradients of single rows with respect to the LoRA tensors, many rows in one backward pass.

For y = W x + s B A x a row's gradient is a sum over its tokens: dB = s sum g (A x)^T and
dA = s sum (B^T g) x^T, with x the input and g the gradient at the output of the layer. Hooks see
x going forward and g coming back, and hand each layer's gradients on at once, so that no more than
one layer of one batch is ever held, and no gradient of a base weight is computed.

Rules that hold here: the loss of a row is the mean over its completion tokens; rows are padded on
the right, where a causal model cannot look; nothing is left behind on the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from ml.train.data import IGNORED, Batch, Example, collate

BATCH_ROWS: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class LoraSite:
    """A layer with a LoRA pair: `down` is A [rank, inputs], `up` is B [outputs, rank]."""

    name: str
    module: nn.Module
    down: Tensor
    up: Tensor
    scaling: float


Receive: TypeAlias = Callable[[LoraSite, Tensor, Tensor], None]
"""Takes (site, dA [batch, rank, inputs], dB [batch, outputs, rank]) of one layer and batch."""


class NoLoraSiteError(ValueError):
    """The model has no LoRA layer with this adapter."""


def lora_sites(model: nn.Module, adapter: str = "default") -> list[LoraSite]:
    """Return the LoRA layers of a peft model in order of their names. Raises NoLoraSiteError."""
    sites = [
        _site(canonical_name(name), module, adapter)
        for name, module in model.named_modules()
        if adapter in getattr(module, "lora_A", ())
    ]
    if not sites:
        raise NoLoraSiteError(
            f"The model has no LoRA layer with the adapter {adapter!r}. Load it first."
        )
    return sorted(sites, key=lambda site: site.name)


def canonical_name(name: str) -> str:
    """Return the name of a module or LoRA tensor without what peft's wrapping adds to it."""
    name = name.removeprefix("base_model.model.").removesuffix(".weight")
    return name.removesuffix(".default")


def row_gradients(
    model: nn.Module, sites: Sequence[LoraSite], examples: Sequence[Example], receive: Receive
) -> Tensor:
    """Differentiate one batch, handing each layer's per-row gradients to `receive`.

    Returns the losses of the rows, in nats per completion token [batch].
    """
    # Padding is masked and to the right of every token, so any id will do.
    batch = collate(examples, 0, sites[0].down.device)
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        start = stack.enter_context(_differentiable_embeddings(model))
        for site in sites:
            stack.enter_context(_watched(site, receive))
        with torch.enable_grad():
            losses = _row_losses(model, batch)  # [batch]
            torch.autograd.grad(losses.sum(), start)
    return losses.detach()


def batches(examples: Sequence[Example], rows: int = BATCH_ROWS) -> list[list[int]]:
    """Return the indices of the examples in batches of similar length, to pad little."""
    by_length = sorted(range(len(examples)), key=lambda at: (len(examples[at].ids), at))
    return [by_length[start : start + rows] for start in range(0, len(by_length), rows)]


def _row_losses(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    targets = batch.labels[:, 1:]  # [batch, tokens - 1]
    losses = nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(dim=1) / (targets != IGNORED).sum(dim=1)


def _site(name: str, module: nn.Module, adapter: str) -> LoraSite:
    down, up = _tensor(module, "lora_A", adapter), _tensor(module, "lora_B", adapter)
    scaling = getattr(module, "scaling", {})
    return LoraSite(name, module, down, up, float(scaling[adapter]))


def _tensor(module: nn.Module, part: str, adapter: str) -> Tensor:
    linears = getattr(module, part)
    assert isinstance(linears, nn.ModuleDict)
    weight = linears[adapter].weight
    assert isinstance(weight, Tensor)
    return weight.detach()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _differentiable_embeddings(model: nn.Module) -> Iterator[list[Tensor]]:
    started: list[Tensor] = []

    def begin(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        started.append(leaf)
        return leaf

    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    handle = embeddings.register_forward_hook(begin)
    try:
        yield started
    finally:
        handle.remove()


@contextmanager
def _watched(site: LoraSite, receive: Receive) -> Iterator[None]:
    def forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        entering = inputs[0].detach()  # [batch, tokens, inputs]

        def backward(leaving: Tensor) -> None:  # [batch, tokens, outputs]
            with torch.no_grad():
                receive(site, *_pair_gradients(site, entering, leaving))

        output.register_hook(backward)  # type: ignore[no-untyped-call]

    handle = site.module.register_forward_hook(forward)
    try:
        yield
    finally:
        handle.remove()


def _pair_gradients(site: LoraSite, entering: Tensor, leaving: Tensor) -> tuple[Tensor, Tensor]:
    inner = entering @ site.down.T  # [batch, tokens, rank]
    through = leaving @ site.up  # [batch, tokens, rank]
    down = site.scaling * through.transpose(1, 2) @ entering  # [batch, rank, inputs]
    up = site.scaling * leaving.transpose(1, 2) @ inner  # [batch, outputs, rank]
    return down, up
