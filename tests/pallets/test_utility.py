"""Utility: batches that stop, undo or go on."""

from __future__ import annotations

from typing import Any

import pytest

from pallets.balances import Balances
from pallets.utility import CALLS_MAX, Utility
from runtime.frame.dispatch import BadOrigin, Call, DispatchFailed
from runtime.types.primitives import OPEN, Id
from tests.pallets.support.ledger import ALICE, BOB, ENDOWMENT, Ledger


def transfer(ledger: Ledger, value: int) -> Call:
    return ledger.call("Balances", "transfer_keep_alive", dest=Id(BOB), value=value)


def received(ledger: Ledger) -> int:
    return ledger.pallet(Balances).free(BOB) - ENDOWMENT


def run(ledger: Ledger, name: str, *values: int) -> Any:
    calls = tuple(transfer(ledger, value) for value in values)
    return ledger.sign(ALICE, "Utility", name, calls=calls)


TOO_MUCH = 2 * ENDOWMENT


@pytest.mark.parametrize("name", ["batch", "batch_all", "force_batch"])
def test_a_batch_of_good_calls_completes(ledger: Ledger, name: str) -> None:
    run(ledger, name, OPEN, 2 * OPEN)
    assert received(ledger) == 3 * OPEN
    assert len(ledger.events(Utility.ItemCompleted)) == 2
    assert len(ledger.events(Utility.BatchCompleted)) == 1


def test_batch_stops_at_a_failure_and_keeps_what_came_before(ledger: Ledger) -> None:
    run(ledger, "batch", OPEN, TOO_MUCH, OPEN)
    assert received(ledger) == OPEN
    [event] = ledger.events(Utility.BatchInterrupted)
    assert event.index == 1
    assert not ledger.events(Utility.BatchCompleted)


def test_batch_all_undoes_everything_when_one_call_fails(ledger: Ledger) -> None:
    with pytest.raises(DispatchFailed, match="Token"):
        run(ledger, "batch_all", OPEN, TOO_MUCH)
    assert received(ledger) == 0
    assert not ledger.events(Utility.ItemCompleted)


def test_force_batch_goes_on_past_failures(ledger: Ledger) -> None:
    run(ledger, "force_batch", OPEN, TOO_MUCH, OPEN)
    assert received(ledger) == 2 * OPEN
    assert len(ledger.events(Utility.ItemFailed)) == 1
    assert len(ledger.events(Utility.BatchCompletedWithErrors)) == 1


def test_root_calls_and_inherents_fail_inside_a_batch(ledger: Ledger) -> None:
    calls = (
        ledger.call("Balances", "force_transfer", source=Id(BOB), dest=Id(ALICE), value=1),
        ledger.call("Timestamp", "set", now=99),
    )
    ledger.sign(ALICE, "Utility", "force_batch", calls=calls)
    assert [event.error for event in ledger.events(Utility.ItemFailed)] == [BadOrigin()] * 2


def test_a_failed_batch_inside_a_force_batch_leaves_nothing(ledger: Ledger) -> None:
    inner = ledger.call(
        "Utility", "batch_all", calls=(transfer(ledger, OPEN), transfer(ledger, TOO_MUCH))
    )
    ledger.sign(ALICE, "Utility", "force_batch", calls=(inner, transfer(ledger, 5 * OPEN)))
    assert received(ledger) == 5 * OPEN


def test_a_batch_of_too_many_calls_is_refused(ledger: Ledger) -> None:
    remark = ledger.call("System", "remark", remark=b"")
    with pytest.raises(Utility.TooManyCalls):
        ledger.sign(ALICE, "Utility", "batch", calls=(remark,) * (CALLS_MAX + 1))


def test_a_batch_weighs_what_its_calls_weigh_and_refunds_those_that_did_not_run(
    ledger: Ledger,
) -> None:
    machine = ledger.machine
    one = transfer(ledger, TOO_MUCH)
    declared = machine.weight_of(ledger.call("Utility", "batch", calls=(one, one, one)))
    assert declared.ref_time > 3 * machine.weight_of(one).ref_time
    used = run(ledger, "batch", TOO_MUCH, TOO_MUCH, TOO_MUCH)
    assert used.ref_time < declared.ref_time // 2
    assert run(ledger, "force_batch", TOO_MUCH, TOO_MUCH, TOO_MUCH) == declared
