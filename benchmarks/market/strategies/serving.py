"""Servers whose answers or receipts are false.

The coalition of a server has the model's owner, one contributor, and askers of its own: whatever
part of a fee comes back to a liar comes back to one of these.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.market.answers import (
    Answer,
    Claims,
    Question,
    as_sketch,
    make_answer,
    sign_voucher,
)
from benchmarks.market.askers import Asker
from benchmarks.market.keys import account
from benchmarks.market.parties import Delivery
from benchmarks.market.servers import Declaration, Server
from benchmarks.market.strategies.strategy import Strategy
from benchmarks.market.terms import ASKING_BLOCKS, OTHER_ADAPTER
from runtime.shared.documents import FaultKind
from runtime.shared.receipts import SignedVoucher

if TYPE_CHECKING:
    from benchmarks.market.world import World

SERVER: Final = "server0"
FRIEND: Final = "contributor0"
COALITION: Final = ("owner", SERVER, FRIEND, "sybil0", "sybil1")
OTHER_INDEX: Final = 2_001
NO_CHANNEL: Final = 4_000_000
PERCENT: Final = 100


def flattering_phi(world: World) -> bytes:
    """Return the sketch that gives the liar's contributor the most, of those that look like one."""
    return as_sketch(world.psi[FRIEND])


class FalseReceipts(Server):
    """Writes a share of its receipts falsely; each closed epoch counts as one lie."""

    def __init__(self, world: World, name: str, percent: int) -> None:
        super().__init__(world, name)
        self.percent = percent
        self._dice = world.dice(name, "lies")

    def write(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Answer:
        """Write a receipt that chance makes false."""
        if self._dice.randrange(PERCENT) >= self.percent:
            return super().write(voucher, question, tokens_out)
        return self.write_falsely(voucher, question, tokens_out)

    def write_falsely(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Answer:
        """Write a false receipt for a computed answer."""
        self.pay_compute(voucher.voucher, question, tokens_out)
        return make_answer(self.name, voucher, question, tokens_out, self.false_claims())

    def false_claims(self) -> Claims:
        """Return what a false receipt says: that the friend's rows made the answer."""
        return Claims(phi=flattering_phi(self.world), fault=FaultKind.Sketch)

    def note_closed(self, declaration: Declaration) -> None:
        """Count the epoch."""
        self.world.lies += 1

    def note_refused(self, declaration: Declaration) -> None:
        """Count the epoch, which the chain itself found false."""
        self.world.lies += 1
        self.world.refused += 1


class WrongText(FalseReceipts):
    """Sends words that no model computed."""

    def write_falsely(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Answer:
        """Save the computing."""
        claims = Claims(fault=FaultKind.Text)
        return make_answer(self.name, voucher, question, tokens_out, claims)


class CheaperAdapter(FalseReceipts):
    """Answers with a model that costs nothing in the name of the one that is paid."""

    def write_falsely(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Answer:
        """Save the computing."""
        claims = Claims(fault=FaultKind.Answer)
        return make_answer(self.name, voucher, question, tokens_out, claims)


class OtherIndex(FalseReceipts):
    """Names the index of another model, whose contributors are its friends."""

    def false_claims(self) -> Claims:
        """Name adapter and index of another model."""
        return Claims(index_job=OTHER_INDEX, adapter=OTHER_ADAPTER)


class OwnAsker(Asker):
    """An asker of the server's own, which pays for answers that flatter a friend."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.first_block, self.last_block, self.pauses_at = 1, ASKING_BLOCKS, 0

    def ask_perhaps(self) -> None:
        """Ask the own server, and no other."""
        dice = self.world.dice(self.name, str(self.block))
        server = self.world.parties[SERVER]
        assert isinstance(server, Server), "servers serve"
        self.ask(server, self.world.question(dice, f"{self.name}/{self.block}"))


class FlattersOwnAskers(FalseReceipts):
    """Writes false sketches for its own askers only."""

    def write(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Answer:
        """Flatter the friend where the asker is an own one; nothing is computed for it."""
        if voucher.account not in (account("sybil0"), account("sybil1")):
            return Server.write(self, voucher, question, tokens_out)
        return make_answer(self.name, voucher, question, tokens_out, self.false_claims())


class NoAskers(FalseReceipts):
    """Puts receipts of channels that do not exist in the place of real ones."""

    def declare(self, answers: list[Answer]) -> Declaration:  # type: ignore[override]
        """Replace every second answer."""
        return super().declare([*answers[::2], *map(self.invented, answers[1::2])])

    def invented(self, answer: Answer) -> Answer:
        """Return an answer of the same fee that nobody asked for."""
        signed = answer.signed
        terms = signed.voucher.voucher
        voucher = sign_voucher("sybil0", replace(terms, channel=NO_CHANNEL + terms.channel))
        question = Question("invented", signed.receipt.tokens_in, 0, flattering_phi(self.world))
        return make_answer(self.name, voucher, question, signed.receipt.tokens_out)


class Doubles(FalseReceipts):
    """Puts the receipts that suit it twice into the file, in the place of others."""

    def declare(self, answers: list[Answer]) -> Declaration:  # type: ignore[override]
        """Declare the cheaper half of the answers twice."""
        half = sorted(answers, key=lambda answer: answer.signed.receipt.fee_planck)
        kept = {id(answer) for answer in half[: len(half) // 2]}
        doubled = [answer for answer in answers for _ in range(2) if id(answer) in kept] or answers
        return super().declare(doubled)


class Omits(FalseReceipts):
    """Leaves out the answers that made its friend's score smaller."""

    def declare(self, answers: list[Answer]) -> Declaration:  # type: ignore[override]
        """Declare the answers with a positive score of the friend."""
        return super().declare([answer for answer in answers if self.score(answer) > 0] or answers)

    def score(self, answer: Answer) -> int:
        """Return the score of the friend in an answer."""
        phi = answer.signed.evidence.phi
        signed = (byte - 256 if byte > 127 else byte for byte in phi)
        return sum(a * b for a, b in zip(signed, self.world.psi[FRIEND], strict=True))


class TakesAndAnswersNot(Server):
    """Takes vouchers, sends no answer, and redeems all the same."""

    def deliver(self, voucher: SignedVoucher, question: Question, tokens_out: int) -> Delivery:
        """Write the receipt, and keep it and the answer."""
        super().deliver(voucher, question, tokens_out)
        self.world.lies += 1
        return Delivery(0, None)


def _false(
    name: str, sentence: str, kind: type[FalseReceipts], percent: int, *askers: str
) -> Strategy:
    makers: dict[str, type[Asker]] = dict.fromkeys(askers, OwnAsker)
    return Strategy(
        name,
        sentence,
        COALITION,
        {SERVER: partial(kind, percent=percent), **makers},
        false_percent=percent if kind in DRAWN_FOR else None,
    )


DRAWN_FOR: Final = (FalseReceipts, WrongText, CheaperAdapter)
"""Whose receipts are false by chance, and found only where they are drawn."""

STRATEGIES: Final = (
    *(
        _false(
            f"wrong sketch {percent} %",
            f"A server writes a false sketch into {percent} % of its receipts, for a friend.",
            FalseReceipts,
            percent,
        )
        for percent in (5, 20, 100)
    ),
    *(
        _false(
            f"wrong text {percent} %",
            f"A server sends words that no model computed, in {percent} % of its answers.",
            WrongText,
            percent,
        )
        for percent in (5, 20, 100)
    ),
    _false(
        "cheaper adapter",
        "A server computes 20 % of its answers with a cheaper adapter.",
        CheaperAdapter,
        20,
    ),
    _false(
        "other index",
        "A server names the index of another model in 20 % of its receipts.",
        OtherIndex,
        20,
    ),
    _false(
        "own askers",
        "A server invents receipts that askers of its own pay for.",
        FlattersOwnAskers,
        100,
        "sybil0",
        "sybil1",
    ),
    _false(
        "no askers",
        "A server invents receipts of channels that do not exist.",
        NoAskers,
        0,
    ),
    _false("doubled", "A server has the same receipts in an epoch twice.", Doubles, 0),
    _false("omitted", "A server leaves out receipts that do not suit a friend.", Omits, 0),
    Strategy(
        "no answer",
        "A server takes vouchers, sends nothing and redeems all the same.",
        COALITION,
        {SERVER: TakesAndAnswersNot},
    ),
)
