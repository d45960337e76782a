"""Random lives of the whole way of money, over the chain's own pallets: askers pay, servers redeem,
close epochs and leave, executors settle, fail or stay silent, contributors claim; liars lie.

Books in plain Python are the oracle: after every step everybody has what the rules give, the pot of
contributors covers all that they can claim, and no planck was made or lost. OPENLEDGER_SCALE
multiplies the number of lives.
"""

from __future__ import annotations

import os

from hypothesis import settings, strategies
from hypothesis.stateful import invariant, precondition, rule

from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import Balances, HoldReason
from pallets.jobs.job import FailureReason, Job, JobState
from pallets.jobs.settlement import JOB_POT
from runtime.shared.documents import (
    FaultKind,
    JobOutput,
    Share,
    commitment,
    output_root,
)
from runtime.types.primitives import OPEN, AccountId
from tests.pallets.support.economy import (
    CONTRIBUTORS,
    OWNER,
    PAYING,
    WORKERS,
)
from tests.pallets.support.epochs import fault, faulty, leaves, proof_of, shared, shares_of
from tests.pallets.support.ledger import GENESIS_HASH
from tests.pallets.support.paying_life import (
    ASKER,
    MODELS,
    NUMBERS,
    SERVER,
    ZERO,
    Closed,
    PayingLife,
    Pool,
    pick,
)
from tests.pallets.support.workshop import SALT

SCALE = max(1, int(os.environ.get("OPENLEDGER_SCALE", "1")))
NO_SHOW_PERMILLE, POT_PERMILLE, KEPT_PERMILLE = 50, 200, 200
KINDS = strategies.sampled_from(("share", "share", "push", "fault", "nonsense"))
PERCENTS = strategies.lists(strategies.integers(1, 33), min_size=3, max_size=3)


class MoneyLife(PayingLife):
    # ---------------------------------------------------------------------------------- epochs

    @rule(server=SERVER, model=MODELS, percent=strategies.integers(1, 110), again=NUMBERS)
    def close(self, server: AccountId, model: int, percent: int, again: int) -> None:
        pool = self.pools.get((model, server), Pool())
        is_again = again < 2 and pool.epoch > 0
        self.close_one(server, model, pool.redeemed * percent // 100, is_again=is_again)

    def close_one(self, server: AccountId, model: int, fees: int, *, is_again: bool) -> None:
        pool = self.pools.setdefault((model, server), Pool())
        job = self.jobs.next_job.get()
        failed = self.attribution.epochs.get((model, server, pool.epoch - 1)) if is_again else None
        fees = fees if failed is None else failed.fees_planck
        arguments: dict[str, object] = {
            "model": model,
            "receipts_root": shared(()).receipts_root,
            "receipts": 4,
            "fees_planck": fees,
            "receipts_blob": ZERO,
        }
        missing = 0 if is_again else max(0, pool.redeemed - fees)
        if is_again:
            arguments["epoch"] = pool.epoch - 1
        else:
            arguments["missing_planck"] = missing
        name = "close_again" if is_again else "close_epoch"
        if not self.does(server, "Attribution", name, **arguments):
            return
        at_risk = sum(one.fees for one in self.settling.values() if one.key[1] == server)
        assert model == PAYING
        assert 0 < fees <= pool.redeemed
        if missing:
            lost = pool.part - pool.part * fees // pool.redeemed
            taken = min(missing, self.bond(server))
            self.books.burn_held(HoldReason.ServerBond, server, taken)
            self.commons[model] += lost
            pool.part -= lost
            pool.redeemed -= missing
        assert at_risk + fees <= self.bond(server)
        assert all(one.key != (model, server) for one in self.settling.values())
        part = pool.part * fees // pool.redeemed
        record = self.jobs.job(job)
        assert record is not None
        escrow = record.escrow  # what it costs is the business of jobs
        self.books.hold(HoldReason.JobEscrow, server, escrow)
        number = pool.epoch - 1 if is_again else pool.epoch
        pool.epoch = number + 1
        pool.part -= part
        pool.redeemed -= fees
        self.settling[job] = Closed((model, server), number, fees, part, escrow)

    @precondition(lambda self: self.settling)
    @rule(server=SERVER, job=NUMBERS)
    def show(self, server: AccountId, job: int) -> None:
        number, _ = pick(self.settling, job)
        shown = {"job": number, "attempt": 0, "blob": ZERO, "content": ZERO}
        self.does(server, "Attribution", "show_texts", **shown)

    @precondition(lambda self: self.settling)
    @rule(who=ASKER, job=NUMBERS)
    def report_withheld(self, who: AccountId, job: int) -> None:
        number, closed = pick(self.settling, job)
        is_shown = (number, 0) in self.attribution.shown
        if self.does(who, "Attribution", "report_withheld", job=number, attempt=0):
            assert not is_shown
            del self.settling[number]
            self.pay_executors(closed, number)
            self.convict(closed, closed.fees, ())

    @precondition(lambda self: self.settling)
    @rule(
        job=NUMBERS,
        kind=KINDS,
        percents=PERCENTS,
        fee=strategies.integers(1, 30),
    )
    def settle(self, job: int, kind: str, percents: list[int], fee: int) -> None:
        """Both executors commit to an output and reveal it."""
        number, closed = pick(self.settling, job)
        parts = [closed.pool * percent // 100 for percent in percents]
        paid = [one for one in zip(CONTRIBUTORS, parts, strict=True) if one[1]]
        shares = shares_of(*paid)
        output = shared(shares, pushed=64 if kind == "push" else fee % 3)
        if kind == "fault":
            shares, output = (), faulty(fault(FaultKind.Text, fee * OPEN, fee % 7))
        elif kind == "nonsense":
            excess = shares_of((CONTRIBUTORS[0], closed.pool + 1))
            shares, output = (), shared(excess)
        if self.answer(number, output):
            closed.output, closed.shares = output, shares

    @precondition(lambda self: any(pool.redeemed for pool in self.pools.values()))
    @rule(server=SERVER, kind=KINDS, percents=PERCENTS, fee=strategies.integers(1, 30))
    def live_an_epoch(self, server: AccountId, kind: str, percents: list[int], fee: int) -> None:
        """A server closes an epoch of all that it can, and its executors do their work at once."""
        pool = self.pools.get((PAYING, server), Pool())
        at_risk = sum(one.fees for one in self.settling.values() if one.key[1] == server)
        room = min(pool.redeemed, self.bond(server) - at_risk)
        if room > 0:
            self.close_one(server, PAYING, room, is_again=False)
        self.pass_blocks(1)
        for job in range(len(self.settling)):
            self.settle(job, kind, percents, fee)
        self.pass_blocks(1)

    def answer(self, job: int, output: JobOutput) -> bool:
        record = self.jobs.job(job)
        assert record is not None
        if record.state is not JobState.Assigned:
            return False
        for who in WORKERS:
            sealed = commitment(GENESIS_HASH, job, who, 0, output_root(output), SALT)
            assert self.does(who, "Jobs", "commit", job=job, attempt=0, commitment=sealed)
        for who in WORKERS:
            assert self.does(who, "Jobs", "reveal", job=job, output=output, salt=SALT)
        return True

    @precondition(lambda self: self.settling)
    @rule(job=NUMBERS, reasons=strategies.lists(strategies.booleans(), min_size=2, max_size=2))
    def fail(self, job: int, reasons: list[bool]) -> None:
        """Both executors say that they cannot answer."""
        number, closed = pick(self.settling, job)
        record = self.jobs.job(number)
        assert record is not None
        if record.state is not JobState.Assigned:
            return
        for who, is_withheld in zip(WORKERS, reasons, strict=True):
            reason = FailureReason.WithheldTexts if is_withheld else FailureReason.MissingBlob
            arguments = {"job": number, "attempt": 0, "reason": reason}
            assert self.does(who, "Jobs", "report_failure", **arguments)
        del self.settling[number]
        server, kept = closed.key[1], closed.escrow * KEPT_PERMILLE // 1_000
        self.books.pay_held(HoldReason.JobEscrow, server, JOB_POT, kept)
        self.books.release(HoldReason.JobEscrow, server, closed.escrow - kept)
        if all(reasons):
            self.convict(closed, closed.fees, ())
        else:
            self.put_back(closed)

    def convict(self, closed: Closed, amount: int, wronged: tuple[tuple[int, int], ...]) -> None:
        self.slash(closed.key[1], max(amount, 10 * OPEN), wronged)
        self.commons[closed.key[0]] += closed.pool

    def put_back(self, closed: Closed) -> None:
        pool = self.pools[closed.key]
        pool.part += closed.pool
        pool.redeemed += closed.fees

    def pay_executors(self, closed: Closed, job: int) -> None:
        record = self.jobs.job(job)
        assert record is not None
        first, second = (slot.executor for slot in record.slots)
        half = closed.escrow // 2
        server = closed.key[1]
        self.books.pay_held(HoldReason.JobEscrow, server, first, closed.escrow - half)
        self.books.pay_held(HoldReason.JobEscrow, server, second, half)

    # ---------------------------------------------------------------------------------- claims

    @precondition(lambda self: self.settled)
    @rule(epoch=NUMBERS, position=strategies.integers(0, 2), more=strategies.integers(0, 1))
    def claim_share(self, epoch: int, position: int, more: int) -> None:
        key, (shares, credited) = pick(self.settled, epoch)
        if position >= len(shares):
            return
        share = shares[position]
        model, server, number = key
        done = self.does(
            OWNER,
            "Attribution",
            "claim_share",
            model=model,
            server=server,
            epoch=number,
            share=Share(share.contributor, share.planck + more),
            proof=proof_of(shares, position),
        )
        assert done == (position not in credited and not more)
        if done:
            credited.add(position)
            self.claimable[share.contributor] += share.planck

    @precondition(lambda self: self.settled)
    @rule(who=ASKER, contributor=strategies.sampled_from(CONTRIBUTORS))
    def claim(self, who: AccountId, contributor: AccountId) -> None:
        amount = self.claimable[contributor]
        exists = self.books.free[contributor] + amount >= Balances.existential_deposit
        done = self.does(who, "Attribution", "claim_for", account=contributor)
        assert done == (amount > 0 and exists)
        if done:
            self.books.pay(ATTRIBUTION_POT, contributor, amount)
            self.claimable[contributor] = 0

    # ------------------------------------------------------------------------------------ time

    def note_block(self) -> None:
        """Enter what the deadlines of a block did."""
        for number in sorted(self.settling):
            record = self.jobs.job(number)
            assert record is not None
            if record.is_final:
                self.ended(number, record)

    def ended(self, number: int, record: Job) -> None:
        """Enter how a settle job ended at its deadline."""
        closed = self.settling.pop(number)
        model, server = closed.key
        output = closed.output
        if record.state is not JobState.Settled:
            self.books.release(HoldReason.JobEscrow, server, closed.escrow)
            self.put_back(closed)
            if record.slots and output is None:
                self.slash_silent()
            return
        assert output is not None, "nothing is settled that was not answered"
        self.pay_executors(closed, number)
        if output.faults:
            [one] = output.faults
            amount = max(10 * one.fee_planck, closed.fees)
            assert one.channel is not None
            self.convict(closed, amount, ((one.channel, min(one.fee_planck, closed.fees)),))
            return
        self.commons[model] += closed.pool - sum(share.planck for share in closed.shares)
        pushed = {largest.position for largest in output.largest}
        self.settled[model, server, closed.epoch] = (closed.shares, pushed)
        for position in pushed:
            share = closed.shares[position]
            self.claimable[share.contributor] += share.planck

    def slash_silent(self) -> None:
        """Both executors stayed silent: a twentieth of each bond goes to the pot and the fire."""
        for who in WORKERS:
            amount = self.books.held[HoldReason.JobBond, who] * NO_SHOW_PERMILLE // 1_000
            pot = amount * POT_PERMILLE // 1_000
            self.books.pay_held(HoldReason.JobBond, who, JOB_POT, pot)
            self.books.burn_held(HoldReason.JobBond, who, amount - pot)

    # ------------------------------------------------------------------------------ invariants

    @precondition(lambda self: hasattr(self, "ledger"))
    @invariant()
    def everybody_has_what_the_rules_give(self) -> None:
        self.ledger.check()
        self.books.compare()

    @precondition(lambda self: hasattr(self, "ledger"))
    @invariant()
    def the_pot_covers_all_that_contributors_wait_for(self) -> None:
        unclaimed = sum(
            planck
            for shares, credited in self.settled.values()
            for position, (_, planck) in enumerate(leaves(shares))
            if position not in credited
        )
        owed = sum(pool.part for pool in self.pools.values())
        owed += sum(closed.pool for closed in self.settling.values())
        owed += unclaimed + sum(self.commons.values()) + sum(self.claimable.values())
        assert self.attribution.accounted.get() == owed
        assert self.books.free[ATTRIBUTION_POT] == owed
        for model, amount in self.commons.items():
            assert self.attribution.common_pool(model) == amount
        for (model, server), pool in self.pools.items():
            ledger = self.attribution.pool(model, server)
            assert (ledger.pool, ledger.redeemed_planck) == (pool.part, pool.redeemed)
        for who, amount in self.claimable.items():
            assert self.attribution.earnings(who).claimable == amount


MoneyLife.TestCase.settings = settings(
    max_examples=100 * SCALE, stateful_step_count=40, deadline=None
)
test_random_lives_of_money_give_everybody_what_the_rules_say = MoneyLife.TestCase
