"""Random lives of stakers: calls, eras, fees, offences; a plain model says whose money is where.

Every block runs all invariants (holds are ledgers, positions are exposures, the pot holds what is
owed). What must hold besides: nothing is minted, what an account has bonded moves only by its own
calls, by its rewards and by slashes, and nobody is paid more than the eras allotted.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pallets.offences import CONVICTIONS_PER_BLOCK, Offences
from pallets.staking import Payee, Staker, Staking, ValidatorPrefs
from runtime.frame.dispatch import INHERENT, DispatchFailed, Error
from runtime.types.primitives import OPEN, AccountId, Id
from tests.pallets.support.stakers import BONDING_ERAS, PEOPLE, STAKE, Staked
from tests.pallets.test_offences import double_vote

WHO = st.sampled_from(PEOPLE[:8])
AMOUNTS = st.one_of(
    st.integers(0, 3 * STAKE), st.sampled_from((1, 10 * OPEN, 100 * OPEN, STAKE, 9 * STAKE))
)


class LifeOfStakers(RuleBasedStateMachine):
    @initialize(nominated=st.lists(st.sampled_from(PEOPLE[:4]), unique=True, min_size=1))
    def begin(self, nominated: list[AccountId]) -> None:
        first = [Staker(who, STAKE + index, index * 10**8) for index, who in enumerate(PEOPLE[:4])]
        nominator = Staker(PEOPLE[4], STAKE // 2, nominates=tuple(nominated))
        self.chain = Staked([*first, nominator])
        self.balances = self.chain.balances
        self.whole = self.balances.total_issuance.get() + self.balances.burned.get()
        self.bonded = {one.stash: one.bond for one in (*first, nominator)}
        self.payees = dict.fromkeys(self.bonded, Payee.Staked)
        self.seen = 0
        self.allotted = self.paid = self.convicted = 0

    def teardown(self) -> None:
        if hasattr(self, "chain"):
            self.chain.close()

    def run(self, who: AccountId, name: str, **arguments: object) -> bool:
        """Dispatch a call; refusals undo what they wrote."""
        try:
            self.chain.sign(who, "Staking", name, **arguments)
        except (Error, DispatchFailed):
            return False
        self.follow_events()
        return True

    def follow_events(self) -> None:
        """Move the model's money by what the chain says of rewards and slashes."""
        records = self.chain.machine.records
        for record in records[self.seen :]:
            event = record.event
            if isinstance(event, Staking.EraPaid):
                self.allotted += event.validator_payout
            elif isinstance(event, Staking.Rewarded):
                self.paid += event.amount
                # One that left with nothing is no stash any more: its later reward is free.
                if self.payees.get(event.stash) is Payee.Staked:
                    self.bonded[event.stash] += event.amount
            elif isinstance(event, Staking.Slashed):
                self.bonded[event.staker] -= event.amount
            elif isinstance(event, Staking.Withdrawn):
                self.bonded[event.stash] -= event.amount
        self.seen = len(records)

    def leave_if_empty(self, who: AccountId) -> None:
        """Take who has nothing bonded as no stash any more."""
        if not self.bonded[who]:
            self.payees.pop(who, None)

    # ------------------------------------------------------------------------------- the rules

    @rule(who=WHO, amount=AMOUNTS, payee=st.sampled_from(Payee))
    def bond(self, who: AccountId, amount: int, payee: Payee) -> None:
        is_new = self.chain.staking.ledger_of(who) is None
        if self.run(who, "bond", value=amount, payee=payee):
            assert is_new
            assert amount >= 10 * OPEN
            self.bonded[who], self.payees[who] = amount, payee

    @rule(who=WHO, amount=AMOUNTS)
    def bond_extra(self, who: AccountId, amount: int) -> None:
        if self.run(who, "bond_extra", max_additional=amount):
            self.bonded[who] += amount

    @rule(who=WHO, amount=AMOUNTS)
    def unbond(self, who: AccountId, amount: int) -> None:
        if self.run(who, "unbond", value=amount):
            self.leave_if_empty(who)  # what is free is withdrawn first

    @rule(who=WHO, amount=AMOUNTS)
    def rebond(self, who: AccountId, amount: int) -> None:
        self.run(who, "rebond", value=amount)

    @rule(who=WHO)
    def withdraw(self, who: AccountId) -> None:
        if self.run(who, "withdraw_unbonded"):
            self.leave_if_empty(who)

    @rule(who=WHO, payee=st.sampled_from(Payee))
    def set_payee(self, who: AccountId, payee: Payee) -> None:
        if self.run(who, "set_payee", payee=payee):
            self.payees[who] = payee

    @rule(who=WHO, commission=st.integers(0, 10**9))
    def validate(self, who: AccountId, commission: int) -> None:
        self.run(who, "validate", prefs=ValidatorPrefs(commission))

    @rule(who=WHO, backed=st.lists(WHO, unique=True, max_size=4))
    def nominate(self, who: AccountId, backed: list[AccountId]) -> None:
        self.run(who, "nominate", targets=tuple(Id(target) for target in backed))

    @rule(who=WHO)
    def chill(self, who: AccountId) -> None:
        self.run(who, "chill")

    @rule(index=st.integers(0, 3), blocks=st.integers(1, 5))
    def author(self, index: int, blocks: int) -> None:
        elected = self.chain.staking.era_validators.get(self.chain.staking.active())
        for _ in range(blocks):
            self.chain.staking.note_author(elected[index % len(elected)])

    @rule(amount=st.integers(0, 10 * OPEN))
    def pay_fees(self, amount: int) -> None:
        self.chain.pay_fees(amount)

    @rule(data=st.data())
    def offend(self, data: st.DataObject) -> None:
        now = self.chain.session.epoch()
        epoch = data.draw(st.integers(max(0, now - 5), now))
        authorities = self.chain.session.set_of(epoch)
        assert authorities is not None, "recent sets are known"
        who = data.draw(st.sampled_from([one.account for one in authorities.authorities]))
        evidence = double_vote(self.chain, who, epoch=epoch)
        if self.chain.pallet(Offences).is_reportable(evidence):
            if self.convicted == CONVICTIONS_PER_BLOCK:
                with pytest.raises(Offences.TooManyConvictions):
                    self.chain.dispatch(INHERENT, "Offences", "convict", evidence=evidence)
                return
            self.chain.dispatch(INHERENT, "Offences", "convict", evidence=evidence)
            self.convicted += 1
            assert who not in self.chain.staking.validators

    @rule(blocks=st.sampled_from((1, 1, 2, 3, 3 * BONDING_ERAS)))
    def next_block(self, blocks: int) -> None:
        for _ in range(blocks):
            self.chain.next_block()
            self.convicted = 0
            self.follow_events()

    # -------------------------------------------------------------------------- what must hold

    @precondition(lambda self: hasattr(self, "chain"))
    @invariant()
    def money_is_where_the_model_says(self) -> None:
        self.chain.check()
        issuance, burned = self.balances.total_issuance.get(), self.balances.burned.get()
        assert issuance + burned == self.whole, "nothing is minted"
        for who in PEOPLE[:8]:
            assert self.chain.bonded(who) == self.bonded.get(who, 0)
        assert self.allotted - self.paid == self.chain.staking.owed.get()


LifeOfStakers.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_random_lives_of_stakers_keep_all_money = LifeOfStakers.TestCase
