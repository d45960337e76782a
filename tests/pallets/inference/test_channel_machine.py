"""Random lives of channels and servers, with a model in plain Python as the oracle: no planck is
lost, and every refusal has the cause that the model names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pallets.attribution import ATTRIBUTION_POT
from pallets.inference import DEPOSIT_MIN, PLATFORM_POT, GenesisServer, Inference
from pallets.transaction_payment import FEE_POT
from runtime.frame.dispatch import Error
from runtime.shared.receipts import Voucher
from runtime.types.primitives import OPEN, AccountId, Id
from tests.pallets.support.ledger import BOB, CHARLIE, DAVE, ENDOWMENT
from tests.pallets.support.market import (
    MODEL_OWNER,
    PARAMETERS,
    PLANCK_PER_TOKEN,
    Market,
    sign_receipt,
    signed,
)

PEOPLE = (BOB, CHARLIE, DAVE)
SERVERS = (CHARLIE, DAVE)
BOND = 200 * OPEN
WINDOW, RETENTION = PARAMETERS.challenge_blocks, PARAMETERS.retention_blocks
UNITS = DEPOSIT_MIN // PLANCK_PER_TOKEN
AMOUNTS = strategies.integers(0, 3).map(lambda parts: parts * UNITS // 2)
NUMBERS = strategies.integers(0, 4)
SEQUENCES = strategies.integers(0, 4)
ANYBODY = strategies.sampled_from(PEOPLE)
SCALE = max(1, int(os.environ.get("OPENLEDGER_SCALE", "1")))


@dataclass(frozen=True)
class ModelChannel:
    asker: AccountId
    server: AccountId
    deposit: int
    redeemed: int = 0
    sequence: int = 0
    closes_at: int | None = None
    is_closed: bool = False
    repaid: int = 0
    reported: dict[int, int] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)


class ChannelLife(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.market = Market(servers=tuple(GenesisServer(who, BOND) for who in SERVERS))
        self.issued = self.market.balances.total_issuance.get()
        self.channels: dict[int, ModelChannel] = {}
        self.opened = 0
        self.spent = dict.fromkeys(PEOPLE, 0)
        self.bonds = dict.fromkeys(SERVERS, BOND)
        self.slashed = 0

    def teardown(self) -> None:
        if hasattr(self, "market"):
            self.market.close()

    def attempt(self, who: AccountId, name: str, **arguments: object) -> type[Error] | None:
        try:
            self.market.sign(who, "Inference", name, **arguments)
        except Error as failure:
            return type(failure)
        return None

    def unclosed(self, number: int) -> ModelChannel | None:
        channel = self.channels.get(number)
        return None if channel is None or channel.is_closed else channel

    @rule(asker=ANYBODY, server=ANYBODY, deposit=strategies.integers(0, 3))
    def open(self, asker: AccountId, server: AccountId, deposit: int) -> None:
        amount = deposit * DEPOSIT_MIN
        outcome = self.attempt(asker, "open_channel", model=0, server=Id(server), deposit=amount)
        if not amount:
            assert outcome is Inference.DepositTooLow
        elif self.bonds.get(server, 0) < PARAMETERS.server_bond_planck:
            assert outcome is Inference.NotBonded
        else:
            assert outcome is None
            self.channels[self.opened] = ModelChannel(asker, server, amount)
            self.opened += 1

    @rule(number=NUMBERS, who=ANYBODY)
    def top_up(self, number: int, who: AccountId) -> None:
        outcome = self.attempt(who, "top_up", channel=number, amount=DEPOSIT_MIN)
        channel = self.unclosed(number)
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif channel.asker != who:
            assert outcome is Inference.NotAsker
        elif channel.closes_at is not None:
            assert outcome is Inference.IsClosing
        else:
            assert outcome is None
            self.channels[number] = replace(channel, deposit=channel.deposit + DEPOSIT_MIN)

    def voucher(self, number: int, sequence: int, before: int, span: int) -> Voucher:
        start = before * PLANCK_PER_TOKEN
        return self.market.voucher(
            sequence,
            start,
            channel=number,
            limit_planck=start + span * PLANCK_PER_TOKEN,
            expires_at=10**9,
        )

    @rule(number=NUMBERS, sequence=SEQUENCES, before=AMOUNTS, span=AMOUNTS, tokens=AMOUNTS)
    def redeem(self, number: int, sequence: int, before: int, span: int, tokens: int) -> None:
        channel = self.unclosed(number)
        voucher = self.voucher(number, sequence, before, span)
        asker, who = (channel.asker, channel.server) if channel is not None else (BOB, BOB)
        outcome = self.attempt(
            who,
            "redeem",
            voucher=voucher,
            tokens_in=tokens,
            tokens_out=0,
            signature=signed(voucher, asker).signature,
        )
        total = (before + tokens) * PLANCK_PER_TOKEN
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif (sequence, total) == (channel.sequence, channel.redeemed):
            assert outcome is None
        elif sequence <= channel.sequence or total < channel.redeemed:
            assert outcome is Inference.VoucherTooLow
        elif tokens > span:
            assert outcome is Inference.AboveVoucher
        elif voucher.limit_planck > channel.deposit:
            assert outcome is Inference.AboveDeposit
        else:
            assert outcome is None
            paid, epoch = total - channel.redeemed, self.market.fund.epoch
            self.spent[channel.asker] += paid
            epochs = {**channel.epochs, epoch: channel.epochs.get(epoch, 0) + paid}
            self.channels[number] = replace(
                channel, redeemed=total, sequence=sequence, epochs=epochs
            )

    @rule(number=NUMBERS, sequence=SEQUENCES, span=AMOUNTS, fee=AMOUNTS)
    def report(self, number: int, sequence: int, span: int, fee: int) -> None:
        """The server of a channel has signed a fee for an answer of no tokens."""
        channel = self.channels.get(number)
        voucher = self.voucher(number, sequence, 0, span)
        server = CHARLIE if channel is None else channel.server
        asker = BOB if channel is None else channel.asker
        planck = fee * PLANCK_PER_TOKEN
        receipt = self.market.receipt(voucher, 0, fee_planck=planck, server=server)
        outcome = self.attempt(
            BOB,
            "report_receipt",
            voucher=signed(voucher, asker),
            receipt=receipt,
            signature=sign_receipt(receipt),
        )
        if channel is None:
            assert outcome is Inference.UnknownChannel
            return
        wronged = planck
        if sequence == channel.sequence:
            wronged = max(planck, channel.redeemed - planck)
        more = wronged - channel.reported.get(sequence, 0)
        if not wronged:
            assert outcome is Inference.NotFalse
        elif more <= 0:
            assert outcome is Inference.AlreadyReported
        else:
            assert outcome is None
            price = span * PLANCK_PER_TOKEN
            owed = min(wronged, price) - min(wronged - more, price)
            self.slash(number, channel, more, owed)
            reported = {**channel.reported, sequence: wronged}
            self.channels[number] = replace(self.channels[number], reported=reported)

    def slash(self, number: int, channel: ModelChannel, more: int, owed: int) -> None:
        """An answer is repaid at most its voucher's price, a channel at most what it paid."""
        owed = min(owed, channel.redeemed - channel.repaid)
        taken = min(10 * more, self.bonds[channel.server])
        self.bonds[channel.server] -= taken
        paid = min(owed, taken)
        self.spent[channel.asker] -= paid
        self.slashed += taken - paid
        self.spent[channel.server] += taken
        self.channels[number] = replace(channel, repaid=channel.repaid + paid)

    @rule(number=NUMBERS, who=ANYBODY)
    def end(self, number: int, who: AccountId) -> None:
        outcome = self.attempt(who, "close_channel", channel=number)
        channel = self.unclosed(number)
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif channel.server == who:
            assert outcome is None
            self.closed(number, channel)
        elif channel.asker != who:
            assert outcome is Inference.NotMember
        elif channel.closes_at is not None:
            assert outcome is Inference.IsClosing
        else:
            assert outcome is None
            closing = replace(channel, closes_at=self.market.number + WINDOW)
            self.channels[number] = closing

    @rule(number=NUMBERS, who=ANYBODY)
    def finish_close(self, number: int, who: AccountId) -> None:
        outcome = self.attempt(who, "finish_close", channel=number)
        channel = self.unclosed(number)
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif channel.closes_at is None or self.market.number <= channel.closes_at:
            assert outcome is Inference.TooEarly
        else:
            assert outcome is None
            self.closed(number, channel)

    def closed(self, number: int, channel: ModelChannel) -> None:
        if not channel.redeemed:
            del self.channels[number]
            return
        self.channels[number] = replace(
            channel, deposit=channel.redeemed, closes_at=self.market.number, is_closed=True
        )

    @rule(number=NUMBERS, who=ANYBODY)
    def remove(self, number: int, who: AccountId) -> None:
        outcome = self.attempt(who, "remove_channel", channel=number)
        channel = self.channels.get(number)
        if channel is None:
            assert outcome is Inference.UnknownChannel
            return
        is_over = channel.is_closed and self.market.number > (channel.closes_at or 0) + RETENTION
        last = max(channel.epochs, default=0)
        if is_over and (last < self.market.fund.unsettled or who == channel.server):
            assert outcome is None
            del self.channels[number]
        else:
            assert outcome is Inference.StillNeeded

    @rule(is_settled=strategies.booleans())
    def next_epoch(self, is_settled: bool) -> None:
        """An epoch is closed; at most one of them is not settled yet."""
        self.market.fund.unsettled = self.market.fund.epoch + is_settled
        self.market.fund.epoch += 1

    @rule(count=strategies.sampled_from((1, WINDOW, RETENTION + 1)))
    def pass_blocks(self, count: int) -> None:
        self.market.next_block(count)

    @precondition(lambda self: hasattr(self, "market"))
    @invariant()
    def nothing_is_lost_and_nobody_earns_more_than_was_redeemed(self) -> None:
        market, balances = self.market, self.market.balances
        market.check()
        for who in PEOPLE:
            left = sum(
                channel.deposit - channel.redeemed
                for channel in self.channels.values()
                if channel.asker == who
            )
            bond = self.bonds.get(who, 0)
            assert market.held(who) == left
            assert market.bond(who) == bond
            # A slash takes from the bond of the server, and what is repaid comes to the asker.
            assert balances.free(who) == ENDOWMENT - left - bond - self.spent[who]
        for number, channel in self.channels.items():
            stored = market.channel(number)
            epoch = market.fund.epoch
            for asked in (epoch - 1, epoch):
                assert stored.redeemed_in(asked) == channel.epochs.get(asked, 0)
        redeemed = [event.payout for event in market.events(Inference.Redeemed)]
        burned = sum(payout.burned for payout in redeemed)
        assert self.issued - balances.total_issuance.get() == burned + self.slashed
        owner = balances.free(MODEL_OWNER) - ENDOWMENT
        contributors = balances.free(ATTRIBUTION_POT)
        assert owner == sum(payout.owner for payout in redeemed)
        assert contributors == sum(payout.contributors for payout in redeemed)
        assert contributors == sum(part for _, part in market.fund.funded.values())
        assert balances.free(FEE_POT) == sum(payout.stakers for payout in redeemed)
        assert balances.free(PLATFORM_POT) == sum(payout.platform for payout in redeemed)


ChannelLife.TestCase.settings = settings(
    max_examples=30 * SCALE, stateful_step_count=30, deadline=None
)
test_random_lives_of_channels_lose_nothing = ChannelLife.TestCase
