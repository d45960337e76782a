"""Attribution: funding, closing and settling epochs, claims, penalties, receipts, parameters."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallets.attribution import ATTRIBUTION_POT, INDEXES_MAX, Attribution
from pallets.attribution.records import (
    PARAMETERS_MAX,
    PARAMETERS_MIN,
    EpochState,
    Penalty,
    decayed,
)
from pallets.jobs.job import FailureReason, JobFailure, JobState
from runtime.frame.dispatch import DispatchFailed
from runtime.shared.documents import Settle, Settled, SettlementEntry, output_root
from runtime.shared.shares import payout
from runtime.trie.merkle import sum_proof, sum_root
from runtime.types.primitives import OPEN, AccountId, Hash
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, DAVE, NOBODY
from tests.pallets.support.workshop import EXECUTORS, SMALL_MODEL, Workshop, indexed

MODEL = 0
POOL = 100 * OPEN
RECEIPTS = [(Hash(bytes((at,)) * 32), 10 * OPEN) for at in range(1, 8)]
ROOT, FEES = sum_root(RECEIPTS)
SERVER = EXECUTORS[0]


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain with one executor whose model is indexed and funded."""
    with Workshop() as made:
        prepare(made)
        yield made
        made.check()


CLOSING = {
    "receipts_root": ROOT,
    "receipts": len(RECEIPTS),
    "fees_planck": FEES,
    "receipts_blob": ROOT,
}


def prepare(workshop: Workshop) -> None:
    workshop.attribution.record_indexed(MODEL, 3, indexed())
    fund(workshop, POOL)


def fund(workshop: Workshop, amount: int, model: int = MODEL, server: AccountId = ALICE) -> None:
    workshop.balances.transfer(BOB, ATTRIBUTION_POT, amount)
    workshop.attribution.fund(model, amount, server)


def close(workshop: Workshop, who: AccountId = ALICE, model: int = MODEL, **changed: object) -> int:
    job = workshop.jobs.next_job.get()
    arguments = {**CLOSING, **changed}
    workshop.sign(who, "Attribution", "close_epoch", model=model, **arguments)
    return job


def entry(who: AccountId, score: int, squares: int = 0) -> SettlementEntry:
    return SettlementEntry(who, score, squares)


def settled(*entries: SettlementEntry) -> Settled:
    by_account = sorted(entries, key=lambda one: one.contributor)
    return Settled(len(RECEIPTS), ROOT, FEES, tuple(by_account))


def settle(workshop: Workshop, *entries: SettlementEntry) -> int:
    """Close the current epoch and settle it on these scores; returns the job."""
    job = close(workshop)
    workshop.next_block()
    workshop.answer(job, settled(*entries))
    return job


def claimable(workshop: Workshop, who: AccountId) -> int:
    return workshop.attribution.earnings(who).claimable


# ----------------------------------------------------------------------------------------- closing


def test_closing_takes_the_fees_out_of_the_pool_and_opens_a_settle_job(workshop: Workshop) -> None:
    job = close(workshop)
    ledger = workshop.attribution.pool(MODEL)
    assert (ledger.epoch, ledger.pool, ledger.settling) == (1, POOL - FEES, 0)
    assert workshop.job(job).spec == Settle(MODEL, 0, ROOT)
    price = workshop.jobs.price(Settle(MODEL, 0, ROOT)) or 0
    assert workshop.escrow(ALICE) == price + len(RECEIPTS) * OPEN // 100_000
    epoch = workshop.attribution.epoch(MODEL, 0)
    assert epoch is not None
    assert (epoch.state, epoch.fees_planck) == (EpochState.Settling, FEES)
    workshop.check()


def test_a_server_closes_an_epoch_of_nothing_but_what_its_channels_brought(
    workshop: Workshop,
) -> None:
    with pytest.raises(Attribution.NotServer):
        close(workshop, SERVER)
    fund(workshop, FEES - 1, server=SERVER)
    with pytest.raises(Attribution.FeesExceedPool):
        close(workshop, SERVER)
    fund(workshop, 1, server=SERVER)
    close(workshop, SERVER)
    assert workshop.attribution.pool(MODEL).pool == POOL
    with pytest.raises(Attribution.EpochSettling):
        close(workshop)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"model": 9}, Attribution.UnknownModel),
        ({"model": SMALL_MODEL}, Attribution.GateClosed),
        ({"model": 3}, Attribution.NotIndexed),
        ({"receipts": 0}, Attribution.NothingToSettle),
        ({"fees_planck": 0}, Attribution.NothingToSettle),
        ({"receipts": 100_001}, Attribution.TooManyReceipts),
        ({"fees_planck": POOL + 1}, Attribution.FeesExceedPool),
    ],
)
def test_an_epoch_that_cannot_be_settled_is_refused_by_name(
    workshop: Workshop, changed: dict[str, int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        close(workshop, **changed)  # type: ignore[arg-type]
    assert workshop.attribution.pool(MODEL).pool == POOL


def test_the_pool_of_a_small_model_waits_until_the_gate_opens(workshop: Workshop) -> None:
    workshop.attribution.record_indexed(SMALL_MODEL, 4, indexed())
    fund(workshop, POOL, SMALL_MODEL)
    with pytest.raises(Attribution.GateClosed):
        close(workshop, model=SMALL_MODEL)
    parameters = workshop.attribution.parameters()
    workshop.root("Attribution", "set_parameters", parameters=replace(parameters, rows_minimum=10))
    close(workshop, model=SMALL_MODEL)


def test_one_epoch_is_settled_at_a_time(workshop: Workshop) -> None:
    close(workshop, fees_planck=OPEN)
    with pytest.raises(Attribution.EpochSettling):
        close(workshop, fees_planck=OPEN)


# ---------------------------------------------------------------------------------------- settling


def test_fees_are_split_by_lower_bounds_and_the_rest_goes_to_the_commons(
    workshop: Workshop,
) -> None:
    entries = [entry(BOB, 300, 100), entry(CHARLIE, 100, 2_500), entry(DAVE, -50, 10)]
    job = settle(workshop, *entries)
    output = settled(*entries)
    earned, commons = payout(FEES, output.entries, 1_000)
    for one, amount in zip(output.entries, earned, strict=True):
        assert claimable(workshop, one.contributor) == amount
    assert claimable(workshop, BOB) > claimable(workshop, CHARLIE) > 0
    assert claimable(workshop, DAVE) == 0
    assert workshop.attribution.pool(MODEL).commons == commons > 0
    epoch = workshop.attribution.epoch(MODEL, 0)
    assert epoch is not None
    assert (epoch.state, epoch.job, epoch.contributors) == (EpochState.Settled, job, 2)
    assert epoch.paid_planck + epoch.commons_planck == FEES
    assert epoch.output == output_root(output)
    assert workshop.jobs.output(job) is None
    assert workshop.balances.free(ATTRIBUTION_POT) == POOL
    assert workshop.escrow(ALICE) == 0


def test_a_net_loss_adds_penalty_points_that_decay(workshop: Workshop) -> None:
    settle(workshop, entry(BOB, 300), entry(DAVE, -100))
    assert workshop.attribution.penalty(MODEL, BOB) == 0
    stored = workshop.attribution.penalties.get((MODEL, DAVE))
    assert stored == Penalty(250, 0)
    assert workshop.attribution.penalty(MODEL, DAVE) == 225
    fund(workshop, POOL)
    settle(workshop, entry(BOB, 300), entry(DAVE, -100))
    assert workshop.attribution.penalties.get((MODEL, DAVE)) == Penalty(225 + 250, 1)


@given(st.integers(0, 2**64), st.integers(0, 300), st.integers(0, 999))
def test_a_penalty_never_grows_by_waiting(points: int, epochs: int, decay: int) -> None:
    now = decayed(Penalty(points, 5), 5 + epochs, decay)
    assert decayed(Penalty(points, 5), 6 + epochs, decay) <= now <= points


@pytest.mark.parametrize(
    "output",
    [
        replace(settled(), receipts=6),
        replace(settled(), fees_planck=FEES - 1),
        replace(settled(), entries=(entry(BOB, 1), entry(BOB, 1))),
        replace(settled(), entries=settled(entry(BOB, 1), entry(DAVE, 1)).entries[::-1]),
    ],
)
def test_a_settlement_that_does_not_fit_is_refused_and_the_fees_return(
    workshop: Workshop, output: Settled
) -> None:
    job = close(workshop)
    workshop.next_block()
    workshop.answer(job, output)
    assert workshop.job(job).failure is JobFailure.ResultRefused
    epoch = workshop.attribution.epoch(MODEL, 0)
    assert epoch is not None
    assert epoch.state is EpochState.Failed
    assert workshop.attribution.pool(MODEL).pool == POOL
    assert claimable(workshop, BOB) == 0


def test_refusals_of_a_settlement_have_names(workshop: Workshop) -> None:
    attribution = workshop.attribution
    with pytest.raises(Attribution.NotSettling):
        attribution.record_settled(MODEL, 0, settled())
    close(workshop)
    with pytest.raises(Attribution.OutputDiffers):
        attribution.record_settled(MODEL, 0, replace(settled(), receipts=1))
    twice = (entry(BOB, 1), entry(BOB, 1))
    with pytest.raises(Attribution.EntriesUnsorted):
        attribution.record_settled(MODEL, 0, replace(settled(), entries=twice))


def test_a_failed_epoch_is_closed_again(workshop: Workshop) -> None:
    job = close(workshop)
    arguments = {**CLOSING, "model": MODEL, "epoch": 0}
    with pytest.raises(Attribution.NotFailed):
        workshop.sign(ALICE, "Attribution", "close_again", **arguments)
    workshop.next_block()
    reason = FailureReason.MissingBlob
    workshop.sign(SERVER, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    assert workshop.attribution.pool(MODEL).pool == POOL
    workshop.check()
    again = workshop.jobs.next_job.get()
    workshop.sign(ALICE, "Attribution", "close_again", **arguments)
    workshop.next_block()
    workshop.answer(again, settled(entry(BOB, 5)))
    assert claimable(workshop, BOB) == FEES
    assert workshop.attribution.pool(MODEL).epoch == 1


def test_an_expired_settlement_returns_the_fees() -> None:
    with Workshop(0, open_blocks=3) as workshop:
        prepare(workshop)
        job = close(workshop)
        workshop.next_block(3)
        assert workshop.state(job) is JobState.Expired
        assert workshop.attribution.pool(MODEL).pool == POOL


def test_without_a_positive_score_the_commons_get_everything(workshop: Workshop) -> None:
    settle(workshop, entry(BOB, -5), entry(DAVE, 0))
    assert workshop.attribution.pool(MODEL).commons == FEES


scores = st.integers(-(10**12), 10**12)
squares = st.integers(0, 10**24)


@settings(max_examples=10)
@given(st.lists(st.tuples(scores, squares), max_size=12))
def test_no_planck_is_lost_whatever_the_scores(drawn: list[tuple[int, int]]) -> None:
    with Workshop() as workshop:
        prepare(workshop)
        accounts = [AccountId(bytes((at + 1,)) * 32) for at in range(len(drawn))]
        entries = [entry(who, *one) for who, one in zip(accounts, drawn, strict=True)]
        settle(workshop, *entries)
        earned = sum(claimable(workshop, who) for who in accounts)
        ledger = workshop.attribution.pool(MODEL)
        assert earned + ledger.commons == FEES
        assert workshop.attribution.accounted.get() == POOL
        workshop.check()


# ----------------------------------------------------------------------------------------- claims


def test_a_contributor_claims_once(workshop: Workshop) -> None:
    settle(workshop, entry(CHARLIE, 7))
    before = workshop.balances.free(CHARLIE)
    workshop.sign(CHARLIE, "Attribution", "claim")
    assert workshop.balances.free(CHARLIE) == before + FEES
    assert workshop.attribution.earnings(CHARLIE).lifetime == FEES
    with pytest.raises(Attribution.NothingToClaim):
        workshop.sign(CHARLIE, "Attribution", "claim")


def test_anyone_pays_a_contributor_and_the_pot_outlives_its_last_planck(
    workshop: Workshop,
) -> None:
    job = close(workshop, fees_planck=POOL)
    workshop.next_block()
    output = Settled(7, ROOT, POOL, (entry(NOBODY, 1),))
    workshop.answer(job, output)
    workshop.sign(DAVE, "Attribution", "claim_for", account=NOBODY)
    assert workshop.balances.free(NOBODY) == POOL
    assert workshop.balances.free(ATTRIBUTION_POT) == 0
    fund(workshop, 1)
    workshop.check()


def test_a_gift_to_the_pot_does_not_disturb_the_accounts(workshop: Workshop) -> None:
    workshop.balances.transfer(DAVE, ATTRIBUTION_POT, 5)
    workshop.check()


def test_root_spends_the_commons(workshop: Workshop) -> None:
    settle(workshop, entry(BOB, -5))
    arguments = {"model": MODEL, "dest": DAVE}
    with pytest.raises(Attribution.CommonsTooLow):
        workshop.root("Attribution", "spend_commons", amount=FEES + 1, **arguments)
    before = workshop.balances.free(DAVE)
    workshop.root("Attribution", "spend_commons", amount=FEES, **arguments)
    assert workshop.balances.free(DAVE) == before + FEES
    with pytest.raises(DispatchFailed):
        workshop.sign(ALICE, "Attribution", "spend_commons", amount=1, **arguments)


# ------------------------------------------------------------------------ receipts, indexes, bounds


def test_a_counted_receipt_can_be_proven(workshop: Workshop) -> None:
    settle(workshop, entry(BOB, 1))
    verify = workshop.attribution.verify_receipt
    proof = sum_proof(RECEIPTS, 3)
    receipt, fee = RECEIPTS[3]
    assert verify(MODEL, 0, receipt, fee, proof)
    assert not verify(MODEL, 0, receipt, fee + 1, proof)
    assert not verify(MODEL, 0, ROOT, fee, proof)
    assert not verify(MODEL, 1, receipt, fee, proof)
    assert not verify(MODEL, 0, receipt, fee, replace(proof, count=6))


def test_a_model_keeps_its_latest_indexes(workshop: Workshop) -> None:
    for job in range(10, 10 + INDEXES_MAX):
        workshop.attribution.record_indexed(MODEL, job, indexed())
    kept = [one.job for one in workshop.attribution.commitments(MODEL)]
    assert kept == list(range(10, 10 + INDEXES_MAX))
    assert workshop.attribution.indexed.get(3) is None
    assert workshop.attribution.current_epoch(MODEL) == 0


def test_root_changes_parameters_within_their_bounds(workshop: Workshop) -> None:
    parameters = workshop.attribution.parameters()
    changed = replace(parameters, bound_milli=2_000)
    workshop.root("Attribution", "set_parameters", parameters=changed)
    assert workshop.attribution.parameters().bound_milli == 2_000
    for bad in (replace(parameters, bound_milli=5_001), replace(parameters, rows_minimum=0)):
        with pytest.raises(Attribution.ParametersOutOfBounds):
            workshop.root("Attribution", "set_parameters", parameters=bad)
    for name in type(parameters).__dataclass_fields__:
        assert getattr(PARAMETERS_MIN, name) < getattr(PARAMETERS_MAX, name)
