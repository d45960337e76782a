from __future__ import annotations

import torch

from ml.train.trace import state_hash, tensor_bytes, trace_leaf

STATE, BATCH = b"s" * 32, b"b" * 32


def test_a_leaf_depends_on_each_of_its_parts() -> None:
    leaves = {
        trace_leaf(0, STATE, 1.0, 2.0, BATCH),
        trace_leaf(1, STATE, 1.0, 2.0, BATCH),
        trace_leaf(0, BATCH, 1.0, 2.0, BATCH),
        trace_leaf(0, STATE, 1.5, 2.0, BATCH),
        trace_leaf(0, STATE, 1.0, 2.5, BATCH),
        trace_leaf(0, STATE, 1.0, 2.0, STATE),
    }
    assert len(leaves) == 6


def test_the_state_hash_sees_one_bit_and_no_order() -> None:
    ones, zeros = torch.ones(2, 2), torch.zeros(3)
    whole = state_hash({"a": ones, "b": zeros})
    assert whole == state_hash({"b": zeros, "a": ones})
    nearly = ones.clone()
    nearly[0, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert whole != state_hash({"a": nearly, "b": zeros})


def test_tensor_bytes_are_little_endian_floats() -> None:
    assert tensor_bytes(torch.tensor([1.0])) == b"\x00\x00\x80\x3f"
