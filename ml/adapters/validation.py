"""Check an adapter file from another machine before any of it is used.

Order of the checks: size, header, names, shapes, dtype, finiteness. Only safetensors is parsed: a
pickle is recognised by its first bytes and refused, because opening one can run code.
"""

from __future__ import annotations

import json
import math
from typing import Final

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load
from transformers import PreTrainedModel

from ml.adapters.lora import attach_lora, expected_shapes, lora_parameters
from runtime.errors import OpenLedgerError
from runtime.shared.documents import Recipe

ADAPTER_BYTES_MAX: Final = 512 << 20
HEADER_BYTES_MAX: Final = 1 << 20
DTYPES: Final = {"F32": 4, "BF16": 2, "F16": 2}
PICKLE_STARTS: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class AdapterRefusedError(OpenLedgerError):
    """An adapter file cannot be used; the subclass names the cause."""


class AdapterTooLargeError(AdapterRefusedError):
    """The file or its header exceeds the maximum."""


class AdapterIsPickleError(AdapterRefusedError):
    """The file is a pickle or a zip of pickles."""


class AdapterTruncatedError(AdapterRefusedError):
    """The file ends before its tensors or continues after them."""


class AdapterMalformedError(AdapterRefusedError):
    """The header is not a safetensors header."""


class AdapterNamesError(AdapterRefusedError):
    """The names of the tensors are not those of the recipe."""


class AdapterShapeError(AdapterRefusedError):
    """A tensor's shape does not fit the base and the rank."""


class AdapterDtypeError(AdapterRefusedError):
    """A tensor is not float32, bfloat16 or float16."""


class AdapterNotFiniteError(AdapterRefusedError):
    """A tensor holds NaN or infinity."""


def load_adapter(data: bytes, recipe: Recipe, model: PreTrainedModel) -> PeftModel:
    """Return the model with the checked adapter attached, and with the attention of training: fused
    kernels add in other orders, and an adapter can turn that into another sketch. Raises
    AdapterRefusedError."""
    tensors = check_adapter(data, recipe, model)
    model.set_attn_implementation("eager")
    wrapped = attach_lora(model, recipe)
    with torch.no_grad():
        for name, parameter in lora_parameters(wrapped).items():
            parameter.copy_(tensors[name])
    wrapped.eval()
    return wrapped


def check_adapter(data: bytes, recipe: Recipe, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors of an adapter that fits recipe and base. Raises AdapterRefusedError."""
    # The header is checked before safetensors allocates: it is the file's own claim of its sizes.
    entries = read_header(data)
    expected = expected_shapes(model, recipe)
    if entries.keys() != expected.keys():
        differing = sorted(entries.keys() ^ expected.keys())
        raise AdapterNamesError(
            f"The adapter's tensors are not the recipe's "
            f"({len(differing)} differ, first {differing[0]}); "
            "use the recipe that it was trained with."
        )
    for name, (dtype, shape) in entries.items():
        if shape != expected[name]:
            raise AdapterShapeError(
                f"{name} has shape {list(shape)} where base and rank need {list(expected[name])}."
            )
        if dtype not in DTYPES:
            raise AdapterDtypeError(f"{name} is {dtype}; only {', '.join(DTYPES)} are accepted.")
    try:
        tensors: dict[str, torch.Tensor] = load(data)
    except SafetensorError as error:
        raise AdapterMalformedError(
            f"The adapter is not a valid safetensors file: {error}."
        ) from error
    # NaN is refused here: the engine would serve garbage instead of an error.
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterNotFiniteError(f"{name} holds NaN or infinity; the training diverged.")
    return tensors


def read_header(data: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return {name: (dtype, shape)} of a safetensors file whose tensors fill it exactly."""
    if len(data) > ADAPTER_BYTES_MAX:
        raise AdapterTooLargeError(f"The adapter has {len(data)} bytes, over {ADAPTER_BYTES_MAX}.")
    if data.startswith(PICKLE_STARTS):
        raise AdapterIsPickleError(
            "The adapter is a pickle, which can run code; save it as safetensors."
        )
    if len(data) < 8:
        raise AdapterTruncatedError(f"The adapter has only {len(data)} bytes.")
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > HEADER_BYTES_MAX:
        raise AdapterTooLargeError(
            f"The header claims {header_bytes} bytes, over {HEADER_BYTES_MAX}."
        )
    if len(data) < 8 + header_bytes:
        raise AdapterTruncatedError("The adapter ends inside its header; fetch it again.")
    header = _parsed_header(data[8 : 8 + header_bytes])
    entries: dict[str, tuple[str, tuple[int, ...]]] = {}
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, tensor_end = _entry(name, entry)
        entries[name] = (dtype, shape)
        end = max(end, tensor_end)
    if len(data) - 8 - header_bytes != end:
        raise AdapterTruncatedError(
            f"The tensors take {end} bytes but {len(data) - 8 - header_bytes} are there."
        )
    return entries


def _parsed_header(raw: bytes) -> dict[str, object]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise AdapterMalformedError(f"The header is not JSON: {error}.") from error
    if not isinstance(header, dict):
        raise AdapterMalformedError("The header is not an object of tensors.")
    return header


def _entry(name: str, entry: object) -> tuple[str, tuple[int, ...], int]:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
            pass
        case _:
            raise AdapterMalformedError(f"The header entry of {name[:80]} is not a tensor.")
    if not all(type(size) is int and 0 <= size < 1 << 32 for size in shape) or start < 0 > end:
        raise AdapterMalformedError(f"The header entry of {name[:80]} has impossible sizes.")
    if dtype in DTYPES and end - start != DTYPES[dtype] * math.prod(shape):
        raise AdapterMalformedError(f"The bytes of {name[:80]} do not match its shape.")
    return dtype, tuple(shape), end
