"""The redeemer: no asker takes back a deposit that answers have used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.serving.redeemer import Redeemer, RedeemSettings
from node.storage.receipt_store import ChannelRecord
from node.transactions.errors import BadFormatError
from node.transactions.submitter import RESEND_BLOCKS
from runtime.codec.scale import codec
from runtime.types.primitives import Ed25519, MultiSignature

SIGNATURE = codec(MultiSignature).encode(Ed25519(bytes(64)))
AMOUNT, BLOCKS = 100, 50


class FakeNode:
    """Chain state, stored channels and transactions of one server."""

    def __init__(self) -> None:
        self.records: dict[int, ChannelRecord] = {}
        self.on_chain: dict[int, Any] = {}
        self.sent: list[tuple[int, int]] = []
        self.is_refusing = False

    def open(self, channel: int) -> None:
        self.on_chain[channel] = SimpleNamespace(model=1, redeemed_planck=0, closes_at=None)

    def answer(self, channel: int, fee: int) -> None:
        former = self.records.get(channel)
        spent = (former.spent_planck if former else 0) + fee
        self.records[channel] = ChannelRecord(channel, spent, spent, SIGNATURE)

    @contextmanager
    def at(self) -> Iterator[Any]:
        yield SimpleNamespace(inference=SimpleNamespace(channels=self.on_chain))

    def channels(self) -> tuple[ChannelRecord, ...]:
        return tuple(self.records.values())

    def submit(self, pallet: str, name: str, **arguments: Any) -> None:
        assert (pallet, name) == ("Inference", "redeem")
        if self.is_refusing:
            raise BadFormatError("refused")
        self.sent.append((arguments["channel"], arguments["drawn"]))

    def land(self) -> None:
        """Let what was sent be final."""
        for channel, drawn in self.sent:
            if channel in self.on_chain:
                self.on_chain[channel].redeemed_planck = drawn
        self.sent.clear()


def redeemer_of(node: FakeNode) -> Redeemer:
    whole = cast(Any, node)
    return Redeemer(cast(Any, None), whole, whole, whole, RedeemSettings(AMOUNT, BLOCKS))


@pytest.fixture
def node() -> FakeNode:
    made = FakeNode()
    made.open(7)
    return made


@pytest.fixture
def redeemer(node: FakeNode) -> Redeemer:
    made = redeemer_of(node)
    made.redeem_due(1)
    return made


def test_a_closing_channel_is_redeemed_at_once(node: FakeNode, redeemer: Redeemer) -> None:
    node.answer(7, 5)
    redeemer.redeem_due(2)
    assert node.sent == []
    node.on_chain[7].closes_at = 100
    redeemer.redeem_due(3)
    assert node.sent == [(7, 5)]


def test_a_large_debt_is_redeemed_at_once(node: FakeNode, redeemer: Redeemer) -> None:
    node.answer(7, AMOUNT - 1)
    redeemer.redeem_due(2)
    assert node.sent == []
    node.answer(7, 1)
    redeemer.redeem_due(3)
    assert node.sent == [(7, AMOUNT)]


def test_an_old_debt_is_redeemed_whatever_is_added_to_it(
    node: FakeNode, redeemer: Redeemer
) -> None:
    for height in range(2, 2 + BLOCKS):
        node.answer(7, 1)
        redeemer.redeem_due(height)
        assert node.sent == []
    redeemer.redeem_due(2 + BLOCKS)
    assert node.sent == [(7, BLOCKS)]


def test_what_was_owed_before_a_restart_counts_as_old(node: FakeNode) -> None:
    node.answer(7, 1)
    redeemer_of(node).redeem_due(BLOCKS)
    assert node.sent == [(7, 1)]
    redeemer_of(node).redeem_due(1)
    assert node.sent == [(7, 1)] * 2, "also on a chain that is young"


def test_a_redemption_is_sent_once_and_again_only_where_it_does_not_land(
    node: FakeNode, redeemer: Redeemer
) -> None:
    node.answer(7, AMOUNT)
    for height in range(2, 2 + RESEND_BLOCKS):
        redeemer.redeem_due(height)
    assert node.sent == [(7, AMOUNT)]
    redeemer.redeem_due(2 + RESEND_BLOCKS)
    assert node.sent == [(7, AMOUNT)] * 2
    node.land()
    redeemer.redeem_due(3 + RESEND_BLOCKS)
    assert node.sent == []


def test_a_refused_redemption_is_tried_again_with_the_next_block(
    node: FakeNode, redeemer: Redeemer
) -> None:
    node.answer(7, AMOUNT)
    node.is_refusing = True
    redeemer.redeem_due(2)
    node.is_refusing = False
    redeemer.redeem_due(3)
    assert node.sent == [(7, AMOUNT)]


def test_a_channel_that_is_gone_is_forgotten(node: FakeNode, redeemer: Redeemer) -> None:
    node.answer(7, AMOUNT)
    del node.on_chain[7]
    redeemer.redeem_due(2)
    assert node.sent == []


class LifeOfAServer(RuleBasedStateMachine):
    """However askers ask and close, nothing that answers cost is left when a channel is closed."""

    WINDOW = 3 * RESEND_BLOCKS

    def __init__(self) -> None:
        super().__init__()
        self.node = FakeNode()
        self.redeemer = redeemer_of(self.node)
        self.height = 0
        self.opened = 0

    @initialize()
    def begin(self) -> None:
        self.redeemer.redeem_due(self.height)

    @rule()
    def open(self) -> None:
        self.node.open(self.opened)
        self.opened += 1

    @rule(data=st.data(), fee=st.integers(1, 2 * AMOUNT))
    def answer(self, data: st.DataObject, fee: int) -> None:
        willing = [key for key, each in self.node.on_chain.items() if each.closes_at is None]
        if willing:
            self.node.answer(data.draw(st.sampled_from(willing)), fee)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        willing = [key for key, each in self.node.on_chain.items() if each.closes_at is None]
        if willing:
            self.node.on_chain[data.draw(st.sampled_from(willing))].closes_at = (
                self.height + self.WINDOW
            )

    @rule(lands=st.booleans(), restarts=st.booleans())
    def block(self, lands: bool, restarts: bool) -> None:
        if restarts:
            self.redeemer = redeemer_of(self.node)
        self.height += 1
        # One transaction in so many blocks gets lost, and the window is longer than that.
        if lands or self.height % RESEND_BLOCKS == 0:
            self.node.land()
        self.redeemer.redeem_due(self.height)

    @invariant()
    def nothing_is_lost(self) -> None:
        for key, each in list(self.node.on_chain.items()):
            if each.closes_at is not None and self.height > each.closes_at:
                record = self.node.records.get(key)
                assert record is None or record.spent_planck == each.redeemed_planck
                del self.node.on_chain[key]


LifeOfAServer.TestCase.settings = settings(max_examples=60, stateful_step_count=80)
test_random_lives_of_a_server = LifeOfAServer.TestCase
