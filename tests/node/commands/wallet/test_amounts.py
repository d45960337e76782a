"""Fields of events as a person reads them: the runtime's types say which numbers are amounts."""

from __future__ import annotations

from typing import Final

from node.commands.base.output import fields_text
from node.commands.base.values import show_fields
from pallets.balances import Balances
from pallets.session import GenesisValidator
from runtime.types.primitives import OPEN, AccountId

ALICE: Final = AccountId(b"a" * 32)


def test_an_amount_of_an_event_is_shown_in_open() -> None:
    assert "amount=2 OPEN" in fields_text(show_fields(Balances.Burned(ALICE, 2 * OPEN)))


def test_an_amount_is_a_decimal_text_in_json() -> None:
    assert show_fields(Balances.Burned(ALICE, 2 * OPEN))["amount"] == str(2 * OPEN)


def test_a_large_number_that_is_no_amount_keeps_its_digits() -> None:
    shown = fields_text(show_fields(GenesisValidator(ALICE, ALICE, 2 * OPEN)))
    assert f"weight={2 * OPEN}" in shown
