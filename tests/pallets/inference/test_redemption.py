"""Redemption: which vouchers pay, how much, and how a payment is split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pallets.attribution import ATTRIBUTION_POT
from pallets.inference import PLATFORM_POT, Inference
from pallets.inference.records import Mark, Payout
from pallets.transaction_payment import FEE_POT
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.receipts import Rates, voucher_payload
from runtime.types.primitives import (
    OPEN,
    AccountId,
    Ecdsa,
    Ed25519,
    Hash,
    Sr25519,
)
from tests.pallets.support.ledger import CHARLIE, DAVE, ENDOWMENT, NOBODY
from tests.pallets.support.market import (
    ASKER,
    BOND,
    DEPOSIT,
    MODEL_OWNER,
    OPEN_TOKENS,
    PLANCK_PER_TOKEN,
    RATE,
    SERVER,
    Market,
    signed,
)

TOP = 2**32 - 1
HIGHEST = 2**128 - 1


# ------------------------------------------------------------------------------------------- paying


def test_a_payment_is_split_with_nothing_lost(shop: Market) -> None:
    balances = shop.balances
    issuance, before = balances.total_issuance.get(), balances.free(MODEL_OWNER)
    shop.models.record = replace(shop.models.record, rate_in_planck=1_000, rate_out_planck=1_000)
    shop.redeem(shop.voucher(), 10_007)
    [event] = shop.events(Inference.Redeemed)
    assert event == Inference.Redeemed(
        channel=0, amount=10_007, drawn=10_007, payout=event.payout, sequence=1
    )
    payout = event.payout
    assert payout == Payout(501, 500, 2_001, 2_001, 5_004)
    assert balances.free(MODEL_OWNER) - before == payout.owner
    assert balances.free(PLATFORM_POT) == payout.platform
    assert balances.free(FEE_POT) == payout.stakers
    assert balances.free(ATTRIBUTION_POT) == payout.contributors
    assert shop.fund.funded == {(0, SERVER): (10_007, payout.contributors)}
    assert issuance - balances.total_issuance.get() == payout.burned
    assert shop.held() == DEPOSIT - 10_007


def test_both_token_counts_and_the_platform_fee_are_paid(shop: Market) -> None:
    rates = Rates(RATE, 3 * RATE, 77)
    shop.redeem(shop.voucher(rates=rates), 5, out=7)
    assert shop.channel().redeemed_planck == (5 + 3 * 7) * PLANCK_PER_TOKEN + 77


def test_one_voucher_redeems_all_answers_before_it(shop: Market) -> None:
    shop.redeem(shop.voucher(7, 3 * OPEN), OPEN_TOKENS)
    channel = shop.channel()
    assert (channel.redeemed_planck, channel.sequence) == (4 * OPEN, 7)
    shop.redeem(shop.voucher(8, 4 * OPEN), OPEN_TOKENS)
    assert [event.amount for event in shop.events(Inference.Redeemed)] == [4 * OPEN, OPEN]


def test_redeeming_an_answer_again_pays_nothing(shop: Market) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    shop.redeem(voucher, OPEN_TOKENS)
    assert len(shop.events(Inference.Redeemed)) == 1
    assert shop.held() == DEPOSIT - OPEN


def test_an_answer_cannot_be_redeemed_again_with_more_tokens(shop: Market) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    for tokens in (OPEN_TOKENS + 1, OPEN_TOKENS - 1):
        with pytest.raises(Inference.VoucherTooLow):
            shop.redeem(voucher, tokens)


def test_an_earlier_answer_is_not_redeemed_after_a_later_one(shop: Market) -> None:
    shop.redeem(shop.voucher(5, OPEN), OPEN_TOKENS)
    for sequence in (4, 5):
        with pytest.raises(Inference.VoucherTooLow):
            shop.redeem(shop.voucher(sequence, 3 * OPEN), OPEN_TOKENS)


def test_a_later_voucher_that_owes_less_than_was_drawn_is_refused(shop: Market) -> None:
    shop.pay(2 * OPEN_TOKENS)
    with pytest.raises(Inference.VoucherTooLow):
        shop.redeem(shop.voucher(2, 0), OPEN_TOKENS)
    shop.redeem(shop.voucher(2, 0), 2 * OPEN_TOKENS)
    assert shop.channel().redeemed_planck == 2 * OPEN
    assert shop.channel().sequence == 2


def test_a_server_redeems_of_a_paying_model_what_its_bond_answers_for(shop: Market) -> None:
    shop.fund.answered = BOND - OPEN
    shop.pay(OPEN_TOKENS)
    assert shop.inference.redeemable(0, SERVER) is None
    shop.fund.was_open = True
    shop.pay(OPEN_TOKENS)
    assert shop.inference.redeemable(0, SERVER) == OPEN
    with pytest.raises(Inference.AboveBond):
        shop.pay(OPEN_TOKENS + 1)


@pytest.mark.parametrize("is_leaving", [False, True])
def test_a_server_redeems_in_the_window_all_that_it_is_owed_by_adding_to_its_bond(
    shop: Market, is_leaving: bool
) -> None:
    shop.fund.was_open, shop.fund.answered = True, BOND + 3 * OPEN
    if is_leaving:
        shop.sign(SERVER, "Inference", "leave_service")
    shop.end(ASKER)
    voucher = shop.voucher()
    with pytest.raises(Inference.AboveBond):
        shop.redeem(voucher, 2 * OPEN_TOKENS)
    shop.sign(SERVER, "Inference", "add_server_bond", amount=5 * OPEN)
    shop.redeem(voucher, 2 * OPEN_TOKENS)
    assert shop.channel().redeemed_planck == 2 * OPEN


def test_a_server_draws_no_more_than_the_voucher_allows(shop: Market) -> None:
    voucher = shop.voucher(limit_planck=2 * OPEN)
    with pytest.raises(Inference.AboveVoucher):
        shop.redeem(voucher, 2 * OPEN_TOKENS + 1)
    shop.redeem(voucher, 2 * OPEN_TOKENS)


def test_a_voucher_above_the_deposit_is_refused_and_good_after_a_top_up(shop: Market) -> None:
    voucher = shop.voucher(limit_planck=DEPOSIT + 1)
    with pytest.raises(Inference.AboveDeposit):
        shop.redeem(voucher, 1)
    shop.sign(ASKER, "Inference", "top_up", channel=0, amount=1)
    shop.redeem(voucher, 1)


def test_only_the_server_redeems(shop: Market) -> None:
    for who in (ASKER, DAVE):
        with pytest.raises(Inference.NotServer):
            shop.redeem(shop.voucher(), 1, who=who)


def test_a_voucher_can_be_redeemed_up_to_its_last_block(shop: Market) -> None:
    voucher = shop.voucher(expires_at=shop.number + 1)
    late = shop.voucher(2, expires_at=shop.number + 1)
    shop.next_block()
    shop.redeem(voucher, 1)
    shop.next_block()
    with pytest.raises(Inference.VoucherExpired):
        shop.redeem(late, 2)


# --------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize(
    "changes",
    [
        {"genesis": Hash(b"x" * 32)},
        {"channel": 1},
        {"model": 1},
        {"sequence": 2},
        {"before_planck": 1},
        {"limit_planck": DEPOSIT - 1},
        {"question": Hash(b"q" * 32)},
        {"may_draw": True},
        {"expires_at": 200},
        {"rates": Rates(RATE + 1, RATE, 0)},
    ],
)
def test_no_term_of_a_voucher_can_be_changed_after_it_was_signed(
    shop: Market, changes: dict[str, Any]
) -> None:
    voucher = shop.voucher()
    shop.open(DAVE)
    with pytest.raises(Inference.BadVoucher):
        shop.redeem(replace(voucher, **changes), 1, signature=signed(voucher).signature)


@pytest.mark.parametrize("changes", [{"genesis": Hash(b"x" * 32)}, {"model": 1}])
def test_a_voucher_for_another_chain_or_model_pays_nothing_here(
    shop: Market, changes: dict[str, Any]
) -> None:
    with pytest.raises(Inference.BadVoucher):
        shop.redeem(shop.voucher(**changes), 1)


def test_a_signature_of_another_signer_or_kind_is_refused(shop: Market) -> None:
    voucher = shop.voucher()
    good = signed(voucher).signature
    assert isinstance(good, Ed25519)
    for bad in (
        signed(voucher, CHARLIE).signature,
        Ed25519(bytes(64)),
        Sr25519(good.signature),
        Ecdsa(bytes(65)),
    ):
        with pytest.raises(Inference.BadVoucher):
            shop.redeem(voucher, 1, signature=bad)
    shop.redeem(voucher, 1, signature=good)


def test_an_asker_with_an_sr25519_key_pays_too() -> None:
    pair = Keypair.from_uri("//Bob", KeyKind.SR25519)
    account = AccountId(pair.account)
    with Market(extra=((account, ENDOWMENT),)) as market:
        market.open(account)
        voucher = market.voucher()
        market.redeem(voucher, 1, signature=Sr25519(pair.sign(voucher_payload(voucher))))
        assert market.held(account) == DEPOSIT - PLANCK_PER_TOKEN


# ------------------------------------------------------------------------------------ games at ends


@pytest.mark.parametrize(
    ("changes", "tokens", "error"),
    [
        ({"before": HIGHEST}, TOP, Inference.AboveVoucher),
        ({"before": HIGHEST, "limit_planck": HIGHEST}, 0, Inference.AboveDeposit),
        ({"before": DEPOSIT}, 1, Inference.AboveVoucher),
        ({"before": DEPOSIT + 1}, 0, Inference.AboveVoucher),
        ({"before": 1, "limit_planck": 0}, 0, Inference.AboveVoucher),
        ({"rates": Rates(HIGHEST, HIGHEST, HIGHEST)}, TOP, Inference.AboveVoucher),
        ({"limit_planck": HIGHEST}, 0, Inference.AboveDeposit),
        ({"limit_planck": HIGHEST, "rates": Rates(HIGHEST, RATE, 0)}, TOP, Inference.AboveVoucher),
    ],
)
def test_numbers_at_their_ends_draw_nothing_above_the_deposit(
    shop: Market, changes: dict[str, Any], tokens: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        shop.redeem(shop.voucher(**changes), tokens)
    assert shop.held() == DEPOSIT


def test_all_of_a_deposit_can_be_drawn_by_before_alone(shop: Market) -> None:
    shop.redeem(shop.voucher(before=DEPOSIT), 0)
    assert shop.held() == 0
    shop.end(SERVER)
    assert shop.channel().redeemed_planck == DEPOSIT


def test_the_last_sequence_and_the_last_block_are_good_ones(shop: Market) -> None:
    shop.redeem(shop.voucher(TOP, expires_at=TOP), 1)
    assert shop.channel().sequence == TOP
    with pytest.raises(Inference.VoucherTooLow):
        shop.redeem(shop.voucher(TOP, PLANCK_PER_TOKEN), 1)
    shop.end(SERVER)


def test_an_answer_that_costs_nothing_moves_the_sequence_only(shop: Market) -> None:
    shop.redeem(shop.voucher(3), 0)
    assert (shop.channel().sequence, shop.channel().redeemed_planck) == (3, 0)


# -------------------------------------------------------------------------------------- who is paid


def test_a_server_is_paid_though_the_models_owner_has_no_account(shop: Market) -> None:
    shop.models.record = replace(
        shop.models.record, owner=NOBODY, rate_in_planck=1_000, rate_out_planck=1_000
    )
    shop.redeem(shop.voucher(rates=Rates(1_000, 1_000, 0)), 1_000)
    [event] = shop.events(Inference.Redeemed)
    assert event.payout.owner == 0
    assert event.payout.platform == 50 + 200
    shop.redeem(shop.voucher(2, 1_000, rates=Rates(RATE, RATE, 0)), OPEN_TOKENS)
    assert shop.balances.free(NOBODY) == OPEN // 5


def test_asking_ones_own_model_on_ones_own_server_always_loses() -> None:
    with Market() as market:
        market.models.record = replace(market.models.record, owner=SERVER)
        market.open(SERVER)
        market.pay(4 * OPEN_TOKENS, asker=SERVER)
        market.end(SERVER)
        left = market.balances.free(SERVER) + market.bond()
        assert left + market.balances.free(ATTRIBUTION_POT) < ENDOWMENT


def test_the_first_payment_of_an_epoch_marks_where_the_epoch_begins(shop: Market) -> None:
    shop.pay(OPEN_TOKENS)
    shop.fund.epoch = 3
    shop.pay(OPEN_TOKENS)
    shop.pay(OPEN_TOKENS)
    assert shop.channel().marks == (Mark(0, 0), Mark(3, OPEN))
    shop.fund.epoch = 4
    shop.pay(OPEN_TOKENS)
    assert shop.channel().marks == (Mark(3, OPEN), Mark(4, 3 * OPEN))
