"""Rules that the simulated market showed to be missing: each kept a liar above zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchmarks.market.answers import Answer, Question, make_answer, signed_voucher
from benchmarks.market.catalogue import STRATEGIES
from benchmarks.market.keys import account, signature
from benchmarks.market.servers import Server, declared_sum
from benchmarks.market.strategies.strategy import HONEST
from benchmarks.market.terms import (
    CLOSE_BLOCKS,
    DEPOSIT,
    INDEX_JOB,
    MODEL,
    RETENTION_BLOCKS,
    SERVER_BOND,
)
from benchmarks.market.world import World
from pallets.attribution import Attribution, epochs
from pallets.attribution.records import EpochState
from pallets.balances import HoldReason
from runtime.shared.documents import Settle
from runtime.shared.receipts import receipt_hash
from runtime.types.primitives import ZERO_HASH, Id

ASKER, SERVER = "asker0", "server0"
QUESTION = Question("why?", tokens_in=30, tokens_out=100, phi=bytes(16))


class Market:
    """A world in which one asker has had one answer, and nobody acts but by the test."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chain = world.chain
        server = world.parties[SERVER]
        assert isinstance(server, Server)
        self.server = server
        self.answer = self._ask()

    def _ask(self) -> Answer:
        self.chain.sign(
            account(ASKER),
            "Inference",
            "open_channel",
            model=MODEL,
            server=Id(account(SERVER)),
            deposit=DEPOSIT,
        )
        rates = self.chain.inference.rates(MODEL)
        assert rates is not None
        voucher = signed_voucher(
            ASKER,
            QUESTION,
            channel=0,
            sequence=1,
            before_planck=0,
            limit_planck=DEPOSIT // 2,
            rates=rates,
            expires_at=100,
        )
        answer = make_answer(SERVER, voucher, QUESTION, QUESTION.tokens_out)
        self.server.record(answer)
        return answer

    @property
    def fee(self) -> int:
        return self.answer.signed.receipt.fee_planck

    @property
    def bond(self) -> int:
        return self.chain.inference.bond_of(account(SERVER))

    def free(self) -> int:
        return self.chain.balances.free(account(ASKER))

    def redeem(self, tokens_out: int = QUESTION.tokens_out) -> None:
        assert self.server.draw(self.answer.signed.voucher, QUESTION.tokens_in, tokens_out)

    def report(self, fee_planck: int | None = None) -> None:
        receipt = self.answer.signed.receipt
        if fee_planck is not None:
            receipt = replace(receipt, fee_planck=fee_planck)
        self.chain.sign(
            account(ASKER),
            "Inference",
            "report_receipt",
            voucher=self.answer.signed.voucher,
            receipt=receipt,
            signature=signature(SERVER, receipt_hash(receipt)),
        )

    def close(self, fees_planck: int, missing_planck: int = 0) -> None:
        root, _ = declared_sum([self.answer])
        self.chain.sign(
            account(SERVER),
            "Attribution",
            "close_epoch",
            model=MODEL,
            receipts_root=root,
            receipts=1,
            fees_planck=fees_planck,
            missing_planck=missing_planck,
            receipts_blob=ZERO_HASH,
        )

    def pass_blocks(self, count: int) -> None:
        for _ in range(count):
            self.chain.next_block()


@pytest.fixture
def market() -> Iterator[Market]:
    """Give a market with one answer that is not redeemed."""
    world = World(1, HONEST)
    with world.chain.running():
        world.begin()
        yield Market(world)
        world.chain.check()


def test_what_an_epoch_leaves_out_costs_as_much_and_its_pool_is_the_commons(
    market: Market,
) -> None:
    market.redeem()
    pool = market.chain.attribution.pool(MODEL, account(SERVER)).pool
    with pytest.raises(Attribution.FeesExceedPool):
        market.close(market.fee + 1)
    half = market.fee // 2
    with pytest.raises(Attribution.FeesMissing):
        market.close(half)
    market.close(half, market.fee - half)
    assert market.bond == SERVER_BOND - (market.fee - half)
    assert market.chain.attribution.common_pool(MODEL) == pool - pool * half // market.fee
    assert market.chain.attribution.pool(MODEL, account(SERVER)).pool == 0
    assert market.chain.attribution.unsettled_of(account(SERVER)) == 0


def test_the_epochs_of_a_server_that_are_being_settled_share_its_bond(market: Market) -> None:
    market.redeem()
    settling = market.chain.attribution.at_risk
    settling.put(account(SERVER), SERVER_BOND - market.fee + 1)
    with pytest.raises(Attribution.FeesExceedBond):
        market.close(market.fee)
    settling.remove(account(SERVER))


def test_a_server_redeems_no_more_than_its_bond_answers_for(market: Market) -> None:
    chain, who = market.chain, account(SERVER)
    chain.inference.slash_server(who, SERVER_BOND - market.fee + 1, ())
    assert chain.inference.redeemable(MODEL, who) == market.fee - 1
    assert not market.server.draw(
        market.answer.signed.voucher, QUESTION.tokens_in, QUESTION.tokens_out
    )
    chain.sign(who, "Inference", "add_server_bond", amount=1)
    market.redeem()
    assert chain.inference.redeemable(MODEL, who) == 0
    market.close(market.fee)
    assert chain.inference.redeemable(MODEL, who) == 0, "the bond answers for what is settled too"


def fail_settlement(market: Market) -> None:
    attribution = market.chain.attribution
    record = attribution.epoch(MODEL, account(SERVER), 0)
    assert record is not None
    assert record.state is EpochState.Settling
    job = market.chain.jobs.job(record.job)
    assert job is not None
    assert isinstance(job.spec, Settle)
    epochs.give_pool_back(attribution, job.spec)


def test_a_failed_epoch_is_closed_again_before_the_next_one(market: Market) -> None:
    market.redeem()
    market.close(market.fee)
    fail_settlement(market)
    with pytest.raises(Attribution.EpochFailed):
        market.close(market.fee)
    assert market.chain.attribution.unsettled_of(account(SERVER)) == market.fee


def test_a_server_that_hides_the_receipts_of_an_epoch_is_convicted() -> None:
    world = World(0, STRATEGIES["hides the file"])
    with world.chain.running():
        world.run()
        convicted = world.chain.events(Attribution.EpochConvicted)
        assert {event.server for event in convicted} == {account(SERVER)}
        assert not world.chain.events(Attribution.SettlementFailed)


def leave(market: Market) -> None:
    chain, who = market.chain, account(SERVER)
    chain.sign(who, "Inference", "leave_service")
    chain.sign(who, "Inference", "close_channel", channel=0)
    market.pass_blocks(RETENTION_BLOCKS + 1)
    chain.sign(who, "Inference", "remove_channel", channel=0)
    chain.sign(who, "Inference", "withdraw_server_bond")


def test_who_leaves_what_it_redeemed_unsettled_is_slashed_for_it(market: Market) -> None:
    market.redeem()
    before = market.chain.balances.free(account(SERVER))
    leave(market)
    assert market.chain.balances.held(HoldReason.ServerBond, account(SERVER)) == 0
    got = market.chain.balances.free(account(SERVER)) - before
    assert got == SERVER_BOND - market.fee
    market.chain.sign(
        account(ASKER), "Attribution", "sweep_pool", model=MODEL, server=account(SERVER)
    )
    assert market.chain.attribution.unsettled_of(account(SERVER)) == 0


def report_overdue(market: Market) -> None:
    market.chain.sign(
        account(ASKER), "Attribution", "report_overdue", model=MODEL, server=account(SERVER)
    )


def test_an_epoch_that_is_not_closed_in_time_costs_its_server(market: Market) -> None:
    market.redeem()
    pool = market.chain.attribution.pool(MODEL, account(SERVER)).pool
    market.pass_blocks(CLOSE_BLOCKS)
    with pytest.raises(Attribution.NotOverdue):
        report_overdue(market)
    market.pass_blocks(1)
    report_overdue(market)
    assert market.bond == SERVER_BOND - market.fee
    assert market.chain.attribution.common_pool(MODEL) == pool
    assert market.chain.attribution.current_epoch(MODEL, account(SERVER)) == 1
    with pytest.raises(Attribution.NotOverdue):
        report_overdue(market)


def shrink_model(market: Market) -> None:
    """Let the model be trained again on too few rows for attribution."""
    recorded = market.chain.attribution.recorded_index(INDEX_JOB)
    assert recorded is not None
    indexed = replace(recorded.indexed, rows=1)
    market.chain.attribution.record_indexed(MODEL, INDEX_JOB + 1, indexed)
    assert not market.chain.attribution.is_open(MODEL)


def test_what_was_redeemed_before_a_model_shrank_can_be_closed(market: Market) -> None:
    market.redeem()
    shrink_model(market)
    market.close(market.fee)


def test_what_is_redeemed_after_a_model_shrank_is_due_all_the_same(market: Market) -> None:
    shrink_model(market)
    market.redeem()
    assert market.chain.attribution.unsettled_of(account(SERVER)) == market.fee
    market.close(market.fee)


def test_the_time_to_close_stands_still_while_an_epoch_is_settled(market: Market) -> None:
    market.redeem()
    market.close(market.fee)
    market.pass_blocks(1)
    with pytest.raises(Attribution.NotOverdue):
        report_overdue(market)
    fail_settlement(market)
    failed_at = market.chain.number
    assert market.chain.attribution.pool(MODEL, account(SERVER)).due_from == failed_at
