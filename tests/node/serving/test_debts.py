"""Debts: their sums are what adding all of them up gives, and everyone has its turn."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.serving.debts import Debt, Debts, Sent
from runtime.types.primitives import ZERO_HASH
from tests.node.support.paid_answers import stored

CHANNELS, AMOUNTS = st.integers(0, 5), st.integers(0, 50)


def debt_of(channel: int, ends: int, drawn: int) -> Debt:
    """Return a debt; a channel is one of a model, as on chain."""
    signed = stored(channel=channel, model=channel % 2, before=ends).signed
    return replace(Debt.of(signed, since=None, drawn_planck=drawn), ends_planck=ends)


class DebtsLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.debts = Debts()
        self.order: list[int] = []

    @rule(channel=CHANNELS, drawn=AMOUNTS, owed=AMOUNTS)
    def put(self, channel: int, drawn: int, owed: int) -> None:
        former = self.debts.get(channel)
        debt = debt_of(channel, drawn + owed, drawn)
        debt.sent = None if former is None else former.sent
        self.debts.put(debt)
        if channel not in self.order:
            self.order.append(channel)

    @precondition(lambda self: self.order)
    @rule(at=st.integers(0, 5), part=st.integers(0, 4))
    def note_drawn(self, at: int, part: int) -> None:
        debt = self.picked(at)
        self.debts.note_drawn(debt, debt.drawn_planck + debt.owed_planck * part // 4)

    @precondition(lambda self: self.order)
    @rule(at=st.integers(0, 5), height=AMOUNTS)
    def note_sent(self, at: int, height: int) -> None:
        debt = self.picked(at)
        self.debts.note_sent(debt, Sent(debt.ends_planck, height, ZERO_HASH))

    @precondition(lambda self: self.order)
    @rule(at=st.integers(0, 5))
    def remove(self, at: int) -> None:
        debt = self.picked(at)
        self.debts.remove(debt)
        self.order.remove(debt.channel)

    @rule(count=st.integers(0, 7))
    def take_turns(self, count: int) -> None:
        turns = [debt.channel for debt in self.debts.next_turns(count)]
        assert turns == self.order[:count]
        self.order = [*self.order[count:], *turns]

    @precondition(lambda self: self.order)
    @rule(at=st.integers(0, 5))
    def look_again(self, at: int) -> None:
        debt = self.picked(at)
        self.debts.look_again(debt)
        self.order.remove(debt.channel)
        self.order.insert(0, debt.channel)

    def picked(self, at: int) -> Debt:
        debt = self.debts.get(self.order[at % len(self.order)])
        assert debt is not None
        return debt

    @invariant()
    def sums_are_those_of_all_debts(self) -> None:
        assert len(self.debts) == len(self.order)
        known = [self.debts.get(channel) for channel in self.order]
        debts = [debt for debt in known if debt is not None]
        models = {debt.model for debt in debts}
        owed = {
            model: sum(debt.owed_planck for debt in debts if debt.model == model)
            for model in models
        }
        assert self.debts.owed_planck() == owed
        for model in (0, 1):
            listed = {debt.channel for debt in self.debts.of_model(model)}
            assert listed == {debt.channel for debt in debts if debt.model == model}
        sent = {debt.channel for debt in self.debts.sent()}
        assert sent == {debt.channel for debt in debts if debt.sent_planck}


DebtsLife.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
test_any_order_of_events_keeps_sums_and_turns = DebtsLife.TestCase
