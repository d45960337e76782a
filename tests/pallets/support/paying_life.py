"""Random lives of askers and servers over the chain's own pallets, entered into books.

A rule calls a pallet; where the call succeeds, the books get what the rules of money say, and where
it fails nothing. `tests.pallets.test_money_machine` adds epochs and claims, and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.balances import HoldReason
from pallets.inference import PLATFORM_POT, Inference
from pallets.jobs import Jobs
from pallets.transaction_payment import FEE_POT
from runtime.frame.dispatch import DispatchFailed, Error
from runtime.shared.documents import (
    Settled,
    Share,
)
from runtime.shared.receipts import (
    GREEDY,
    Rates,
    Receipt,
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
    Books,
    economy,
)
from tests.pallets.support.ledger import GENESIS_HASH, KEYS

ZERO = Hash(bytes(32))
NAMES = {AccountId(pair.account): name for name, pair in KEYS.items()}
RATES = Rates(1_000 * PER_TOKEN, 1_000 * PER_TOKEN, PLATFORM_FEE)
DEPOSIT = 30 * OPEN
MODELS = strategies.sampled_from((PAYING, PAYING, SMALL))
NUMBERS = strategies.integers(0, 5)
TOKENS = strategies.integers(1, 12 * 10**6)
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


class PayingLife(RuleBasedStateMachine):
    """Askers and servers; what follows from epochs is a subclass's."""

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

    def room(self, server: AccountId) -> int:
        """Return what the bond of a server answers for beyond what it has not settled."""
        due = self.pools.get((PAYING, server), Pool()).redeemed
        at_risk = sum(closed.fees for closed in self.settling.values() if closed.key[1] == server)
        return max(0, self.bond(server) - due - at_risk)

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
            train_job=0,
            sequence=sequence,
            before_planck=before,
            limit_planck=DEPOSIT,
            rates=RATES,
            question=ZERO,
            sampling=GREEDY,
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
        room = DEPOSIT if channel.model == SMALL else self.room(channel.server)
        done = self.does(channel.server, "Inference", "redeem", voucher=signed.voucher, **arguments)
        is_owed = not channel.is_closed and channel.redeemed <= total <= DEPOSIT
        assert done == (is_owed and total - channel.redeemed <= room)
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
        record = self.inference.channels.get(number)
        assert record is not None
        if self.does(who, "Inference", "remove_channel", channel=number):
            assert channel.is_closed
            first = self.attribution.first_unsettled_epoch(channel.model, channel.server)
            is_evidence = any(mark.epoch >= first for mark in record.marks)
            settling = [one.key[1] for one in self.settling.values()]
            assert not is_evidence or (who == channel.server and who not in settling)
            del self.channels[number]

    @precondition(lambda self: self.channels)
    @rule(number=NUMBERS, who=ASKER)
    def take_back(self, number: int, who: AccountId) -> None:
        number, channel = pick(self.channels, number)
        waiting = channel.redeemed - max(channel.taken_back, channel.repaid)
        done = self.does(who, "Inference", "take_back", channel=number)
        assert done == (channel.model == SMALL and self.is_retired and waiting > 0)
        if done:
            pool = self.pools[channel.model, channel.server]
            self.books.pay(ATTRIBUTION_POT, channel.asker, waiting // 2)
            pool.part -= waiting // 2
            pool.redeemed -= waiting
            channel.taken_back = channel.redeemed
            channel.repaid += waiting // 2

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
            index_job=1,
            adapter=ZERO,
            tokens_in=0,
            tokens_out=0,
            fee_planck=fee * OPEN,
            answer=ZERO,
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
            owed = min(wronged, DEPOSIT) - min(wronged - more, DEPOSIT)
            channel.reported[sequence] = wronged
            self.slash(channel.server, 10 * more, ((number, owed),))

    def slash(self, server: AccountId, amount: int, wronged: tuple[tuple[int, int], ...]) -> None:
        left = taken = min(amount, self.bond(server))
        for number, owed in wronged:
            channel = self.channels.get(number)
            if channel is None or channel.server != server:
                continue
            part = min(owed, left, channel.redeemed - channel.repaid)
            self.books.pay_held(HoldReason.ServerBond, server, channel.asker, part)
            channel.repaid += part
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
                due = self.pools[PAYING, server].redeemed if (PAYING, server) in self.pools else 0
                lost = min(due, self.bond(server))
                self.books.burn_held(HoldReason.ServerBond, server, lost)
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

    @rule(server=SERVER, share=strategies.integers(0, 2), fees=strategies.integers(1, 4))
    def serve_in_a_row(self, server: AccountId, share: int, fees: int) -> None:
        """A server opens to an asker and answers it a few times."""
        number = self.inference.next_id.get()
        self.add_channel(ASKERS[share], server, PAYING)
        if number in self.channels:
            position = sorted(self.channels).index(number)
            for _ in range(fees):
                self.redeem_one(position, 5 * 10**6, is_told_nothing=False)

    # ------------------------------------------------------------------------------------ time

    @rule(count=strategies.sampled_from((1, 1, 2, WINDOW, RETENTION + 1, COMMIT_BLOCKS)))
    def pass_blocks(self, count: int) -> None:
        for _ in range(count):
            self.ledger.next_block()
            self.note_block()

    def note_block(self) -> None:
        """Enter what the deadlines of a block did, in a subclass."""
