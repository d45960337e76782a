"""Reports of false receipts: liars pay, nobody shields himself, the honest cannot be reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallets.inference import GenesisServer, Inference
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.receipts import Receipt, Voucher, receipt_hash
from runtime.types.primitives import OPEN, Hash
from tests.pallets.support.ledger import CHARLIE, DAVE, ENDOWMENT, KEYS
from tests.pallets.support.market import (
    ASKER,
    BOND,
    DEPOSIT,
    OPEN_TOKENS,
    PARAMETERS,
    PLANCK_PER_TOKEN,
    SERVER,
    Market,
    sign_receipt,
    signed,
)


def free(shop: Market) -> int:
    return shop.balances.free(ASKER)


# ----------------------------------------------------------------------------- what can be reported


def test_a_fee_that_the_price_list_does_not_give_costs_ten_times_of_it(shop: Market) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    false = shop.receipt(voucher, OPEN_TOKENS, fee_planck=OPEN - 1)
    before = free(shop)
    shop.report(voucher, false)
    assert free(shop) - before == OPEN - 1
    assert shop.bond() == BOND - 10 * (OPEN - 1)
    assert shop.events(Inference.ReceiptReported) == [
        Inference.ReceiptReported(0, receipt_hash(false), OPEN - 1)
    ]
    assert shop.channel().repaid_planck == OPEN - 1


def test_a_server_that_drew_more_than_its_receipt_gives_back_the_difference(
    shop: Market,
) -> None:
    voucher = shop.pay(3 * OPEN_TOKENS)
    before = free(shop)
    shop.report(voucher, shop.receipt(voucher, OPEN_TOKENS))
    assert free(shop) - before == 2 * OPEN
    assert shop.bond() == BOND - 20 * OPEN


def test_a_tiny_false_fee_does_not_hide_what_was_drawn(shop: Market) -> None:
    voucher = shop.pay(3 * OPEN_TOKENS)
    before = free(shop)
    shop.report(voucher, shop.receipt(voucher, OPEN_TOKENS, fee_planck=1))
    assert free(shop) - before == 3 * OPEN - 1


def test_a_false_fee_of_nothing_for_which_nothing_was_drawn_wrongs_nobody(shop: Market) -> None:
    voucher = shop.voucher()
    with pytest.raises(Inference.NotFalse):
        shop.report(voucher, shop.receipt(voucher, OPEN_TOKENS, fee_planck=0))


def test_what_a_later_answer_has_corrected_is_not_too_much(shop: Market) -> None:
    voucher = shop.pay(3 * OPEN_TOKENS)
    shop.redeem(shop.voucher(2, OPEN), 4 * OPEN_TOKENS)
    with pytest.raises(Inference.NotFalse):
        shop.report(voucher, shop.receipt(voucher, OPEN_TOKENS))


def test_two_receipts_for_one_voucher_cost_the_dearer(shop: Market) -> None:
    voucher = shop.pay(3 * OPEN_TOKENS)
    one, other = shop.receipt(voucher, 3 * OPEN_TOKENS), shop.receipt(voucher, OPEN_TOKENS)
    before = free(shop)
    shop.report_double(voucher, one, other)
    assert free(shop) - before == 3 * OPEN
    assert shop.bond() == BOND - 30 * OPEN


def test_a_closed_channel_is_evidence_while_it_is_kept(shop: Market) -> None:
    voucher = shop.pay(3 * OPEN_TOKENS)
    shop.end(SERVER)
    shop.next_block(PARAMETERS.retention_blocks)
    shop.report(voucher, shop.receipt(voucher, OPEN_TOKENS))
    assert shop.bond() == BOND - 20 * OPEN


def test_an_asker_that_reports_pays_nothing_beyond_its_transaction(shop: Market) -> None:
    voucher = shop.pay(3 * OPEN_TOKENS)
    shop.report(voucher, shop.receipt(voucher, OPEN_TOKENS), who=ASKER)
    assert free(shop) == ENDOWMENT - DEPOSIT + 2 * OPEN


# -------------------------------------------------------------------------- what cannot be reported


def test_an_honest_receipt_is_not_false(shop: Market) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    receipt = shop.receipt(voucher, OPEN_TOKENS)
    with pytest.raises(Inference.NotFalse):
        shop.report(voucher, receipt)
    with pytest.raises(Inference.NotFalse):
        shop.report_double(voucher, receipt, receipt)


@pytest.mark.parametrize(
    "changes",
    [{"voucher": Hash(b"v" * 32)}, {"server": DAVE}],
)
def test_a_receipt_of_another_voucher_or_server_shows_nothing(
    shop: Market, changes: dict[str, Any]
) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    with pytest.raises(Inference.NotFalse):
        shop.report(voucher, replace(shop.receipt(voucher, 1), **changes))


def test_a_receipt_that_the_server_did_not_sign_shows_nothing(shop: Market) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    forged = shop.receipt(voucher, 1)
    good = sign_receipt(forged)
    sr25519 = Keypair.from_uri("//Charlie", KeyKind.SR25519).sign(receipt_hash(forged))
    for bad in (sign_receipt(forged, KEYS["Dave"]), bytes(64), sr25519, good[:-1] + b"\0"):
        with pytest.raises(Inference.NotFalse):
            shop.report(voucher, forged, signature=bad)
    other = shop.receipt(voucher, 2)
    with pytest.raises(Inference.NotFalse):
        shop.sign(
            DAVE,
            "Inference",
            "report_double_receipt",
            voucher=signed(voucher),
            receipt=forged,
            signature=good,
            other=other,
            other_signature=good,
        )


def test_a_voucher_that_the_asker_did_not_sign_shows_nothing(shop: Market) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    receipt = shop.receipt(voucher, 1)
    with pytest.raises(Inference.BadVoucher):
        shop.report(voucher, receipt, asker=CHARLIE)
    elsewhere = replace(voucher, genesis=Hash(b"x" * 32))
    with pytest.raises(Inference.BadVoucher):
        shop.report(elsewhere, shop.receipt(elsewhere, 1))


def test_each_answer_is_paid_for_once(shop: Market) -> None:
    voucher = shop.pay(3 * OPEN_TOKENS)
    lower = shop.receipt(voucher, OPEN_TOKENS)
    shop.report(voucher, lower)
    with pytest.raises(Inference.AlreadyReported):
        shop.report(voucher, lower)
    with pytest.raises(Inference.AlreadyReported):
        shop.report_double(voucher, lower, shop.receipt(voucher, 2 * OPEN_TOKENS))
    assert shop.bond() == BOND - 20 * OPEN


# ---------------------------------------------------------------------------------- servers' tricks


def test_a_tiny_report_of_its_own_does_not_shield_a_server(shop: Market) -> None:
    voucher = shop.voucher()
    shop.report(voucher, shop.receipt(voucher, 0, fee_planck=1))
    shop.redeem(voucher, 3 * OPEN_TOKENS)
    before = free(shop)
    shop.report(voucher, shop.receipt(voucher, OPEN_TOKENS))
    assert free(shop) - before == 2 * OPEN - 1
    assert shop.bond() == BOND - 10 * 2 * OPEN


def test_a_server_cannot_bring_its_bond_home_by_a_report_of_its_own() -> None:
    with Market() as market:
        market.open(SERVER)
        voucher = market.pay(1, asker=SERVER)
        receipt = market.receipt(voucher, 1, fee_planck=BOND)
        before = market.balances.free(SERVER)
        market.report(voucher, receipt, asker=SERVER)
        assert market.bond() == 0
        assert market.balances.free(SERVER) - before == PLANCK_PER_TOKEN
        market.check()


def test_many_reports_together_repay_a_channel_no_more_than_it_paid(shop: Market) -> None:
    vouchers = [shop.pay(1) for _ in range(3)]
    before = free(shop)
    for voucher in vouchers:
        shop.report(voucher, shop.receipt(voucher, 1, fee_planck=OPEN))
    assert free(shop) - before == 3 * PLANCK_PER_TOKEN
    assert shop.bond() == BOND - 30 * OPEN


def test_a_server_whose_bond_is_gone_is_reported_all_the_same() -> None:
    with Market(servers=(GenesisServer(SERVER, 100 * OPEN),)) as market:
        market.open()
        voucher = market.pay(3 * OPEN_TOKENS)
        market.inference.slash_server(SERVER, 100 * OPEN, ())
        market.report(voucher, market.receipt(voucher, OPEN_TOKENS))
        assert market.balances.free(ASKER) == ENDOWMENT - DEPOSIT
        market.check()


# ------------------------------------------------------------------------------------------ honesty

Step = tuple[int, bool, bool]
HISTORIES: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.integers(0, 10**8), st.booleans(), st.booleans()), max_size=8
)


@settings(max_examples=25)
@given(HISTORIES, st.integers(0, 1), st.integers(-1, 10**8))
def test_an_honest_server_can_never_be_reported(
    history: list[Step], kind: int, tokens: int
) -> None:
    """An honest server signs one receipt for a voucher and redeems by it; its asker signs as it
    likes, also a second voucher of the same number, which the server refuses."""
    with Market() as market:
        market.open()
        owed, told = 0, []
        for sequence, (count, redeems, doubles) in enumerate(history, 1):
            voucher = market.voucher(sequence, owed, limit_planck=owed + 10**18)
            receipt = market.receipt(voucher, count)
            told.append((voucher, receipt))
            owed += receipt.fee_planck
            if redeems and voucher.limit_planck <= DEPOSIT:
                market.redeem(voucher, count)
            if doubles:
                other = replace(voucher, before_planck=max(0, voucher.before_planck - tokens - 1))
                told.append((other, receipt))
        bond = market.bond()
        for voucher, receipt in told:
            report_all_ways(market, voucher, receipt, kind)
        assert market.bond() == bond
        market.check()


def report_all_ways(market: Market, voucher: Voucher, receipt: Receipt, kind: int) -> None:
    """Try to report an answer of an honest server, and what can be forged from it."""
    forged = replace(receipt, fee_planck=receipt.fee_planck + 1)
    signature = sign_receipt(receipt)
    with pytest.raises(Inference.NotFalse):
        market.report(voucher, receipt, signature=signature)
    with pytest.raises(Inference.NotFalse):
        market.report(voucher, forged, signature=signature)
    with pytest.raises(Inference.NotFalse):
        market.report_double(voucher, receipt, receipt)
