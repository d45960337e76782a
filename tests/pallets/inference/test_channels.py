"""Channels: opened to bonded servers, topped up, closed by either side, kept as evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import Balances, FreezeReason
from pallets.inference import DEPOSIT_MIN, Inference
from runtime.shared.receipts import Voucher
from runtime.types.primitives import OPEN, AccountId, Id
from tests.pallets.support.ledger import ALICE, BOB, DAVE, ENDOWMENT, KEYS
from tests.pallets.support.market import (
    ASKER,
    BOND,
    DEPOSIT,
    OPEN_TOKENS,
    PARAMETERS,
    SERVER,
    Market,
    signed,
)

WINDOW, RETENTION = PARAMETERS.challenge_blocks, PARAMETERS.retention_blocks


def retire(shop: Market) -> None:
    shop.models.record = replace(shop.models.record, is_retired=True)


# ------------------------------------------------------------------------------------------ opening


def test_opening_a_channel_holds_its_deposit_and_counts_for_its_server(shop: Market) -> None:
    assert shop.held() == DEPOSIT
    assert shop.server().channels == 1
    [event] = shop.events(Inference.ChannelOpened)
    assert event == Inference.ChannelOpened(0, ASKER, SERVER, 0, DEPOSIT)


def test_a_model_that_may_not_be_asked_gets_no_channel(shop: Market) -> None:
    with pytest.raises(Inference.NotAllowed):
        shop.open(model=1)
    retire(shop)
    with pytest.raises(Inference.NotAllowed):
        shop.open()


def test_a_channel_below_the_minimum_is_refused(shop: Market) -> None:
    with pytest.raises(Inference.DepositTooLow):
        shop.open(deposit=DEPOSIT_MIN - 1)
    shop.open(deposit=DEPOSIT_MIN)


def test_a_deposit_that_the_asker_does_not_have_is_refused(shop: Market) -> None:
    with pytest.raises(Balances.InsufficientBalance):
        shop.open(deposit=ENDOWMENT)
    assert shop.server().channels == 1


def test_only_a_bonded_server_gets_channels(shop: Market) -> None:
    with pytest.raises(Inference.NotBonded):
        shop.open(server=Id(DAVE))
    shop.sign(SERVER, "Inference", "leave_service")
    with pytest.raises(Inference.NotBonded):
        shop.open()


def test_a_server_slashed_below_the_least_bond_gets_no_channels_until_it_adds(
    shop: Market,
) -> None:
    least = PARAMETERS.server_bond_planck
    shop.inference.slash_server(SERVER, BOND - least + 1, ())
    with pytest.raises(Inference.NotBonded):
        shop.open()
    shop.sign(SERVER, "Inference", "add_server_bond", amount=1)
    shop.open()


def test_the_asker_tops_a_channel_up(shop: Market) -> None:
    shop.sign(ASKER, "Inference", "top_up", channel=0, amount=OPEN)
    assert shop.held() == DEPOSIT + OPEN
    assert shop.events(Inference.ChannelToppedUp) == [Inference.ChannelToppedUp(0, DEPOSIT + OPEN)]
    shop.redeem(shop.voucher(limit_planck=DEPOSIT + OPEN), OPEN_TOKENS)
    with pytest.raises(Inference.NotAsker):
        shop.sign(SERVER, "Inference", "top_up", channel=0, amount=OPEN)


def test_an_asker_cannot_keep_the_deposit_by_freezing_it(shop: Market) -> None:
    shop.balances.freeze(FreezeReason.Staking, ASKER, ENDOWMENT)
    shop.redeem(shop.voucher(), 4 * OPEN_TOKENS)
    assert shop.held() == DEPOSIT - 4 * OPEN


# ------------------------------------------------------------------------------------------ closing


def test_the_server_closes_at_once_and_what_was_redeemed_stays_as_evidence(shop: Market) -> None:
    shop.pay(OPEN_TOKENS)
    shop.end(SERVER)
    assert shop.held() == 0
    assert shop.balances.free(ASKER) == ENDOWMENT - OPEN
    closed = shop.channel()
    assert (closed.is_closed, closed.closes_at, closed.deposit_planck) == (True, 1, OPEN)
    assert shop.events(Inference.ChannelClosed) == [Inference.ChannelClosed(0, DEPOSIT - OPEN)]
    assert shop.server().channels == 1


def test_a_channel_of_which_nothing_was_redeemed_is_gone_when_it_closes(shop: Market) -> None:
    shop.end(SERVER)
    assert shop.inference.channel(0) is None
    assert shop.inference.channels_of(SERVER) == shop.inference.channels_of(ASKER) == ()
    assert shop.server().channels == 0


def test_a_closed_channel_pays_and_closes_no_more(shop: Market) -> None:
    voucher = shop.pay(OPEN_TOKENS)
    shop.end(SERVER)
    for attempt in (
        lambda: shop.redeem(voucher, OPEN_TOKENS),
        lambda: shop.pay(1),
        lambda: shop.end(SERVER),
        lambda: shop.end(ASKER),
        lambda: shop.end(DAVE, "finish_close"),
        lambda: shop.sign(ASKER, "Inference", "top_up", channel=0, amount=1),
    ):
        with pytest.raises(Inference.UnknownChannel):
            attempt()


def test_the_asker_closes_after_a_window_in_which_the_server_may_redeem(shop: Market) -> None:
    shop.end(ASKER)
    assert shop.events(Inference.ChannelClosing) == [Inference.ChannelClosing(0, 1 + WINDOW)]
    with pytest.raises(Inference.IsClosing):
        shop.end(ASKER)
    with pytest.raises(Inference.IsClosing):
        shop.sign(ASKER, "Inference", "top_up", channel=0, amount=OPEN)
    shop.next_block(WINDOW)
    with pytest.raises(Inference.TooEarly):
        shop.end(DAVE, "finish_close")
    shop.pay(OPEN_TOKENS)
    shop.next_block()
    shop.end(DAVE, "finish_close")
    assert shop.balances.free(ASKER) == ENDOWMENT - OPEN


def test_the_server_cuts_the_window_short(shop: Market) -> None:
    shop.end(ASKER)
    shop.end(SERVER)
    assert shop.held() == 0


def test_a_channel_that_is_not_closing_is_not_finished(shop: Market) -> None:
    with pytest.raises(Inference.TooEarly):
        shop.end(ASKER, "finish_close")


def test_strangers_close_nothing(shop: Market) -> None:
    with pytest.raises(Inference.NotMember):
        shop.end(DAVE)


def test_a_server_that_asks_itself_closes_at_once(shop: Market) -> None:
    number = shop.open(SERVER)
    shop.pay(OPEN_TOKENS, channel=number, asker=SERVER)
    shop.end(SERVER, channel=number)
    shop.next_block(RETENTION + 1)
    shop.end(SERVER, "remove_channel", channel=number)
    assert [info.id for info in shop.inference.channels_of(SERVER)] == [0]


# ----------------------------------------------------------------------------------------- removing


def closed(shop: Market) -> None:
    """Redeem in epoch 0 and close, so that retention begins."""
    shop.pay(OPEN_TOKENS)
    shop.end(SERVER)


def test_an_open_or_closing_channel_is_not_removed(shop: Market) -> None:
    with pytest.raises(Inference.StillNeeded):
        shop.end(SERVER, "remove_channel")
    shop.end(ASKER)
    shop.next_block(WINDOW + RETENTION + 2)
    with pytest.raises(Inference.StillNeeded):
        shop.end(SERVER, "remove_channel")


def test_anybody_removes_a_settled_channel_when_its_time_is_over(shop: Market) -> None:
    closed(shop)
    shop.fund.unsettled = 1
    shop.next_block(RETENTION)
    with pytest.raises(Inference.StillNeeded):
        shop.end(DAVE, "remove_channel")
    shop.next_block()
    shop.end(DAVE, "remove_channel")
    assert shop.inference.channel(0) is None
    assert shop.server().channels == 0


def test_a_stranger_cannot_remove_a_channel_of_which_the_server_has_to_settle(
    shop: Market,
) -> None:
    closed(shop)
    shop.next_block(RETENTION + 1)
    for who in (ASKER, DAVE):
        with pytest.raises(Inference.StillNeeded):
            shop.end(who, "remove_channel")
    shop.end(SERVER, "remove_channel")


def test_a_server_cannot_remove_evidence_while_an_epoch_of_it_is_settled(shop: Market) -> None:
    closed(shop)
    shop.next_block(RETENTION + 1)
    shop.fund.settles = True
    with pytest.raises(Inference.StillNeeded):
        shop.end(SERVER, "remove_channel")


def test_a_server_cannot_shorten_the_time_in_which_its_asker_may_report(shop: Market) -> None:
    closed(shop)
    shop.next_block(RETENTION)
    with pytest.raises(Inference.StillNeeded):
        shop.end(SERVER, "remove_channel")


# -------------------------------------------------------------------------------------- taking back


def test_what_a_retired_model_can_never_pay_goes_back_to_its_asker(shop: Market) -> None:
    shop.pay(2 * OPEN_TOKENS)
    retire(shop)
    before = shop.balances.free(ASKER)
    shop.end(DAVE, "take_back")
    assert shop.balances.free(ASKER) - before == OPEN
    assert shop.events(Inference.TakenBack) == [Inference.TakenBack(0, OPEN)]
    assert shop.balances.free(ATTRIBUTION_POT) == 0
    with pytest.raises(Inference.NothingToTakeBack):
        shop.end(ASKER, "take_back")
    shop.pay(2 * OPEN_TOKENS)
    shop.end(ASKER, "take_back")
    assert shop.balances.free(ASKER) - before == 2 * OPEN


def test_nothing_is_taken_back_from_a_model_in_service(shop: Market) -> None:
    shop.pay(OPEN_TOKENS)
    with pytest.raises(Inference.NothingToTakeBack):
        shop.end(ASKER, "take_back")


def test_nothing_is_taken_back_where_the_gate_has_ever_been_open(shop: Market) -> None:
    shop.pay(OPEN_TOKENS)
    retire(shop)
    shop.fund.was_open = True
    with pytest.raises(Inference.NothingToTakeBack):
        shop.end(ASKER, "take_back")


def test_nothing_is_taken_back_where_nothing_was_paid(shop: Market) -> None:
    retire(shop)
    with pytest.raises(Inference.NothingToTakeBack):
        shop.end(ASKER, "take_back")


def overcharged(shop: Market, voucher: Voucher) -> None:
    """Report a receipt that asks more than the bond."""
    shop.report(voucher, shop.receipt(voucher, 2 * OPEN_TOKENS, fee_planck=2 * BOND))


@pytest.mark.parametrize("is_reported_first", [True, False])
def test_a_channel_gets_no_more_back_than_it_paid(shop: Market, is_reported_first: bool) -> None:
    voucher = shop.voucher()
    shop.redeem(voucher, 2 * OPEN_TOKENS)
    retire(shop)
    before = shop.balances.free(ASKER)
    if is_reported_first:
        overcharged(shop, voucher)
        with pytest.raises(Inference.NothingToTakeBack):
            shop.end(ASKER, "take_back")
    else:
        shop.end(ASKER, "take_back")
        overcharged(shop, voucher)
    assert shop.balances.free(ASKER) - before == 2 * OPEN
    assert shop.channel().repaid_planck == 2 * OPEN


def test_a_channel_stays_until_its_asker_has_taken_back(shop: Market) -> None:
    closed(shop)
    retire(shop)
    shop.next_block(RETENTION + 1)
    with pytest.raises(Inference.StillNeeded):
        shop.end(SERVER, "remove_channel")
    shop.end(SERVER, "take_back")
    shop.end(SERVER, "remove_channel")


def test_channels_of_any_key_are_numbered_from_zero_on(shop: Market) -> None:
    people = [AccountId(pair.account) for pair in KEYS.values()]
    assert [shop.open(who) for who in people] == [1, 2, 3, 4, 5]
    voucher = shop.voucher(channel=1)
    with pytest.raises(Inference.BadVoucher):
        shop.redeem(voucher, 1, signature=signed(voucher, BOB).signature)
    shop.redeem(voucher, 1, signature=signed(voucher, ALICE).signature)
