from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ml.adapters import validation
from ml.adapters.lora import adapter_bytes, attach_lora, expected_shapes, tensors_bytes
from ml.adapters.validation import (
    AdapterDtypeError,
    AdapterIsPickleError,
    AdapterMalformedError,
    AdapterNamesError,
    AdapterNotFiniteError,
    AdapterRefusedError,
    AdapterShapeError,
    AdapterTooLargeError,
    AdapterTruncatedError,
    check_adapter,
    load_adapter,
    read_header,
)
from runtime.shared.documents import Recipe

Base = tuple[PreTrainedModel, PreTrainedTokenizerFast]
RECIPE = Recipe(rank=2, seed=5)


@pytest.fixture
def model(tiny_base: Base) -> PreTrainedModel:
    return tiny_base[0]


@pytest.fixture
def tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape) for name, shape in expected_shapes(model, RECIPE).items()}


def test_a_good_adapter_comes_back_bit_by_bit(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> None:
    data = tensors_bytes(tensors)
    assert adapter_bytes(load_adapter(data, RECIPE, model)) == data


def test_a_model_with_an_adapter_computes_as_in_training(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> None:
    model.set_attn_implementation("sdpa")
    wrapped = load_adapter(tensors_bytes(tensors), RECIPE, model)
    assert wrapped.get_base_model().config._attn_implementation == "eager"


def test_the_expected_names_are_those_that_peft_writes(model: PreTrainedModel) -> None:
    expected = expected_shapes(model, RECIPE)
    assert read_header(adapter_bytes(attach_lora(model, RECIPE))).keys() == expected.keys()


def test_a_pickle_is_refused(model: PreTrainedModel) -> None:
    for start in (b"PK\x03\x04", b"\x80\x04\x95"):
        with pytest.raises(AdapterIsPickleError):
            check_adapter(start + bytes(100), RECIPE, model)


def test_a_giant_header_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(AdapterTooLargeError):
        check_adapter((1 << 40).to_bytes(8, "little") + b"{}", RECIPE, model)


def test_a_file_over_the_limit_is_refused(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "ADAPTER_BYTES_MAX", 10)
    with pytest.raises(AdapterTooLargeError):
        check_adapter(bytes(11), RECIPE, model)


@pytest.mark.parametrize("cut", [1, 100, -1])
def test_a_truncated_file_is_refused(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor], cut: int
) -> None:
    data = tensors_bytes(tensors)
    with pytest.raises(AdapterTruncatedError):
        check_adapter(data[:-cut] if cut > 0 else data + b"x", RECIPE, model)


def test_missing_and_foreign_tensors_are_refused(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> None:
    first = next(iter(tensors))
    without = {name: tensor for name, tensor in tensors.items() if name != first}
    for wrong in (without, {**tensors, "extra": torch.ones(1)}):
        with pytest.raises(AdapterNamesError):
            check_adapter(tensors_bytes(wrong), RECIPE, model)


def test_fewer_targets_are_other_names(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(AdapterNamesError):
        check_adapter(tensors_bytes(tensors), replace(RECIPE, targets=("q_proj",)), model)


def test_another_rank_is_a_wrong_shape(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(AdapterShapeError):
        check_adapter(tensors_bytes(tensors), replace(RECIPE, rank=4), model)


def test_integers_are_a_wrong_dtype(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> None:
    wrong = {name: tensor.to(torch.int32) for name, tensor in tensors.items()}
    with pytest.raises(AdapterDtypeError):
        check_adapter(tensors_bytes(wrong), RECIPE, model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_refused(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor], value: float
) -> None:
    next(iter(tensors.values()))[0, 0] = value
    with pytest.raises(AdapterNotFiniteError):
        check_adapter(tensors_bytes(tensors), RECIPE, model)


@pytest.mark.parametrize(
    "header",
    [
        b"no json",
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
    ],
)
def test_a_broken_header_is_refused(model: PreTrainedModel, header: bytes) -> None:
    data = len(header).to_bytes(8, "little") + header + bytes(4)
    with pytest.raises(AdapterMalformedError):
        check_adapter(data, RECIPE, model)


def test_overlapping_tensors_are_refused(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> None:
    shapes = expected_shapes(model, RECIPE)
    sizes = {name: 4 * a * b for name, (a, b) in shapes.items()}
    header = json.dumps(
        {
            name: {"dtype": "F32", "shape": list(shape), "data_offsets": [0, sizes[name]]}
            for name, shape in shapes.items()
        }
    ).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(max(sizes.values()))
    with pytest.raises(AdapterRefusedError):
        check_adapter(data, RECIPE, model)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_with_a_flipped_byte_loads_or_is_refused_by_name(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor], data: st.DataObject
) -> None:
    damaged = bytearray(tensors_bytes(tensors))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        tensors_read = check_adapter(bytes(damaged), RECIPE, model)
    except AdapterRefusedError:
        return
    assert tensors_read.keys() == tensors.keys()
