"""Sketches: portable draws, unit norm, and dot products that estimate cosines."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import save

from ml.attribution.gradients import lora_sites, row_gradients
from ml.attribution.sketch import (
    MomentsMismatchError,
    SeedLengthError,
    Sketcher,
    SketchSizeError,
    coordinate_hashes,
    is_of_unit_norm,
    load_moments,
    quantized,
    sketch_scale,
    spread,
)
from ml.train.data import encode_row


def test_the_draws_are_frozen():
    hashes = coordinate_hashes(bytes(range(32)), "layer.lora_A", 3)
    assert [f"{value:016x}" for value in hashes.tolist()] == [
        "f98c53e03673f5d0",
        "2dd44ba0d6791dd7",
        "75d32e3efb6f9262",
    ]


def test_signs_and_buckets_are_balanced():
    hashes = coordinate_hashes(bytes(32), "x", 100_000)
    assert abs((hashes & np.uint64(1)).astype(int).mean() - 0.5) < 0.01
    buckets = ((hashes >> np.uint64(32)) * np.uint64(64)) >> np.uint64(32)
    counts = np.bincount(buckets.astype(int), minlength=64)
    assert counts.min() > 1300
    assert counts.max() < 1850


@pytest.mark.parametrize(("size", "scale"), [(64, 128), (256, 256), (4096, 1024)])
def test_the_scale_brings_coordinates_to_sixteen(size, scale):
    assert sketch_scale(size) == scale
    sketch = quantized(np.random.default_rng(0).normal(size=(3, size)))
    assert np.allclose(np.linalg.norm(sketch.astype(float), axis=1), scale, rtol=0.02)


def test_a_zero_gradient_has_a_zero_sketch_and_outliers_saturate():
    assert not quantized(np.zeros((1, 64))).any()
    assert quantized(np.eye(1, 4096)).max() == 127
    assert quantized(-np.eye(1, 4096)).min() == -127


@given(
    arrays(np.float32, (1, 64), elements=st.floats(allow_nan=False, allow_infinity=False, width=32))
)
def test_every_sketch_is_of_unit_norm(gradient):
    assert is_of_unit_norm(quantized(gradient.astype(np.float64)).tobytes())


@pytest.mark.parametrize("size", [64, 256, 4096])
def test_a_sketch_that_counts_for_more_than_its_fee_is_too_long(size):
    honest = quantized(np.random.default_rng(0).normal(size=(1, size)))[0]
    assert is_of_unit_norm(honest.tobytes())
    assert not is_of_unit_norm(np.rint(1.15 * honest).astype(np.int8).tobytes())
    assert not is_of_unit_norm(bytes([0x80]) * size)


def test_spreading_keeps_angles_and_flattens_peaks():
    rows = np.random.default_rng(0).normal(size=(5, 64)) ** 5
    flat = spread(rows)
    assert np.allclose(flat @ flat.T, 64 * rows @ rows.T)
    assert set(np.unique(spread(np.eye(4, 64)))) == {-1.0, 1.0}


def test_dots_of_sketches_estimate_cosines_of_whitened_gradients(
    model, tokenizer, rows, moments, seed
):
    examples = [encode_row(row, tokenizer, 192) for row in rows]
    sketches = Sketcher(model, moments, seed, 4096).sketch(examples).astype(float)
    whole = {}

    def receive(site, down, up):
        whole[f"{site.name}.lora_A"] = down.flatten(1).clone()
        whole[f"{site.name}.lora_B"] = up.flatten(1).clone()

    row_gradients(model, lora_sites(model), examples, receive)
    whitened = torch.cat(
        [whole[name] / (moments[name].flatten().sqrt() + 1e-8) for name in sorted(whole)], dim=1
    )
    cosines = torch.nn.functional.normalize(whitened, dim=1)
    expected = (cosines @ cosines.T).numpy()
    assert np.abs(sketches @ sketches.T / 1024**2 - expected).max() < 0.1


def test_a_row_has_the_same_sketch_alone_and_in_a_batch(model, tokenizer, rows, moments, seed):
    examples = [encode_row(row, tokenizer, 192) for row in rows[:8]]
    sketcher = Sketcher(model, moments, seed, 256)
    together = sketcher.sketch(examples).astype(int)
    alone = np.concatenate([sketcher.sketch([example]) for example in examples]).astype(int)
    assert np.abs(together - alone).max() <= 1
    assert np.count_nonzero(together - alone) < 20


def test_threads_that_sketch_at_the_same_time_do_not_mix_their_rows(
    model, tokenizer, rows, moments, seed
):
    examples = [encode_row(row, tokenizer, 192) for row in rows]
    sketcher = Sketcher(model, moments, seed, 256)
    alone = [sketcher.sketch([example]) for example in examples]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda example: sketcher.sketch([example]), examples))
    assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))


def test_another_seed_draws_another_sketch(model, tokenizer, rows, moments, seed):
    example = encode_row(rows[0], tokenizer, 192)
    first = Sketcher(model, moments, seed, 256).sketch([example])
    second = Sketcher(model, moments, bytes(32), 256).sketch([example])
    assert np.count_nonzero(first != second) > 150


def test_progress_reaches_the_number_of_rows(model, tokenizer, rows, moments, seed):
    examples = [encode_row(row, tokenizer, 192) for row in rows]
    seen = []
    Sketcher(model, moments, seed, 64).sketch(examples, lambda *step: seen.append(step))
    assert seen == [(16, 24), (24, 24)]


def test_moments_are_read_under_canonical_names(model, moments, seed):
    file = save({f"base_model.model.{name}.weight": value for name, value in moments.items()})
    assert load_moments(file).keys() == moments.keys()


def test_foreign_moments_and_short_seeds_are_refused(model, moments, seed):
    with pytest.raises(MomentsMismatchError):
        Sketcher(model, {}, seed, 64)
    with pytest.raises(MomentsMismatchError):
        Sketcher(model, {name: value[:1] for name, value in moments.items()}, seed, 64)
    with pytest.raises(SeedLengthError):
        Sketcher(model, moments, b"short", 64)
    with pytest.raises(SketchSizeError):
        Sketcher(model, moments, seed, 48)
