"""Vouchers: what is paid for is answered, once, and nothing is forged, replayed or shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.api.service import ChannelBusyError, VoucherMissingError, VoucherRefusedError
from node.serving import vouchers as vouchers_module
from node.serving.vouchers import Offer, Payment, Prices, VoucherBook
from node.storage.receipt_store import ReceiptStore
from pallets.inference import Channel
from runtime.codec.scale import codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.receipts import (
    VOUCHER_BLOCKS_MAX,
    Rates,
    Sampling,
    SignedVoucher,
    Voucher,
    salted_hash,
)
from runtime.types.primitives import AccountId, Ecdsa, Hash
from tests.node.support.paid_answers import (
    ASKER,
    CHANNEL,
    GENESIS,
    MODEL,
    QUESTION,
    RATES,
    SALT,
    SERVER_ACCOUNT,
    open_channel,
    signed,
    stored,
    voucher,
)

TOKENS, REDEEM_BLOCKS, NOW = 100, 300, 50
OPEN_CHANNEL = open_channel()


def chain_with(channel: Channel | None = OPEN_CHANNEL, rates: Rates = RATES) -> Prices:
    """The two things of the pallet that a voucher book reads."""
    channels = {} if channel is None else {CHANNEL: channel}
    return cast(Prices, SimpleNamespace(channels=channels, rates=lambda _: rates))


def offer(
    promise: Voucher | bytes | None = None,
    pair: Keypair = ASKER,
    question: str = QUESTION,
    salt: bytes | None = SALT,
) -> Offer:
    if not isinstance(promise, bytes):
        promise = codec(SignedVoucher).encode(signed(promise or voucher(), pair))
    return Offer(MODEL, question, TOKENS, promise, salt)


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    yield store
    store.close()


@pytest.fixture
def vouchers(receipts: ReceiptStore) -> VoucherBook:
    return VoucherBook(GENESIS, SERVER_ACCOUNT, receipts, REDEEM_BLOCKS)


def test_a_voucher_for_the_price_is_taken(vouchers: VoucherBook) -> None:
    payment = vouchers.take(offer(), chain_with(), NOW)
    assert (payment.voucher, payment.salt) == (voucher(), SALT)
    payment.check_price(10**6, TOKENS)
    with pytest.raises(VoucherRefusedError, match=r"pays 110 planck at most.*may cost 111"):
        payment.check_price(0, TOKENS + 1)


def test_what_running_answers_may_cost_is_promised_until_they_end(vouchers: VoucherBook) -> None:
    payment = vouchers.take(offer(), chain_with(), NOW)
    assert vouchers.promised_planck == voucher().price_planck > 0
    vouchers.release(payment)
    assert vouchers.promised_planck == 0


@pytest.mark.parametrize("missing", ["voucher", "salt"])
def test_without_a_voucher_or_its_salt_the_price_is_named(
    vouchers: VoucherBook, missing: str
) -> None:
    with pytest.raises(VoucherMissingError, match="110 planck"):
        vouchers.take(replace(offer(), **{missing: None}), chain_with(), NOW)


OTHER_ACCOUNT = AccountId(bytes(32))
TOO_LATE = NOW + VOUCHER_BLOCKS_MAX + 1
REFUSED: dict[str, tuple[Offer, Channel | None, str]] = {
    "too small for the answer": (offer(voucher(limit_planck=109)), OPEN_CHANNEL, "cost 110"),
    "a limit below its beginning": (
        offer(voucher(before_planck=0, limit_planck=0)),
        OPEN_CHANNEL,
        "pays 0",
    ),
    "above the deposit": (
        offer(voucher(limit_planck=100_001)),
        OPEN_CHANNEL,
        "deposit is 100000",
    ),
    "another chain": (offer(voucher(genesis=Hash(b"o" * 32))), OPEN_CHANNEL, "another chain"),
    "another channel": (offer(voucher(channel=8)), OPEN_CHANNEL, "channel is not one"),
    "another model": (offer(voucher(model=4)), OPEN_CHANNEL, "channel is not one"),
    "no channel": (offer(), None, "channel is not one"),
    "another server": (offer(), open_channel(server=OTHER_ACCOUNT), "not one"),
    "a channel of another model": (offer(), open_channel(model=4), "not one"),
    "closing": (offer(), open_channel(closes_at=9), "closing"),
    "closed": (offer(), open_channel(is_closed=True), "closing"),
    "another signer": (offer(pair=Keypair.from_uri("//Eve")), OPEN_CHANNEL, "not signed"),
    "another question": (offer(question="who?"), OPEN_CHANNEL, "another question"),
    "another salt": (offer(salt=bytes(32)), OPEN_CHANNEL, "another question"),
    "half a salt": (offer(salt=bytes(16)), OPEN_CHANNEL, "16 bytes, not 32"),
    "rates below the owner's": (
        offer(voucher(rates=replace(RATES, rate_out_planck=999), limit_planck=200)),
        OPEN_CHANNEL,
        "price list is below",
    ),
    "too short a life": (
        offer(voucher(expires_at=NOW + 2 * REDEEM_BLOCKS - 1)),
        OPEN_CHANNEL,
        "lives longer",
    ),
    "too long a life": (offer(voucher(expires_at=TOO_LATE)), OPEN_CHANNEL, "ends sooner"),
    "too warm": (
        offer(voucher(sampling=Sampling(2_001, 1_000, 0))),
        OPEN_CHANNEL,
        "temperature 2001",
    ),
    "no token allowed": (
        offer(voucher(sampling=Sampling(0, 0, 0))),
        OPEN_CHANNEL,
        "from 1 to 1000",
    ),
    "redeemed already": (offer(), open_channel(sequence=1), "answer 1 was given already"),
    "below what was redeemed": (
        offer(voucher(before_planck=499, limit_planck=700)),
        open_channel(redeemed_planck=500),
        "owes 500 planck.*says 499",
    ),
    "garbage": (offer(b"garbage"), OPEN_CHANNEL, "does not decode"),
    "a byte too many": (
        offer(codec(SignedVoucher).encode(signed(voucher())) + b"\0"),
        OPEN_CHANNEL,
        "does not decode",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_voucher_that_does_not_pay_is_refused(vouchers: VoucherBook, case: str) -> None:
    made, channel, reason = REFUSED[case]
    with pytest.raises(VoucherRefusedError, match=reason):
        vouchers.take(made, chain_with(channel), NOW)
    assert vouchers.take(offer(), chain_with(), NOW), "the channel is free"


def test_an_ecdsa_voucher_is_refused(vouchers: VoucherBook) -> None:
    forged = SignedVoucher(voucher(), AccountId(ASKER.account), Ecdsa(bytes(65)))
    with pytest.raises(VoucherRefusedError, match="not signed"):
        vouchers.take(offer(codec(SignedVoucher).encode(forged)), chain_with(), NOW)


def test_an_sr25519_asker_pays_too(vouchers: VoucherBook) -> None:
    pair = Keypair.from_uri("//Asker", KeyKind.SR25519)
    channel = open_channel(asker=AccountId(pair.account))
    assert vouchers.take(offer(pair=pair), chain_with(channel), NOW)


RAW = codec(SignedVoucher).encode(signed(voucher()))


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_a_changed_voucher_pays_nothing(at: int, flip: int) -> None:
    raw = bytearray(RAW)
    raw[at] ^= flip
    nothing = cast(Any, SimpleNamespace(last=lambda _: None))
    vouchers = VoucherBook(GENESIS, SERVER_ACCOUNT, nothing, REDEEM_BLOCKS)
    with pytest.raises(VoucherRefusedError):
        vouchers.take(offer(bytes(raw)), chain_with(), NOW)


def test_a_replayed_voucher_is_refused_also_after_a_restart(
    vouchers: VoucherBook, receipts: ReceiptStore
) -> None:
    vouchers.release(vouchers.take(offer(), chain_with(), NOW))
    assert vouchers.take(offer(), chain_with(), NOW), "an answer that broke off before a word"
    receipts.record(stored())
    for book in (vouchers, VoucherBook(GENESIS, SERVER_ACCOUNT, receipts, REDEEM_BLOCKS)):
        book._busy.clear()
        with pytest.raises(VoucherRefusedError, match="answer 1 was given already"):
            book.take(offer(), chain_with(), NOW)


def test_a_store_that_was_put_back_signs_no_second_receipt_for_a_redeemed_voucher(
    vouchers: VoucherBook, receipts: ReceiptStore
) -> None:
    """The chain knows the last answer that was redeemed, whatever the store has lost."""
    redeemed = open_channel(redeemed_planck=15, sequence=1)
    assert receipts.last(CHANNEL) is None
    with pytest.raises(VoucherRefusedError, match="given already"):
        vouchers.take(offer(), chain_with(redeemed), NOW)


def test_the_next_voucher_begins_where_the_last_answer_ended(
    vouchers: VoucherBook, receipts: ReceiptStore
) -> None:
    receipts.record(stored())
    behind = voucher(sequence=2, before_planck=14, limit_planck=200)
    with pytest.raises(VoucherRefusedError, match=r"owes 15 planck.*says 14.*channels/7/receipt"):
        vouchers.take(offer(behind), chain_with(), NOW)
    ahead = voucher(sequence=2, before_planck=16, limit_planck=200)
    with pytest.raises(VoucherRefusedError, match="owes 15 planck"):
        vouchers.take(offer(ahead), chain_with(), NOW)
    right = voucher(sequence=2, before_planck=15, limit_planck=125)
    vouchers.release(vouchers.take(offer(right), chain_with(), NOW))


def test_a_channel_pays_for_one_answer_at_a_time(vouchers: VoucherBook) -> None:
    first = vouchers.take(offer(), chain_with(), NOW)
    second = voucher(sequence=2, before_planck=110, limit_planck=220)
    with pytest.raises(ChannelBusyError, match="another answer now") as busy:
        vouchers.take(offer(second), chain_with(), NOW)
    assert busy.value.status == 409
    vouchers.release(first)
    third = voucher(sequence=3, limit_planck=110)
    assert vouchers.take(offer(third), chain_with(), NOW)


def test_nobody_but_the_asker_keeps_a_channel_busy(vouchers: VoucherBook) -> None:
    forged = offer(voucher(sequence=9), pair=Keypair.from_uri("//Eve"))
    with pytest.raises(VoucherRefusedError):
        vouchers.take(forged, chain_with(), NOW)
    assert vouchers.take(offer(), chain_with(), NOW)


def test_a_signature_is_verified_once_and_not_for_a_question_that_pays_nothing(
    vouchers: VoucherBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bytes] = []
    real = vouchers_module.is_signed_by

    def counting(account: AccountId, payload: bytes, signature: Any) -> bool:
        verified.append(payload)
        return real(account, payload, signature)

    monkeypatch.setattr(vouchers_module, "is_signed_by", counting)
    with pytest.raises(VoucherRefusedError):
        vouchers.take(offer(question="who?"), chain_with(), NOW)
    assert verified == []
    payment: Payment = vouchers.take(offer(), chain_with(), NOW)
    payment.check_price(4, 5)
    assert len(verified) == 1


def test_equal_questions_look_different() -> None:
    assert salted_hash(SALT, QUESTION) != salted_hash(bytes(32), QUESTION)
