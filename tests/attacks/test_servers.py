"""What a server could gain by lying, by leaving or by withholding: nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.attribution.index import AGGREGATES
from node.client.asker_ledger import (
    AskerLedger,
    ChannelBook,
    ChannelDisputedError,
    Promise,
    ReceiptDisputedError,
    ReceivedAnswer,
)
from pallets.attribution import Attribution
from pallets.attribution.records import CONVICTION_MIN, EpochState
from pallets.balances import HoldReason
from pallets.inference import Inference
from pallets.jobs.job import FailureReason, JobFailure, JobState
from runtime.shared.documents import FaultKind
from runtime.shared.receipts import Rates, Sampling, receipt_hash
from runtime.types.primitives import OPEN, AccountId, Hash
from tests.ml.jobs.support.epoch_workshop import (
    Told,
    answer,
    build,
    channels_of,
    small_rows,
    with_evidence,
    with_receipt,
    with_voucher,
)
from tests.ml.jobs.support.epoch_workshop import Workshop as EpochWorkshop
from tests.node.support.paid_answers import (
    ASKER,
    CHANNEL,
    GENESIS,
    MODEL,
    SALT,
    SERVER_ACCOUNT,
    receipt_for,
)
from tests.node.support.paid_answers import signed as signed_voucher
from tests.node.support.paid_answers import voucher as voucher_of
from tests.pallets.support.epochs import (
    FEES,
    POOL,
    close,
    earn,
    epoch,
    fault,
    faulty,
    open_gate,
    paid_channel,
    settle,
    shared,
    show_texts,
)
from tests.pallets.support.ledger import ALICE, BOB, EVE
from tests.pallets.support.market import BOND, OPEN_TOKENS, Market
from tests.pallets.support.market import SERVER as MARKET_SERVER
from tests.pallets.support.workshop import BOND as EXECUTOR_BOND
from tests.pallets.support.workshop import SERVER, SERVER_BOND, Workshop, indexed


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory) -> EpochWorkshop:
    return build(tmp_path_factory.mktemp("epoch"), small_rows())


@pytest.fixture(scope="module")
def told(epochs: EpochWorkshop) -> list[Told]:
    return answer(epochs, ["alpha.beta(x)", "gamma.zeta(x)", "eta.theta(x)", "beta.delta(x)"])


@pytest.fixture
def chain() -> Iterator[Workshop]:
    """Two executors, a model above the gate, and fees that the server has redeemed."""
    with Workshop(2, executors_per_job=2) as chain:
        open_gate(chain)
        earn(chain)
        yield chain
        chain.check()


@pytest.fixture
def crowd() -> Iterator[Workshop]:
    """The same with a third executor."""
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


# ---------------------------------------------------------------------- against one's own askers


def test_a_server_cannot_make_its_asker_sign_for_a_debt_that_it_invents(tmp_path: Path) -> None:
    books = AskerLedger(tmp_path, GENESIS, AccountId(ASKER.account))
    books.begin(CHANNEL, SERVER_ACCOUNT, MODEL)
    promise = signed_voucher(voucher_of())
    books.promise(CHANNEL, Promise(promise, SALT, 100, 100))
    invented = receipt_for(promise, fee_planck=999_999 * OPEN)
    with pytest.raises(ReceiptDisputedError):
        books.settle(CHANNEL, invented)
    book = books.get(CHANNEL)
    assert book is not None
    assert (book.spent_planck, book.disputed) == (0, invented)


def test_a_server_is_never_paid_later_for_what_its_asker_refused(tmp_path: Path) -> None:
    books = AskerLedger(tmp_path, GENESIS, AccountId(ASKER.account))
    books.begin(CHANNEL, SERVER_ACCOUNT, MODEL)
    promise = signed_voucher(voucher_of())
    books.promise(CHANNEL, Promise(promise, SALT, 100, 100))
    padded = receipt_for(promise)
    received = ReceivedAnswer(receipt_hash(padded.receipt), 4, 3, padded.receipt.answer)
    books.receive(CHANNEL, received, 100, 100)
    with pytest.raises(ReceiptDisputedError):
        books.settle(CHANNEL, padded)
    after_a_kill = AskerLedger(tmp_path, GENESIS, AccountId(ASKER.account))
    with pytest.raises(ChannelDisputedError):
        after_a_kill.settle(CHANNEL, padded)
    recovered = ChannelBook(SERVER_ACCOUNT, MODEL, padded.ends_planck, 1, last=padded)
    with pytest.raises(ChannelDisputedError):
        after_a_kill.recover(CHANNEL, recovered)
    assert after_a_kill.get(CHANNEL) == books.get(CHANNEL)


def test_a_server_cannot_raise_the_price_of_an_answer_that_runs(market: Market) -> None:
    agreed = market.voucher()
    record = market.models.record
    market.models.record = record.with_rates(
        10**6 * record.rate_in_planck, 10**6 * record.rate_out_planck, market.number
    )
    market.redeem(agreed, OPEN_TOKENS)
    assert market.channel().redeemed_planck == OPEN


def test_a_server_cannot_draw_more_than_its_receipt_says(market: Market) -> None:
    voucher = market.voucher()
    given = market.receipt(voucher, OPEN_TOKENS)
    market.redeem(voucher, 3 * OPEN_TOKENS)
    asker = market.balances.free(BOB)
    market.report(voucher, given)
    assert market.balances.free(BOB) == asker + 2 * OPEN, "the asker has the difference again"
    assert market.bond() == BOND - 20 * OPEN


def test_a_server_cannot_hide_a_large_lie_behind_a_small_one_that_it_reports_itself(
    market: Market,
) -> None:
    voucher = market.voucher()
    honest = market.receipt(voucher, OPEN_TOKENS)
    market.redeem(voucher, 9 * OPEN_TOKENS)
    small = replace(honest, tokens_in=9 * OPEN_TOKENS - 1, fee_planck=9 * OPEN - 10**10)
    market.report(voucher, small)
    market.report(voucher, honest)
    assert market.bond() == BOND - 80 * OPEN


def test_a_server_cannot_take_its_bond_home_by_an_asker_of_its_own(market: Market) -> None:
    voucher = market.voucher()
    market.redeem(voucher, OPEN_TOKENS)
    flattering = market.receipt(voucher, OPEN_TOKENS, fee_planck=BOND)
    before = market.balances.free(BOB)
    market.report(voucher, flattering)
    assert market.balances.free(BOB) - before <= OPEN, "no more than the channel had paid"
    assert market.bond() == 0


def test_a_server_cannot_take_its_bond_home_by_a_report_of_a_cheap_answer(market: Market) -> None:
    market.redeem(market.voucher(), 8 * OPEN_TOKENS)
    cheap = market.voucher(2, 8 * OPEN, limit_planck=9 * OPEN)
    before = market.balances.free(BOB)
    for fee in (BOND, BOND + OPEN):
        market.report(cheap, market.receipt(cheap, OPEN_TOKENS, fee_planck=fee))
    assert market.balances.free(BOB) - before == OPEN, "no more than the answer could cost"
    assert market.bond() == 0


# ----------------------------------------------------------------------- against the contributors


def test_a_server_cannot_move_a_pool_to_a_friend_by_an_invented_sketch(
    epochs: EpochWorkshop, told: list[Told], chain: Workshop
) -> None:
    aggregates = AGGREGATES.decode(
        (epochs.folder / epochs.index.indexed.aggregates.hex()).read_bytes()
    )
    friend = np.sign(np.array(aggregates[0].psi_sum))
    phi = (127 * friend).astype(np.int8).tobytes()
    forged = epochs.settle([with_evidence(told[0], phi=phi), *told[1:]])
    assert [(fault.kind, fault.position) for fault in forged.faults] == [(FaultKind.Sketch, 0)]

    settle(chain, faulty(fault(FaultKind.Sketch, OPEN)))
    assert epoch(chain).state is EpochState.Convicted
    assert chain.attribution.common_pool(0) == POOL, "the pool is the contributors' still"
    assert chain.inference.bond_of(SERVER) == SERVER_BOND - FEES


def test_a_server_cannot_be_convicted_for_the_gain_of_an_asker_of_its_own(
    chain: Workshop,
) -> None:
    paid = paid_channel(chain, EVE, paid=OPEN)
    before = chain.balances.free(EVE)
    settle(chain, faulty(fault(FaultKind.Receipt, FEES, paid)))
    assert chain.balances.free(EVE) - before == OPEN, "a channel is repaid at most what it paid"
    assert chain.inference.bond_of(SERVER) == 0


def test_a_server_cannot_give_an_answer_more_weight_than_its_fee(
    epochs: EpochWorkshop, told: list[Told]
) -> None:
    def lengthened(phi: bytes) -> bytes:
        numbers = np.frombuffer(phi, np.int8).astype(np.int64)
        return np.clip(2 * numbers, -127, 127).astype(np.int8).tobytes()

    forged = [with_evidence(it, phi=lengthened(it.signed.evidence.phi)) for it in told]
    faults = epochs.settle(forged).faults
    assert [fault.position for fault in faults] == list(range(len(told))), "drawn or not"


@pytest.mark.parametrize("lie", ["an invented channel", "the same receipt twice", "another model"])
def test_a_server_cannot_be_paid_for_receipts_that_nobody_paid_for(
    epochs: EpochWorkshop, told: list[Told], lie: str
) -> None:
    channels = channels_of([each.signed for each in told])
    if lie == "an invented channel":
        settled = epochs.settle(told, channels[:-1])
    elif lie == "the same receipt twice":
        settled = epochs.settle([told[0], told[0], *told[1:]], channels)
    else:
        other = with_receipt(told[0], adapter=Hash(b"other".ljust(32, b"\0")))
        settled = epochs.settle([other, *told[1:]], channels)
    assert settled.faults
    assert settled.shares_planck == 0


def test_a_server_cannot_declare_more_than_its_channels_brought(chain: Workshop) -> None:
    with pytest.raises(Attribution.FeesExceedPool):
        close(chain, fees_planck=FEES + 1)


def test_a_false_declaration_pays_the_executors_that_it_kept_busy(chain: Workshop) -> None:
    job = close(chain)
    escrow = chain.job(job).escrow
    chain.next_block()
    executors = chain.executors(job)
    before = sum(chain.balances.free(who) for who in executors)
    chain.answer(job, faulty(fault(FaultKind.Declaration, FEES)))
    assert chain.state(job) is JobState.Settled
    assert sum(chain.balances.free(who) for who in executors) == before + escrow


def test_a_server_cannot_leave_out_what_it_does_not_want_to_be_looked_at(
    chain: Workshop,
) -> None:
    with pytest.raises(Attribution.FeesMissing):
        close(chain, fees_planck=FEES - OPEN)
    close(chain, fees_planck=FEES - OPEN, missing_planck=OPEN)
    assert chain.inference.bond_of(SERVER) == SERVER_BOND - OPEN, "it costs as much as it brought"


def test_a_server_that_never_closes_its_epochs_pays_for_it(chain: Workshop) -> None:
    chain.attribution.governed.put(replace(chain.attribution.parameters(), close_blocks=20))
    chain.next_block(21)
    chain.sign(EVE, "Attribution", "report_overdue", model=0, server=SERVER)
    assert chain.inference.bond_of(SERVER) == SERVER_BOND - FEES
    assert chain.attribution.common_pool(0) == POOL


def test_a_server_cannot_free_itself_of_its_duty_by_a_training_on_few_rows(
    chain: Workshop,
) -> None:
    chain.attribution.record_indexed(0, 99, indexed(rows=1))
    assert not chain.attribution.is_open(0)
    earn(chain)
    assert chain.attribution.unsettled_of(SERVER) == 2 * FEES
    with pytest.raises(Attribution.FeesMissing):
        close(chain, fees_planck=FEES)


def test_a_server_cannot_take_more_than_its_bond_answers_for_and_leave(market: Market) -> None:
    market.fund.was_open, market.fund.answered = True, BOND
    with pytest.raises(Inference.AboveBond):
        market.pay(OPEN_TOKENS)


def test_a_server_cannot_let_its_epoch_fail_until_the_draw_spares_its_lies(
    chain: Workshop,
) -> None:
    job = close(chain)
    chain.next_block()
    seed = chain.job(job).seed
    for who in chain.executors(job):
        reason = FailureReason.MissingBlob
        chain.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    with pytest.raises(Attribution.ReceiptsDiffer):
        close(chain, "close_again", epoch=0, receipts=4)
    again = close(chain, "close_again", epoch=0)
    chain.next_block()
    assert chain.job(again).seed == seed


def test_a_server_cannot_save_its_bond_by_keeping_the_texts_to_itself(chain: Workshop) -> None:
    job = close(chain)
    chain.next_block()
    chain.next_block(chain.attribution.parameters().text_blocks + 1)
    chain.sign(EVE, "Attribution", "report_withheld", job=job, attempt=0)
    assert epoch(chain).state is EpochState.Convicted
    assert chain.inference.bond_of(SERVER) == SERVER_BOND - FEES


def test_a_server_cannot_save_its_bond_by_texts_that_nobody_can_read(chain: Workshop) -> None:
    job = close(chain)
    chain.next_block()
    show_texts(chain, job)
    for who in chain.executors(job):
        reason = FailureReason.WithheldTexts
        chain.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    assert epoch(chain).state is EpochState.Convicted
    assert chain.inference.bond_of(SERVER) == SERVER_BOND - FEES


def test_a_server_cannot_show_its_executors_different_texts(crowd: Workshop) -> None:
    chain, job = crowd, close(crowd)
    chain.next_block()
    show_texts(chain, job, content=Hash(b"one".ljust(32, b"\0")))
    first, second = chain.executors(job)
    chain.commit(first, job, shared(()))
    reason = FailureReason.WithheldTexts  # its box had another content than was named
    chain.sign(second, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    chain.next_block()
    with pytest.raises(Attribution.TextsDiffer):
        show_texts(chain, job, attempt=1, content=Hash(b"other".ljust(32, b"\0")))
    assert [chain.bond(who) for who in (first, second)] == [EXECUTOR_BOND] * 2


@pytest.mark.parametrize("changed", [Sampling(0, 1_000, 0), Sampling(2_000, 1_000, 1)])
def test_a_server_cannot_choose_tokens_otherwise_than_its_asker_signed(
    epochs: EpochWorkshop, changed: Sampling
) -> None:
    told = answer(epochs, ["alpha.beta(x)"], Sampling(1_500, 1_000, 0))
    assert epochs.settle(told).faults == ()
    lied = [with_voucher(told[0], sampling=changed)]
    assert [fault.kind for fault in epochs.settle(lied).faults] == [FaultKind.Answer]


def test_a_server_cannot_answer_by_another_training_than_its_asker_signed(
    epochs: EpochWorkshop, told: list[Told]
) -> None:
    lied = with_voucher(told[0], train_job=told[0].signed.voucher.voucher.train_job + 1)
    assert [fault.kind for fault in epochs.settle([lied, *told[1:]]).faults] == [FaultKind.Index]


def test_a_server_cannot_turn_all_its_sketches_a_little_towards_a_friend(
    epochs: EpochWorkshop, told: list[Told]
) -> None:
    def turned(phi: bytes) -> bytes:
        numbers = np.frombuffer(phi, np.int8).copy()
        least = np.argsort(np.abs(numbers.astype(int)), kind="stable")
        numbers[least[:1]] += 1
        return numbers.tobytes()

    more = answer(epochs, [f"alpha.beta({at})" for at in range(6)])
    forged = [with_evidence(it, phi=turned(it.signed.evidence.phi)) for it in more]
    assert {fault.kind for fault in epochs.settle(forged).faults} == {FaultKind.Sketch}


def test_a_server_whose_executors_cannot_agree_pays_their_work() -> None:
    """Nobody can say whose fault it is, and they have worked."""
    with Workshop(2, executors_per_job=2, extra_attempts=0) as chain:
        open_gate(chain)
        earn(chain)
        job = close(chain)
        chain.next_block()
        one, two = chain.executors(job)
        before = {who: chain.balances.free(who) for who in (one, two)}
        outputs = {one: shared(()), two: faulty(fault(FaultKind.Text, OPEN))}
        for who, output in outputs.items():
            chain.commit(who, job, output)
        for who, output in outputs.items():
            chain.reveal(who, job, output)
        chain.next_block()
        assert chain.job(job).failure is JobFailure.NoAgreement
        assert epoch(chain).state is EpochState.Failed
        for who, free in before.items():
            assert chain.balances.free(who) == free + chain.job(job).escrow // 2
            assert chain.balances.held(HoldReason.JobBond, who) == EXECUTOR_BOND


def test_a_server_cannot_answer_for_two_epochs_with_one_bond(chain: Workshop) -> None:
    open_gate(chain, 4)
    more = SERVER_BOND - FEES + 1
    earn(chain, more, POOL, model=4)
    close(chain)
    with pytest.raises(Attribution.FeesExceedBond):
        close(chain, model=4, fees_planck=more)


def test_a_server_cannot_leave_with_its_bond_before_its_epoch_is_judged(chain: Workshop) -> None:
    quick = replace(chain.inference.current_parameters(), retention_blocks=1)
    chain.inference.parameters.put(quick)
    job = close(chain)
    chain.sign(SERVER, "Inference", "leave_service")
    chain.next_block(3)
    with pytest.raises(Inference.BondLocked):
        chain.sign(SERVER, "Inference", "withdraw_server_bond")
    chain.answer(job, faulty(fault(FaultKind.Answer, OPEN)))
    chain.sign(SERVER, "Inference", "withdraw_server_bond")
    assert chain.events(Inference.ServerUnregistered)[-1].bond == SERVER_BOND - FEES


def test_a_server_cannot_settle_by_an_index_of_after_the_close(
    epochs: EpochWorkshop, told: list[Told]
) -> None:
    later = with_receipt(told[0], index_job=99)
    settled = epochs.settle([later, *told[1:]])
    assert settled.faults[0].kind is FaultKind.Index


def test_a_server_that_closes_again_what_failed_loses_only_its_own_time(chain: Workshop) -> None:
    fail_epoch(chain)
    assert epoch(chain).state is EpochState.Failed
    again = close(chain, "close_again", epoch=0)
    chain.next_block()
    chain.answer(again, shared(()))
    assert epoch(chain).state is EpochState.Settled


def fail_epoch(chain: Workshop) -> None:
    """Close the server's epoch, and let its executors report that they cannot settle it."""
    job = close(chain)
    chain.next_block()
    for who in chain.executors(job):
        reason = FailureReason.MissingBlob
        chain.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)


def leave_and_return(chain: Workshop) -> None:
    """Let the server leave, its pool be swept, and the server come back."""
    quick = replace(chain.inference.current_parameters(), retention_blocks=1)
    chain.inference.parameters.put(quick)
    chain.sign(SERVER, "Inference", "leave_service")
    chain.next_block(2)
    chain.sign(SERVER, "Inference", "withdraw_server_bond")
    chain.sign(EVE, "Attribution", "sweep_pool", model=0, server=SERVER)
    chain.sign(SERVER, "Inference", "register_server", bond=SERVER_BOND)


def let_it_be_overdue(chain: Workshop) -> None:
    """Let the server miss its time to close, and be reported for it."""
    chain.attribution.governed.put(replace(chain.attribution.parameters(), close_blocks=20))
    chain.next_block(21)
    chain.sign(EVE, "Attribution", "report_overdue", model=0, server=SERVER)


@pytest.mark.parametrize("forfeit", [leave_and_return, let_it_be_overdue])
def test_a_server_cannot_pay_a_forfeited_epoch_from_later_money(
    chain: Workshop, forfeit: Callable[[Workshop], None]
) -> None:
    fail_epoch(chain)
    forfeit(chain)
    assert epoch(chain).state is EpochState.Forfeited
    earn(chain)
    with pytest.raises(Attribution.NotFailed):
        close(chain, "close_again", epoch=0)
    close(chain, fees_planck=FEES)


def test_a_server_cannot_close_again_to_have_a_later_index_count(chain: Workshop) -> None:
    fail_epoch(chain)
    closed_at = epoch(chain).closed_at
    chain.next_block(2)
    close(chain, "close_again", epoch=0)
    assert epoch(chain).closed_at == closed_at


def test_a_server_cannot_agree_with_its_asker_on_less_than_the_owner_asks(market: Market) -> None:
    cheap = market.voucher(rates=Rates(0, 0, 0))
    with pytest.raises(Inference.RatesTooLow):
        market.redeem(cheap, OPEN_TOKENS)


def test_who_is_not_bonded_gets_no_channel(market: Market) -> None:
    market.sign(MARKET_SERVER, "Inference", "leave_service")
    with pytest.raises(Inference.NotBonded):
        market.open(ALICE)


def test_a_server_cannot_keep_executors_waiting_for_the_texts_of_next_to_nothing() -> None:
    with Workshop(2, executors_per_job=2) as chain:
        open_gate(chain)
        earn(chain, 1_000, 500)
        job = close(chain, fees_planck=1_000)
        chain.next_block()
        chain.next_block(chain.attribution.parameters().text_blocks + 1)
        chain.sign(EVE, "Attribution", "report_withheld", job=job, attempt=0)
        assert chain.inference.bond_of(SERVER) == SERVER_BOND - CONVICTION_MIN
