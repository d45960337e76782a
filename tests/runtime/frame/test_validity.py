"""Transaction validity: the encodings that the transaction queue of clients knows."""

from __future__ import annotations

import pytest

from runtime.codec.scale import codec
from runtime.frame.validity import (
    BadProof,
    CannotLookupSigner,
    CustomInvalid,
    Future,
    Invalid,
    InvalidTransaction,
    Payment,
    Stale,
    TransactionRefused,
    TransactionValidityError,
    Unknown,
    UnknownTransaction,
    ValidTransaction,
    check_nonce,
)

ERROR = codec(TransactionValidityError)


@pytest.mark.parametrize(
    ("reason", "encoded"),
    [
        (Payment(), "0001"),
        (Future(), "0002"),
        (Stale(), "0003"),
        (BadProof(), "0004"),
        (CustomInvalid(9), "000709"),
        (CannotLookupSigner(), "0100"),
    ],
)
def test_refusals_have_the_encoding_of_substrate(
    reason: InvalidTransaction | UnknownTransaction, encoded: str
) -> None:
    refused = TransactionRefused(reason)
    assert ERROR.encode(refused.error).hex() == encoded
    assert ERROR.decode(bytes.fromhex(encoded)) == refused.error
    assert refused.is_invalid == isinstance(refused.error, Invalid)
    assert isinstance(refused.error, Invalid | Unknown)


@pytest.mark.parametrize("family", [InvalidTransaction, UnknownTransaction])
def test_every_refusal_says_why_in_a_sentence(family: type) -> None:
    variants = family._variants  # type: ignore[attr-defined]
    assert sorted(variants) == list(range(len(variants)))
    for variant in variants.values():
        made = variant(1) if variant.__slots__ else variant()
        assert str(TransactionRefused(made)).endswith(".")


def test_a_valid_transaction_keeps_its_encoding() -> None:
    valid = ValidTransaction(1, (b"a",), (b"b", b""), 2**64 - 1, propagate=True)
    raw = codec(ValidTransaction).encode(valid)
    assert raw.hex() == "0100000000000000" + "040461" + "08046200" + "ff" * 8 + "01"
    assert codec(ValidTransaction).decode(raw) == valid


def test_a_used_nonce_is_stale_and_a_later_one_waits_unless_the_exact_one_is_needed() -> None:
    with pytest.raises(TransactionRefused) as refused:
        check_nonce(4, 5, exact=False)
    assert isinstance(refused.value.reason, Stale)
    check_nonce(5, 5, exact=True)
    check_nonce(6, 5, exact=False)
    with pytest.raises(TransactionRefused) as refused:
        check_nonce(6, 5, exact=True)
    assert isinstance(refused.value.reason, Future)
