"""TransactionPayment: fees are charged, refunded, put into the pot; congestion moves the price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pallets.balances import EXISTENTIAL_DEPOSIT, Balances
from pallets.system import System
from pallets.transaction_payment import FEE_POT, TransactionPayment
from runtime.frame.dispatch import DispatchClass
from runtime.frame.extrinsic import Additional, Extra, Extrinsic
from runtime.frame.fees import BLOCK_WEIGHT_MAX, BYTE_FEE, MULTIPLIER_ONE
from runtime.frame.validity import Payment, TransactionRefused
from runtime.types.era import IMMORTAL
from runtime.types.primitives import OPEN, AccountId, Id, Weight
from tests.pallets.support.ledger import ALICE, BOB, ENDOWMENT, GENESIS_HASH, KEYS, Ledger

FEE = OPEN // 100


@pytest.fixture
def toll() -> Iterator[Ledger]:
    with Ledger((System, Balances, TransactionPayment)) as ledger:
        yield ledger
        ledger.check()


def payment(ledger: Ledger) -> TransactionPayment:
    return ledger.pallet(TransactionPayment)


def free(ledger: Ledger, who: AccountId) -> int:
    return ledger.pallet(Balances).free(who)


def signed_remark(ledger: Ledger, size: int, tip: int = 0) -> Extrinsic:
    machine = ledger.machine
    additional = Additional(1, 1, GENESIS_HASH, GENESIS_HASH)
    remark = ledger.call("System", "remark", remark=bytes(size))
    raw = machine.extrinsics.sign(remark, KEYS["Alice"], Extra(IMMORTAL, 0, tip), additional)
    return machine.extrinsics.decode(raw)


def test_a_fee_goes_to_the_pot_and_the_rest_comes_back(toll: Ledger) -> None:
    payment(toll).charge(ALICE, 3 * FEE)
    payment(toll).settle(ALICE, 3 * FEE, 2 * FEE, FEE)
    assert free(toll, ALICE) == ENDOWMENT - 2 * FEE
    assert free(toll, FEE_POT) == 2 * FEE
    paid = toll.events(TransactionPayment.TransactionFeePaid)
    assert paid == [TransactionPayment.TransactionFeePaid(ALICE, 2 * FEE, FEE)]


def test_who_cannot_pay_is_refused_and_keeps_everything(toll: Ledger) -> None:
    most = ENDOWMENT - EXISTENTIAL_DEPOSIT
    payment(toll).can_pay(ALICE, most)
    for attempt in (payment(toll).can_pay, payment(toll).charge):
        with pytest.raises(TransactionRefused) as refusal:
            attempt(ALICE, most + 1)
        assert refusal.value.reason == Payment()
    assert free(toll, ALICE) == ENDOWMENT


def test_the_pot_keeps_the_refund_of_an_account_that_died_in_its_own_call(toll: Ledger) -> None:
    payment(toll).charge(ALICE, FEE)
    toll.sign(ALICE, "Balances", "transfer_all", dest=Id(BOB), keep_alive=False)
    tiny = EXISTENTIAL_DEPOSIT // 2
    payment(toll).settle(ALICE, FEE, FEE - tiny, 0)
    assert free(toll, FEE_POT) == FEE
    assert ALICE not in toll.pallet(System).account


def test_the_pot_takes_fees_below_the_existential_deposit(toll: Ledger) -> None:
    payment(toll).charge(ALICE, 1)
    payment(toll).settle(ALICE, 1, 1, 0)
    assert free(toll, FEE_POT) == 1


def test_a_quoted_fee_is_what_is_charged(toll: Ledger) -> None:
    extrinsic = signed_remark(toll, 10)
    length = len(extrinsic.raw)
    weight = toll.machine.weight_of(extrinsic.call)
    info = payment(toll).query_info(extrinsic, length)
    assert info.partial_fee == payment(toll).fee_of(weight, length)
    assert (info.weight, info.class_) == (weight, DispatchClass.Normal)


def test_fee_details_name_the_parts_and_the_tip(toll: Ledger) -> None:
    extrinsic = signed_remark(toll, 10, tip=7)
    details = payment(toll).query_fee_details(extrinsic, 200)
    assert details.tip == 7
    assert details.inclusion_fee is not None
    assert details.inclusion_fee.total == payment(toll).query_info(extrinsic, 200).partial_fee
    assert details.inclusion_fee.len_fee == payment(toll).query_length_to_fee(200)


def test_each_byte_and_each_bit_of_weight_costs(toll: Ledger) -> None:
    fees = payment(toll)
    assert fees.query_length_to_fee(101) - fees.query_length_to_fee(100) == BYTE_FEE
    assert fees.query_weight_to_fee(Weight(2 * 10**6, 0)) == 2 * fees.query_weight_to_fee(
        Weight(10**6, 0)
    )


def test_full_blocks_raise_the_price_and_empty_ones_lower_it_again(toll: Ledger) -> None:
    fees, system = payment(toll), toll.pallet(System)
    weight = Weight(10**9, 0)
    usual = fees.query_weight_to_fee(weight)
    prices = []
    for _ in range(20):
        system.note_weight(DispatchClass.Normal, BLOCK_WEIGHT_MAX)
        toll.next_block()
        prices.append(fees.query_weight_to_fee(weight))
    assert prices == sorted(prices)
    assert prices[-1] > usual
    toll.next_block(200)
    assert fees.query_weight_to_fee(weight) == usual
    assert fees.next_fee_multiplier.get() == MULTIPLIER_ONE


def test_mandatory_work_does_not_raise_the_price(toll: Ledger) -> None:
    system = toll.pallet(System)
    system.note_weight(DispatchClass.Mandatory, replace(BLOCK_WEIGHT_MAX))
    toll.next_block()
    assert payment(toll).next_fee_multiplier.get() == MULTIPLIER_ONE
