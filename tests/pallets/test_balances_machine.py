"""Random money movements, with Substrate's rules in plain Python as the oracle."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pallets.balances import EXISTENTIAL_DEPOSIT, Balances, FreezeReason, HoldReason
from pallets.system import System
from runtime.frame.dispatch import DispatchFailed, Error
from runtime.types.primitives import AccountId, Id
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, NOBODY, Ledger

ED = EXISTENTIAL_DEPOSIT
START = 10 * ED
PEOPLE = strategies.sampled_from((ALICE, BOB, CHARLIE, NOBODY))
AMOUNTS = strategies.one_of(
    strategies.integers(0, 12 * ED),
    strategies.sampled_from((0, 1, ED - 1, ED, ED + 1, START - ED, START - 1, START)),
)
REASONS = strategies.sampled_from((HoldReason.JobBond, HoldReason.JobEscrow))


@dataclass
class Purse:
    free: int
    holds: dict[HoldReason, int]
    frozen: int = 0

    @property
    def reserved(self) -> int:
        return sum(self.holds.values())


class MoneyLife(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        endowed = tuple((who, START) for who in (ALICE, BOB, CHARLIE))
        self.ledger = Ledger((System, Balances), endowed=endowed)
        self.balances = self.ledger.pallet(Balances)
        self.purses = {who: Purse(START, {}) for who, _ in endowed}
        self.burned = 0

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    # ------------------------------------------------------------------------ the oracle

    def refusal(self, who: AccountId, amount: int, *, keep_alive: bool) -> str | None:
        purse = self.purses.get(who, Purse(0, {}))
        left = purse.free - amount
        if left < 0:
            return "FundsUnavailable"
        if left < purse.frozen - purse.reserved:
            return "Frozen"
        if amount and (keep_alive or purse.reserved) and left < ED:
            return "NotExpendable"
        return None

    def take(self, who: AccountId, amount: int) -> None:
        if not amount:
            return
        purse = self.purses[who]
        purse.free -= amount
        if purse.free < ED:
            self.burned += purse.free
            del self.purses[who]

    def give(self, who: AccountId, amount: int) -> None:
        if amount:
            self.purses.setdefault(who, Purse(0, {})).free += amount

    def run(self, who: AccountId, name: str, **arguments: object) -> str | None:
        try:
            self.ledger.sign(who, "Balances", name, **arguments)
        except DispatchFailed as failed:
            return str(failed).removeprefix("Token.")
        return None

    # ------------------------------------------------------------------------- the rules

    @rule(source=PEOPLE, dest=PEOPLE, amount=AMOUNTS, keep_alive=strategies.booleans())
    def transfer(self, source: AccountId, dest: AccountId, amount: int, keep_alive: bool) -> None:
        expected = self.refusal(source, amount, keep_alive=keep_alive)
        is_new = dest not in self.purses
        if expected is None and amount and source != dest and is_new and amount < ED:
            expected = "BelowMinimum"
        name = "transfer_keep_alive" if keep_alive else "transfer_allow_death"
        assert self.run(source, name, dest=Id(dest), value=amount) == expected
        if expected is None and source != dest:
            self.take(source, amount)
            self.give(dest, amount)

    @rule(who=PEOPLE, amount=AMOUNTS, keep_alive=strategies.booleans())
    def burn(self, who: AccountId, amount: int, keep_alive: bool) -> None:
        expected = self.refusal(who, amount, keep_alive=keep_alive)
        assert self.run(who, "burn", value=amount, keep_alive=keep_alive) == expected
        if expected is None:
            self.take(who, amount)
            self.burned += amount

    @rule(who=PEOPLE, reason=REASONS, amount=AMOUNTS)
    def hold(self, who: AccountId, reason: HoldReason, amount: int) -> None:
        purse = self.purses.get(who)
        try:
            with self.ledger.machine.transaction():
                self.balances.hold(reason, who, amount)
        except Error:
            assert purse is None or purse.free < amount + ED
        else:
            assert purse is not None
            purse.free -= amount
            purse.holds[reason] = purse.holds.get(reason, 0) + amount

    @rule(who=PEOPLE, dest=PEOPLE, reason=REASONS, amount=AMOUNTS)
    def transfer_on_hold(
        self, who: AccountId, dest: AccountId, reason: HoldReason, amount: int
    ) -> None:
        purse = self.purses.get(who)
        held = purse.holds.get(reason, 0) if purse else 0
        try:
            with self.ledger.machine.transaction():
                self.balances.transfer_on_hold(reason, who, dest, amount)
        except Error:
            assert held < amount
        except DispatchFailed:
            assert dest not in self.purses
            assert amount < ED
        else:
            assert held >= amount
            if purse is not None and amount:
                purse.holds[reason] = held - amount
                self.give(dest, amount)

    @rule(who=PEOPLE, reason=REASONS, amount=AMOUNTS)
    def slash(self, who: AccountId, reason: HoldReason, amount: int) -> None:
        purse = self.purses.get(who)
        held = purse.holds.get(reason, 0) if purse else 0
        assert self.balances.slash_held(reason, who, amount) == min(held, amount)
        if purse is not None:
            purse.holds[reason] = held - min(held, amount)
            self.burned += min(held, amount)

    @rule(who=PEOPLE, amount=strategies.sampled_from((0, ED, 4 * ED, 20 * ED)))
    def freeze(self, who: AccountId, amount: int) -> None:
        purse = self.purses.get(who)
        if purse is not None:
            self.balances.freeze(FreezeReason.Staking, who, amount)
            purse.frozen = amount

    @precondition(lambda self: hasattr(self, "ledger"))
    @invariant()
    def agrees_with_the_oracle(self) -> None:
        self.ledger.check()
        for who in (ALICE, BOB, CHARLIE, NOBODY):
            data = self.balances.account_balance(who)
            purse = self.purses.get(who, Purse(0, {}))
            assert (data.free, data.reserved) == (purse.free, purse.reserved)
            assert data.frozen == purse.frozen
        assert self.balances.burned.get() == self.burned
        assert self.balances.total_issuance.get() + self.burned == 3 * START


MoneyLife.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
test_random_money_movements_agree_with_the_rules = MoneyLife.TestCase
