"""Paid questions: the channel, the price, the voucher, the answer, and the rows behind it.

Each voucher pays for one question, by the chain's price list: at most the price of the longest
answer, on top of what the asker's own books say is spent (node/client/asker_ledger.py); no server's
word counts for that. The asker checks the receipt before it counts as owed, compares what was
redeemed with it, and adds to a channel only what its user named. A channel whose receipt was
refused is paid from no more, and the receipt is kept to be reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from genesis.amounts import format_amount
from node.client import Answer, Client, Included, RejectedError, RequestRefusedError, Text, Wait
from node.client.asker_ledger import (
    AskerLedger,
    ChannelBook,
    Promise,
    ReceiptDisputedError,
    ReceivedAnswer,
    is_false,
)
from node.client.promises import rates_of, sign_promise
from node.client.token_counts import (
    tokens_in_at_most,
    tokens_in_counted,
    tokens_out_at_most,
)
from node.commands.answers.answer_documents import (
    AnswerDocument,
    QuoteDocument,
    answer_document,
)
from node.commands.base.account_signer import account_of
from node.commands.base.command import refuse
from node.commands.base.documents import Planck
from node.commands.base.output import Output
from node.commands.base.transaction import Spending, send
from pallets.inference import Channel, Inference
from pallets.models import ModelInfo
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import Call
from runtime.shared.receipts import GREEDY, Sampling, SignedReceipt, receipt_hash, salted_hash
from runtime.types.primitives import AccountId, Hash, Id

ANSWERS_PER_DEPOSIT: Final = 4
"""One answer costs at most that part of a channel's deposit, unless its user names a price."""

Turns = Sequence[Mapping[str, str]]


class Asker:
    """One account's questions to one model at one server."""

    def __init__(
        self,
        output: Output,
        client: Client,
        spending: Spending,
        info: ModelInfo,
        server: str | None,
        top_up_planck: int = 0,
        may_draw: bool | None = None,
        sampling: Sampling = GREEDY,
        max_price_planck: int | None = None,
    ) -> None:
        self._output = output
        self._client = client
        self._spending = spending
        self._info = info
        self._server = server
        self._top_up_planck = top_up_planck
        """How much may be added to a channel that runs out, each time."""
        signer = spending.signer
        self._ledger = AskerLedger(signer.keystore.folder, client.genesis_hash, signer.account)
        self._may_draw = may_draw
        """Whether questions may be drawn for references; None for what was said before."""
        self._sampling = sampling
        self._max_price_planck = max_price_planck
        """The most that one answer may cost; None for a part of the channel's deposit."""
        self._pair: Keypair | None = None
        self._channel: int | None = None

    def quote(self, question: str, max_tokens: int) -> QuoteDocument:
        """Return what a question would cost; nothing is signed."""
        number, channel = self._find_channel() or (None, None)
        left = 0 if number is None or channel is None else self._left(number, channel)
        free = self._client.balance(self._spending.signer.account).free
        price = self._price(question, max_tokens)
        return QuoteDocument(
            model=self._info.id,
            price_at_most_planck=Planck(price),
            channel=number,
            channel_left_planck=Planck(left),
            free_before_planck=Planck(free),
        )

    @contextmanager
    def prepared(self, deposit_planck: int) -> Iterator[None]:
        """Unlock the key, take the books, and find a channel or open one with this deposit.

        Raises LedgerBusyError.
        """
        self._pair = self._spending.signer.unlock()
        with self._ledger.held():
            if self._may_draw not in (None, self._ledger.may_draw):
                self._ledger.remember_may_draw(bool(self._may_draw))
            found = self._find_channel()
            if found is None and self._spending.wait is Wait.NONE:
                refuse(
                    "There is no channel yet, and it must be there before the question. Leave "
                    "--wait at included or final."
                )
            self._channel = self._open(deposit_planck) if found is None else found[0]
            yield

    def ask(self, turns: Turns, max_tokens: int) -> AnswerDocument:
        """Pay for an answer and print it as it comes. Raises ReceiptDisputedError."""
        assert self._pair is not None, "prepared comes first"
        assert self._channel is not None, "prepared comes first"
        question = "\n".join(turn["content"] for turn in turns)
        promise = self._promise(self._channel, question, max_tokens)
        answer: Answer | None = None
        pieces = self._client.serving.chat(
            str(self._info.id), turns, promise.signed, promise.salt, max_tokens=max_tokens
        )
        for piece in pieces:
            if isinstance(piece, Text):
                self._output.say(piece.text, newline=False)
            else:
                answer = piece
        self._output.say("")
        if answer is None or answer.receipt is None:
            raise RejectedError("The answer ended without a receipt, so it was not attributed.")
        received = ReceivedAnswer(
            receipt=answer.receipt,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            answer=salted_hash(promise.salt, answer.text),
        )
        self._ledger.receive(
            self._channel,
            received,
            tokens_in_max=tokens_in_counted(question, self._info.model.base),
            tokens_out_max=tokens_out_at_most(answer.text),
        )
        stored = self._client.serving.receipt(answer.receipt)
        self._settle(self._channel, stored.signed)
        self._check_redeemed(self._channel)
        return answer_document(answer.text, stored)

    # ------------------------------------------------------------------------------- internal

    def _price(self, question: str, max_tokens: int) -> int:
        rates = rates_of(self._client, self._info.id)
        return rates.fee(tokens_in_at_most(question), max_tokens)

    def _find_channel(self) -> tuple[int, Channel] | None:
        """Return an open channel to the server for this model that is in the books."""
        account = self._spending.signer.account
        server = self._node_account() if self._server is None else account_of(self._server)
        for entry in self._client.api("InferenceApi_channels_of", account):
            channel, book = entry.channel, self._ledger.get(entry.id)
            is_mine = channel.asker == account and channel.model == self._info.id
            if not is_mine or channel.closes_at is not None or server not in (None, channel.server):
                continue
            if book is None or book.disputed is not None:
                continue
            if (book.server, book.model) == (channel.server, channel.model):
                return entry.id, channel
        return None

    def _open(self, deposit_planck: int) -> int:
        client, server = self._client, self._server_account()
        call = client.make_call(
            "Inference",
            "open_channel",
            model=self._info.id,
            server=Id(server),
            deposit=deposit_planck,
        )
        landed = self._spend(call)
        self._output.note(f"Opened a channel with {format_amount(deposit_planck)}.")
        (opened,) = (
            record.event.channel
            for record in landed.events
            if isinstance(record.event, Inference.ChannelOpened)
        )
        self._ledger.begin(int(opened), server, self._info.id)
        return int(opened)

    def _spend(self, call: Call) -> Included:
        _, landed = send(
            output=self._output,
            client=self._client,
            spending=self._spending,
            call=call,
            pair=self._pair,
        )
        if landed is None:
            refuse("The channel is needed before the question. Leave --wait at included or final.")
        return landed

    def _server_account(self) -> AccountId:
        if self._server is not None:
            return account_of(self._server)
        account = self._node_account()
        if account is not None:
            return account
        executors = self._client.api("JobsApi_executors")
        if len(executors) != 1:
            refuse("The node does not say which account answers. Name it with --server.")
        return AccountId(executors[0].account)

    def _node_account(self) -> AccountId | None:
        """Return the account that the node answers with; None where it does not tell."""
        try:
            status = self._client.call("openledger_status")
        except RequestRefusedError:
            return None
        account = status.get("account") if isinstance(status, dict) else None
        return account_of(account) if isinstance(account, str) else None

    def _left(self, number: int, channel: Channel) -> int:
        book = self._ledger.get(number)
        spent = 0 if book is None else book.spent_planck
        return max(channel.deposit_planck - max(spent, channel.redeemed_planck), 0)

    def _promise(self, number: int, question: str, max_tokens: int) -> Promise:
        """Sign for one answer, at most at its longest, and make the promise durable."""
        assert self._pair is not None, "prepared"
        self._settle_open_promise(number)
        channel, book = self._client.api("InferenceApi_channel", number), self._ledger.get(number)
        if channel is None or channel.is_closed:
            refuse(f"Channel {number} is closed. Ask again to open another one.")
        assert book is not None, "prepared"
        _check_redeemed_is_known(number, channel, book)
        self._top_up(number, self._price(question, max_tokens) - self._left(number, channel))
        promise = sign_promise(
            self._client,
            self._pair,
            number=number,
            channel=channel,
            book=book,
            question=question,
            max_tokens=max_tokens,
            may_draw=self._ledger.may_draw,
            sampling=self._sampling,
        )
        self._check_price(promise, channel)
        self._ledger.promise(number, promise)
        return promise

    def _check_price(self, promise: Promise, channel: Channel) -> None:
        """Refuse to send a promise for more than the user expects: the price list is what the
        node says, which may be the server's."""
        price, most = promise.signed.voucher.price_planck, self._max_price_planck
        if most is None:
            most = channel.deposit_planck // ANSWERS_PER_DEPOSIT
        if price > most:
            refuse(
                f"This answer may cost {format_amount(price)}, and more than {format_amount(most)} "
                "is not signed for. Look at the price list of the model; name with --max-price "
                "what an answer may cost, or ask for fewer tokens."
            )

    def _top_up(self, number: int, missing: int) -> None:
        """Add to a channel what its user named, where the deposit does not pay for the answer."""
        if missing <= 0:
            return
        if missing > self._top_up_planck:
            refuse(
                f"Channel {number} lacks {format_amount(missing)} for this answer at its longest. "
                "Name what may be added to it with --top-up, or ask for fewer tokens."
            )
        amount = self._top_up_planck
        self._spend(self._client.make_call("Inference", "top_up", channel=number, amount=amount))
        self._output.note(f"Topped the channel up by {format_amount(amount)}.")

    def _settle_open_promise(self, number: int) -> None:
        """Look for the receipt of an answer that broke off; without one nothing is owed for it."""
        book = self._ledger.get(number)
        if book is None or book.promise is None:
            return
        last = self._client.serving.channel_receipt(number)
        if last is None or last.voucher != book.promise.signed:
            self._ledger.drop_promise(number)
            return
        self._settle(number, last, self._problem_of_text(last, book.promise))
        fee = format_amount(last.receipt.fee_planck)
        self._output.note(f"Counted {fee} for an answer that broke off.")

    def _problem_of_text(self, signed: SignedReceipt, promise: Promise) -> str:
        """Print the answer of a receipt that did not come to its end: it is owed, so its server
        shows it. Returns what is wrong, in a clause; empty where nothing is."""
        if promise.received is not None:
            return ""
        stored = self._client.serving.receipt(receipt_hash(signed.receipt), promise.salt)
        text = stored.details.get("answer")
        if text is None or salted_hash(promise.salt, text) != signed.receipt.answer:
            return "its server does not show its answer"
        self._output.say(text)
        most = tokens_out_at_most(text)
        if signed.receipt.tokens_out > most:
            return (
                f"it counts {signed.receipt.tokens_out} tokens, and its answer has {most} at most"
            )
        return ""

    def _settle(self, number: int, signed: SignedReceipt, problem: str = "") -> None:
        """Count a receipt, or say what to do about it. Raises ReceiptDisputedError."""
        is_known = signed.receipt.adapter in self._adapters()
        if not is_known:
            problem = "its adapter is not the model's"
        try:
            self._ledger.settle(number, signed, problem)
        except ReceiptDisputedError:
            self._output.note(_way_out(number, is_false(signed)))
            raise

    def _adapters(self) -> set[Hash]:
        """Return the adapters that a server may answer with now."""
        model = self._client.api("ModelsApi_model", self._info.id).model
        return {training.trained.adapter for training in model.trainings}

    def _check_redeemed(self, number: int) -> None:
        """Dispute the channel where the server has redeemed more than its last receipt gives."""
        book = self._ledger.get(number)
        channel = self._client.api("InferenceApi_channel", number)
        if book is not None and channel is not None and has_drawn_too_much(book, channel):
            assert book.last is not None, "compared"
            self._ledger.dispute(number, book.last)
            self._output.note(
                f"The server has redeemed {format_amount(channel.redeemed_planck)} of channel "
                f"{number}, and its last receipt gives {format_amount(book.last.ends_planck)}. "
                + _way_out(number, is_reportable=True)
            )


def _check_redeemed_is_known(number: int, channel: Channel, book: ChannelBook) -> None:
    """Refuse to sign on top of what a server has redeemed for an answer that never came."""
    if channel.redeemed_planck > book.spent_planck:
        refuse(
            f"The server has redeemed {format_amount(channel.redeemed_planck)} of channel "
            f"{number}, and gave answers for {format_amount(book.spent_planck)}. "
            + _way_out(number, is_reportable=False)
        )


def has_drawn_too_much(book: ChannelBook, channel: Channel) -> bool:
    """Return whether the last redemption of a channel drew more than its receipt gives."""
    last = book.last
    return (
        last is not None
        and last.sequence == channel.sequence
        and channel.redeemed_planck > last.ends_planck
    )


def _way_out(number: int, is_reportable: bool) -> str:
    """Return what the user of a disputed channel can do."""
    report = f"Report its server: `openledger channel report {number}`. " if is_reportable else ""
    return (
        f"Channel {number} is paid from no more. {report}Take the rest of its deposit back: "
        f"`openledger tx inference close-channel --channel {number}`. Ask another server."
    )
