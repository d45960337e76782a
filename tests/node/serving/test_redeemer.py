"""The redeemer: no asker takes back a deposit that answers have used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.serving import redeemer as redeeming
from node.serving.redeemer import (
    LOOKS_PER_BLOCK,
    LOOKS_PER_WINDOW,
    SENT_PER_BLOCK,
    Redeemer,
    RedeemSettings,
)
from node.transactions.submitter import RESEND_BLOCKS
from runtime.shared.receipts import SignedReceipt
from tests.node.support.paid_answers import LIFE, MODEL, FakeNode, open_channel, stored

AMOUNT, BLOCKS = 100, 50
FLAT = 10
"""What an answer costs beside its tokens, a planck each."""


class PayingNode(FakeNode):
    """A node with answers: its store is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[int, SignedReceipt] = {}

    def open(self, channel: int) -> None:
        self.channels[channel] = open_channel(deposit_planck=10**12)

    def answer(
        self, channel: int, fee: int, redeemer: Redeemer | None, expires_at: int = LIFE
    ) -> None:
        last = self.last.get(channel)
        known = self.channels[channel]
        before = max(last.ends_planck if last else 0, known.redeemed_planck)
        sequence = max(last.sequence if last else 0, known.sequence) + 1
        signed = stored(
            sequence, channel, before=before, tokens_out=fee - FLAT, expires_at=expires_at
        ).signed
        self.last[channel] = signed
        if redeemer is not None:
            redeemer.record(signed)

    def last_of_channels(self) -> list[SignedReceipt]:
        return list(self.last.values())

    def block(self, redeemer: Redeemer) -> None:
        self.height += 1
        redeemer.redeem_due(self.height)


def redeemer_of(node: PayingNode) -> Redeemer:
    whole = cast(Any, node)
    made = Redeemer(whole, whole, whole, whole, RedeemSettings(AMOUNT, BLOCKS))
    trio.run(made.load)
    return made


@pytest.fixture
def node() -> PayingNode:
    made = PayingNode()
    made.open(7)
    return made


@pytest.fixture
def redeemer(node: PayingNode) -> Redeemer:
    return redeemer_of(node)


def test_a_closing_channel_is_redeemed_at_once(node: PayingNode, redeemer: Redeemer) -> None:
    node.answer(7, 15, redeemer)
    node.block(redeemer)
    assert node.sent == []
    node.channels[7] = replace(node.channels[7], closes_at=100)
    node.block(redeemer)
    assert node.drawn() == [(7, 15)]
    (call,) = node.calls("redeem")
    last = node.last[7]
    assert call["voucher"] == last.voucher.voucher
    assert call["signature"] == last.voucher.signature
    assert (call["tokens_in"], call["tokens_out"]) == (4, 5)


def test_a_large_debt_is_redeemed_at_once_by_the_last_voucher(
    node: PayingNode, redeemer: Redeemer
) -> None:
    node.answer(7, AMOUNT - 20, redeemer)
    node.block(redeemer)
    assert node.sent == []
    node.answer(7, 20, redeemer)
    node.block(redeemer)
    assert node.drawn() == [(7, AMOUNT)]


def test_an_old_debt_is_redeemed_whatever_is_added_to_it(
    node: PayingNode, redeemer: Redeemer
) -> None:
    node.answer(7, FLAT, redeemer)
    node.block(redeemer)
    for _ in range(BLOCKS - 1):
        node.block(redeemer)
        assert node.sent == []
    node.answer(7, FLAT, redeemer)
    node.block(redeemer)
    assert node.drawn() == [(7, 2 * FLAT)]


def test_a_debt_is_redeemed_before_its_voucher_ends(node: PayingNode) -> None:
    patient = Redeemer(
        *(cast(Any, node),) * 4, RedeemSettings(owed_planck_max=10**9, owed_blocks_max=1_000)
    )
    node.answer(7, FLAT, patient, expires_at=600)
    node.height = 99
    node.block(patient)
    assert node.drawn() == [(7, FLAT)], "half of the blocks before the end"


def test_an_expired_voucher_is_given_up_and_said(
    node: PayingNode, redeemer: Redeemer, caplog: pytest.LogCaptureFixture
) -> None:
    node.answer(7, FLAT, redeemer, expires_at=5)
    node.height = 5
    node.block(redeemer)
    node.block(redeemer)
    assert node.sent == []
    assert caplog.text.count("redeem-lost channel=7") == 1


def test_what_was_owed_before_a_restart_counts_as_old(node: PayingNode) -> None:
    node.answer(7, FLAT, None)
    node.height = BLOCKS
    node.block(redeemer_of(node))
    assert node.drawn() == [(7, FLAT)]
    node.height = 0
    node.block(redeemer_of(node))
    assert node.drawn() == [(7, FLAT)] * 2, "also on a chain that is young"


def test_a_redemption_is_sent_once_and_again_only_where_it_does_not_land(
    node: PayingNode, redeemer: Redeemer
) -> None:
    node.answer(7, AMOUNT, redeemer)
    for _ in range(3 * RESEND_BLOCKS):
        node.block(redeemer)
    assert node.drawn() == [(7, AMOUNT)], "it waits in the pool"
    node.sent.clear()
    for _ in range(RESEND_BLOCKS):
        node.block(redeemer)
    assert node.drawn() == [(7, AMOUNT)]
    node.land()
    node.block(redeemer)
    assert node.sent == []
    assert not redeemer._debts


def test_a_refused_redemption_is_tried_again_with_the_next_block(
    node: PayingNode, redeemer: Redeemer
) -> None:
    node.answer(7, AMOUNT, redeemer)
    node.is_refusing = True
    node.block(redeemer)
    node.is_refusing = False
    node.block(redeemer)
    assert node.drawn() == [(7, AMOUNT)]


def test_a_channel_that_is_gone_or_closed_is_forgotten(
    node: PayingNode, redeemer: Redeemer
) -> None:
    node.open(8)
    node.answer(7, AMOUNT, redeemer)
    node.answer(8, AMOUNT, redeemer)
    del node.channels[7]
    node.channels[8] = replace(node.channels[8], is_closed=True, closes_at=1)
    node.block(redeemer)
    assert (node.sent, len(redeemer._debts)) == ([], 0)


def test_while_an_epoch_closes_nothing_is_drawn_but_what_is_soon_lost(
    node: PayingNode, redeemer: Redeemer
) -> None:
    node.open(8)
    node.answer(7, AMOUNT, redeemer)
    assert redeemer.hold(MODEL) == {7: AMOUNT}
    node.answer(8, AMOUNT, redeemer)
    node.block(redeemer)
    assert node.sent == []
    soon = node.height + 1 + node.challenge_blocks // 2
    node.channels[8] = replace(node.channels[8], closes_at=soon + 1)
    node.block(redeemer)
    assert node.sent == [], "who closes a channel holds up no epoch"
    node.block(redeemer)
    assert node.drawn() == [(8, AMOUNT)]
    redeemer.go_on(MODEL)
    node.block(redeemer)
    assert node.drawn() == [(8, AMOUNT), (7, AMOUNT)]


def test_a_block_looks_at_a_bounded_number_of_channels_and_comes_to_all(
    node: PayingNode, redeemer: Redeemer
) -> None:
    count = LOOKS_PER_BLOCK + 20
    for channel in range(100, 100 + count):
        node.open(channel)
        node.answer(channel, FLAT, redeemer)
        node.channels[channel] = replace(node.channels[channel], closes_at=1_000)
    drawn: set[int] = set()
    for _ in range(60):
        node.block(redeemer)
        drawn |= {channel for channel, _ in node.drawn()}
        node.land()
    assert len(drawn) == count
    assert not redeemer._debts


def owed(node: PayingNode, redeemer: Redeemer) -> int:
    with node.at() as state:
        return redeemer.owed_planck(state)


def test_debts_without_a_limit_take_no_room(node: PayingNode, redeemer: Redeemer) -> None:
    node.answer(7, AMOUNT, redeemer)
    node.block(redeemer)
    assert node.drawn() == [(7, AMOUNT)]
    assert owed(node, redeemer) == 0


def test_what_the_bond_does_not_answer_for_waits_and_the_operator_is_told(
    node: PayingNode, redeemer: Redeemer, caplog: pytest.LogCaptureFixture
) -> None:
    node.open(8)
    node.answer(7, AMOUNT, redeemer)
    node.answer(8, AMOUNT, redeemer)
    node.room = AMOUNT
    assert owed(node, redeemer) == 2 * AMOUNT
    for _ in range(3):
        node.block(redeemer)
    assert node.drawn() == [(7, AMOUNT)]
    assert caplog.text.count("openledger server add-bond") == 1
    node.land()
    node.room = 2 * AMOUNT
    node.block(redeemer)
    assert node.drawn() == [(8, AMOUNT)]
    node.land()
    node.block(redeemer)
    assert owed(node, redeemer) == 0


def test_closing_channels_without_room_keep_no_other_from_being_looked_at(
    node: PayingNode, redeemer: Redeemer
) -> None:
    for number in range(100, 100 + LOOKS_PER_BLOCK):
        node.open(number)
        node.answer(number, 2 * AMOUNT, redeemer)
        node.channels[number] = replace(node.channels[number], closes_at=10**6)
    node.answer(7, AMOUNT, redeemer)
    node.room = AMOUNT
    for _ in range(3):
        node.block(redeemer)
    assert node.drawn() == [(7, AMOUNT)]


def test_an_epoch_is_closed_without_what_the_bond_does_not_answer_for(
    node: PayingNode, redeemer: Redeemer
) -> None:
    node.answer(7, AMOUNT, redeemer)
    node.room = AMOUNT - 1
    targets = redeemer.hold(MODEL)
    assert redeemer.draw(MODEL, targets, node.height, node.finalized.hash)
    assert node.sent == []


def test_closing_channels_are_redeemed_before_others_in_the_order_of_their_end(
    node: PayingNode, redeemer: Redeemer
) -> None:
    for channel in range(100, 110 + SENT_PER_BLOCK):
        node.open(channel)
        node.answer(channel, 2 * AMOUNT, redeemer)
    for channel, closes_at in ((8, 30), (9, 20)):
        node.open(channel)
        node.answer(channel, FLAT, redeemer)
        node.channels[channel] = replace(node.channels[channel], closes_at=closes_at)
    node.block(redeemer)
    assert [channel for channel, _ in node.drawn()[:3]] == [9, 8, 100]
    assert len(node.drawn()) == 2 + SENT_PER_BLOCK


def test_a_closing_channel_that_a_full_batch_leaves_out_comes_with_the_next_block(
    node: PayingNode, redeemer: Redeemer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeeming, "CLOSING_SENT_PER_BLOCK", 2)
    monkeypatch.setattr(redeeming, "LOOKS_PER_BLOCK", 4)
    for channel in range(100, 104):
        node.open(channel)
        node.answer(channel, FLAT, redeemer)
        node.channels[channel] = replace(node.channels[channel], closes_at=100)
    node.answer(7, FLAT, redeemer)
    for count in (2, 4):
        node.block(redeemer)
        assert len(node.drawn()) == count


def test_all_channels_are_looked_at_several_times_in_a_challenge_window(
    node: PayingNode, redeemer: Redeemer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeeming, "LOOKS_PER_BLOCK", 4)
    node.challenge_blocks = 8
    for channel in range(100, 140):
        node.open(channel)
        node.answer(channel, FLAT, redeemer)
    node.channels[139] = replace(node.channels[139], closes_at=8)
    for _ in range(node.challenge_blocks // LOOKS_PER_WINDOW):
        node.block(redeemer)
    assert node.drawn() == [(139, FLAT)]


class LifeOfAServer(RuleBasedStateMachine):
    """However askers ask and close, nothing that answers cost is left when a channel is closed."""

    WINDOW = 3 * RESEND_BLOCKS

    def __init__(self) -> None:
        super().__init__()
        self.node = PayingNode()
        self.redeemer = redeemer_of(self.node)
        self.opened = 0

    @initialize()
    def begin(self) -> None:
        self.redeemer.redeem_due(0)

    @rule()
    def open(self) -> None:
        self.node.open(self.opened)
        self.opened += 1

    @rule(data=st.data(), fee=st.integers(FLAT, 2 * AMOUNT))
    def answer(self, data: st.DataObject, fee: int) -> None:
        willing = [key for key, each in self.node.channels.items() if each.closes_at is None]
        if willing:
            channel = data.draw(st.sampled_from(willing))
            self.node.answer(channel, fee, self.redeemer, self.node.height + 4 * BLOCKS)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        willing = [key for key, each in self.node.channels.items() if each.closes_at is None]
        if willing:
            channel = data.draw(st.sampled_from(willing))
            closes_at = self.node.height + self.WINDOW
            self.node.channels[channel] = replace(self.node.channels[channel], closes_at=closes_at)

    @rule(holds=st.booleans())
    def hold_or_go_on(self, holds: bool) -> None:
        if holds:
            self.redeemer.hold(MODEL)
        else:
            self.redeemer.go_on(MODEL)

    @rule(lands=st.booleans(), restarts=st.booleans())
    def block(self, lands: bool, restarts: bool) -> None:
        if restarts:
            self.redeemer = redeemer_of(self.node)
        # One transaction in so many blocks gets lost, and the window is longer than that.
        if lands or self.node.height % RESEND_BLOCKS == 0:
            self.node.land()
        self.node.block(self.redeemer)

    @invariant()
    def nothing_is_lost(self) -> None:
        for key, each in list(self.node.channels.items()):
            if each.closes_at is not None and self.node.height > each.closes_at:
                last = self.node.last.get(key)
                assert last is None or last.ends_planck == each.redeemed_planck
                del self.node.channels[key]


LifeOfAServer.TestCase.settings = settings(max_examples=40, stateful_step_count=60)
test_random_lives_of_a_server = LifeOfAServer.TestCase
