"""Vouchers: what is paid for is answered, nothing is spent twice, nothing is forged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.api.service import VoucherMissingError, VoucherRefusedError
from node.serving.vouchers import VoucherBook
from node.storage.receipt_store import ReceiptStore
from pallets.inference import Channel, Inference
from pallets.inference.records import Rates
from runtime.codec.scale import codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.receipts import SignedVoucher, Voucher, voucher_payload
from runtime.types.primitives import AccountId, Ecdsa, Ed25519, Hash, Sr25519
from tests.node.storage.test_receipt_store import stored

GENESIS, OTHER_CHAIN = Hash(b"g" * 32), Hash(b"o" * 32)
ASKER, SERVER = Keypair.from_uri("//Asker"), AccountId(b"s" * 32)
MODEL, CHANNEL, PRICE = 3, 7, 100
OPEN_CHANNEL = Channel(AccountId(ASKER.account), SERVER, MODEL, 1_000, 0, None)


def chain_with(channel: Channel | None = OPEN_CHANNEL) -> Inference:
    """The one thing of the pallet that a vouchers reads."""
    channels = {} if channel is None else {CHANNEL: channel}
    rates = Rates(0, 0, PRICE)
    return cast(Inference, SimpleNamespace(channels=channels, rates=lambda _: rates))


def voucher(
    cumulative: int = PRICE,
    pair: Keypair = ASKER,
    genesis: Hash = GENESIS,
    channel: int = CHANNEL,
) -> bytes:
    promise = Voucher(genesis, channel, cumulative)
    wrap = Ed25519 if pair.kind is KeyKind.ED25519 else Sr25519
    signature = wrap(pair.sign(voucher_payload(promise)))
    signed = SignedVoucher(promise, AccountId(pair.account), signature)
    return codec(SignedVoucher).encode(signed)


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    yield store
    store.close()


@pytest.fixture
def vouchers(receipts: ReceiptStore) -> VoucherBook:
    return VoucherBook(GENESIS, SERVER, receipts)


def serve(
    vouchers: VoucherBook, receipts: ReceiptStore, raw: bytes, fee: int, sequence: int
) -> None:
    payment = vouchers.reserve(raw, MODEL, 0, 0, chain_with())
    receipts.record(stored(sequence), vouchers.add_fee(payment, fee, 0))
    vouchers.release(payment)


def test_a_voucher_for_the_price_is_taken(vouchers: VoucherBook) -> None:
    payment = vouchers.reserve(voucher(), MODEL, 0, 0, chain_with())
    assert (payment.channel, payment.asker) == (CHANNEL, ASKER.account)
    assert (payment.cumulative_planck, payment.reserved_planck) == (PRICE, PRICE)


def test_without_a_voucher_the_price_is_named(vouchers: VoucherBook) -> None:
    with pytest.raises(VoucherMissingError, match="100 planck"):
        vouchers.reserve(None, MODEL, 0, 0, chain_with())


REFUSED: dict[str, tuple[bytes, Channel | None, str]] = {
    "too small": (voucher(PRICE - 1), OPEN_CHANNEL, "needs 100"),
    "above the deposit": (voucher(1_001), OPEN_CHANNEL, "above the channel's deposit"),
    "another chain": (voucher(genesis=OTHER_CHAIN), OPEN_CHANNEL, "another chain"),
    "another channel": (voucher(channel=8), OPEN_CHANNEL, "channel is not one"),
    "no channel": (voucher(), None, "channel is not one"),
    "another server": (voucher(), replace(OPEN_CHANNEL, server=AccountId(bytes(32))), "not one"),
    "another model": (voucher(), replace(OPEN_CHANNEL, model=4), "not one"),
    "closing": (voucher(), replace(OPEN_CHANNEL, closes_at=9), "closing"),
    "another signer": (voucher(pair=Keypair.from_uri("//Eve")), OPEN_CHANNEL, "not signed"),
    "garbage": (b"garbage", OPEN_CHANNEL, "does not decode"),
    "trailing byte": (voucher() + b"\0", OPEN_CHANNEL, "does not decode"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_voucher_that_does_not_pay_is_refused(vouchers: VoucherBook, case: str) -> None:
    raw, channel, reason = REFUSED[case]
    with pytest.raises(VoucherRefusedError, match=reason):
        vouchers.reserve(raw, MODEL, 0, 0, chain_with(channel))
    assert vouchers._reserved == {}


def test_an_ecdsa_voucher_is_refused(vouchers: VoucherBook) -> None:
    promise = Voucher(GENESIS, CHANNEL, PRICE)
    signed = SignedVoucher(promise, AccountId(ASKER.account), Ecdsa(bytes(65)))
    with pytest.raises(VoucherRefusedError, match="not signed"):
        vouchers.reserve(codec(SignedVoucher).encode(signed), MODEL, 0, 0, chain_with())


def test_an_sr25519_asker_pays_too(vouchers: VoucherBook) -> None:
    pair = Keypair.from_uri("//Asker", KeyKind.SR25519)
    channel = replace(OPEN_CHANNEL, asker=AccountId(pair.account))
    assert vouchers.reserve(voucher(pair=pair), MODEL, 0, 0, chain_with(channel))


@given(st.integers(0, len(voucher()) - 1), st.integers(1, 255))
def test_a_changed_voucher_pays_nothing(at: int, flip: int) -> None:
    raw = bytearray(voucher())
    raw[at] ^= flip
    signer = range(Voucher_BYTES, Voucher_BYTES + 32)
    vouchers = VoucherBook(GENESIS, SERVER, cast(Any, SimpleNamespace(channel=lambda _: None)))
    if at in signer:
        # The account beside the signature is for people: the channel says who must have signed.
        vouchers.reserve(bytes(raw), MODEL, 0, 0, chain_with())
        return
    with pytest.raises(VoucherRefusedError):
        vouchers.reserve(bytes(raw), MODEL, 0, 0, chain_with())


Voucher_BYTES = len(codec(Voucher).encode(Voucher(GENESIS, 0, 0)))


def test_a_voucher_is_not_spent_twice(vouchers: VoucherBook, receipts: ReceiptStore) -> None:
    serve(vouchers, receipts, voucher(), PRICE, 0)
    with pytest.raises(VoucherRefusedError, match="needs 200"):
        vouchers.reserve(voucher(), MODEL, 0, 0, chain_with())
    again = VoucherBook(GENESIS, SERVER, receipts)
    with pytest.raises(VoucherRefusedError, match="needs 200"):
        again.reserve(voucher(), MODEL, 0, 0, chain_with())
    serve(vouchers, receipts, voucher(2 * PRICE), PRICE, 1)


def test_what_an_answer_did_not_cost_pays_for_the_next(
    vouchers: VoucherBook, receipts: ReceiptStore
) -> None:
    serve(vouchers, receipts, voucher(), 30, 0)
    serve(vouchers, receipts, voucher(130), 30, 1)
    record = receipts.channel(CHANNEL)
    assert record is not None
    assert (record.spent_planck, record.cumulative_planck) == (60, 130)


def test_two_answers_at_a_time_do_not_share_a_voucher(vouchers: VoucherBook) -> None:
    first = vouchers.reserve(voucher(), MODEL, 0, 0, chain_with())
    with pytest.raises(VoucherRefusedError, match="needs 200"):
        vouchers.reserve(voucher(), MODEL, 0, 0, chain_with())
    second = vouchers.reserve(voucher(2 * PRICE), MODEL, 0, 0, chain_with())
    vouchers.release(first)
    with pytest.raises(VoucherRefusedError):
        vouchers.reserve(voucher(), MODEL, 0, 0, chain_with())
    vouchers.release(second)
    assert vouchers._reserved == {}
    assert vouchers.reserve(voucher(), MODEL, 0, 0, chain_with())


def test_what_was_redeemed_on_chain_counts_as_spent(vouchers: VoucherBook) -> None:
    channel = replace(OPEN_CHANNEL, redeemed_planck=500)
    with pytest.raises(VoucherRefusedError, match="needs 600"):
        vouchers.reserve(voucher(599), MODEL, 0, 0, chain_with(channel))
    assert vouchers.reserve(voucher(600), MODEL, 0, 0, chain_with(channel))


def test_the_higher_voucher_is_kept_for_redeeming(
    vouchers: VoucherBook, receipts: ReceiptStore
) -> None:
    serve(vouchers, receipts, voucher(500), 10, 0)
    high = receipts.channel(CHANNEL)
    serve(vouchers, receipts, voucher(200), 10, 1)
    kept = receipts.channel(CHANNEL)
    assert high is not None
    assert kept is not None
    assert (kept.cumulative_planck, kept.signature) == (500, high.signature)
    assert kept.spent_planck == 20
