"""Vouchers and receipts: frozen bytes, prices to the planck, draws in proportion to fees."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import DecodeError, codec
from runtime.crypto.hashing import blake2b_256
from runtime.shared.receipts import (
    RECEIPT_VERSION,
    EpochReceipts,
    Evidence,
    Feedback,
    Rates,
    Receipt,
    RowScore,
    Sampling,
    ShownTexts,
    SignedFeedback,
    SignedReceipt,
    SignedVoucher,
    Span,
    Voucher,
    drawn_receipts,
    evidence_hash,
    feedback_payload,
    receipt_hash,
    salted_hash,
    voucher_hash,
    voucher_payload,
)
from runtime.types.primitives import AccountId, Ed25519, Hash
from tests.conftest import VECTORS

FROZEN = json.loads((VECTORS / "receipts.json").read_text())
ASKER = AccountId(b"a" * 32)


def to_hash(text: str) -> Hash:
    return Hash(bytes.fromhex(text))


def frozen_voucher() -> Voucher:
    terms = FROZEN["voucher"]["fields"]
    return Voucher(
        genesis=to_hash(terms["genesis"]),
        channel=terms["channel"],
        model=terms["model"],
        train_job=terms["train_job"],
        sequence=terms["sequence"],
        before_planck=int(terms["before_planck"]),
        limit_planck=int(terms["limit_planck"]),
        rates=Rates(*map(int, terms["rates"])),
        question=to_hash(terms["question"]),
        sampling=Sampling(*terms["sampling"]),
        may_draw=terms["may_draw"],
        expires_at=terms["expires_at"],
    )


def frozen_evidence() -> Evidence:
    parts = FROZEN["evidence"]["fields"]
    return Evidence(
        phi=bytes.fromhex(parts["phi"]),
        top=tuple(RowScore(*one) for one in parts["top"]),
        spans=tuple(Span(*one) for one in parts["spans"]),
        retrieved=tuple(parts["retrieved"]),
        remainder_permille=parts["remainder_permille"],
    )


def frozen_receipt() -> Receipt:
    parts = FROZEN["receipt"]["fields"]
    return Receipt(
        version=parts["version"],
        voucher=to_hash(parts["voucher"]),
        server=AccountId(bytes.fromhex(parts["server"])),
        index_job=parts["index_job"],
        adapter=to_hash(parts["adapter"]),
        tokens_in=parts["tokens_in"],
        tokens_out=parts["tokens_out"],
        fee_planck=int(parts["fee_planck"]),
        answer=to_hash(parts["answer"]),
        evidence=to_hash(parts["evidence"]),
    )


def whole() -> SignedReceipt:
    """Return a receipt that fits its voucher and its evidence."""
    voucher = replace(frozen_voucher(), limit_planck=frozen_voucher().before_planck + 10**18)
    receipt = replace(
        frozen_receipt(),
        voucher=voucher_hash(voucher),
        fee_planck=voucher.fee(1_000, 2_000),
    )
    signed = SignedVoucher(voucher, ASKER, Ed25519(bytes(64)))
    return SignedReceipt(signed, receipt, frozen_evidence(), bytes(64))


# ---------------------------------------------------------------------------------- frozen vectors


def test_the_bytes_that_an_asker_signs_are_frozen() -> None:
    assert voucher_payload(frozen_voucher()).hex() == FROZEN["voucher"]["payload"]
    assert voucher_hash(frozen_voucher()).hex() == FROZEN["voucher"]["hash"]


def test_the_id_of_a_receipt_is_frozen() -> None:
    assert receipt_hash(frozen_receipt()).hex() == FROZEN["receipt"]["hash"]
    assert frozen_receipt().version == RECEIPT_VERSION


def test_the_id_of_evidence_is_frozen() -> None:
    assert evidence_hash(frozen_evidence()).hex() == FROZEN["evidence"]["hash"]


def test_the_hash_of_a_salted_text_is_frozen() -> None:
    frozen = FROZEN["salted"]
    assert salted_hash(bytes.fromhex(frozen["salt"]), frozen["text"]).hex() == frozen["hash"]


def test_the_bytes_of_a_verdict_are_frozen() -> None:
    feedback = Feedback(receipt_hash(frozen_receipt()), FROZEN["feedback"]["negative"])
    assert feedback_payload(feedback).hex() == FROZEN["feedback"]["payload"]


def test_a_draw_is_frozen() -> None:
    frozen = FROZEN["draw"]
    drawn = drawn_receipts(bytes.fromhex(frozen["seed"]), frozen["fees_planck"], frozen["count"])
    assert list(drawn) == frozen["positions"]


# ----------------------------------------------------------------------------------------- identity


def other_value(value: Any) -> Any:
    """Return a value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value - 1
    if isinstance(value, bytes):
        return b"z" * len(value)
    if isinstance(value, tuple):
        return value[1:]
    name = fields(value)[0].name
    return replace(value, **{name: other_value(getattr(value, name))})


@pytest.mark.parametrize(
    ("document", "identity"),
    [
        (frozen_voucher(), voucher_hash),
        (frozen_receipt(), receipt_hash),
        (frozen_evidence(), evidence_hash),
    ],
)
def test_every_field_changes_the_id(document: Any, identity: Any) -> None:
    ids = {identity(document)}
    for field in fields(document):
        changed = replace(document, **{field.name: other_value(getattr(document, field.name))})
        ids.add(identity(changed))
    assert len(ids) == 1 + len(fields(document))


def test_no_signed_payload_passes_for_another() -> None:
    payloads = (
        voucher_payload(frozen_voucher()),
        feedback_payload(Feedback(Hash(bytes(32)), True)),
        receipt_hash(frozen_receipt()),
    )
    assert payloads[0].startswith(b"openledger/voucher")
    assert payloads[1].startswith(b"openledger/feedback")
    assert len({payload[:18] for payload in payloads}) == 3


def test_a_salt_hides_a_text_and_has_32_bytes() -> None:
    assert salted_hash(bytes(32), "yes") != salted_hash(b"s" * 32, "yes")
    assert salted_hash(bytes(32), "yes") != salted_hash(bytes(32), "no")
    with pytest.raises(AssertionError, match="32 bytes"):
        salted_hash(bytes(31), "yes")


@pytest.mark.parametrize(
    "family",
    [
        SignedVoucher,
        Receipt,
        Evidence,
        SignedReceipt,
        EpochReceipts,
        ShownTexts,
        SignedFeedback,
    ],
)
@given(garbage=st.binary(max_size=400))
def test_garbage_is_no_document(family: Any, garbage: bytes) -> None:
    try:
        document = codec(family).decode(garbage)
    except DecodeError:
        return
    assert codec(family).encode(document) == garbage


@given(st.binary(min_size=1, max_size=4), st.integers(0, 900))
def test_a_file_of_receipts_that_was_tampered_with_is_another_or_none(
    noise: bytes, at: int
) -> None:
    file = EpochReceipts((whole(),))
    raw = codec(EpochReceipts).encode(file)
    at = min(at, len(raw))
    tampered = raw[:at] + noise + raw[at + len(noise) :]
    try:
        read = codec(EpochReceipts).decode(tampered)
    except DecodeError:
        return
    assert codec(EpochReceipts).encode(read) == tampered
    assert (read == file) == (tampered == raw)


# ------------------------------------------------------------------------------------------- prices


@given(*[st.integers(0, 10**24)] * 3, *[st.integers(0, 2**32 - 1)] * 2)
def test_a_fee_is_rounded_up_by_less_than_a_planck(
    rate_in: int, rate_out: int, platform: int, tokens_in: int, tokens_out: int
) -> None:
    fee = Rates(rate_in, rate_out, platform).fee(tokens_in, tokens_out) - platform
    exact = rate_in * tokens_in + rate_out * tokens_out
    assert exact <= 1_000 * fee < exact + 1_000


PRICES = st.tuples(*[st.integers(0, 3)] * 3)


@given(PRICES, PRICES)
def test_a_list_covers_another_where_no_price_is_lower(
    prices: tuple[int, ...], others: tuple[int, ...]
) -> None:
    one, other = Rates(*prices), Rates(*others)
    no_lower = [mine >= theirs for mine, theirs in zip(prices, others, strict=True)]
    assert one.covers(other) == all(no_lower)
    assert one.covers(one)


def test_the_most_that_a_voucher_pays_is_its_span() -> None:
    voucher = frozen_voucher()
    assert voucher.price_planck == voucher.limit_planck - voucher.before_planck
    assert replace(voucher, limit_planck=0).price_planck < 0


# ---------------------------------------------------------------------------------------- wholeness


def test_a_whole_receipt_tells_who_asked_what_and_where_its_range_ends() -> None:
    signed = whole()
    assert signed.is_whole
    assert (signed.model, signed.channel, signed.sequence) == (3, 7, 2**32 - 1)
    assert signed.asker == ASKER
    assert signed.ends_planck == 10**18 + signed.receipt.fee_planck


@pytest.mark.parametrize(
    "changes",
    [
        {"version": RECEIPT_VERSION - 1},
        {"voucher": Hash(b"v" * 32)},
        {"evidence": Hash(b"e" * 32)},
        {"fee_planck": 1},
        {"tokens_in": 1_001},
    ],
)
def test_a_receipt_that_does_not_fit_is_not_whole(changes: dict[str, Any]) -> None:
    signed = whole()
    assert not replace(signed, receipt=replace(signed.receipt, **changes)).is_whole


def test_a_receipt_above_its_voucher_is_not_whole() -> None:
    signed = whole()
    voucher = signed.voucher.voucher
    low = replace(voucher, limit_planck=voucher.before_planck + signed.receipt.fee_planck - 1)
    receipt = replace(signed.receipt, voucher=voucher_hash(low))
    assert not replace(
        signed, voucher=replace(signed.voucher, voucher=low), receipt=receipt
    ).is_whole


# -------------------------------------------------------------------------------------------- draws

FEES = st.lists(st.integers(0, 10**20), max_size=40)


@given(st.binary(min_size=32, max_size=32), FEES, st.integers(1, 64))
def test_a_draw_is_ascending_distinct_and_of_paid_receipts(
    seed: bytes, fees: list[int], count: int
) -> None:
    drawn = drawn_receipts(seed, fees, count)
    assert list(drawn) == sorted(set(drawn))
    assert len(drawn) <= count
    assert all(fees[at] for at in drawn)
    assert bool(drawn) == any(fees)
    assert drawn == drawn_receipts(seed, fees, count)


@given(FEES, st.binary(min_size=32, max_size=32))
def test_so_few_receipts_are_all_drawn(fees: list[int], seed: bytes) -> None:
    expected = tuple(at for at, fee in enumerate(fees) if fee)
    assert drawn_receipts(seed, fees, max(1, len(fees))) == expected


def test_a_receipt_is_drawn_in_proportion_to_its_fee() -> None:
    """Over 4,000 seeds each of ten receipts is drawn within five deviations of its chance."""
    fees, seeds, count = [0, 1, 2, 3, 4, 0, 10, 20, 60, 0], 4_000, 3
    total = sum(fees)
    hits = [0] * len(fees)
    for number in range(seeds):
        seed = blake2b_256(number.to_bytes(4, "little"))
        for at in drawn_receipts(seed, fees, count):
            hits[at] += 1
    for fee, hit in zip(fees, hits, strict=True):
        chance = 1 - (1 - fee / total) ** count
        deviation = (seeds * chance * (1 - chance)) ** 0.5
        assert abs(hit - seeds * chance) <= 5 * deviation + 1e-9


def test_another_seed_draws_others() -> None:
    fees = [1] * 1_000
    draws = {drawn_receipts(bytes([seed]) * 32, fees, 32) for seed in range(20)}
    assert len(draws) == 20
