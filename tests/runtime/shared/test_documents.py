"""Documents that node, pallets and ml share: read back, bound to their context, never forged."""

from __future__ import annotations

import typing
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import DecodeError, codec
from runtime.shared import documents
from runtime.shared.documents import (
    EpochShares,
    Evaluated,
    Fault,
    FaultKind,
    JobOutput,
    JobSpec,
    LargestShare,
    Recipe,
    Settle,
    Settled,
    Share,
    commitment,
    output_root,
)
from runtime.types.primitives import AccountId, Hash

ACCOUNT, HASH = AccountId(b"a" * 32), Hash(b"h" * 32)
SETTLE = Settle(
    model=1,
    server=ACCOUNT,
    epoch=2,
    receipts_root=HASH,
    receipts=3,
    fees_planck=4,
    pool_planck=5,
    bound_milli=6,
    draws=7,
    text_blocks=50,
)
SETTLED = Settled(
    receipts_root=HASH,
    faults=(Fault(FaultKind.Range, 1, 5, 2),),
    shares=HASH,
    shares_root=HASH,
    shares_count=3,
    shares_planck=4,
    largest=(LargestShare(0, Share(ACCOUNT, 4)),),
)


@pytest.mark.parametrize("family", [JobSpec, JobOutput, EpochShares, documents.RowsInput])
@given(garbage=st.binary(max_size=300))
def test_garbage_is_no_document(family: Any, garbage: bytes) -> None:
    try:
        document = codec(family).decode(garbage)
    except DecodeError:
        return
    assert codec(family).encode(document) == garbage


@given(st.binary(min_size=1, max_size=3), st.integers(0, 150))
def test_a_settlement_that_was_tampered_with_is_another_or_none(noise: bytes, at: int) -> None:
    raw = codec(JobOutput).encode(SETTLED)
    at = min(at, len(raw))
    tampered = raw[:at] + noise + raw[at + len(noise) :]
    try:
        read = codec(JobOutput).decode(tampered)
    except DecodeError:
        return
    assert (read == SETTLED) == (tampered == raw)
    assert (output_root(read) == output_root(SETTLED)) == (tampered == raw)


def test_a_fault_of_an_unknown_kind_is_refused() -> None:
    raw = bytearray(codec(Fault).encode(Fault(FaultKind.Answer, 0, None, 0)))
    assert raw[0] == FaultKind.Answer == 8
    raw[0] = 9
    with pytest.raises(DecodeError):
        codec(Fault).decode(bytes(raw))


def test_a_commitment_is_bound_to_chain_job_executor_attempt_root_and_salt() -> None:
    given_: list[Any] = [HASH, 1, ACCOUNT, 2, HASH, bytes(32)]
    others: list[Any] = [Hash(b"x" * 32), 3, AccountId(b"b" * 32), 4, Hash(b"y" * 32), b"s" * 32]
    sealed = {commitment(*given_)}
    for at, other in enumerate(others):
        sealed.add(commitment(*[*given_[:at], other, *given_[at + 1 :]]))
    assert len(sealed) == 1 + len(others)


def test_an_output_root_names_one_output() -> None:
    assert output_root(Evaluated(1, 2)) != output_root(Evaluated(2, 1))
    for output in (Evaluated(1, 2), SETTLED):
        read = codec(JobOutput).decode(codec(JobOutput).encode(output))
        assert read == output
        assert output_root(read) == output_root(output)


def test_every_field_of_a_settlement_changes_its_root() -> None:
    roots = {output_root(SETTLED)}
    for field in fields(SETTLED):
        value = getattr(SETTLED, field.name)
        other: Any = b"z" * 32 if isinstance(value, bytes) else () if value == value else 0
        if isinstance(value, int):
            other = value + 1
        elif isinstance(value, tuple):
            other = ()
        roots.add(output_root(replace(SETTLED, **{field.name: other})))
    assert len(roots) == 1 + len(fields(SETTLED))


def test_specs_keep_their_indices() -> None:
    assert {i: cls.__name__ for i, cls in JobSpec._variants.items()} == {  # type: ignore[attr-defined]
        0: "Train",
        1: "Evaluate",
        2: "Index",
        3: "Settle",
    }
    raw = codec(JobSpec).encode(SETTLE)
    planck = "04" + "00" * 15 + "05" + "00" * 15
    expected = "03" + "01000000" + ACCOUNT.hex() + "02000000" + HASH.hex() + "03000000" + planck
    assert raw.hex() == expected + "0600" + "0700" + "32000000"


def test_a_default_recipe_can_be_encoded() -> None:
    recipe = Recipe()
    assert codec(Recipe).decode(codec(Recipe).encode(recipe)) == recipe


def test_every_document_says_what_it_is() -> None:
    for name, cls in vars(documents).items():
        if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == documents.__name__:
            assert cls.__doc__, name
            assert typing.get_type_hints(cls) is not None
