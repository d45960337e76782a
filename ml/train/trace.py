"""The trace of a training: one leaf per step, so that a dispute can locate the differing step.

leaf i = blake2b-256(context, i, state hash, loss, gradient norm, batch id). The state is every LoRA
parameter with both AdamW moments after the step. Numbers enter as their IEEE bits: executors of one
profile compute the same bits or they disagree. Leaves carry no salt: equal work must give an equal
root.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final

import torch

LEAF_CONTEXT: Final = b"openledger/step"


def state_hash(state: Mapping[str, torch.Tensor]) -> bytes:
    """Return blake2b-256 over names and bytes of a training state, in sorted order."""
    # Shapes are not hashed: names and recipe fix them, and both executors have the same recipe.
    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(tensor_bytes(state[name]))
    return digest.digest()


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """Return the raw little-endian bytes of a tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)  # [elements]
    # Bytes are compared, not values: -0.0 equals 0.0 and NaN differs from itself.
    data: bytes = flat.view(torch.uint8).numpy().tobytes()
    return data


def trace_leaf(step: int, state: bytes, loss: float, gradient_norm: float, batch: bytes) -> bytes:
    """Return the leaf of step `step`, counted from 0."""
    body = step.to_bytes(4, "little") + state + struct.pack("<dd", loss, gradient_norm) + batch
    return hashlib.blake2b(LEAF_CONTEXT + body, digest_size=32).digest()
