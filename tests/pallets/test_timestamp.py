"""Timestamp: once in each block, always later."""

from __future__ import annotations

import pytest

from pallets.timestamp import Timestamp
from runtime.frame.dispatch import INHERENT, DispatchFailed, Origin
from tests.pallets.support.ledger import ALICE, Ledger


def test_the_author_sets_the_time(ledger: Ledger) -> None:
    ledger.dispatch(INHERENT, "Timestamp", "set", now=1_000)
    assert ledger.pallet(Timestamp).now.get() == 1_000


def test_the_time_is_set_once_in_a_block(ledger: Ledger) -> None:
    ledger.dispatch(INHERENT, "Timestamp", "set", now=1_000)
    with pytest.raises(Timestamp.AlreadySet):
        ledger.dispatch(INHERENT, "Timestamp", "set", now=2_000)


def test_the_time_is_later_than_the_parents(ledger: Ledger) -> None:
    ledger.dispatch(INHERENT, "Timestamp", "set", now=1_000)
    ledger.pallet(Timestamp).on_finalize()
    with pytest.raises(Timestamp.TooEarly):
        ledger.dispatch(INHERENT, "Timestamp", "set", now=1_000)
    ledger.dispatch(INHERENT, "Timestamp", "set", now=1_001)


def test_a_block_without_a_time_is_invalid(ledger: Ledger) -> None:
    with pytest.raises(AssertionError, match="sets its timestamp"):
        ledger.pallet(Timestamp).on_finalize()


def test_an_account_cannot_set_the_time(ledger: Ledger) -> None:
    with pytest.raises(DispatchFailed, match="BadOrigin"):
        ledger.dispatch(Origin.signed(ALICE), "Timestamp", "set", now=1)
