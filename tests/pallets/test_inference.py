"""Inference: what a chain begins with, quotes, parameters, and the price lists that hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pallets import inference as inference_module
from pallets.inference import DEPOSIT_MIN, PLATFORM_POT, Genesis, Inference, Parameters
from pallets.inference.records import FormerFee, GenesisServer
from runtime.frame.dispatch import DispatchFailed
from runtime.shared.receipts import VOUCHER_BLOCKS_MAX, Rates
from runtime.types.primitives import OPEN
from tests.pallets.support.ledger import ALICE, DAVE
from tests.pallets.support.market import (
    ASKER,
    BOND,
    PARAMETERS,
    PLANCK_PER_TOKEN,
    RATE,
    SERVER,
    Market,
)


def test_a_chain_begins_with_parameters_a_pot_and_servers() -> None:
    with Market(servers=(GenesisServer(SERVER, BOND), GenesisServer(DAVE, OPEN * 500))) as market:
        assert market.inference.current_parameters() == PARAMETERS
        assert market.balances.free(PLATFORM_POT) == 0
        assert (market.bond(SERVER), market.bond(DAVE)) == (BOND, 500 * OPEN)
        assert market.inference.server(DAVE) == market.server(DAVE)
        assert market.inference.server(ALICE) is None
        market.check()


def test_a_genesis_out_of_bounds_starts_no_chain() -> None:
    with pytest.raises(AssertionError, match="within bounds"):
        Market(parameters=replace(Parameters(), burn_permille=1))
    assert Genesis().parameters.is_within_bounds


def test_the_constants_say_what_the_code_holds(shop: Market) -> None:
    assert shop.inference.minimum_deposit == DEPOSIT_MIN
    assert shop.inference.maximum_voucher_blocks == VOUCHER_BLOCKS_MAX


def test_a_quote_rounds_up_and_adds_the_platform_fee(shop: Market) -> None:
    shop.models.record = replace(shop.models.record, rate_in_planck=500, rate_out_planck=1_500)
    shop.root(
        "Inference", "set_parameters", parameters=replace(PARAMETERS, platform_fee_planck=OPEN)
    )
    quote = shop.inference.quote
    assert quote(0, 0, 0) == OPEN
    assert quote(0, 1, 0) == OPEN + 1
    assert quote(0, 1_000, 2_000) == OPEN + 500 + 2 * 1_500
    assert quote(9, 1, 1) is None
    assert shop.inference.price_list(0) == Rates(500, 1_500, OPEN)
    assert shop.inference.price_list(9) is None


def test_asker_and_server_list_their_channels(shop: Market) -> None:
    shop.open(DAVE)
    inference = shop.inference
    assert [info.id for info in inference.channels_of(SERVER)] == [0, 1]
    assert [info.id for info in inference.channels_of(ASKER)] == [0]
    assert inference.channel(1) == shop.channel(1)
    assert inference.channel(2) is None


def test_the_list_of_channels_is_little_work_however_many_strangers_open(
    shop: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_module, "CHANNELS_LOOKED_AT_MAX", 5)
    monkeypatch.setattr(inference_module, "CHANNELS_LISTED_MAX", 3)
    for _ in range(4):
        shop.open(DAVE)
    assert [info.id for info in shop.inference.channels_of(SERVER)] == [2, 3, 4]
    for _ in range(20):
        shop.open(DAVE)
    listed = [info.id for info in shop.inference.channels_of(SERVER)]
    assert len(listed) == 3
    assert listed == sorted(listed)


@pytest.mark.parametrize(
    "changes",
    [
        {"platform_fee_planck": OPEN + 1},
        {"platform_permille": 10, "owner_permille": 290},
        {"platform_permille": 301, "stakers_permille": 0, "contributors_permille": 499},
        {"owner_permille": 501, "contributors_permille": 199},
        {"stakers_permille": 501, "contributors_permille": 199},
        {"contributors_permille": 501},
        {"contributors_permille": 299, "owner_permille": 401},
        {"burn_permille": 99},
        {"burn_permille": 1_001},
        {"challenge_blocks": 4},
        {"challenge_blocks": 1_000_001},
        {"retention_blocks": 0},
        {"retention_blocks": 10_000_001},
        {"server_bond_planck": OPEN - 1},
        {"server_bond_planck": 10_000_000 * OPEN + 1},
    ],
)
def test_parameters_out_of_bounds_are_refused(shop: Market, changes: dict[str, int]) -> None:
    with pytest.raises(Inference.OutOfBounds):
        shop.root("Inference", "set_parameters", parameters=replace(Parameters(), **changes))
    assert shop.inference.current_parameters() == PARAMETERS


def test_root_alone_sets_parameters(shop: Market) -> None:
    changed = replace(PARAMETERS, owner_permille=100, contributors_permille=600)
    with pytest.raises(DispatchFailed, match="BadOrigin"):
        shop.sign(ALICE, "Inference", "set_parameters", parameters=changed)
    shop.root("Inference", "set_parameters", parameters=changed)
    assert [event.parameters for event in shop.events(Inference.ParametersSet)] == [changed]
    shop.pay(1)
    [event] = shop.events(Inference.Redeemed)
    assert event.payout.owner == PLANCK_PER_TOKEN // 10
    assert event.payout.contributors == PLANCK_PER_TOKEN * 6 // 10


def test_every_call_refuses_an_unknown_channel(shop: Market) -> None:
    voucher = shop.voucher(channel=9)
    receipt = shop.receipt(voucher, 1)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("top_up", {"amount": 1}),
        ("close_channel", {}),
        ("finish_close", {}),
        ("remove_channel", {}),
        ("take_back", {}),
    ]
    for name, arguments in calls:
        with pytest.raises(Inference.UnknownChannel):
            shop.sign(ASKER, "Inference", name, channel=9, **arguments)
    with pytest.raises(Inference.UnknownChannel):
        shop.redeem(voucher, 1)
    with pytest.raises(Inference.UnknownChannel):
        shop.report(voucher, receipt)
    with pytest.raises(Inference.UnknownChannel):
        shop.report_double(voucher, receipt, receipt)


# ------------------------------------------------------------------- price lists that were changed


def set_fee(shop: Market, fee: int) -> None:
    shop.root(
        "Inference", "set_parameters", parameters=replace(PARAMETERS, platform_fee_planck=fee)
    )


def set_rates(shop: Market, rate: int) -> None:
    shop.models.record = shop.models.record.with_rates(rate, rate, shop.number)


Change = Callable[[Market, int], None]


@pytest.mark.parametrize(("change", "first"), [(set_fee, 0), (set_rates, RATE)])
def test_a_voucher_of_before_a_raise_is_paid_while_it_can_live(
    shop: Market, change: Change, first: int
) -> None:
    rates = shop.rates()
    change(shop, first + 5_000)
    until = shop.number + VOUCHER_BLOCKS_MAX
    with pytest.raises(Inference.RatesTooLow):
        shop.redeem(shop.voucher(rates=rates, expires_at=until + 1), 1)
    shop.redeem(shop.voucher(rates=rates, expires_at=until), 1)
    assert shop.channel().redeemed_planck == PLANCK_PER_TOKEN


@pytest.mark.parametrize(("change", "first"), [(set_fee, 0), (set_rates, RATE)])
def test_after_two_changes_in_a_row_the_lowest_of_both_still_holds(
    shop: Market, change: Change, first: int
) -> None:
    rates = shop.rates()
    change(shop, first + 5_000)
    shop.next_block()
    change(shop, first + 2_000)
    shop.redeem(shop.voucher(rates=rates), 1)


@pytest.mark.parametrize(("change", "first"), [(set_fee, 7_000), (set_rates, RATE + 7_000)])
def test_a_lower_price_holds_at_once_and_a_higher_voucher_stays_good(
    shop: Market, change: Change, first: int
) -> None:
    change(shop, first)
    high = shop.rates()
    change(shop, first - 3_000)
    low = shop.rates()
    shop.redeem(shop.voucher(rates=low), 1)
    shop.redeem(shop.voucher(2, shop.channel().redeemed_planck, rates=high), 1)


@pytest.mark.parametrize("field", ["rate_in_planck", "rate_out_planck", "platform_fee_planck"])
def test_asker_and_server_cannot_agree_on_less_than_the_owner_asks(
    shop: Market, field: str
) -> None:
    set_fee(shop, 1_000)
    shop.inference.former_fee.put(FormerFee(1_000, 0))
    rates = shop.rates()
    lower = replace(rates, **{field: getattr(rates, field) - 1})
    with pytest.raises(Inference.RatesTooLow):
        shop.redeem(shop.voucher(rates=lower), 1)
    shop.redeem(shop.voucher(rates=rates), 1)


def test_a_former_fee_is_forgotten_when_no_voucher_of_then_can_live(shop: Market) -> None:
    set_fee(shop, 1_000)
    assert shop.inference.former_fee.get() == FormerFee(0, shop.number + VOUCHER_BLOCKS_MAX)
    shop.inference.former_fee.put(FormerFee(0, shop.number - 1))
    set_fee(shop, 2_000)
    assert shop.inference.former_fee.get().platform_fee_planck == 1_000


def test_setting_other_parameters_changes_no_price(shop: Market) -> None:
    changed = replace(PARAMETERS, challenge_blocks=9)
    shop.root("Inference", "set_parameters", parameters=changed)
    assert shop.inference.former_fee.get() == FormerFee(0, 0)
