"""Epochs: settled, convicted or failed; no planck goes astray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.attribution.epochs import REPAID
from pallets.attribution.records import EpochState
from pallets.balances import HoldReason
from pallets.inference import Inference
from pallets.jobs.job import JobFailure, JobState
from runtime.shared.documents import FAULTS_MAX, FaultKind, LargestShare, Settle, Settled, Share
from runtime.types.primitives import OPEN, AccountId, Hash
from tests.pallets.support.epochs import (
    FEES,
    INDEX_JOB,
    MODEL,
    POOL,
    bond_of,
    claimable,
    close,
    earn,
    epoch,
    fail,
    fault,
    faulty,
    open_gate,
    paid_channel,
    pool_of,
    settle,
    shared,
    shares_of,
)
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, ENDOWMENT, EVE
from tests.pallets.support.workshop import EXECUTORS, SERVER, SERVER_BOND, Workshop

OTHER_MODEL, NO_MODEL = 2, 9


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain with one executor whose model is indexed and has earned."""
    with Workshop() as made:
        open_gate(made)
        earn(made)
        yield made
        made.check()


# ----------------------------------------------------------------------------------------- settling


def test_shares_are_credited_and_the_rest_goes_to_the_commons(workshop: Workshop) -> None:
    shares = shares_of((BOB, 30 * OPEN), (CHARLIE, 7 * OPEN))
    output = shared(shares)
    job = settle(workshop, output)
    assert (claimable(workshop, BOB), claimable(workshop, CHARLIE)) == (30 * OPEN, 7 * OPEN)
    assert workshop.attribution.common_pool(MODEL) == 13 * OPEN
    done = epoch(workshop)
    assert (done.state, done.job) == (EpochState.Settled, job)
    assert (done.shares, done.shares_root) == (output.shares, output.shares_root)
    assert (done.shares_count, done.shares_planck) == (2, 37 * OPEN)
    assert done.claimed_planck == 37 * OPEN
    assert workshop.jobs.output(job) is None
    assert workshop.balances.free(ATTRIBUTION_POT) == POOL
    assert workshop.escrow(SERVER) == 0
    assert not workshop.attribution.is_settling(SERVER)
    assert workshop.events(Attribution.EpochSettled) == [
        Attribution.EpochSettled(MODEL, SERVER, 0, 37 * OPEN, 13 * OPEN)
    ]
    credited = [(event.contributor, event.amount) for event in workshop.events(Attribution.Earned)]
    assert sorted(credited) == sorted((share.contributor, share.planck) for share in shares)


def test_without_a_share_the_commons_get_everything(workshop: Workshop) -> None:
    settle(workshop, shared(()))
    assert workshop.attribution.common_pool(MODEL) == POOL
    assert epoch(workshop).shares_count == 0


GOOD = shared(shares_of((BOB, 30 * OPEN), (CHARLIE, 7 * OPEN)))
BIG = Share(BOB, 38 * OPEN)


@pytest.mark.parametrize(
    "output",
    [
        replace(GOOD, shares_planck=POOL + 1),
        replace(GOOD, shares_planck=37 * OPEN - 1),
        replace(GOOD, largest=GOOD.largest[::-1]),
        replace(GOOD, largest=(GOOD.largest[0], GOOD.largest[0])),
        replace(GOOD, largest=(LargestShare(0, BIG),)),
        replace(GOOD, largest=(LargestShare(2, Share(BOB, 1)),)),
        replace(GOOD, shares_count=0, largest=(LargestShare(0, Share(BOB, 1)),)),
    ],
)
def test_a_settlement_that_does_not_add_up_is_refused_and_the_pool_returns(
    workshop: Workshop, output: Settled
) -> None:
    job = settle(workshop, output)
    assert workshop.job(job).failure is JobFailure.ResultRefused
    assert epoch(workshop).state is EpochState.Failed
    assert pool_of(workshop) == (POOL, FEES)
    assert claimable(workshop, BOB) == 0
    assert bond_of(workshop) == SERVER_BOND


def test_refusals_of_a_settlement_have_names(workshop: Workshop) -> None:
    attribution = workshop.attribution
    job = close(workshop)
    spec = workshop.job(job).spec
    assert isinstance(spec, Settle)
    with pytest.raises(Attribution.NotSettling):
        attribution.record_settled(job, replace(spec, epoch=1), GOOD)
    with pytest.raises(Attribution.OutputDiffers):
        attribution.record_settled(job, spec, replace(GOOD, receipts_root=Hash(bytes(32))))
    many = faulty(*[fault(FaultKind.Range, 0)] * (FAULTS_MAX + 1))
    with pytest.raises(Attribution.OutputDiffers):
        attribution.record_settled(job, spec, many)
    with pytest.raises(Attribution.OutputDiffers):
        attribution.record_settled(job, spec, replace(GOOD, shares_planck=POOL + 1))


parts = st.lists(st.integers(1, 10**19), max_size=5)


@settings(max_examples=15)
@given(parts, st.integers(1, FEES), st.integers(0, 2))
def test_no_planck_is_lost_whatever_is_shared(amounts: list[int], fees: int, pushed: int) -> None:
    with Workshop() as workshop:
        open_gate(workshop)
        earn(workshop)
        who = [AccountId(bytes((at + 1,)) * 32) for at in range(len(amounts))]
        job = close(workshop, fees_planck=fees, missing_planck=FEES - fees)
        shared_pool = epoch(workshop).pool_planck
        assert shared_pool == POOL * fees // FEES
        amounts = amounts if sum(amounts) <= shared_pool else []
        output = shared(shares_of(*zip(who, amounts, strict=False)), pushed)
        workshop.next_block()
        workshop.answer(job, output)
        earned = sum(claimable(workshop, one) for one in who)
        unclaimed = epoch(workshop).shares_planck - epoch(workshop).claimed_planck
        commons = workshop.attribution.common_pool(MODEL)
        assert earned + unclaimed + commons + pool_of(workshop)[0] == POOL
        assert workshop.attribution.accounted.get() == POOL
        workshop.check()


# --------------------------------------------------------------------------------------- convicting


def test_false_receipts_cost_the_bond_and_pay_executors_and_commons(workshop: Workshop) -> None:
    alice, executor = workshop.balances.free(ALICE), workshop.balances.free(EXECUTORS[0])
    channel = paid_channel(workshop)
    job = close(workshop)
    escrow = workshop.escrow(SERVER)
    workshop.next_block()
    workshop.answer(job, faulty(fault(FaultKind.Text, 15 * OPEN, channel)))
    assert bond_of(workshop) == SERVER_BOND - 150 * OPEN
    assert workshop.balances.free(ALICE) - alice == 15 * OPEN
    assert workshop.balances.free(EXECUTORS[0]) - executor == escrow
    assert workshop.attribution.common_pool(MODEL) == POOL
    assert workshop.state(job) is JobState.Settled
    assert epoch(workshop).state is EpochState.Convicted
    assert not workshop.attribution.is_settling(SERVER)
    assert workshop.events(Attribution.EpochConvicted) == [
        Attribution.EpochConvicted(MODEL, SERVER, 0, 150 * OPEN, POOL)
    ]
    assert pool_of(workshop) == (0, 0)


def test_the_least_slash_is_all_that_the_epoch_earned(workshop: Workshop) -> None:
    settle(workshop, faulty(fault(FaultKind.Declaration, 0)))
    assert bond_of(workshop) == SERVER_BOND - FEES


@pytest.mark.parametrize("kind", FaultKind)
def test_only_channels_that_really_paid_for_a_false_answer_are_repaid(
    workshop: Workshop, kind: FaultKind
) -> None:
    before = workshop.balances.free(EVE)
    settle(workshop, faulty(fault(kind, OPEN, paid_channel(workshop, EVE))))
    is_repaid = kind in REPAID
    assert is_repaid == (kind > FaultKind.Range)
    assert workshop.balances.free(EVE) - before == (OPEN if is_repaid else 0)
    assert bond_of(workshop) == SERVER_BOND - FEES


def test_a_conviction_takes_at_most_the_bond_that_is_left(workshop: Workshop) -> None:
    channel = paid_channel(workshop)
    job = close(workshop)
    workshop.inference.slash_server(SERVER, SERVER_BOND - OPEN, ())
    workshop.next_block()
    before = workshop.balances.free(ALICE)
    workshop.answer(job, faulty(fault(FaultKind.Answer, FEES, channel)))
    assert bond_of(workshop) == 0
    assert workshop.balances.free(ALICE) - before == OPEN


def test_a_conviction_repays_no_more_than_the_epoch_took(workshop: Workshop) -> None:
    alice, eve = workshop.balances.free(ALICE), workshop.balances.free(EVE)
    mine, eves = paid_channel(workshop), paid_channel(workshop, EVE)
    faults = [fault(FaultKind.Text, FEES - OPEN, mine), fault(FaultKind.Text, SERVER_BOND, eves)]
    settle(workshop, faulty(*faults))
    assert workshop.balances.free(ALICE) - alice == FEES - OPEN
    assert workshop.balances.free(EVE) - eve == OPEN
    assert bond_of(workshop) == 0


def test_what_a_conviction_repays_is_what_the_channel_was_not_repaid_yet(
    workshop: Workshop,
) -> None:
    before = workshop.balances.free(ALICE)
    channel = paid_channel(workshop, paid=9 * OPEN)
    workshop.inference.slash_server(SERVER, 10 * OPEN, ((channel, 2 * OPEN),))
    settle(workshop, faulty(*[fault(FaultKind.Text, 5 * OPEN, channel)] * 2))
    assert workshop.balances.free(ALICE) - before == 9 * OPEN
    record = workshop.inference.channel(channel)
    assert record is not None
    assert record.repaid_planck == 9 * OPEN


@pytest.mark.parametrize("channel", [None, 7, 0])
def test_a_fault_of_no_channel_of_the_server_repays_nobody(
    workshop: Workshop, channel: int | None
) -> None:
    workshop.sign(CHARLIE, "Inference", "register_server", bond=SERVER_BOND)
    assert paid_channel(workshop, server=CHARLIE) == 0
    before = workshop.balances.free(ALICE)
    settle(workshop, faulty(fault(FaultKind.Text, OPEN, channel)))
    assert workshop.balances.free(ALICE) == before
    assert bond_of(workshop) == SERVER_BOND - FEES


def test_a_convicted_epoch_is_not_closed_again(workshop: Workshop) -> None:
    settle(workshop, faulty(fault(FaultKind.Order, OPEN)))
    with pytest.raises(Attribution.NotFailed):
        close(workshop, "close_again", epoch=0)


def test_a_server_cannot_leave_with_its_bond_before_the_verdict(workshop: Workshop) -> None:
    job = close(workshop)
    workshop.sign(SERVER, "Inference", "leave_service")
    record = workshop.inference.servers.get(SERVER)
    assert record is not None
    workshop.inference.servers.put(SERVER, replace(record, leaving_at=0))
    parameters = workshop.inference.parameters.get()
    workshop.inference.parameters.put(replace(parameters, retention_blocks=1))
    workshop.next_block(2)
    with pytest.raises(Inference.BondLocked):
        workshop.sign(SERVER, "Inference", "withdraw_server_bond")
    workshop.answer(job, faulty(fault(FaultKind.Sketch, 0)))
    workshop.sign(SERVER, "Inference", "withdraw_server_bond")
    assert workshop.balances.held(HoldReason.ServerBond, SERVER) == 0
    assert workshop.balances.free(SERVER) < ENDOWMENT - FEES


# ------------------------------------------------------------------------------------------ failing


def test_a_failed_epoch_is_closed_again(workshop: Workshop) -> None:
    job = close(workshop)
    with pytest.raises(Attribution.NotFailed):
        close(workshop, "close_again", epoch=0)
    fail(workshop, job)
    assert workshop.attribution.first_unsettled_epoch(MODEL, SERVER) == 0
    assert workshop.events(Attribution.SettlementFailed) == [
        Attribution.SettlementFailed(MODEL, SERVER, 0)
    ]
    assert pool_of(workshop) == (POOL, FEES)
    earn(workshop, 10 * OPEN, 5 * OPEN)
    settle(workshop, shared(shares_of((BOB, POOL))), "close_again", epoch=0)
    assert claimable(workshop, BOB) == POOL
    assert pool_of(workshop) == (5 * OPEN, 10 * OPEN)
    assert workshop.attribution.current_epoch(MODEL, SERVER) == 1
    assert workshop.attribution.first_unsettled_epoch(MODEL, SERVER) == 1
    with pytest.raises(Attribution.NotFailed):
        close(workshop, "close_again", epoch=0)


def test_an_epoch_stays_unsettled_while_it_is_settled(workshop: Workshop) -> None:
    attribution = workshop.attribution
    assert attribution.first_unsettled_epoch(MODEL, SERVER) == 0
    close(workshop)
    assert attribution.current_epoch(MODEL, SERVER) == 1
    assert attribution.first_unsettled_epoch(MODEL, SERVER) == 0


def test_an_expired_settlement_returns_the_pool() -> None:
    with Workshop(0, open_blocks=3) as workshop:
        open_gate(workshop)
        earn(workshop)
        job = close(workshop)
        workshop.next_block(3)
        assert workshop.state(job) is JobState.Expired
        assert pool_of(workshop) == (POOL, FEES)
        assert epoch(workshop).state is EpochState.Failed
        workshop.check()


def test_each_model_and_server_has_its_own_epochs(workshop: Workshop) -> None:
    workshop.sign(CHARLIE, "Inference", "register_server", bond=SERVER_BOND)
    earn(workshop, server=CHARLIE)
    open_gate(workshop, OTHER_MODEL)
    earn(workshop, model=OTHER_MODEL, part=OPEN)
    jobs = [close(workshop), close(workshop, server=CHARLIE), close(workshop, model=OTHER_MODEL)]
    workshop.next_block()
    for job in jobs:
        workshop.answer(job, shared(()))
    assert workshop.attribution.common_pool(MODEL) == 2 * POOL
    assert workshop.attribution.common_pool(OTHER_MODEL) == OPEN
    listed = workshop.attribution.pools(MODEL)
    assert [one.server for one in listed] == sorted((SERVER, CHARLIE))
    assert workshop.attribution.index_jobs.get(MODEL) == (INDEX_JOB,)
