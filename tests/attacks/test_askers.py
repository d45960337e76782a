"""What an asker could gain by leaving early, by lying or by asking without paying: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ml.api.service import ChannelBusyError, VoucherMissingError, VoucherRefusedError
from node.serving.epoch_view import EPOCH_BLOCKS
from node.serving.redeemer import CLOSING_SENT_PER_BLOCK, Redeemer
from node.serving.vouchers import Offer, Prices, VoucherBook
from node.storage.receipt_store import ReceiptStore
from pallets import compose
from pallets.attribution import Attribution
from pallets.inference import Inference
from runtime.codec.scale import codec
from runtime.shared import documents
from runtime.shared.receipts import EpochReceipts, SignedVoucher, Voucher
from tests.node.serving.support.closing_server import FEE
from tests.node.serving.support.closing_server import Server as ClosingServer
from tests.node.serving.test_broken_off_answers import TEXT, only_receipt, read, service_of
from tests.node.serving.test_broken_off_answers import FakeNode as AnsweringNode
from tests.node.serving.test_redeemer import PayingNode, redeemer_of
from tests.node.support.paid_answers import (
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
from tests.pallets.support.epochs import earn, open_gate
from tests.pallets.support.ledger import EVE
from tests.pallets.support.market import DEPOSIT, OPEN_TOKENS, SERVER, Market, sign_receipt
from tests.pallets.support.workshop import SERVER as SETTLING_SERVER
from tests.pallets.support.workshop import Workshop

TOKENS, NOW, REDEEM_BLOCKS = 100, 50, 300
CHAIN = cast(Prices, SimpleNamespace(channels={CHANNEL: open_channel()}, rates=lambda _: RATES))


@pytest.fixture
def market() -> Iterator[Market]:
    with Market() as market:
        market.open()
        yield market
        market.check()


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    yield store
    store.close()


@pytest.fixture
def book(receipts: ReceiptStore) -> VoucherBook:
    return VoucherBook(GENESIS, SERVER_ACCOUNT, receipts, REDEEM_BLOCKS)


def offer(promise: Voucher | None, question: str = QUESTION, tokens: int = TOKENS) -> Offer:
    raw = None if promise is None else codec(SignedVoucher).encode(signed(promise))
    return Offer(MODEL, question, tokens, raw, SALT)


def test_an_asker_that_closes_its_channel_does_not_get_back_what_it_owes() -> None:
    node = PayingNode()
    node.open(7)
    redeemer: Redeemer = redeemer_of(node)
    node.answer(7, 15, redeemer)
    node.channels[7] = replace(node.channels[7], closes_at=100)
    node.block(redeemer)
    assert node.drawn() == [(7, 15)], "at once, long before the window ends"


def test_an_answer_for_next_to_nothing_makes_no_server_pay_for_a_settlement(
    tmp_path: Path,
) -> None:
    with Workshop() as chain:
        open_gate(chain)
        parameters = replace(chain.attribution.parameters(), close_blocks=20)
        chain.attribution.governed.put(parameters)
        earn(chain, chain.attribution.settlement_price(0, parameters.draws) - 1, 1)
        chain.next_block(21)
        with pytest.raises(Attribution.NotOverdue):
            chain.sign(EVE, "Attribution", "report_overdue", model=0, server=SETTLING_SERVER)
    server = ClosingServer(tmp_path)
    server.node.duty = FEE + 1
    server.answer()
    server.draw_all()
    server.block(count=EPOCH_BLOCKS + 2)
    assert server.node.ledger.settling is None
    assert not server.node.calls("close_epoch")
    server.close()


def test_askers_that_close_many_channels_at_once_owe_what_they_owed() -> None:
    node, channels = PayingNode(), range(100, 100 + 2 * CLOSING_SENT_PER_BLOCK)
    redeemer = redeemer_of(node)
    for channel in (*range(1, 100), *channels):
        node.open(channel)
        node.answer(channel, 200, redeemer)
    for channel in channels:
        node.channels[channel] = replace(node.channels[channel], closes_at=node.height + 5)
    for _ in range(5):
        node.block(redeemer)
        node.land()
    assert all(node.channels[channel].redeemed_planck == 200 for channel in channels)


def test_a_server_may_redeem_in_the_whole_window_of_a_closing_channel(market: Market) -> None:
    promise = market.voucher()
    market.end(who=market.channel().asker)
    closes_at = market.channel().closes_at
    assert closes_at is not None
    market.next_block(closes_at - market.number)
    with pytest.raises(Inference.TooEarly):
        market.end(market.channel().asker, "finish_close")
    market.redeem(promise, OPEN_TOKENS)
    market.next_block()
    market.end(market.channel().asker, "finish_close")
    assert market.channel().redeemed_planck == OPEN_TOKENS * 10**10


@pytest.mark.parametrize("pieces", [1, 7])
def test_an_asker_that_hangs_up_before_the_receipt_owes_what_it_was_sent(
    receipts: ReceiptStore, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    answers = service_of(AnsweringNode(), receipts, monkeypatch)
    assert read(answers, pieces, "closes") == TEXT[:pieces]
    assert only_receipt(receipts).receipt.tokens_out == pieces


def test_a_megabyte_without_a_voucher_is_refused_before_anything_looks_at_it(
    book: VoucherBook,
) -> None:
    with pytest.raises(VoucherMissingError):
        book.take(offer(None, "why? " * 200_000), CHAIN, NOW)


def test_a_voucher_for_one_question_pays_for_no_other(book: VoucherBook) -> None:
    with pytest.raises(VoucherRefusedError):
        book.take(offer(voucher(), "Write my thesis."), CHAIN, NOW)


def test_a_voucher_pays_once(book: VoucherBook, receipts: ReceiptStore) -> None:
    payment = book.take(offer(voucher()), CHAIN, NOW)
    receipts.record(stored())
    book.release(payment)
    with pytest.raises(VoucherRefusedError):
        book.take(offer(voucher()), CHAIN, NOW)


def test_one_deposit_pays_for_one_answer_at_a_time(book: VoucherBook) -> None:
    book.take(offer(voucher()), CHAIN, NOW)
    with pytest.raises(ChannelBusyError):
        book.take(offer(voucher(sequence=2)), CHAIN, NOW)


def test_an_asker_cannot_have_its_server_redeem_what_no_receipt_covers(
    book: VoucherBook, receipts: ReceiptStore
) -> None:
    receipts.record(stored())
    ends = stored().signed.ends_planck
    with pytest.raises(VoucherRefusedError):
        book.take(offer(voucher(sequence=2, before_planck=ends + 1)), CHAIN, NOW)


def test_an_asker_cannot_forget_what_it_owes_for_earlier_answers(
    book: VoucherBook, receipts: ReceiptStore
) -> None:
    receipts.record(stored())
    with pytest.raises(VoucherRefusedError):
        book.take(offer(voucher(sequence=2, before_planck=0)), CHAIN, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": NOW + 1},
        {"expires_at": NOW + 10**6},
        {"rates": replace(RATES, rate_out_planck=0)},
        {"limit_planck": 10**9},
        {"limit_planck": 50},
    ],
    ids=["ends too soon", "lives too long", "cheap", "above the deposit", "below the price"],
)
def test_a_voucher_that_a_server_could_not_redeem_gets_no_answer(
    book: VoucherBook, changes: dict[str, Any]
) -> None:
    with pytest.raises(VoucherRefusedError):
        book.take(offer(voucher(**changes)), CHAIN, NOW)


def test_an_honest_server_cannot_be_reported(market: Market) -> None:
    promise = market.voucher()
    market.redeem(promise, OPEN_TOKENS)
    given = market.receipt(promise, OPEN_TOKENS)
    bond = market.bond()
    with pytest.raises(Inference.NotFalse):
        market.report(promise, given)
    higher = replace(given, fee_planck=1)
    with pytest.raises(Inference.NotFalse):  # the asker's own invention is not signed
        market.report(promise, higher, signature=sign_receipt(given))
    with pytest.raises(Inference.NotFalse):
        market.report_double(promise, given, given)
    assert market.bond() == bond
    assert market.server(SERVER).slashed_planck == 0


def test_feedback_moves_no_money() -> None:
    """It is no call of the chain, and no settlement reads it."""
    specs = [spec for pallet in compose().pallets.values() for spec in pallet.call_specs.values()]
    calls = {spec.name for spec in specs}
    assert not any("feedback" in name for name in calls)
    assert set(EpochReceipts.__annotations__) == {"receipts"}
    assert not any("feedback" in name.lower() for name in vars(documents))


def test_a_deposit_is_the_most_that_a_channel_can_cost(market: Market) -> None:
    with pytest.raises(Inference.AboveDeposit):
        market.redeem(market.voucher(limit_planck=DEPOSIT + 1), OPEN_TOKENS)


def test_an_asker_that_closes_a_channel_with_each_block_holds_up_no_epoch(tmp_path: Path) -> None:
    server = ClosingServer(tmp_path)
    node = server.node
    node.parameters = replace(node.parameters, close_blocks=2_000)
    server.answer(count=5)
    server.draw_all()
    server.block()
    for number in range(1_000, 3_000):
        if node.ledger.settling is not None:
            break
        node.channels[number] = open_channel()
        server.answer(number)
        node.channels[number] = replace(node.channels[number], closes_at=node.height + 100)
        server.block()
    assert node.ledger.settling == 0, "it is closed in time"
    assert node.slashed == 0
    server.close()
