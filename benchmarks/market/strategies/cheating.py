"""Servers with right receipts that cheat with redemptions, declarations, texts or bonds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.market.answers import Answer, Question, make_answer, signed_voucher
from benchmarks.market.keys import account, signature
from benchmarks.market.servers import Declaration, Server
from benchmarks.market.strategies.serving import COALITION, SERVER, FalseReceipts
from benchmarks.market.strategies.strategy import Strategy
from benchmarks.market.terms import (
    ASKING_BLOCKS,
    CLOSE_BLOCKS,
    DEPOSIT,
    DOWN_BLOCKS_MAX,
    LAST_CLOSE,
    MODEL,
    PRICE_TOKENS_OUT,
    RATE_IN,
    RATE_OUT,
    VOUCHER_BLOCKS,
)
from pallets.inference.records import Channel
from pallets.jobs.job import Job
from runtime.shared.receipts import receipt_hash
from runtime.types.primitives import Hash, Id

if TYPE_CHECKING:
    from benchmarks.market.world import World

OWNER: Final = "owner"
OWN_ASKER: Final = "sybil0"
WITHOUT_FRIEND: Final = (OWNER, SERVER, OWN_ASKER)
"""Who gains by fees for which no receipt is settled."""
LIES_AT: Final = ASKING_BLOCKS - 6


class Overcharges(Server):
    """Redeems more tokens than its receipt has: as many as the voucher allows."""

    def redeem(self, last: Answer, record: Channel) -> bool:
        """Draw all that the voucher allows."""
        self.world.lies += 1
        tokens_in = last.signed.receipt.tokens_in
        return self.draw(last.signed.voucher, tokens_in, PRICE_TOKENS_OUT)

    def note_refused(self, declaration: Declaration) -> None:
        """Go on: there are no receipts for all that was drawn."""


class OverchargesAtLast(Overcharges):
    """Overcharges when most askers have asked their last question."""

    def redeem(self, last: Answer, record: Channel) -> bool:
        """Overcharge from some block on."""
        if self.block >= LIES_AT:
            return super().redeem(last, record)
        return Server.redeem(self, last, record)


class ReportsItself(OverchargesAtLast):
    """Overcharges, and reports a small fault of the same answer before its asker can report."""

    def redeem(self, last: Answer, record: Channel) -> bool:
        """Draw too much, and report a receipt whose fee is one planck."""
        is_drawn = super().redeem(last, record)
        if is_drawn and self.block >= LIES_AT:
            report_false_fee(self, last, fee_planck=1)
        return is_drawn


class DrainsBond(OverchargesAtLast):
    """Overcharges once all channels owe much, and before it can be reported pays its bond out to an
    asker of its own, by a report against itself."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.channel: int | None = None

    def act(self) -> None:
        """Serve, and drain the bond when the first overcharge is drawn."""
        lies = self.world.lies
        super().act()
        if self.channel is None:
            self.channel = open_own_channel(self)
        elif self.world.lies > lies:
            self.drain(self.channel)

    def drain(self, channel: int) -> None:
        """Report a receipt that asks the own asker for all of the bond."""
        rates = self.chain.inference.rates(MODEL)
        assert rates is not None, "the model exists"
        question = Question(f"drain {self.block}", 10, 10, bytes(16))
        voucher = signed_voucher(
            OWN_ASKER,
            question,
            channel=channel,
            sequence=self.block,
            before_planck=0,
            limit_planck=rates.fee(10, 10),
            rates=rates,
            expires_at=self.block + VOUCHER_BLOCKS,
        )
        answer = make_answer(self.name, voucher, question, 10)
        bond = self.chain.inference.bond_of(self.account)
        report_false_fee(self, answer, fee_planck=bond)


class Withholds(FalseReceipts):
    """Shows no texts where one of the drawn receipts is false; with 100 % never shows any."""

    def __init__(self, world: World, name: str, percent: int, *, always: bool = False) -> None:
        super().__init__(world, name, percent)
        self.always = always

    def show(self, job: int, attempt: int) -> None:
        """Show the texts only where they are the truth."""
        record = self.chain.jobs.job(job)
        assert isinstance(record, Job), "an assigned job exists"
        if not self.always and not self.world.settlement(job, record).settled.faults:
            super().show(job, attempt)


class Unreadable(FalseReceipts):
    """Shows a file of texts that no executor can decrypt."""

    def show(self, job: int, attempt: int) -> None:
        """Show noise."""
        self.publish_texts(job, attempt, is_readable=False)


class Redraws(FalseReceipts):
    """Hides the file of receipts where a false one was drawn: the settlement fails, and the next
    one draws others. It closes again as late as it can."""

    def close(self, epoch: int, declaration: Declaration, *, is_again: bool = False) -> bool:
        """Close an epoch, the second time at the last moment."""
        due_from = self.chain.attribution.pool(MODEL, self.account).due_from
        latest = self.block if due_from is None else due_from + CLOSE_BLOCKS - DOWN_BLOCKS_MAX
        if is_again and self.block < latest:
            return False
        return super().close(epoch, declaration, is_again=is_again)

    def show_due(self) -> None:
        """Hide the file as soon as the draw is known, then show texts."""
        ledger = self.chain.attribution.pool(MODEL, self.account)
        if ledger.settling is not None:
            record = self.chain.attribution.epoch(MODEL, self.account, ledger.settling)
            number = record.job if record is not None else 0
            job = self.chain.jobs.job(number)
            if job is not None and job.seed is not None and self.world.has_file(job):
                self.hide_perhaps(number, job)
        super().show_due()

    def hide_perhaps(self, number: int, job: Job) -> None:
        """Hide the file where a false receipt was drawn."""
        if self.world.settlement(number, job).settled.faults:
            self.world.hide_file(job)


class HidesFile(Redraws):
    """Never publishes the file of receipts, so that executors settle nothing."""

    def hide_perhaps(self, number: int, job: Job) -> None:
        """Hide the file."""
        self.world.hide_file(job)


class Declares(FalseReceipts):
    """Declares another number, other fees, another root, or a file that is none."""

    def __init__(self, world: World, name: str, what: str) -> None:
        super().__init__(world, name, 0)
        self.what = what

    def declare(self, answers: Sequence[Answer]) -> Declaration:
        """Declare something false."""
        true = super().declare(answers)
        return {
            "count": replace(true, receipts=true.receipts + 1),
            "fees": replace(true, fees_planck=true.fees_planck * 9 // 10),
            "root": replace(true, root=Hash(bytes(32))),
            "file": replace(true, file=None),
        }[self.what]


class RaisesRates(Server):
    """Has the model's owner double the rates between answer and redemption."""

    def act(self) -> None:
        """Redeem while the rates are double, and restore them before anybody asks."""
        is_raising = self.block < LAST_CLOSE and self.block not in self.down
        if is_raising:
            self.world.lies += 1
            self.set_rates(2)
        super().act()
        if is_raising:
            self.set_rates(1)

    def set_rates(self, factor: int) -> None:
        """Set the rates of the model by its owner."""
        self.chain.sign(
            account(OWNER),
            "Models",
            "set_rates",
            model=MODEL,
            rate_in_planck=factor * RATE_IN,
            rate_out_planck=factor * RATE_OUT,
        )


class LeavesEarly(Overcharges):
    """Overcharges its last redemptions only, closes the channels itself, and leaves at once."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.leaves_at = ASKING_BLOCKS - 4

    def redeem(self, last: Answer, record: Channel) -> bool:
        """Overcharge when leaving."""
        if self.is_leaving:
            return super().redeem(last, record)
        return Server.redeem(self, last, record)

    def close_due(self) -> None:
        """Close no more epochs when leaving."""
        if self.block < self.leaves_at:
            super().close_due()

    def is_settled(self) -> bool:
        """Leave whatever is unsettled behind."""
        return True


class NeverCloses(Server):
    """Redeems, and never closes an epoch: that saves the price of settling."""

    def close_due(self) -> None:
        """Close nothing."""
        self.world.lies = 1

    def is_settled(self) -> bool:
        """Leave all of it behind."""
        return True


class NeverLeaves(NeverCloses):
    """Closes no epochs, and leaves its bond where it is."""

    def leave(self) -> None:
        """Stay."""


def report_false_fee(server: Server, answer: Answer, fee_planck: int) -> bool:
    """Report an own receipt with a false fee, from the account of an own asker."""
    receipt = replace(answer.signed.receipt, fee_planck=fee_planck)
    return server.chain.attempt(
        account(OWN_ASKER),
        "Inference",
        "report_receipt",
        voucher=answer.signed.voucher,
        receipt=receipt,
        signature=signature(server.name, receipt_hash(receipt)),
    )


def open_own_channel(server: Server) -> int:
    """Open a channel of an own asker; return its number."""
    number = server.chain.inference.next_id.get()
    server.chain.sign(
        account(OWN_ASKER),
        "Inference",
        "open_channel",
        model=MODEL,
        server=Id(server.account),
        deposit=DEPOSIT,
    )
    return number


_DECLARED: Final = {
    "count": "another number of receipts than there are",
    "fees": "lower fees than the receipts have",
    "root": "another root than the receipts have",
    "file": "a file of receipts that is none",
}

STRATEGIES: Final = (
    Strategy(
        "overcharger",
        "A server redeems more tokens than its receipts have.",
        COALITION,
        {SERVER: Overcharges},
    ),
    Strategy(
        "reports itself",
        "A server overcharges, and reports itself for a small fault of the same answer.",
        WITHOUT_FRIEND,
        {SERVER: ReportsItself},
    ),
    Strategy(
        "drains its bond",
        "A server overcharges, and pays its bond to an own asker before it is reported.",
        WITHOUT_FRIEND,
        {SERVER: DrainsBond},
    ),
    Strategy(
        "withholds always",
        "A server shows no texts of drawn receipts.",
        COALITION,
        {SERVER: partial(Withholds, percent=0, always=True)},
    ),
    Strategy(
        "withholds the false",
        "A server falsifies 20 % of its sketches, and shows texts only where none was drawn.",
        COALITION,
        {SERVER: partial(Withholds, percent=20)},
        false_percent=20,
    ),
    Strategy(
        "redraws",
        "A server falsifies 20 % of its sketches, and hides the file where one was drawn.",
        COALITION,
        {SERVER: partial(Redraws, percent=20)},
    ),
    Strategy(
        "hides the file",
        "A server publishes no file of receipts.",
        (SERVER,),
        {SERVER: partial(HidesFile, percent=0)},
    ),
    Strategy(
        "unreadable texts",
        "A server shows texts that no executor can read.",
        COALITION,
        {SERVER: partial(Unreadable, percent=0)},
    ),
    *(
        Strategy(
            f"false {what}",
            f"A server declares {sentence}.",
            COALITION,
            {SERVER: partial(Declares, what=what)},
        )
        for what, sentence in _DECLARED.items()
    ),
    Strategy(
        "raises rates",
        "The owner doubles the rates between an answer and its redemption.",
        COALITION,
        {SERVER: RaisesRates},
    ),
    Strategy(
        "leaves early",
        "A server overcharges its last redemptions, closes the channels and leaves.",
        WITHOUT_FRIEND,
        {SERVER: LeavesEarly},
    ),
    Strategy(
        "never closes",
        "A server closes no epochs, which saves the price of settling.",
        (SERVER,),
        {SERVER: NeverCloses},
    ),
    Strategy(
        "never leaves",
        "A server closes no epochs, and leaves its bond where it is.",
        (SERVER,),
        {SERVER: NeverLeaves},
    ),
)
