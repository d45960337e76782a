"""Sketches: a row's whitened LoRA gradient, projected to k dimensions and rounded to int8.

Each coordinate of the gradient is divided by the square root of AdamW's second moment (the metric
in which the optimizer moved), then added with a random sign to one of k buckets (a sparse
Johnson-Lindenstrauss transform). A Walsh-Hadamard transform spreads the mass of a few large
coordinates from a few buckets over all of them, so that int8 loses little; it preserves dot
products up to its scale. The result is scaled to unit norm, then by a power of two that depends
only on k, and rounded. Dot products of sketches estimate cosines of whitened gradients.

Rules that hold here: bucket and sign of a coordinate are a hash of seed, tensor name and position,
in 64-bit integers, so every machine draws the same; -128 never appears.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from ml.attribution.gradients import (
    LoraSite,
    batches,
    canonical_name,
    lora_sites,
    row_gradients,
)
from ml.train.data import Example
from runtime.crypto.hashing import blake2b_256

WHITENING_FLOOR: Final = 1e-8
"""Added to the root of the second moment, as AdamW itself does."""

INT8_MAX: Final = 127
SEED_BYTES: Final = 32
_ROOT_MEAN_SQUARE_BITS: Final = 4
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)

Sketches = npt.NDArray[np.int8]


class MomentsMismatchError(ValueError):
    """The second moments do not belong to the LoRA tensors of the model."""


class SketchSizeError(ValueError):
    """The sketch size is not a power of two."""


class SeedLengthError(ValueError):
    """The seed is not 32 bytes long."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorDraw:
    """The transform of one LoRA tensor: buckets, and signs divided by root moments."""

    buckets: Tensor  # [coordinates], int64
    factors: Tensor  # [coordinates], float32


class Sketcher:
    """Sketches rows of one model with one adapter, one set of moments and one seed.

    The model belongs to one sketcher: its hooks must not run in the passes of another.
    """

    def __init__(
        self, model: nn.Module, moments: Mapping[str, Tensor], seed: bytes, size: int
    ) -> None:
        """Draw the transform.

        Raises NoLoraSiteError, MomentsMismatchError, SeedLengthError, SketchSizeError.
        """
        if len(seed) != SEED_BYTES:
            raise SeedLengthError(f"A sketch seed has {SEED_BYTES} bytes, not {len(seed)}.")
        if size < 1 or size & (size - 1):
            raise SketchSizeError(
                f"A sketch has a power of two of numbers, not {size}; 4096 is usual."
            )
        self.model = model
        self.size = size
        # Answers are sketched on several worker threads; hooks of two passes would mix their rows.
        self._passes = threading.Lock()
        self.sites = lora_sites(model)
        self._draws: dict[str, TensorDraw] = {}
        for site in self.sites:
            for part, weight in (("lora_A", site.lora_a), ("lora_B", site.lora_b)):
                name = f"{site.name}.{part}"
                moment = _moment(moments, name, weight)
                self._draws[name] = draw_tensor(seed, name, moment, size)

    def sketch(
        self, examples: Sequence[Example], progress: Callable[[int, int], None] | None = None
    ) -> Sketches:
        """Return the sketches [rows, k] of the examples in their order."""
        result = np.zeros((len(examples), self.size), np.int8)
        done = 0
        for batch in batches(examples):
            projected = self._projected([examples[at] for at in batch])  # [batch, k]
            # Spread before quantising: a row with one coordinate in one bucket would otherwise be
            # a single 127 and zeros, clipped and without resolution.
            result[batch] = quantized(spread(projected))  # [batch, k]
            done += len(batch)
            if progress is not None:
                progress(done, len(examples))
        return result

    def _projected(self, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
        """Return the whitened gradients of one batch, summed into their buckets [batch, k]."""
        device = self.sites[0].lora_a.device
        total = torch.zeros(len(examples), self.size, device=device)  # [batch, k]

        def receive(site: LoraSite, gradient_a: Tensor, gradient_b: Tensor) -> None:
            for part, gradient in (("lora_A", gradient_a), ("lora_B", gradient_b)):
                draw = self._draws[f"{site.name}.{part}"]
                # [batch, coordinates]
                whitened = gradient.flatten(1).float() * draw.factors.to(device)
                total.index_add_(1, draw.buckets.to(device), whitened)

        with self._passes:
            row_gradients(self.model, self.sites, examples, receive)
        projected: npt.NDArray[np.float64] = total.cpu().numpy().astype(np.float64)
        return projected


def load_moments(data: bytes) -> dict[str, Tensor]:
    """Return AdamW's second moments by canonical tensor name from their safetensors file."""
    return {canonical_name(name): tensor for name, tensor in load_safetensors(data).items()}


def draw_tensor(seed: bytes, name: str, moment: Tensor, size: int) -> TensorDraw:
    """Return buckets and factors of the coordinates of one tensor."""
    hashes = coordinate_hashes(seed, name, moment.numel())  # [coordinates]
    # The upper half selects the bucket by multiplication, which is uniform for any k below 2^32.
    buckets = ((hashes >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)  # [coordinates]
    signs = 1.0 - 2.0 * (hashes & np.uint64(1)).astype(np.float32)  # [coordinates]
    roots = moment.detach().cpu().float().flatten().sqrt() + WHITENING_FLOOR  # [coordinates]
    return TensorDraw(torch.from_numpy(buckets.astype(np.int64)), torch.from_numpy(signs) / roots)


def coordinate_hashes(seed: bytes, name: str, count: int) -> npt.NDArray[np.uint64]:
    """Return one 64-bit hash per position [count]: two keyed rounds of splitmix64.

    Not blake2b per coordinate: an adapter has millions of them. A weak mixer suffices, because the
    chain draws the seed after the training: no contributor can choose gradients that collide.
    """
    key = blake2b_256(b"openledger/sketch" + seed + name.encode())
    keys = np.frombuffer(key, "<u8").astype(np.uint64)
    with np.errstate(over="ignore"):  # Products wrap modulo 2^64 on purpose.
        state = np.arange(count, dtype=np.uint64) * _GOLDEN + keys[0]
        return _mixed(_mixed(state) ^ keys[1])


def spread(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the Walsh-Hadamard transform of rows [rows, k], k a power of two, up to its scale."""
    count, size = rows.shape
    half = 1
    while half < size:
        pairs = rows.reshape(count, -1, 2, half)  # [rows, k / (2 half), 2, half]
        rows = np.stack((pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]), axis=2)
        half *= 2
    return rows.reshape(count, size)  # [rows, k]


def quantized(projected: npt.NDArray[np.float64]) -> Sketches:
    """Return rows [rows, k] at unit norm, scaled and rounded to int8; a zero row stays zero."""
    norms = np.sqrt(np.sum(projected * projected, axis=1, keepdims=True))  # [rows, 1]
    unit = np.divide(projected, norms, out=np.zeros_like(projected), where=norms > 0)  # [rows, k]
    # One scale for all rows and not each row's maximum: scores of different rows must compare.
    scaled = np.rint(unit * sketch_scale(projected.shape[1]))  # [rows, k]
    rounded: Sketches = np.clip(scaled, -INT8_MAX, INT8_MAX).astype(np.int8)
    return rounded


def sketch_scale(size: int) -> int:
    """Return the power of two that scales a unit vector of k coordinates to about 16 each.

    127 is then eight standard deviations: saturation is rare, and rounding costs about 2 %.
    """
    return 1 << (_ROOT_MEAN_SQUARE_BITS + (size - 1).bit_length() // 2)


def is_of_unit_norm(sketch: bytes) -> bool:
    """Return whether a sketch is no longer than a rounded unit vector can be; zero is allowed.

    A longer one would count for more in an epoch than its answer's fee.
    """
    numbers = np.frombuffer(sketch, np.int8).astype(np.int64)  # [k]
    size = len(numbers)
    # Doubled: rounding moves each number by 1/2 at most, so the whole by sqrt(k) / 2.
    longest = 2 * sketch_scale(size) + math.isqrt(size) + 1
    return 4 * int(numbers @ numbers) <= longest * longest


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _moment(moments: Mapping[str, Tensor], name: str, weight: Tensor) -> Tensor:
    moment = moments.get(name)
    if moment is None or moment.shape != weight.shape:
        raise MomentsMismatchError(
            f"There is no second moment of shape {tuple(weight.shape)} for {name}. "
            "Take adapter and moments from the same training job."
        )
    return moment
