"""An asker: it opens channels, asks, checks receipts, and signs only what its own books say.

    voucher -> answer and receipt -> checked -> owed
                                   -> wrong: reported, and the server is asked no more

What the chain drew beyond the books is reported with the receipt of the last answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.market.answers import Answer, Question, signed_voucher
from benchmarks.market.parties import Delivery, Party
from benchmarks.market.terms import (
    ASKING_BLOCKS,
    DEPOSIT,
    MODEL,
    PRICE_TOKENS_OUT,
    VOUCHER_BLOCKS,
)
from pallets.inference.records import Channel
from runtime.crypto.keys import KeyKind, verify
from runtime.shared.receipts import Rates, SignedVoucher, receipt_hash
from runtime.types.primitives import Id

if TYPE_CHECKING:
    from benchmarks.market.servers import Server
    from benchmarks.market.world import World

PATIENCE_PERCENT: Final = 75
"""How often an asker has a question in a block."""


@dataclass(slots=True)
class Book:
    """The asker's own record of one channel."""

    server: Server
    channel: int
    owed_planck: int = 0
    sequence: int = 0
    last: Answer | None = None
    is_closing: bool = False


class Asker(Party):
    """An honest asker."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        dice = world.dice(name, "presence")
        self.first_block = dice.randrange(1, 5)
        self.last_block = dice.randrange(ASKING_BLOCKS - 8, ASKING_BLOCKS + 1)
        self.pauses_at = dice.randrange(6, 14)
        self.books: dict[str, Book] = {}
        """Open channels by the name of their server."""
        self.closed: list[Book] = []
        self.distrusted: set[str] = set()

    def act(self) -> None:
        """Look after the channels, and perhaps ask a question."""
        for book in [*self.books.values(), *self.closed]:
            self.watch(book)
        if self.block == self.pauses_at or self.block >= self.last_block:
            self.close_all()
        elif self.block >= self.first_block:
            self.ask_perhaps()

    # ------------------------------------------------------------------------------ asking

    def ask_perhaps(self) -> None:
        """Ask one of the servers, as the seed says."""
        dice = self.world.dice(self.name, str(self.block))
        server = self.world.choose_server(dice)
        question = self.world.question(dice, f"{self.name}/{self.block}")
        if dice.randrange(100) < PATIENCE_PERCENT and server.name not in self.distrusted:
            self.ask(server, question)

    def ask(self, server: Server, question: Question) -> None:
        """Ask one question, paid from the channel to the server."""
        book = self.books.get(server.name) or self.open(server)
        rates = self.chain.inference.rates(MODEL)
        if book is None or rates is None or book.is_closing:
            return
        voucher = self.make_voucher(book, question, rates)
        delivery = server.answer(voucher, question, self.tokens_wanted(question))
        if delivery is not None:
            book.sequence += 1
            self.receive(book, voucher, question, delivery)

    def open(self, server: Server) -> Book | None:
        """Open a channel; None where the server takes none."""
        number = self.chain.inference.next_id.get()
        is_open = self.chain.attempt(
            self.account,
            "Inference",
            "open_channel",
            model=MODEL,
            server=Id(server.account),
            deposit=DEPOSIT,
        )
        if not is_open:
            return None
        self.books[server.name] = Book(server, number)
        return self.books[server.name]

    def make_voucher(self, book: Book, question: Question, rates: Rates) -> SignedVoucher:
        """Sign for one answer, and top the channel up where it is too low."""
        price = rates.fee(question.tokens_in, PRICE_TOKENS_OUT)
        record = self.chain.inference.channel(book.channel)
        if record is not None and book.owed_planck + price > record.deposit_planck:
            self.chain.attempt(
                self.account, "Inference", "top_up", channel=book.channel, amount=DEPOSIT
            )
        return signed_voucher(
            self.name,
            question,
            channel=book.channel,
            sequence=book.sequence + 1,
            before_planck=book.owed_planck,
            limit_planck=book.owed_planck + price,
            rates=rates,
            expires_at=self.block + VOUCHER_BLOCKS,
        )

    def tokens_wanted(self, question: Question) -> int:
        """Return after how many tokens the asker stops the answer; an honest one hears it out."""
        return question.tokens_out

    def receive(
        self, book: Book, voucher: SignedVoucher, question: Question, delivery: Delivery
    ) -> None:
        """Take an answer, and owe for it what its receipt rightly asks."""
        answer = delivery.answer
        if delivery.tokens_out and (answer is None or answer.is_delivered):
            fair = voucher.voucher.fee(question.tokens_in, delivery.tokens_out)
            self.world.note_tokens(self.name, book.server.name, fair)
        if answer is None or not self.is_right(voucher, question, delivery):
            if answer is not None:
                self.report(answer)
            self.distrust(book)
            return
        book.owed_planck += answer.signed.receipt.fee_planck
        book.last = answer

    def is_right(self, voucher: SignedVoucher, question: Question, delivery: Delivery) -> bool:
        """Return whether a receipt is the one that the answer must have."""
        assert delivery.answer is not None, "the caller has a receipt"
        signed = delivery.answer.signed
        receipt = signed.receipt
        return (
            signed.voucher == voucher
            and signed.is_whole
            and (receipt.tokens_in, receipt.tokens_out) == (question.tokens_in, delivery.tokens_out)
            and verify(KeyKind.ED25519, signed.signature, receipt_hash(receipt), receipt.server)
        )

    # ---------------------------------------------------------------------------- evidence

    def watch(self, book: Book) -> None:
        """Look for what was drawn too much, and end a channel whose time is over."""
        record = self.chain.inference.channel(book.channel)
        if record is None:
            return
        self.check_drawn(book, record)
        if book.is_closing and not record.is_closed:
            self.chain.attempt(self.account, "Inference", "finish_close", channel=book.channel)

    def check_drawn(self, book: Book, record: Channel) -> None:
        """Report a server that drew more than the books say."""
        if record.redeemed_planck > book.owed_planck:
            is_last = book.last is not None and book.last.signed.sequence == record.sequence
            if is_last and book.last is not None:
                self.report(book.last)
            self.distrust(book)

    def report(self, answer: Answer) -> bool:
        """Hold a receipt against its server; returns whether the chain found it false."""
        return self.chain.attempt(
            self.account,
            "Inference",
            "report_receipt",
            voucher=answer.signed.voucher,
            receipt=answer.signed.receipt,
            signature=answer.signed.signature,
        )

    def distrust(self, book: Book) -> None:
        """Ask a server no more, and close the channel to it."""
        self.distrusted.add(book.server.name)
        self.close(book)

    # ----------------------------------------------------------------------------- closing

    def close(self, book: Book) -> None:
        """Begin to close a channel."""
        if not book.is_closing:
            self.chain.attempt(self.account, "Inference", "close_channel", channel=book.channel)
            book.is_closing = True
            self.closed.append(book)
        self.books.pop(book.server.name, None)

    def close_all(self) -> None:
        """Close all channels; who is back later opens others."""
        for book in list(self.books.values()):
            self.close(book)
