"""Save an unfinished training and resume it with the same bits.

A checkpoint is one safetensors file: LoRA parameters, both AdamW moments, the losses and trace
leaves so far, and in its metadata the step and the identity of the run. There is no RNG state to
save: each step derives its randomness from the recipe's seed and its own number. The file of
another run is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ml.durable_file import write_durably

CHECKPOINT_NAME: Final = "checkpoint.safetensors"
FORMAT: Final = "openledger-checkpoint-1"


class CheckpointUnreadableError(Exception):
    """The file is not a checkpoint, or was damaged on disk."""


class CheckpointForeignError(Exception):
    """The checkpoint belongs to another recipe, base, profile or set of rows."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training after `step` steps; tensors are keyed by the adapter's keys."""

    identity: bytes
    step: int
    adapter: Mapping[str, torch.Tensor]
    first_moments: Mapping[str, torch.Tensor]
    second_moments: Mapping[str, torch.Tensor]
    losses: tuple[float, ...]
    evaluations: tuple[tuple[int, int], ...]
    leaves: tuple[bytes, ...]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint atomically in place of the earlier one."""
    tensors: dict[str, torch.Tensor] = {
        # [steps]; float64, because the trace contains the bits of each loss
        "losses": torch.tensor(checkpoint.losses, dtype=torch.float64),
        # [evaluations, 2]; the shape is given because there may be none yet
        "evaluations": torch.tensor(checkpoint.evaluations, dtype=torch.int64).reshape(-1, 2),
        # [32 * steps]
        "leaves": torch.tensor(list(b"".join(checkpoint.leaves)), dtype=torch.uint8),
    }
    groups = {
        "adapter": checkpoint.adapter,
        "first": checkpoint.first_moments,
        "second": checkpoint.second_moments,
    }
    for group, members in groups.items():
        for name, tensor in members.items():
            tensors[f"{group}/{name}"] = tensor.detach().cpu().contiguous()
    metadata = {
        "format": FORMAT,
        "identity": checkpoint.identity.hex(),
        "step": str(checkpoint.step),
    }
    write_durably(folder / CHECKPOINT_NAME, save(tensors, metadata=metadata))


def load_checkpoint(folder: Path, identity: bytes) -> Checkpoint | None:
    """Return the folder's checkpoint, or None.

    Raises CheckpointUnreadableError, CheckpointForeignError.
    """
    path = folder / CHECKPOINT_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        step = int(metadata["step"])
        saved_identity = bytes.fromhex(metadata["identity"])
        if metadata["format"] != FORMAT:
            raise ValueError(f"the format is {metadata['format']}")
        leaves = bytes(tensors["leaves"].tolist())
        checkpoint = Checkpoint(
            identity=saved_identity,
            step=step,
            adapter=_group(tensors, "adapter/"),
            first_moments=_group(tensors, "first/"),
            second_moments=_group(tensors, "second/"),
            losses=tuple(tensors["losses"].tolist()),
            evaluations=tuple((int(at), int(loss)) for at, loss in tensors["evaluations"].tolist()),
            leaves=tuple(leaves[i : i + 32] for i in range(0, len(leaves), 32)),
        )
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointUnreadableError(
            f"{path.name} cannot be read ({error}); remove it to start the training again."
        ) from error
    if saved_identity != identity:
        raise CheckpointForeignError(
            f"{path.name} belongs to another training; give each job a work folder of its own."
        )
    if len(checkpoint.losses) != step or len(checkpoint.leaves) != step:
        raise CheckpointUnreadableError(
            f"{path.name} contradicts itself; remove it to start again."
        )
    return checkpoint


def _group(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in sorted(tensors.items())
        if name.startswith(prefix)
    }
