"""Reasons: what an operator reads of an epoch that waits or has stopped."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from node.serving.epoch_reasons import (
    closed_gate,
    low_bond,
    no_receipts,
    what_is_left_out,
    why_failed,
)
from node.serving.epoch_view import EpochView
from pallets.attribution.records import Ledger, Parameters
from pallets.jobs.job import FailureReason, JobFailure
from runtime.types.primitives import ZERO_HASH

VIEW = EpochView(
    block=ZERO_HASH,
    height=50,
    ledger=Ledger(redeemed_planck=90, early_planck=30, due_from=10),
    latest=None,
    job=None,
    has_opened=True,
    parameters=Parameters(close_blocks=1_000, receipts_maximum=9),
    bond_planck=100,
    at_risk_planck=30,
    duty_planck=0,
)


def test_the_bond_that_is_needed_is_named() -> None:
    assert "Raise the bond to 150 with `openledger server add-bond`" in low_bond(120, VIEW)
    tight = replace(VIEW, bond_planck=80)
    assert "Raise the bond to 90" in what_is_left_out(60, tight)


def test_what_leaving_out_costs_is_said_with_its_cause() -> None:
    assert "receipts of 20 of them are not here" in what_is_left_out(40, VIEW)
    assert "more receipts than the 9" in what_is_left_out(60, VIEW)
    for fees_planck in (40, 60):
        assert "After block 1010 all that is due is slashed" in what_is_left_out(fees_planck, VIEW)


def test_a_store_without_receipts_is_said_with_what_it_costs() -> None:
    assert what_is_left_out(0, VIEW) == no_receipts(VIEW)
    assert "90 planck were redeemed, 60 of them are due; after block 1010" in no_receipts(VIEW)
    settling = replace(VIEW, ledger=replace(VIEW.ledger, settling=4))
    assert "epoch 4 is being settled" in no_receipts(settling)
    assert "after block" not in no_receipts(settling)


def test_a_gate_and_a_failed_job_are_said() -> None:
    assert "has no index of 1500 rows" in closed_gate(7, VIEW)
    assert why_failed(None) == "its job is not on the chain any more"
    slots = (SimpleNamespace(reason=FailureReason.MissingBlob), SimpleNamespace(reason=None))
    job = cast(Any, SimpleNamespace(failure=JobFailure.ReportedByExecutors, slots=slots))
    assert why_failed(job) == "its job ended with ReportedByExecutors (MissingBlob)"
