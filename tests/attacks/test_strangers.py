"""What somebody who is part of nothing could stop, take or spoil: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pallets.attribution import Attribution
from pallets.inference import Inference
from pallets.jobs import Jobs
from pallets.jobs.candidates import ASSIGNMENTS_MAX
from pallets.jobs.job import FailureReason, JobState
from pallets.jobs.lifecycle import BUCKET_MAX, SETTLEMENTS_MAX, UNFINISHED_MAX
from runtime.frame.dispatch import Call, Origin
from runtime.types.primitives import OPEN, Hash
from tests.node.serving.support.closing_server import Server as ClosingServer
from tests.pallets.support.epochs import (
    FEES,
    POOL,
    close,
    earn,
    epoch,
    open_gate,
    show_texts,
)
from tests.pallets.support.ledger import ALICE, BOB, EVE
from tests.pallets.support.market import OPEN_TOKENS, SERVER, Market
from tests.pallets.support.workshop import EXECUTORS, Workshop, trained
from tests.pallets.support.workshop import SERVER as SETTLING_SERVER


@pytest.fixture
def chain() -> Iterator[Workshop]:
    with Workshop(3, executors_per_job=2) as chain:
        open_gate(chain)
        earn(chain)
        yield chain
        chain.check()


@pytest.fixture
def market() -> Iterator[Market]:
    with Market() as market:
        market.open()
        yield market
        market.check()


def test_who_brought_a_planck_closes_only_its_own_epoch(chain: Workshop) -> None:
    earn(chain, 2, 1, server=EVE)
    with pytest.raises((Attribution.FeesExceedPool, Attribution.FeesExceedBond)):
        close(chain, server=EVE)
    close(chain)
    assert epoch(chain).fees_planck == FEES
    assert chain.attribution.pool(0, SETTLING_SERVER).pool == 0


def test_nobody_closes_again_what_failed_of_another(chain: Workshop) -> None:
    job = close(chain)
    chain.next_block()
    for who in chain.executors(job):
        reason = FailureReason.MissingBlob
        chain.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    with pytest.raises(Attribution.NotFailed):
        close(chain, "close_again", server=EVE, epoch=0)
    assert chain.attribution.pool(0, SETTLING_SERVER).pool == POOL


def test_nobody_has_a_server_slashed_for_what_it_redeemed_below_the_gate(
    chain: Workshop,
) -> None:
    earn(chain, FEES, POOL, model=4)
    open_gate(chain, 4)
    earn(chain, OPEN, OPEN // 2, model=4)
    chain.attribution.governed.put(replace(chain.attribution.parameters(), close_blocks=20))
    bond = chain.inference.bond_of(SETTLING_SERVER)
    chain.next_block(21)
    chain.sign(EVE, "Attribution", "report_overdue", model=4, server=SETTLING_SERVER)
    assert chain.inference.bond_of(SETTLING_SERVER) == bond - OPEN, "no receipt is owed for more"
    assert chain.attribution.common_pool(4) == POOL + OPEN // 2


def test_nobody_has_a_server_slashed_that_was_up_within_its_time(tmp_path: Path) -> None:
    server = ClosingServer(tmp_path)
    close_blocks = server.node.parameters.close_blocks
    server.answer()
    server.draw_all()
    server.block()
    due_from = server.node.ledger.due_from
    assert due_from is not None, "what was redeemed is due"
    server.node.height = due_from + close_blocks - close_blocks // 100  # it was down until then
    server.start()
    server.block(lands=False, count=64)  # and then blocks are full
    server.block(count=2)
    assert server.node.ledger.settling == 0
    assert server.node.height < due_from + close_blocks
    server.close()


def test_nobody_sweeps_the_pool_of_a_server_that_is_there(chain: Workshop) -> None:
    with pytest.raises(Attribution.ServerBonded):
        chain.sign(EVE, "Attribution", "sweep_pool", model=0, server=SETTLING_SERVER)


def test_nobody_shows_texts_for_a_server(chain: Workshop) -> None:
    job = close(chain)
    chain.next_block()
    with pytest.raises(Attribution.NotYourJob):
        show_texts(chain, job, server=EVE)


def test_nobody_removes_a_channel_that_is_evidence_still(market: Market) -> None:
    market.pay(OPEN_TOKENS)
    market.end(SERVER)
    for who in (ALICE, SERVER):
        with pytest.raises(Inference.StillNeeded):
            market.sign(who, "Inference", "remove_channel", channel=0)
    market.next_block(100)
    with pytest.raises(Inference.StillNeeded):
        market.sign(ALICE, "Inference", "remove_channel", channel=0)


def test_submitting_and_cancelling_leaves_the_block_to_those_who_owe_an_answer(
    chain: Workshop,
) -> None:
    job = chain.assigned()
    pairs = 0
    for _ in range(400):
        try:
            number = chain.submit()
        except Jobs.JobsFull:
            break
        chain.sign(ALICE, "Jobs", "cancel", job=number)
        pairs += 1
    for who in chain.executors(job):
        chain.commit(who, job, trained())
    for who in chain.executors(job):
        chain.reveal(who, job, trained())
    assert pairs == 400, "what was cancelled takes no room"


def test_answers_of_who_owes_none_are_in_no_block(chain: Workshop) -> None:
    job = chain.assigned()
    call = Call("Jobs", "commit", (job, 0, Hash(bytes(32))))
    check = chain.machine.bound("Jobs", "commit").spec.check
    assert check is not None, "checked before it is in the pool"
    with pytest.raises(Jobs.NotAssigned), chain.machine.transaction():
        chain.machine.dispatch(call, Origin.signed(EVE))


def test_filling_the_table_of_jobs_costs_more_than_it_holds_up(chain: Workshop) -> None:
    cost = 0
    for number in range(UNFINISHED_MAX):
        chain.jobs.unfinished.put(number)
        cost += chain.jobs.place_fee()
    chain.jobs.unfinished.put(0)
    assert cost > 1_000 * OPEN, "burned, not held"
    assert SETTLEMENTS_MAX > 0, "and settlements have places of their own"
    close(chain)


def test_cheap_trainings_hold_no_settlement_up() -> None:
    """They would take all places of the executors, and the deadlines of the next blocks."""
    with Workshop(2, executors_per_job=2, open_jobs_per_account=100) as chain:
        open_gate(chain)
        earn(chain)
        for _ in range(ASSIGNMENTS_MAX + BUCKET_MAX):
            chain.submit()
        chain.next_block(ASSIGNMENTS_MAX // BUCKET_MAX)
        assert len(chain.jobs.assignments.get(EXECUTORS[0])) == ASSIGNMENTS_MAX
        job = close(chain)
        chain.next_block()
        assert chain.state(job) is JobState.Assigned


def test_registrations_without_anybody_behind_them_keep_no_executor_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pallets.jobs.executors.EXECUTORS_MAX", 2)
    with Workshop(2, heartbeat_blocks=5) as chain:
        with pytest.raises(Jobs.RegistryFull):
            chain.register(EXECUTORS[4])
        chain.next_block(6)
        chain.register(EXECUTORS[4])
        assert EXECUTORS[4] in chain.jobs.executor_accounts.get()


def test_nobody_takes_back_what_contributors_are_paid_from(market: Market) -> None:
    market.pay(OPEN_TOKENS)
    with pytest.raises(Inference.NothingToTakeBack):
        market.sign(BOB, "Inference", "take_back", channel=0)
