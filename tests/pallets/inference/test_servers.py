"""Servers: bonded before they serve, locked while they may be wrong, slashed for what they sign."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pallets.balances import Balances, HoldReason
from pallets.inference import Inference
from runtime.types.primitives import OPEN
from tests.pallets.support.ledger import ALICE, BOB, DAVE, ENDOWMENT, NOBODY
from tests.pallets.support.market import (
    BOND,
    DEPOSIT,
    OPEN_TOKENS,
    PARAMETERS,
    SERVER,
    Market,
)

LEAST, RETENTION = PARAMETERS.server_bond_planck, PARAMETERS.retention_blocks


def register(shop: Market, bond: int = LEAST) -> None:
    shop.sign(DAVE, "Inference", "register_server", bond=bond)


# -------------------------------------------------------------------------------------------- bonds


def test_an_account_becomes_a_server_with_a_bond(shop: Market) -> None:
    register(shop)
    assert shop.bond(DAVE) == LEAST
    assert shop.events(Inference.ServerRegistered)[-1] == Inference.ServerRegistered(DAVE, LEAST)
    assert shop.inference.is_bonded(DAVE)
    assert shop.inference.bond_of(DAVE) == LEAST
    with pytest.raises(Inference.AlreadyBonded):
        register(shop)


def test_a_bond_below_the_least_or_above_the_balance_is_refused(shop: Market) -> None:
    with pytest.raises(Inference.BondTooLow):
        register(shop, LEAST - 1)
    with pytest.raises(Balances.InsufficientBalance):
        register(shop, ENDOWMENT)
    assert not shop.inference.is_bonded(DAVE)
    assert shop.inference.bond_of(DAVE) == 0


def test_a_server_adds_to_its_bond(shop: Market) -> None:
    shop.sign(SERVER, "Inference", "add_server_bond", amount=OPEN)
    assert shop.bond() == BOND + OPEN
    assert shop.events(Inference.ServerBondAdded) == [
        Inference.ServerBondAdded(SERVER, BOND + OPEN)
    ]


def test_calls_of_a_server_refuse_accounts_that_are_none(shop: Market) -> None:
    for name, arguments in (
        ("add_server_bond", {"amount": 1}),
        ("leave_service", {}),
        ("withdraw_server_bond", {}),
    ):
        with pytest.raises(Inference.NotBonded):
            shop.sign(ALICE, "Inference", name, **arguments)


# ------------------------------------------------------------------------------------------ leaving


def leave(shop: Market) -> None:
    shop.sign(SERVER, "Inference", "leave_service")


def withdraw(shop: Market) -> None:
    shop.sign(SERVER, "Inference", "withdraw_server_bond")


def test_a_server_leaves_with_its_bond_when_its_time_is_over(shop: Market) -> None:
    shop.end(SERVER)
    leave(shop)
    assert shop.events(Inference.ServerLeaving) == [Inference.ServerLeaving(SERVER, 1 + RETENTION)]
    shop.next_block(RETENTION)
    with pytest.raises(Inference.BondLocked):
        withdraw(shop)
    shop.next_block()
    withdraw(shop)
    assert shop.balances.free(SERVER) == ENDOWMENT
    assert shop.events(Inference.ServerUnregistered) == [Inference.ServerUnregistered(SERVER, BOND)]
    assert not shop.inference.is_bonded(SERVER)


def test_a_server_that_does_not_leave_cannot_withdraw(shop: Market) -> None:
    shop.end(SERVER)
    shop.next_block(RETENTION + 2)
    with pytest.raises(Inference.BondLocked):
        withdraw(shop)


def test_a_leaving_server_does_not_leave_again(shop: Market) -> None:
    leave(shop)
    with pytest.raises(Inference.AlreadyLeaving):
        leave(shop)


def test_a_leaving_server_adds_to_its_bond(shop: Market) -> None:
    leave(shop)
    shop.sign(SERVER, "Inference", "add_server_bond", amount=1)
    assert shop.bond() == BOND + 1


def test_a_leaving_server_still_redeems(shop: Market) -> None:
    leave(shop)
    shop.pay(OPEN_TOKENS)


def test_a_bond_is_locked_while_channels_are_kept(shop: Market) -> None:
    leave(shop)
    shop.next_block(RETENTION + 1)
    with pytest.raises(Inference.BondLocked):
        withdraw(shop)
    shop.pay(OPEN_TOKENS)
    shop.end(SERVER)
    with pytest.raises(Inference.BondLocked):
        withdraw(shop)
    shop.next_block(RETENTION + 1)
    shop.end(SERVER, "remove_channel")
    withdraw(shop)


def test_a_bond_is_locked_while_an_epoch_is_settled(shop: Market) -> None:
    shop.end(SERVER)
    leave(shop)
    shop.next_block(RETENTION + 1)
    shop.fund.settles = True
    with pytest.raises(Inference.BondLocked):
        withdraw(shop)
    shop.fund.settles = False
    withdraw(shop)


def test_a_server_that_left_may_come_back(shop: Market) -> None:
    shop.end(SERVER)
    leave(shop)
    shop.next_block(RETENTION + 1)
    withdraw(shop)
    shop.sign(SERVER, "Inference", "register_server", bond=LEAST)
    shop.open()


# ------------------------------------------------------------------------------------------ slashes


def paid_channels(shop: Market) -> tuple[int, int]:
    """Let BOB pay 7 OPEN and DAVE 3; returns their channels."""
    daves = shop.open(DAVE)
    shop.pay(7 * OPEN_TOKENS)
    shop.pay(3 * OPEN_TOKENS, channel=daves, asker=DAVE)
    return 0, daves


def test_the_wronged_are_paid_first_and_the_rest_is_burned(shop: Market) -> None:
    bobs, daves = paid_channels(shop)
    issuance = shop.balances.total_issuance.get()
    wronged = ((bobs, 7 * OPEN), (daves, 3 * OPEN))
    taken = shop.inference.slash_server(SERVER, 100 * OPEN, wronged)
    assert taken == 100 * OPEN
    assert shop.bond() == BOND - 100 * OPEN
    assert shop.balances.free(DAVE) == ENDOWMENT - DEPOSIT + 3 * OPEN
    assert [shop.channel(number).repaid_planck for number in (bobs, daves)] == [7 * OPEN, 3 * OPEN]
    assert issuance - shop.balances.total_issuance.get() == 90 * OPEN
    assert shop.server().slashed_planck == 100 * OPEN
    assert shop.events(Inference.ServerSlashed) == [
        Inference.ServerSlashed(SERVER, 100 * OPEN, 10 * OPEN)
    ]


def test_a_bond_smaller_than_the_slash_pays_the_wronged_in_order(shop: Market) -> None:
    bobs, daves = paid_channels(shop)
    shop.inference.slash_server(SERVER, BOND - 5 * OPEN, ())
    before = shop.balances.free(BOB), shop.balances.free(DAVE)
    wronged = ((bobs, 4 * OPEN), (daves, 3 * OPEN))
    assert shop.inference.slash_server(SERVER, 5 * BOND, wronged) == 5 * OPEN
    assert shop.balances.free(BOB) - before[0] == 4 * OPEN
    assert shop.balances.free(DAVE) - before[1] == OPEN
    assert shop.bond() == 0
    assert shop.inference.slash_server(SERVER, OPEN, wronged) == 0
    assert len(shop.events(Inference.ServerSlashed)) == 2


def test_a_channel_is_repaid_no_more_than_it_paid(shop: Market) -> None:
    bobs, _ = paid_channels(shop)
    before = shop.balances.free(BOB)
    shop.inference.slash_server(SERVER, BOND, ((bobs, 4 * OPEN), (bobs, 4 * OPEN)))
    assert shop.balances.free(BOB) - before == 7 * OPEN
    assert shop.channel(bobs).repaid_planck == 7 * OPEN


def test_what_a_dead_asker_cannot_receive_is_burned(shop: Market) -> None:
    bobs, daves = paid_channels(shop)
    shop.inference.channels.put(bobs, replace(shop.channel(bobs), asker=NOBODY))
    issuance, before = shop.balances.total_issuance.get(), shop.balances.free(DAVE)
    assert shop.inference.slash_server(SERVER, OPEN, ((bobs, 5), (daves, 7))) == OPEN
    assert shop.balances.free(NOBODY) == 0
    assert shop.balances.free(DAVE) == before + 7
    assert issuance - shop.balances.total_issuance.get() == OPEN - 7
    assert shop.inference.slash_server(SERVER, OPEN, ((bobs, OPEN),)) == OPEN
    assert shop.balances.free(NOBODY) == OPEN
    shop.inference.channels.put(bobs, replace(shop.channel(bobs), asker=BOB))


def test_an_account_that_is_no_server_has_nothing_to_lose(shop: Market) -> None:
    assert shop.inference.slash_server(ALICE, OPEN, ()) == 0
    assert shop.balances.held(HoldReason.ServerBond, ALICE) == 0


def test_a_server_without_a_bond_left_leaves_with_nothing(shop: Market) -> None:
    shop.inference.slash_server(SERVER, BOND, ())
    shop.end(SERVER)
    leave(shop)
    shop.next_block(RETENTION + 1)
    withdraw(shop)
    assert shop.balances.free(SERVER) == ENDOWMENT - BOND
