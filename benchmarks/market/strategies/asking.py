"""Askers that want answers for nothing, or to harm a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.market.answers import Question, make_answer, sign_voucher
from benchmarks.market.askers import Asker, Book
from benchmarks.market.keys import account, signature
from benchmarks.market.parties import Delivery
from benchmarks.market.servers import Server
from benchmarks.market.strategies.strategy import Strategy
from benchmarks.market.terms import VOUCHER_BLOCKS
from pallets.inference.records import Channel
from runtime.shared.receipts import (
    Feedback,
    Rates,
    SignedFeedback,
    SignedVoucher,
    Voucher,
    feedback_payload,
    receipt_hash,
)
from runtime.types.primitives import Ed25519

LIAR: Final = "asker0"


class HangsUp(Asker):
    """Stops the answer after a part of it, keeps that, and denies to owe for it."""

    def tokens_wanted(self, question: Question) -> int:
        """Stop after a third."""
        return max(1, question.tokens_out // 3)

    def receive(
        self, book: Book, voucher: SignedVoucher, question: Question, delivery: Delivery
    ) -> None:
        """Keep the tokens, sign nothing more for this channel and take the deposit back."""
        fair = voucher.voucher.fee(question.tokens_in, delivery.tokens_out)
        self.world.note_tokens(self.name, book.server.name, fair)
        self.world.lies += 1
        self.close(book)

    def check_drawn(self, book: Book, record: Channel) -> None:
        """Let the server draw what it can prove."""


class Closes(Asker):
    """Closes its channel after each answer, before the server has redeemed it."""

    def receive(
        self, book: Book, voucher: SignedVoucher, question: Question, delivery: Delivery
    ) -> None:
        """Owe for the answer, and close at once."""
        super().receive(book, voucher, question, delivery)
        self.world.lies += 1
        self.close(book)


class Denies(Asker):
    """Reports right receipts, and signs the next voucher as if the last answer was none."""

    def receive(
        self, book: Book, voucher: SignedVoucher, question: Question, delivery: Delivery
    ) -> None:
        """Report the receipt, and itself against itself, and forget what it asks for."""
        owed = book.owed_planck
        super().receive(book, voucher, question, delivery)
        if delivery.answer is None:
            return
        self.world.lies += 1
        signed = delivery.answer.signed
        other = replace(signed.receipt, fee_planck=signed.receipt.fee_planck * 2)
        self.report(delivery.answer)
        self.chain.attempt(
            self.account,
            "Inference",
            "report_double_receipt",
            voucher=signed.voucher,
            receipt=signed.receipt,
            signature=signed.signature,
            other=other,
            other_signature=signature(self.name, receipt_hash(other)),
        )
        book.owed_planck = owed

    def check_drawn(self, book: Book, record: Channel) -> None:
        """Open another channel where the server does not forget as well."""
        if record.redeemed_planck > book.owed_planck:
            self.close(book)


class Replays(Asker):
    """Shows each voucher twice, and vouchers that cannot be redeemed."""

    def ask(self, server: Server, question: Question) -> None:
        """Ask as an honest asker does, then try for more with false vouchers."""
        super().ask(server, question)
        book = self.books.get(server.name)
        last = book.last if book is not None else None
        if book is None or last is None:
            return
        for voucher in self.false_vouchers(last.signed.voucher.voucher):
            self.world.lies += 1
            delivery = server.answer(voucher, question, question.tokens_out)
            if delivery is not None:
                fair = voucher.voucher.fee(question.tokens_in, delivery.tokens_out)
                self.world.note_tokens(self.name, server.name, fair)

    def false_vouchers(self, used: Voucher) -> list[SignedVoucher]:
        """Return a voucher that was used, and others that pay for nothing."""
        following = replace(
            used,
            sequence=used.sequence + 1,
            before_planck=used.limit_planck,
            limit_planck=2 * used.limit_planck - used.before_planck,
        )
        free = Rates(0, 0, 0)
        beyond = 10 * VOUCHER_BLOCKS * 10**18
        forged = SignedVoucher(following, self.account, Ed25519(signature("stranger", b"forged")))
        return [
            sign_voucher(self.name, used),
            sign_voucher(self.name, replace(following, before_planck=used.before_planck)),
            sign_voucher(self.name, replace(following, expires_at=self.block)),
            sign_voucher(self.name, replace(following, limit_planck=beyond)),
            sign_voucher(self.name, replace(following, rates=free)),
            sign_voucher(self.name, replace(following, model=following.model + 1)),
            forged,
        ]


class BelowRates(Asker):
    """Agrees with its server on half the price, besides what it asks honestly."""

    def ask(self, server: Server, question: Question) -> None:
        """Ask honestly, and a server in league for half the price."""
        super().ask(server, question)
        book = self.books.get(server.name)
        if book is None or not isinstance(server, Cheap) or book.last is None:
            return
        voucher = book.last.signed.voucher.voucher
        rates = Rates(
            voucher.rates.rate_in_planck // 2,
            voucher.rates.rate_out_planck // 2,
            voucher.rates.platform_fee_planck // 2,
        )
        self.world.lies += 1
        cheap = replace(
            voucher,
            sequence=book.sequence + 1,
            rates=rates,
            before_planck=book.owed_planck,
            limit_planck=book.owed_planck + rates.fee(question.tokens_in, question.tokens_out),
        )
        server.serve_cheaply(sign_voucher(self.name, cheap), question)


class Cheap(Server):
    """Serves one asker for half the price of the model's owner."""

    def serve_cheaply(self, voucher: SignedVoucher, question: Question) -> None:
        """Answer, and try to draw what was agreed on."""
        make_answer(self.name, voucher, question, question.tokens_out)
        self.draw(voucher, question.tokens_in, question.tokens_out)


class Slanders(Asker):
    """Calls every answer bad."""

    def receive(
        self, book: Book, voucher: SignedVoucher, question: Question, delivery: Delivery
    ) -> None:
        """Take the answer, and sign a verdict against it, for which the chain has no call."""
        super().receive(book, voucher, question, delivery)
        if delivery.answer is not None:
            self.world.lies += 1
            verdict = Feedback(receipt_hash(delivery.answer.signed.receipt), negative=True)
            signed = Ed25519(signature(self.name, feedback_payload(verdict)))
            SignedFeedback(verdict, account(self.name), signed)


STRATEGIES: Final = (
    Strategy(
        "free rider",
        "An asker stops each answer after a third, keeps it and denies to owe for it.",
        (LIAR,),
        {LIAR: HangsUp},
    ),
    Strategy(
        "closer",
        "An asker closes its channel after each answer, before the server redeems it.",
        (LIAR,),
        {LIAR: Closes},
    ),
    Strategy(
        "denier",
        "An asker reports right receipts and signs as if it had got no answer.",
        (LIAR,),
        {LIAR: Denies},
    ),
    Strategy(
        "replayer",
        "An asker shows vouchers twice, and vouchers that nobody could redeem.",
        (LIAR,),
        {LIAR: Replays},
    ),
    Strategy(
        "low rates",
        "An asker and its server agree on half of what the model's owner asks.",
        (LIAR, "server0"),
        {LIAR: BelowRates, "server0": Cheap},
    ),
    Strategy(
        "feedback griefer",
        "An asker calls every answer bad.",
        (LIAR,),
        {LIAR: Slanders},
    ),
)
