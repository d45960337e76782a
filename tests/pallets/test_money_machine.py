"""Random lives of the whole way of money, over the chain's own pallets: askers pay, servers redeem,
close epochs and leave, executors settle, fail or stay silent, contributors claim; liars lie.

Books in plain Python are the oracle: after every step everybody has what the rules give, the pot of
contributors covers all that they can claim, and no planck was made or lost. OPENLEDGER_SCALE
multiplies the number of lives.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.balances import Balances, HoldReason
from pallets.inference import PLATFORM_POT, Inference
from pallets.jobs import Jobs
from pallets.jobs.job import FailureReason, Job, JobState
from pallets.jobs.settlement import JOB_POT
from pallets.transaction_payment import FEE_POT
from runtime.frame.dispatch import DispatchFailed, Error
from runtime.shared.documents import (
    FaultKind,
    JobOutput,
    Settled,
    Share,
    commitment,
    output_root,
)
from runtime.shared.receipts import (
    Rates,
    Receipt,
    Sampling,
    SignedVoucher,
    Voucher,
    receipt_hash,
    voucher_hash,
    voucher_payload,
)
from runtime.types.primitives import OPEN, AccountId, Ed25519, Hash, Id
from tests.pallets.support.economy import (
    ASKERS,
    COMMIT_BLOCKS,
    CONTRIBUTORS,
    OWNER,
    PAYING,
    PER_TOKEN,
    PLATFORM_FEE,
    RETENTION,
    SERVERS,
    SMALL,
    WINDOW,
    WORKERS,
    Books,
    economy,
)
from tests.pallets.support.epochs import fault, faulty, leaves, proof_of, shared, shares_of
from tests.pallets.support.ledger import GENESIS_HASH, KEYS
from tests.pallets.support.workshop import SALT

SCALE = max(1, int(os.environ.get("OPENLEDGER_SCALE", "1")))
ZERO = Hash(bytes(32))
NAMES = {AccountId(pair.account): name for name, pair in KEYS.items()}
RATES = Rates(1_000 * PER_TOKEN, 1_000 * PER_TOKEN, PLATFORM_FEE)
DEPOSIT = 30 * OPEN
NO_SHOW_PERMILLE, POT_PERMILLE = 50, 200
MODELS = strategies.sampled_from((PAYING, PAYING, SMALL))
NUMBERS = strategies.integers(0, 5)
TOKENS = strategies.integers(1, 12 * 10**6)
KINDS = strategies.sampled_from(("share", "share", "push", "fault", "nonsense"))
PERCENTS = strategies.lists(strategies.integers(1, 33), min_size=3, max_size=3)
ASKER, SERVER = strategies.sampled_from(ASKERS), strategies.sampled_from(SERVERS)
Key = tuple[int, AccountId]


@dataclass
class Channel:
    asker: AccountId
    server: AccountId
    model: int
    deposit: int = DEPOSIT
    redeemed: int = 0
    sequence: int = 0
    repaid: int = 0
    taken_back: int = 0
    reported: dict[int, int] = field(default_factory=dict)
    is_closed: bool = False


@dataclass
class Pool:
    part: int = 0
    redeemed: int = 0
    epoch: int = 0


@dataclass
class Closed:
    """An epoch that is being settled."""

    key: Key
    epoch: int
    fees: int
    pool: int
    escrow: int
    output: Settled | None = None
    shares: tuple[Share, ...] = ()


T, V = TypeVar("T"), TypeVar("V")


def pick(things: Mapping[T, V], number: int) -> tuple[T, V]:
    """Return one of several things by any number."""
    keys = sorted(things)  # type: ignore[type-var]
    key = keys[number % len(keys)]
    return key, things[key]


class MoneyLife(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.ledger = economy()
        self.inference = self.ledger.pallet(Inference)
        self.attribution = self.ledger.pallet(Attribution)
        self.jobs = self.ledger.pallet(Jobs)
        self.books = Books(self.ledger)
        self.channels: dict[int, Channel] = {}
        self.pools: dict[Key, Pool] = {}
        self.settling: dict[int, Closed] = {}
        self.settled: dict[tuple[int, AccountId, int], tuple[tuple[Share, ...], set[int]]] = {}
        self.commons = {PAYING: 0, SMALL: 0}
        self.claimable = dict.fromkeys(CONTRIBUTORS, 0)
        self.is_retired = False
        self.add_channel(ASKERS[0], SERVERS[0], PAYING)
        self.add_channel(ASKERS[1], SERVERS[1], PAYING)
        self.add_channel(ASKERS[2], SERVERS[0], PAYING)
        self.add_channel(ASKERS[1], SERVERS[1], SMALL)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()

    def does(self, who: AccountId, pallet: str, name: str, **arguments: object) -> bool:
        """Return whether a call succeeded; one that failed must change no balance."""
        try:
            self.ledger.sign(who, pallet, name, **arguments)
        except (Error, DispatchFailed):
            return False
        return True

    def bond(self, server: AccountId) -> int:
        return self.books.held[HoldReason.ServerBond, server]

    # ------------------------------------------------------------------------------- channels

    @rule(asker=ASKER, server=SERVER, model=MODELS)
    def open(self, asker: AccountId, server: AccountId, model: int) -> None:
        self.add_channel(asker, server, model)

    def add_channel(self, asker: AccountId, server: AccountId, model: int) -> None:
        number = self.inference.next_id.get()
        arguments = {"model": model, "server": Id(server), "deposit": DEPOSIT}
        if self.does(asker, "Inference", "open_channel", **arguments):
            assert self.bond(server) >= 100 * OPEN
            self.books.hold(HoldReason.InferenceChannel, asker, DEPOSIT)
            self.channels[number] = Channel(asker, server, model)

    def voucher(self, number: int, channel: Channel, sequence: int, before: int) -> SignedVoucher:
        voucher = Voucher(
            genesis=GENESIS_HASH,
            channel=number,
            model=channel.model,
            sequence=sequence,
            before_planck=before,
            limit_planck=DEPOSIT,
            rates=RATES,
            question=ZERO,
            may_draw=False,
            expires_at=10**9,
        )
        signature = KEYS[NAMES[channel.asker]].sign(voucher_payload(voucher))
        return SignedVoucher(voucher, channel.asker, Ed25519(signature))

    @precondition(lambda self: self.channels)
    @rule(number=NUMBERS, tokens=TOKENS)
    def ask(self, number: int, tokens: int) -> None:
        """Redeem one more answer."""
        self.redeem_one(number, tokens, is_told_nothing=False)

    @precondition(lambda self: self.channels)
    @rule(number=NUMBERS, tokens=TOKENS)
    def ask_again(self, number: int, tokens: int) -> None:
        """Redeem an answer that the asker signed as if nothing was owed."""
        self.redeem_one(number, tokens, is_told_nothing=True)

    def redeem_one(self, number: int, tokens: int, *, is_told_nothing: bool) -> None:
        number, channel = pick(self.channels, number)
        start = 0 if is_told_nothing else channel.redeemed
        signed = self.voucher(number, channel, channel.sequence + 1, start)
        total = start + signed.voucher.fee(tokens, 0)
        arguments = {"tokens_in": tokens, "tokens_out": 0, "signature": signed.signature}
        done = self.does(channel.server, "Inference", "redeem", voucher=signed.voucher, **arguments)
        assert done == (not channel.is_closed and channel.redeemed <= total <= DEPOSIT)
        if not done:
            return
        paid, channel.redeemed = total - channel.redeemed, total
        channel.sequence += 1
        assert paid % 2_000 == 0, "parts are whole here"
        pay, reason = self.books.pay_held, HoldReason.InferenceChannel
        for dest, permille in (
            (PLATFORM_POT, 50),
            (OWNER, 200),
            (FEE_POT, 200),
            (ATTRIBUTION_POT, 500),
        ):
            pay(reason, channel.asker, dest, paid * permille // 1_000)
        self.books.burn_held(reason, channel.asker, paid * 50 // 1_000)
        pool = self.pools.setdefault((channel.model, channel.server), Pool())
        pool.part += paid // 2
        pool.redeemed += paid

    @precondition(lambda self: self.channels)
    @rule(number=NUMBERS, is_server=strategies.booleans(), name=strategies.booleans())
    def end(self, number: int, is_server: bool, name: bool) -> None:
        number, channel = pick(self.channels, number)
        who = channel.server if is_server else channel.asker
        call = "close_channel" if name else "finish_close"
        before = self.inference.channels.get(number)
        if not self.does(who, "Inference", call, channel=number):
            return
        after = self.inference.channels.get(number)
        if after is not None and not after.is_closed:
            assert before is not None
            assert before.closes_at is None
            return
        left = channel.deposit - channel.redeemed
        self.books.release(HoldReason.InferenceChannel, channel.asker, left)
        channel.deposit, channel.is_closed = channel.redeemed, True
        if not channel.redeemed:
            del self.channels[number]

    @precondition(lambda self: self.channels)
    @rule(number=NUMBERS, who=ASKER)
    def remove(self, number: int, who: AccountId) -> None:
        number, channel = pick(self.channels, number)
        if self.does(who, "Inference", "remove_channel", channel=number):
            assert channel.is_closed
            settling = [one.key[1] for one in self.settling.values()]
            assert who != channel.server or channel.server not in settling
            del self.channels[number]

    @precondition(lambda self: self.channels)
    @rule(number=NUMBERS, who=ASKER)
    def take_back(self, number: int, who: AccountId) -> None:
        number, channel = pick(self.channels, number)
        waiting = channel.redeemed - channel.taken_back
        done = self.does(who, "Inference", "take_back", channel=number)
        assert done == (channel.model == SMALL and self.is_retired and waiting > 0)
        if done:
            pool = self.pools[channel.model, channel.server]
            self.books.pay(ATTRIBUTION_POT, channel.asker, waiting // 2)
            pool.part -= waiting // 2
            pool.redeemed -= waiting
            channel.taken_back = channel.redeemed

    @precondition(lambda self: self.channels)
    @rule(number=NUMBERS, fee=strategies.integers(0, 40), is_last=strategies.booleans())
    def report(self, number: int, fee: int, is_last: bool) -> None:
        """The server of a channel has signed a fee of so many OPEN for an answer of no tokens."""
        number, channel = pick(self.channels, number)
        sequence = channel.sequence if is_last else 0
        signed = self.voucher(number, channel, sequence, 0)
        receipt = Receipt(
            version=2,
            voucher=voucher_hash(signed.voucher),
            server=channel.server,
            train_job=0,
            index_job=1,
            adapter=ZERO,
            tokens_in=0,
            tokens_out=0,
            fee_planck=fee * OPEN,
            answer=ZERO,
            sampling=Sampling(0, 1_000, 0),
            evidence=ZERO,
        )
        signature = KEYS[NAMES[channel.server]].sign(receipt_hash(receipt))
        wronged = fee * OPEN
        if sequence == channel.sequence:
            wronged = max(wronged, channel.redeemed - fee * OPEN)
        more = wronged - channel.reported.get(sequence, 0)
        done = self.does(
            OWNER,
            "Inference",
            "report_receipt",
            voucher=signed,
            receipt=receipt,
            signature=signature,
        )
        assert done == (more > 0)
        if done:
            owed = min(more, channel.redeemed - channel.repaid)
            channel.repaid += owed
            channel.reported[sequence] = wronged
            self.slash(channel.server, 10 * more, ((channel.asker, owed),))

    def slash(
        self, server: AccountId, amount: int, wronged: tuple[tuple[AccountId, int], ...]
    ) -> None:
        left = taken = min(amount, self.bond(server))
        for asker, owed in wronged:
            part = min(owed, left)
            self.books.pay_held(HoldReason.ServerBond, server, asker, part)
            left -= part
        self.books.burn_held(HoldReason.ServerBond, server, left)
        assert taken <= amount

    # --------------------------------------------------------------------------------- servers

    @rule(server=SERVER, step=strategies.sampled_from(("leave", "withdraw", "register", "add")))
    def serve(self, server: AccountId, step: str) -> None:
        if step == "leave":
            self.does(server, "Inference", "leave_service")
        elif step == "withdraw":
            for number in [one for one, it in self.channels.items() if it.server == server]:
                self.end(sorted(self.channels).index(number), True, True)
            self.pass_blocks(RETENTION + 1)
            for number in [one for one, it in self.channels.items() if it.server == server]:
                self.remove(sorted(self.channels).index(number), server)
            if self.does(server, "Inference", "withdraw_server_bond"):
                assert all(one.key[1] != server for one in self.settling.values())
                assert all(channel.server != server for channel in self.channels.values())
                self.books.release(HoldReason.ServerBond, server, self.bond(server))
        elif step == "register":
            if self.does(server, "Inference", "register_server", bond=120 * OPEN):
                assert not self.bond(server)
                self.books.hold(HoldReason.ServerBond, server, 120 * OPEN)
        elif self.does(server, "Inference", "add_server_bond", amount=10 * OPEN):
            self.books.hold(HoldReason.ServerBond, server, 10 * OPEN)

    @precondition(lambda self: not self.is_retired)
    @rule()
    def retire(self) -> None:
        number = self.inference.next_id.get()
        self.add_channel(ASKERS[0], SERVERS[0], SMALL)
        if number in self.channels:
            position = sorted(self.channels).index(number)
            self.redeem_one(position, 7 * 10**6, is_told_nothing=False)
        if self.does(OWNER, "Models", "retire", model=SMALL):
            assert not self.is_retired
            self.is_retired = True
            self.books.release(HoldReason.ModelDeposit, OWNER, 10 * OPEN)

    @rule(server=SERVER, model=MODELS, who=ASKER)
    def sweep(self, server: AccountId, model: int, who: AccountId) -> None:
        done = self.does(who, "Attribution", "sweep_pool", model=model, server=server)
        pool = self.pools.get((model, server), Pool())
        assert not done or (not self.bond(server) and pool.part)
        if done:
            self.commons[model] += pool.part
            pool.part = pool.redeemed = 0

    # ---------------------------------------------------------------------------------- epochs

    @rule(server=SERVER, model=MODELS, percent=strategies.integers(1, 110), again=NUMBERS)
    def close(self, server: AccountId, model: int, percent: int, again: int) -> None:
        pool = self.pools.get((model, server), Pool())
        is_again = again < 2 and pool.epoch > 0
        self.close_one(server, model, pool.redeemed * percent // 100, is_again=is_again)

    def close_one(self, server: AccountId, model: int, fees: int, *, is_again: bool) -> None:
        pool = self.pools.setdefault((model, server), Pool())
        job = self.jobs.next_job.get()
        arguments: dict[str, object] = {
            "model": model,
            "receipts_root": shared(()).receipts_root,
            "receipts": 4,
            "fees_planck": fees,
            "receipts_blob": ZERO,
        }
        if is_again:
            arguments["epoch"] = pool.epoch - 1
        name = "close_again" if is_again else "close_epoch"
        if not self.does(server, "Attribution", name, **arguments):
            return
        at_risk = sum(one.fees for one in self.settling.values() if one.key[1] == server)
        assert model == PAYING
        assert 0 < fees <= pool.redeemed
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
        self.does(server, "Attribution", "show_texts", job=number, attempt=0, blob=ZERO)

    @precondition(lambda self: self.settling)
    @rule(who=ASKER, job=NUMBERS)
    def report_withheld(self, who: AccountId, job: int) -> None:
        number, closed = pick(self.settling, job)
        is_shown = (number, 0) in self.attribution.shown
        if self.does(who, "Attribution", "report_withheld", job=number):
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
            shares, output = (), faulty(fault(FaultKind.Text, fee * OPEN, ASKERS[fee % 3]))
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

    @rule(server=SERVER, share=strategies.integers(0, 2), fees=strategies.integers(1, 4))
    def serve_in_a_row(self, server: AccountId, share: int, fees: int) -> None:
        """A server opens to an asker and answers it a few times."""
        number = self.inference.next_id.get()
        self.add_channel(ASKERS[share], server, PAYING)
        if number in self.channels:
            position = sorted(self.channels).index(number)
            for _ in range(fees):
                self.redeem_one(position, 5 * 10**6, is_told_nothing=False)

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
        self.books.release(HoldReason.JobEscrow, closed.key[1], closed.escrow)
        if all(reasons):
            self.convict(closed, closed.fees, ())
        else:
            self.put_back(closed)

    def convict(
        self, closed: Closed, amount: int, wronged: tuple[tuple[AccountId, int], ...]
    ) -> None:
        self.slash(closed.key[1], amount, wronged)
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

    @rule(count=strategies.sampled_from((1, 1, 2, WINDOW, RETENTION + 1, COMMIT_BLOCKS)))
    def pass_blocks(self, count: int) -> None:
        for _ in range(count):
            self.ledger.next_block()
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
            self.convict(closed, amount, ((one.asker, one.fee_planck),))
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
