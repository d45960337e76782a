"""Random lives of channels, with a model in plain Python as the oracle: no planck is lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import Balances, HoldReason
from pallets.inference import DEPOSIT_MIN, PLATFORM_POT, Genesis, Inference, Parameters
from pallets.transaction_payment import FEE_POT
from runtime.frame.dispatch import Error
from runtime.shared.documents import Voucher, voucher_payload
from runtime.types.primitives import AccountId, Ed25519, Id
from tests.pallets.support.ledger import BOB, CHARLIE, DAVE, ENDOWMENT, GENESIS_HASH, KEYS
from tests.pallets.support.market import MODEL_OWNER, Attribution, market

PEOPLE = {BOB: "Bob", CHARLIE: "Charlie", DAVE: "Dave"}
WINDOW = 5
SIZES = strategies.integers(1, 3 * DEPOSIT_MIN)
NUMBERS = strategies.integers(0, 5)
ANYBODY = strategies.sampled_from(tuple(PEOPLE))


@dataclass(frozen=True)
class ModelChannel:
    asker: AccountId
    server: AccountId
    deposit: int
    redeemed: int = 0
    closes_at: int | None = None


class ChannelLife(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        parameters = Parameters(challenge_blocks=WINDOW)
        self.ledger = market(Inference=Genesis(parameters))
        self.balances = self.ledger.pallet(Balances)
        self.issued = self.balances.total_issuance.get()
        self.channels: dict[int, ModelChannel] = {}
        self.opened = 0
        self.spent = dict.fromkeys(PEOPLE, 0)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    def attempt(self, who: AccountId, name: str, **arguments: object) -> type[Error] | None:
        try:
            self.ledger.sign(who, "Inference", name, **arguments)
        except Error as failure:
            return type(failure)
        return None

    @rule(asker=ANYBODY, server=ANYBODY, deposit=SIZES)
    def open(self, asker: AccountId, server: AccountId, deposit: int) -> None:
        outcome = self.attempt(asker, "open_channel", model=0, server=Id(server), deposit=deposit)
        if deposit < DEPOSIT_MIN:
            assert outcome is Inference.DepositTooLow
        else:
            assert outcome is None
            self.channels[self.opened] = ModelChannel(asker, server, deposit)
            self.opened += 1

    @rule(number=NUMBERS, who=ANYBODY, amount=SIZES)
    def top_up(self, number: int, who: AccountId, amount: int) -> None:
        outcome = self.attempt(who, "top_up", channel=number, amount=amount)
        channel = self.channels.get(number)
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif channel.asker != who:
            assert outcome is Inference.NotAsker
        elif channel.closes_at is not None:
            assert outcome is Inference.IsClosing
        else:
            assert outcome is None
            self.channels[number] = replace(channel, deposit=channel.deposit + amount)

    @rule(
        number=NUMBERS,
        cumulative=SIZES,
        below=strategies.integers(-1, 3),
        signer=ANYBODY,
        is_own=strategies.booleans(),
    )
    def redeem(
        self, number: int, cumulative: int, below: int, signer: AccountId, is_own: bool
    ) -> None:
        drawn = max(cumulative - below, 0)
        channel = self.channels.get(number)
        asker = channel.asker if channel is not None and is_own else signer
        payload = voucher_payload(Voucher(GENESIS_HASH, number, cumulative))
        outcome = self.attempt(
            channel.server if channel is not None else signer,
            "redeem",
            channel=number,
            cumulative=cumulative,
            drawn=drawn,
            signature=Ed25519(KEYS[PEOPLE[asker]].sign(payload)),
        )
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif drawn < channel.redeemed:
            assert outcome is Inference.VoucherTooLow
        elif drawn > cumulative:
            assert outcome is Inference.AboveVoucher
        elif cumulative > channel.deposit:
            assert outcome is Inference.AboveDeposit
        elif asker != channel.asker:
            assert outcome is Inference.BadVoucher
        else:
            assert outcome is None
            self.spent[asker] += drawn - channel.redeemed
            self.channels[number] = replace(channel, redeemed=drawn)

    @rule(number=NUMBERS, who=ANYBODY)
    def close(self, number: int, who: AccountId) -> None:
        outcome = self.attempt(who, "close_channel", channel=number)
        channel = self.channels.get(number)
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif channel.server == who:
            assert outcome is None
            del self.channels[number]
        elif channel.asker != who:
            assert outcome is Inference.NotMember
        elif channel.closes_at is not None:
            assert outcome is Inference.IsClosing
        else:
            assert outcome is None
            closing = replace(channel, closes_at=self.ledger.number + WINDOW)
            self.channels[number] = closing

    @rule(number=NUMBERS, who=ANYBODY)
    def finish_close(self, number: int, who: AccountId) -> None:
        outcome = self.attempt(who, "finish_close", channel=number)
        channel = self.channels.get(number)
        if channel is None:
            assert outcome is Inference.UnknownChannel
        elif channel.closes_at is None or self.ledger.number <= channel.closes_at:
            assert outcome is Inference.TooEarly
        else:
            assert outcome is None
            del self.channels[number]

    @rule(count=strategies.integers(1, WINDOW))
    def pass_blocks(self, count: int) -> None:
        self.ledger.next_block(count)

    @precondition(lambda self: hasattr(self, "ledger"))
    @invariant()
    def nothing_is_lost_and_nobody_earns_more_than_was_redeemed(self) -> None:
        self.ledger.check()
        for who in PEOPLE:
            left = sum(
                channel.deposit - channel.redeemed
                for channel in self.channels.values()
                if channel.asker == who
            )
            assert self.balances.held(HoldReason.InferenceChannel, who) == left
            assert self.balances.free(who) == ENDOWMENT - left - self.spent[who]
        burned = self.issued - self.balances.total_issuance.get()
        owner = self.balances.free(MODEL_OWNER) - ENDOWMENT
        contributors = self.balances.free(ATTRIBUTION_POT)
        stakers, platform = self.balances.free(FEE_POT), self.balances.free(PLATFORM_POT)
        spent, count = sum(self.spent.values()), len(self.ledger.events(Inference.Redeemed))
        assert burned + owner + contributors + stakers + platform == spent
        assert contributors == self.ledger.pallet(Attribution).funded.get(0, 0)
        for earned, permille in ((owner, 200), (contributors, 500), (stakers, 200)):
            assert abs(earned * 1_000 - spent * permille) <= 1_000 * count
        assert 2 * burned >= spent // 10 - 2 * count


ChannelLife.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_random_lives_of_channels_lose_nothing = ChannelLife.TestCase
