"""A server: it answers for vouchers, redeems, closes its epochs, shows texts, and leaves at last.

It redeems what is owed by amount, by age, before it closes an epoch, and at once where a channel
begins to close. It refuses a voucher that it may not be able to redeem. An epoch that failed is
closed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.market.answers import Answer, Claims, Question, make_answer
from benchmarks.market.parties import Delivery, Party, down_blocks
from benchmarks.market.terms import (
    CHALLENGE_BLOCKS,
    COMPUTE_PERMILLE,
    EPOCH_BLOCKS,
    LAST_CLOSE,
    MODEL,
    SERVER_BOND,
)
from pallets.attribution.records import EpochState
from pallets.attribution.texts import SHOWING
from pallets.inference.records import Channel
from pallets.inference.redemption import is_signed, lowest_rates
from pallets.jobs.job import SlotState
from runtime.crypto.hashing import blake2b_256
from runtime.shared.receipts import SignedVoucher, Voucher, receipt_hash
from runtime.trie.merkle import sum_root
from runtime.types.primitives import OPEN, Hash

if TYPE_CHECKING:
    from benchmarks.market.settling import EpochFile
    from benchmarks.market.world import World

REDEEM_PLANCK: Final = 20 * OPEN
REDEEM_BLOCKS: Final = 5
VOUCHER_BLOCKS_MIN: Final = CHALLENGE_BLOCKS + REDEEM_BLOCKS
"""A voucher that ends earlier might not be redeemed in time."""
PERMILLE: Final = 1_000


@dataclass(slots=True)
class VoucherBook:
    """The answers of a channel; `since` is the block of the first that is not redeemed."""

    answers: list[Answer] = field(default_factory=list)
    since: int | None = None

    @property
    def last(self) -> Answer | None:
        """The latest answer."""
        return self.answers[-1] if self.answers else None

    @property
    def owed_planck(self) -> int:
        """What the channel owes with its latest answer."""
        return self.answers[-1].signed.ends_planck if self.answers else 0


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a server says of an epoch when it closes it, and the file that it publishes."""

    root: Hash
    receipts: int
    fees_planck: int
    file: EpochFile | None


class Server(Party):
    """An honest server."""

    leaves_at: int = LAST_CLOSE

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.books: dict[int, VoucherBook] = {}
        self.declared: dict[int, Declaration] = {}
        self.is_leaving = False
        self.next_close = EPOCH_BLOCKS
        self.down = down_blocks(world.dice(name, "down"))

    def join(self) -> None:
        """Post the bond."""
        self.chain.sign(self.account, "Inference", "register_server", bond=SERVER_BOND)

    def act(self) -> None:
        """Redeem, show texts, close epochs, leave."""
        if self.block in self.down:
            return
        self.redeem_due()
        self.show_due()
        self.close_due()
        if self.block >= self.leaves_at:
            self.leave()

    # --------------------------------------------------------------------------- answering

    def answer(
        self, voucher: SignedVoucher, question: Question, tokens_wanted: int
    ) -> Delivery | None:
        """Answer a question until the asker stops it; None where the voucher is refused."""
        if self.block in self.down or self.is_leaving or not self.accepts(voucher):
            return None
        return self.deliver(voucher, question, min(question.tokens_out, tokens_wanted))

    def deliver(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Delivery:
        """Answer, and record the receipt for the tokens that were sent."""
        answer = self.write(voucher, question, tokens_out)
        self.record(answer)
        return Delivery(tokens_out, answer)

    def write(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Answer:
        """Compute an answer and sign its receipt."""
        self.pay_compute(voucher.voucher, question, tokens_out)
        return make_answer(self.name, voucher, question, tokens_out, self.claims(question))

    def claims(self, question: Question) -> Claims | None:
        """Return what the receipt says against the truth: nothing."""
        return None

    def pay_compute(self, voucher: Voucher, question: Question, tokens_out: int) -> None:
        """Bear the cost of computing an answer."""
        fair = voucher.fee(question.tokens_in, tokens_out)
        self.world.note_cost(self.name, fair * COMPUTE_PERMILLE // PERMILLE)

    def record(self, answer: Answer) -> None:
        """Note an answer of a channel."""
        book = self.books.setdefault(answer.signed.channel, VoucherBook())
        book.answers.append(answer)
        if book.since is None:
            book.since = self.block

    def accepts(self, signed: SignedVoucher) -> bool:
        """Return whether a voucher can be redeemed, comes after all others, and pays the price."""
        voucher, inference = signed.voucher, self.chain.inference
        record = inference.channel(voucher.channel)
        if record is None or record.server != self.account or record.closes_at is not None:
            return False
        book = self.books.get(voucher.channel) or VoucherBook()
        last = book.last.signed.sequence if book.last is not None else 0
        return (
            voucher.sequence > last
            and voucher.before_planck == book.owed_planck
            and voucher.limit_planck <= record.deposit_planck
            and voucher.expires_at >= self.block + VOUCHER_BLOCKS_MIN
            and voucher.rates.covers(lowest_rates(inference, MODEL, voucher.expires_at))
            and is_signed(inference, record, voucher, signed.signature)
        )

    # --------------------------------------------------------------------------- redeeming

    def redeem_due(self, *, all_of_them: bool = False) -> None:
        """Redeem the channels that owe much or for long, and those that begin to close."""
        for number, book in self.books.items():
            record = self.chain.inference.channel(number)
            if record is None or record.is_closed or book.since is None or book.last is None:
                continue
            is_due = (
                all_of_them
                or book.owed_planck - record.redeemed_planck >= REDEEM_PLANCK
                or self.block >= book.since + REDEEM_BLOCKS
                or record.closes_at is not None
            )
            if is_due and self.redeem(book.last, record):
                book.since = None

    def redeem(self, last: Answer, record: Channel) -> bool:
        """Draw what a channel owes with its last answer."""
        receipt = last.signed.receipt
        return self.draw(last.signed.voucher, receipt.tokens_in, receipt.tokens_out)

    def draw(self, voucher: SignedVoucher, tokens_in: int, tokens_out: int) -> bool:
        """Redeem a voucher for so many tokens; returns whether the chain took it."""
        return self.chain.attempt(
            self.account,
            "Inference",
            "redeem",
            voucher=voucher.voucher,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            signature=voucher.signature,
        )

    # ------------------------------------------------------------------------------ epochs

    def close_due(self) -> None:
        """Close the current epoch, or the last one again where its settlement failed."""
        ledger = self.chain.attribution.pool(MODEL, self.account)
        if self.block < self.next_close or ledger.settling is not None:
            return
        last = max(0, ledger.epoch - 1)
        former = self.chain.attribution.epoch(MODEL, self.account, last)
        if former is not None and former.state is EpochState.Failed:
            self.close(last, self.declared[last], is_again=True)
            return
        self.redeem_due(all_of_them=True)
        if not self.chain.attribution.pool(MODEL, self.account).redeemed_planck:
            return
        answers = self.epoch_answers(ledger.epoch)
        if answers:
            self.close(ledger.epoch, self.declare(answers))
        self.next_close = min(self.block + EPOCH_BLOCKS, max(self.leaves_at, self.block + 1))

    def epoch_answers(self, epoch: int) -> list[Answer]:
        """Return the answers that were redeemed in an epoch, by channel and sequence."""
        answers = []
        for number in sorted(self.books):
            record = self.chain.inference.channel(number)
            if record is None:
                continue
            start, end = record.redeemed_before(epoch), record.redeemed_before(epoch + 1)
            answers += [
                answer
                for answer in self.books[number].answers
                if start <= answer.signed.voucher.voucher.before_planck
                and answer.signed.ends_planck <= end
            ]
        return answers

    def declare(self, answers: Sequence[Answer]) -> Declaration:
        """Return what is declared of an epoch with these answers: the truth."""
        root, fees = declared_sum(answers)
        return Declaration(root, len(answers), fees, tuple(answers))

    def close(self, epoch: int, declaration: Declaration, *, is_again: bool = False) -> bool:
        """Publish the file of an epoch and close it; returns whether the chain took it."""
        blob = Hash(blake2b_256(b"file" + self.account + bytes((epoch, self.block))))
        self.world.files[blob] = declaration.file
        again = {"epoch": epoch} if is_again else {"missing_planck": 0}
        is_closed = self.chain.attempt(
            self.account,
            "Attribution",
            "close_again" if is_again else "close_epoch",
            model=MODEL,
            receipts_root=declaration.root,
            receipts=declaration.receipts,
            fees_planck=declaration.fees_planck,
            receipts_blob=blob,
            **again,
        )
        if is_closed:
            self.declared[epoch] = declaration
            self.note_closed(declaration)
        else:
            self.note_refused(declaration)
        return is_closed

    def note_closed(self, declaration: Declaration) -> None:
        """Note that an epoch was closed; a liar counts its lies here."""

    def note_refused(self, declaration: Declaration) -> None:
        """Note that the chain took no close: that of an honest server it always takes."""
        raise AssertionError(f"the close of {self.name} in block {self.block} was refused")

    # ------------------------------------------------------------------------------- texts

    def show_due(self) -> None:
        """Show the texts of drawn receipts to executors that wait for them."""
        ledger = self.chain.attribution.pool(MODEL, self.account)
        if ledger.settling is None:
            return
        record = self.chain.attribution.epoch(MODEL, self.account, ledger.settling)
        assert record is not None, "the epoch being settled exists"
        job = self.chain.jobs.job(record.job)
        if job is None or job.state not in SHOWING:
            return
        attempts = {slot.attempt for slot in job.slots if slot.state is SlotState.Assigned}
        for attempt in sorted(attempts):
            if self.chain.attribution.texts_of(record.job, attempt) is None:
                self.show(record.job, attempt)

    def show(self, job: int, attempt: int) -> None:
        """Show the texts to the executors of one attempt."""
        self.publish_texts(job, attempt, is_readable=True)

    def publish_texts(self, job: int, attempt: int, *, is_readable: bool) -> None:
        """Publish a file of texts and name it on the chain."""
        blob = Hash(blake2b_256(b"texts" + job.to_bytes(4, "little") + bytes((attempt,))))
        self.world.texts[blob] = is_readable
        content = Hash(blake2b_256(b"content" + job.to_bytes(4, "little")))
        self.chain.attempt(
            self.account,
            "Attribution",
            "show_texts",
            job=job,
            attempt=attempt,
            blob=blob,
            content=content,
        )

    # ----------------------------------------------------------------------------- leaving

    def leave(self) -> None:
        """Close what is open, and take the bond back when nothing is owed any more."""
        if not self.is_leaving:
            self.is_leaving = True
            self.chain.attempt(self.account, "Inference", "leave_service")
            self.redeem_due(all_of_them=True)
            self.close_channels()
        ledger = self.chain.attribution.pool(MODEL, self.account)
        if self.is_settled() and ledger.settling is None:
            for number in self.own_channels():
                self.chain.attempt(self.account, "Inference", "remove_channel", channel=number)
            self.chain.attempt(self.account, "Inference", "withdraw_server_bond")

    def is_settled(self) -> bool:
        """Return whether nothing waits for a close, so that the channels may go."""
        return not self.chain.attribution.pool(MODEL, self.account).redeemed_planck

    def close_channels(self) -> None:
        """Close the channels that their askers have left open."""
        for number in self.own_channels():
            self.chain.attempt(self.account, "Inference", "close_channel", channel=number)

    def own_channels(self) -> list[int]:
        """Return the channels to this server that the chain still has."""
        return [info.id for info in self.chain.inference.channels_of(self.account)]


class LeavingServer(Server):
    """An honest server that leaves in the middle."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.leaves_at = world.dice(name, "leaves").randrange(9, 18)


def declared_sum(answers: Sequence[Answer]) -> tuple[Hash, int]:
    """Return the Merkle-sum root over the receipts of answers, and the sum of their fees."""
    return sum_root(
        (receipt_hash(answer.signed.receipt), answer.signed.receipt.fee_planck)
        for answer in answers
    )
