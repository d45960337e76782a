"""Documents that node, pallets and ml share: read back, bound to their context, never forged."""

from __future__ import annotations

import typing
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import DecodeError, codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared import documents
from runtime.shared.documents import (
    Evaluated,
    Feedback,
    JobOutput,
    JobSpec,
    Receipt,
    Recipe,
    Settle,
    SignedReceipt,
    SignedVoucher,
    Voucher,
    commitment,
    feedback_payload,
    output_root,
    receipt_hash,
    voucher_payload,
)
from runtime.types.primitives import AccountId, Ecdsa, Ed25519, Hash, Sr25519
from runtime.types.signature import is_signed_by

ACCOUNT, HASH = AccountId(b"a" * 32), Hash(b"h" * 32)
RECEIPT = Receipt(
    1, HASH, 2, 3, 4, HASH, 5, 6, ACCOUNT, ACCOUNT, 7, HASH, HASH, 8, 9, 10, 11, b"phi",
    (documents.RowScore(1, -2),), (documents.Span(1, 2, 3, 4, 5, 6),), (1, 2), 12,
)  # fmt: skip
VOUCHER = Voucher(HASH, 1, 10**18)


@pytest.mark.parametrize(
    "family", [JobSpec, JobOutput, SignedReceipt, SignedVoucher, documents.SignedFeedback]
)
@given(garbage=st.binary(max_size=300))
def test_garbage_is_no_document(family: Any, garbage: bytes) -> None:
    try:
        document = codec(family).decode(garbage)
    except DecodeError:
        return
    assert codec(family).encode(document) == garbage


def test_a_receipt_reads_back() -> None:
    signed = SignedReceipt(RECEIPT, bytes(64))
    assert codec(SignedReceipt).decode(codec(SignedReceipt).encode(signed)) == signed


def test_every_field_of_a_receipt_changes_its_id() -> None:
    ids = {receipt_hash(RECEIPT)}
    for field in fields(RECEIPT):
        value = getattr(RECEIPT, field.name)
        other: Any
        if isinstance(value, int):
            other = value + 1
        elif isinstance(value, bytes):
            other = b"z" * len(value)
        else:
            other = value[1:]
        ids.add(receipt_hash(replace(RECEIPT, **{field.name: other})))
    assert len(ids) == 1 + len(fields(RECEIPT))


def test_a_commitment_is_bound_to_chain_job_executor_attempt_root_and_salt() -> None:
    given_: list[Any] = [HASH, 1, ACCOUNT, 2, HASH, bytes(32)]
    others: list[Any] = [Hash(b"x" * 32), 3, AccountId(b"b" * 32), 4, Hash(b"y" * 32), b"s" * 32]
    sealed = {commitment(*given_)}
    for at, other in enumerate(others):
        sealed.add(commitment(*[*given_[:at], other, *given_[at + 1 :]]))
    assert len(sealed) == 1 + len(others)


def test_an_output_root_names_one_output() -> None:
    assert output_root(Evaluated(1, 2)) != output_root(Evaluated(2, 1))
    assert output_root(Evaluated(1, 2)).hex() == (
        "" + output_root(codec(JobOutput).decode(codec(JobOutput).encode(Evaluated(1, 2)))).hex()
    )


@pytest.mark.parametrize("kind", KeyKind)
def test_a_document_is_signed_by_its_account_alone(kind: KeyKind) -> None:
    alice, bob = (Keypair.from_uri(uri, kind) for uri in ("//Alice", "//Bob"))
    wrap = Ed25519 if kind is KeyKind.ED25519 else Sr25519
    payload = voucher_payload(VOUCHER)
    signature = wrap(alice.sign(payload))
    assert is_signed_by(AccountId(alice.account), payload, signature)
    assert not is_signed_by(AccountId(bob.account), payload, signature)
    assert not is_signed_by(AccountId(alice.account), payload + b"\0", signature)
    assert not is_signed_by(AccountId(alice.account), payload, Ecdsa(bytes(65)))


def test_a_voucher_never_passes_for_feedback_or_a_transaction() -> None:
    feedback = feedback_payload(Feedback(HASH, True))
    voucher = voucher_payload(VOUCHER)
    assert feedback.startswith(b"openledger/feedback")
    assert voucher.startswith(b"openledger/voucher")


def test_specs_keep_their_indices() -> None:
    assert {i: cls.__name__ for i, cls in JobSpec._variants.items()} == {  # type: ignore[attr-defined]
        0: "Train",
        1: "Evaluate",
        2: "Index",
        3: "Settle",
    }
    raw = codec(JobSpec).encode(Settle(1, 2, HASH))
    assert raw.hex() == "03" + "01000000" + "02000000" + HASH.hex()


def test_a_default_recipe_can_be_encoded() -> None:
    recipe = Recipe()
    assert codec(Recipe).decode(codec(Recipe).encode(recipe)) == recipe


def test_every_document_says_what_it_is() -> None:
    for name, cls in vars(documents).items():
        if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == documents.__name__:
            assert cls.__doc__, name
            assert typing.get_type_hints(cls) is not None
