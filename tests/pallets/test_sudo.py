"""Sudo: one account acts as root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pallets.balances import Balances
from pallets.sudo import Err, Genesis, Ok, Sudo
from runtime.frame.dispatch import Call
from runtime.types.primitives import OPEN, Id, Raw
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, ENDOWMENT, Ledger


@pytest.fixture
def sudoed() -> Iterator[Ledger]:
    with Ledger(Sudo=Genesis(ALICE)) as ledger:
        yield ledger
        ledger.check()


def seize(ledger: Ledger, value: int) -> Call:
    return ledger.call("Balances", "force_transfer", source=Id(BOB), dest=Id(CHARLIE), value=value)


def test_the_sudo_account_dispatches_as_root(sudoed: Ledger) -> None:
    sudoed.sign(ALICE, "Sudo", "sudo", call=seize(sudoed, OPEN))
    assert sudoed.pallet(Balances).free(CHARLIE) == ENDOWMENT + OPEN
    assert sudoed.events(Sudo.Sudid) == [Sudo.Sudid(Ok())]


def test_a_failed_root_call_is_told_by_the_event(sudoed: Ledger) -> None:
    sudoed.sign(ALICE, "Sudo", "sudo", call=seize(sudoed, 2 * ENDOWMENT))
    [event] = sudoed.events(Sudo.Sudid)
    assert isinstance(event.sudo_result, Err)


def test_nobody_else_acts_as_root(sudoed: Ledger) -> None:
    for call in ("sudo", "sudo_as"):
        extra = {"account": Id(ALICE)} if call == "sudo_as" else {}
        with pytest.raises(Sudo.RequireSudo):
            sudoed.sign(BOB, "Sudo", call, call=seize(sudoed, OPEN), **extra)
    with pytest.raises(Sudo.RequireSudo):
        sudoed.sign(BOB, "Sudo", "set_key", new=Id(BOB))
    with pytest.raises(Sudo.RequireSudo):
        sudoed.sign(BOB, "Sudo", "remove_key")


def test_a_chain_without_a_key_has_no_sudo(ledger: Ledger) -> None:
    with pytest.raises(Sudo.RequireSudo):
        ledger.sign(ALICE, "Sudo", "sudo", call=seize(ledger, OPEN))


def test_sudo_as_acts_for_another_account(sudoed: Ledger) -> None:
    move = sudoed.call("Balances", "transfer_keep_alive", dest=Id(CHARLIE), value=OPEN)
    sudoed.sign(ALICE, "Sudo", "sudo_as", account=Id(BOB), call=move)
    assert sudoed.pallet(Balances).free(BOB) == ENDOWMENT - OPEN
    assert sudoed.events(Sudo.SudoAsDone) == [Sudo.SudoAsDone(Ok())]


def test_the_key_can_be_handed_on(sudoed: Ledger) -> None:
    sudoed.sign(ALICE, "Sudo", "set_key", new=Id(BOB))
    assert sudoed.events(Sudo.KeyChanged) == [Sudo.KeyChanged(ALICE, BOB)]
    with pytest.raises(Sudo.RequireSudo):
        sudoed.sign(ALICE, "Sudo", "set_key", new=Id(ALICE))
    sudoed.sign(BOB, "Sudo", "set_key", new=Id(ALICE))


def test_a_key_that_does_not_resolve_is_refused(sudoed: Ledger) -> None:
    with pytest.raises(Exception, match="CannotLookup"):
        sudoed.sign(ALICE, "Sudo", "set_key", new=Raw(b"x"))


def test_a_removed_key_never_comes_back(sudoed: Ledger) -> None:
    sudoed.sign(ALICE, "Sudo", "remove_key")
    assert sudoed.events(Sudo.KeyRemoved) == [Sudo.KeyRemoved()]
    with pytest.raises(Sudo.RequireSudo):
        sudoed.sign(ALICE, "Sudo", "set_key", new=Id(ALICE))
