"""Gradients of single rows with respect to the LoRA tensors, many rows in one backward pass.

For y = W x + s B A x a row's gradient is a sum over its tokens: dB = s sum g (A x)^T and
dA = s sum (B^T g) x^T, with x the input and g the gradient at the output of the layer. Hooks record
x in the forward pass and g in the backward pass, and pass each layer's gradients on at once, so
that memory never has more than one layer of one batch, and no gradient of a base weight is
computed. One backward pass per row would give the same and take as many passes as rows;
torch.func.vmap over rows would keep the gradients of all layers at the same time.

Rules that hold here: the loss of a row is the mean over its completion tokens; rows are padded on
the right, where a causal model cannot look; every hook is removed from the model.
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
    """A layer with a LoRA pair."""

    name: str
    module: nn.Module
    lora_a: Tensor  # [rank, inputs]
    lora_b: Tensor  # [outputs, rank]
    scaling: float


ReceiveGradients: TypeAlias = Callable[[LoraSite, Tensor, Tensor], None]
"""Called with (site, dA [batch, rank, inputs], dB [batch, outputs, rank]) for each layer."""


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
    model: nn.Module,
    sites: Sequence[LoraSite],
    examples: Sequence[Example],
    receive: ReceiveGradients,
) -> Tensor:
    """Differentiate one batch and call `receive` with each layer's per-row gradients.

    Returns the losses of the rows, in nats per completion token [batch].
    """
    # Padding is masked and to the right of every token, so any token id fits.
    batch = collate(examples, 0, sites[0].lora_a.device)
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        start = stack.enter_context(_differentiable_embeddings(model))
        for site in sites:
            stack.enter_context(_hooked(site, receive))
        with torch.enable_grad():
            losses = _row_losses(model, batch)  # [batch]
            # The gradient of the sum at a row's activations is that row's: rows share none of them.
            torch.autograd.grad(losses.sum(), start)
    return losses.detach()


def batches(examples: Sequence[Example], rows: int = BATCH_ROWS) -> list[list[int]]:
    """Return the indices of the examples in batches of similar length, to pad little."""
    by_length = sorted(range(len(examples)), key=lambda at: (len(examples[at].ids), at))
    return [by_length[start : start + rows] for start in range(0, len(by_length), rows)]


def _row_losses(model: nn.Module, batch: Batch) -> Tensor:
    # [batch, tokens, vocabulary]
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
    targets = batch.labels[:, 1:]  # [batch, tokens - 1]
    losses = nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2),  # [batch, vocabulary, tokens - 1]
        targets,
        ignore_index=IGNORED,
        reduction="none",
    )  # [batch, tokens - 1]
    return losses.sum(dim=1) / (targets != IGNORED).sum(dim=1)  # [batch]


def _site(name: str, module: nn.Module, adapter: str) -> LoraSite:
    scaling = getattr(module, "scaling", {})
    return LoraSite(
        name=name,
        module=module,
        lora_a=_tensor(module, "lora_A", adapter),
        lora_b=_tensor(module, "lora_B", adapter),
        scaling=float(scaling[adapter]),
    )


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
    """Make the embeddings [batch, tokens, hidden] the leaf that the backward pass ends at.

    All weights are frozen, so without a leaf that requires a gradient there would be no graph; LoRA
    weights as leaves would make autograd sum their gradients over the rows, which nothing needs.
    """
    leaves: list[Tensor] = []

    def begin(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()  # [batch, tokens, hidden]
        leaves.append(leaf)
        return leaf

    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    handle = embeddings.register_forward_hook(begin)
    try:
        yield leaves
    finally:
        handle.remove()


@contextmanager
def _hooked(site: LoraSite, receive: ReceiveGradients) -> Iterator[None]:
    def forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].detach()  # [batch, tokens, inputs]

        def backward(output_gradient: Tensor) -> None:  # [batch, tokens, outputs]
            with torch.no_grad():
                receive(site, *_pair_gradients(site, x, output_gradient))

        output.register_hook(backward)  # type: ignore[no-untyped-call]

    handle = site.module.register_forward_hook(forward)
    try:
        yield
    finally:
        handle.remove()


def _pair_gradients(site: LoraSite, x: Tensor, output_gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return (dA, dB) of every row, from the layer's input and the gradient at its output."""
    inner = x @ site.lora_a.T  # [batch, tokens, rank]
    inner_gradient = output_gradient @ site.lora_b  # [batch, tokens, rank]
    gradient_a = site.scaling * inner_gradient.transpose(1, 2) @ x  # [batch, rank, inputs]
    gradient_b = site.scaling * output_gradient.transpose(1, 2) @ inner  # [batch, outputs, rank]
    return gradient_a, gradient_b
