"""Paid questions: the channel, the price, the voucher, the answer, and the rows behind it.

Each voucher promises at most the price of the longest answer on top of what the asker's own books
say is spent (node/client/asker_ledger.py); no server's word counts for that. The asker checks the
receipt's signature and texts before the answer counts as received, and adds to a channel only what
its user named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from genesis.amounts import format_amount
from node.client import Answer, Client, Included, RejectedError, RequestRefusedError, Text
from node.client.asker_ledger import AskerLedger, Promise, ReceiptDisputedError
from node.client.serving import ServedReceipt, signed_with
from node.commands.base.account_signer import account_of
from node.commands.base.command import refuse
from node.commands.base.documents import Planck
from node.commands.base.output import Output
from node.commands.base.transaction import Spending, send
from pallets.inference import Channel, Inference
from pallets.models import ModelInfo
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import KeyKind, Keypair, verify
from runtime.frame.dispatch import Call
from runtime.shared.receipts import (
    SignedReceipt,
    SignedVoucher,
    Voucher,
    receipt_hash,
    voucher_payload,
)
from runtime.types.primitives import AccountId, Hash, Id

TEMPLATE_TOKENS: Final = 64
"""More than any chat template adds to the question."""

Turns = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class InfluenceRow:
    """A row that shaped the answer: its exact influence score and who gave it."""

    ROWS_SHOWN: ClassVar[int] = 8

    row: int
    score: str
    contributor: str | None
    prompt: str | None


@dataclass(frozen=True, slots=True)
class SpanRow:
    """Words of the answer that stand verbatim in a row, counted in tokens."""

    row: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class AnswerDocument:
    """An answer, what it cost, and the rows it was made from."""

    answer: str
    model: int
    receipt: str
    tokens_in: int
    tokens_out: int
    fee_planck: Planck
    contributors_planck: Planck
    remainder_permille: int
    rows: tuple[InfluenceRow, ...]
    spans: tuple[SpanRow, ...]


@dataclass(frozen=True, slots=True)
class ChatDocument:
    """The answers of a conversation, in order."""

    answers: tuple[AnswerDocument, ...]


@dataclass(frozen=True, slots=True)
class QuoteDocument:
    """What a question would cost at most, and the channel that would pay for it."""

    model: int
    price_at_most_planck: Planck
    channel: int | None
    channel_left_planck: Planck
    """What the asker's own books leave of the deposit."""
    free_before_planck: Planck


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
            found = self._find_channel()
            self._channel = self._open(deposit_planck) if found is None else found[0]
            yield

    def ask(self, turns: Turns, max_tokens: int) -> AnswerDocument:
        """Pay for an answer and print it as it comes. Raises RejectedError for a false receipt."""
        assert self._pair is not None, "prepared comes first"
        assert self._channel is not None, "prepared comes first"
        question = "\n".join(turn["content"] for turn in turns)
        price = self._price(question, max_tokens)
        voucher = self._voucher(self._channel, question, price)
        answer: Answer | None = None
        pieces = self._client.serving.chat(
            str(self._info.id), turns, voucher, max_tokens=max_tokens
        )
        for piece in pieces:
            if isinstance(piece, Text):
                self._output.say(piece.text, newline=False)
            else:
                answer = piece
        self._output.say("")
        if answer is None or answer.receipt is None:
            raise RejectedError("The answer ended without a receipt, so it was not attributed.")
        stored = self._client.serving.receipt(answer.receipt)
        _check(stored.signed, answer, question)
        self._ledger.settle(self._channel, stored.signed.receipt)
        return answer_document(answer.text, stored)

    # ------------------------------------------------------------------------------- internal

    def _price(self, question: str, max_tokens: int) -> int:
        # Every token is at least one byte of the question, whatever the tokenizer.
        tokens_in = len(question.encode()) + TEMPLATE_TOKENS
        price = self._client.api("InferenceApi_quote", self._info.id, tokens_in, max_tokens)
        assert price is not None, "the model exists"
        return int(price)

    def _find_channel(self) -> tuple[int, Channel] | None:
        """Return an open channel for this model that is in the books."""
        account = self._spending.signer.account
        server = None if self._server is None else account_of(self._server)
        for entry in self._client.api("InferenceApi_channels_of", account):
            channel, book = entry.channel, self._ledger.get(entry.id)
            is_mine = channel.asker == account and channel.model == self._info.id
            if not is_mine or channel.closes_at is not None or server not in (None, channel.server):
                continue
            if book is not None and (book.server, book.model) == (channel.server, channel.model):
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
        try:
            status = self._client.call("openledger_status")
        except RequestRefusedError:
            status = {}
        account = status.get("account") if isinstance(status, dict) else None
        if isinstance(account, str):
            return account_of(account)
        executors = self._client.api("JobsApi_executors")
        if len(executors) != 1:
            refuse("The node does not say which account answers. Name it with --server.")
        return AccountId(executors[0].account)

    def _left(self, number: int, channel: Channel) -> int:
        book = self._ledger.get(number)
        spent = 0 if book is None else book.spent_planck
        return max(channel.deposit_planck - max(spent, channel.redeemed_planck), 0)

    def _voucher(self, number: int, question: str, price: int) -> SignedVoucher:
        """Promise at most the price of the longest answer, and sign for it."""
        assert self._pair is not None, "prepared"
        self._settle_open_promise(number)
        channel = self._client.api("InferenceApi_channel", number)
        if channel is None:
            refuse(f"Channel {number} is closed. Ask again to open another one.")
        self._top_up(number, price - self._left(number, channel))
        epoch = self._client.api("AttributionApi_pool", self._info.id).epoch
        promise = Promise(Hash(blake2b_256(question.encode())), price, epoch)
        cumulative = self._ledger.promise(number, promise, channel.redeemed_planck)
        voucher = Voucher(self._client.genesis_hash, number, cumulative)
        return SignedVoucher(
            voucher,
            AccountId(self._pair.account),
            signed_with(self._pair, voucher_payload(voucher)),
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
        newest = self._client.api("AttributionApi_pool", self._info.id).epoch + 1
        for epoch in range(book.promise.epoch, newest + 1):
            for entry in self._client.call("openledger_receipts", self._info.id, epoch):
                signed = read_receipt(entry["signedReceipt"])
                if signed.receipt.channel != number or not is_signed(signed):
                    continue
                try:
                    self._ledger.settle(number, signed.receipt)
                except ReceiptDisputedError:
                    continue
                fee = format_amount(signed.receipt.fee_planck)
                self._output.note(f"Counted {fee} for an answer that broke off.")
                return
        self._ledger.drop_promise(number)


def _check(signed: SignedReceipt, answer: Answer, question: str) -> None:
    """Check that a receipt is of this answer. Raises RejectedError."""
    receipt = signed.receipt
    problems = [
        problem
        for problem, is_wrong in (
            ("its id is not its hash", receipt_hash(receipt) != answer.receipt),
            ("its question is another", receipt.question != blake2b_256(question.encode())),
            ("its answer is another", receipt.answer != blake2b_256(answer.text.encode())),
            ("its signature is false", not is_signed(signed)),
        )
        if is_wrong
    ]
    if problems:
        raise RejectedError(
            f"The receipt of this answer is false: {', '.join(problems)}. Ask another server."
        )


def is_signed(signed: SignedReceipt) -> bool:
    """Return whether the serving account signed the receipt."""
    identity = receipt_hash(signed.receipt)
    return verify(KeyKind.ED25519, signed.signature, identity, signed.receipt.server)


def read_receipt(text: str) -> SignedReceipt:
    """Return the receipt that 0x hex of SCALE stands for. Raises DecodeError."""
    from runtime.codec.scale import codec

    return codec(SignedReceipt).decode(from_hex(text))


def answer_document(text: str, stored: ServedReceipt) -> AnswerDocument:
    """Return an answer with its attribution, its numbers only from the signed receipt."""
    receipt = stored.signed.receipt
    row_texts: dict[int, Mapping[str, Any]] = {
        int(row["row"]): row for row in stored.details.get("rows", []) if "row" in row
    }
    return AnswerDocument(
        answer=text,
        model=receipt.model,
        receipt=to_hex(receipt_hash(receipt)),
        tokens_in=receipt.tokens_in,
        tokens_out=receipt.tokens_out,
        fee_planck=Planck(receipt.fee_planck),
        contributors_planck=Planck(receipt.contributor_fee_planck),
        remainder_permille=receipt.remainder_permille,
        rows=tuple(
            InfluenceRow(
                entry.row,
                str(entry.score),
                row_texts.get(entry.row, {}).get("contributor"),
                row_texts.get(entry.row, {}).get("prompt"),
            )
            for entry in receipt.top
        ),
        spans=tuple(SpanRow(span.row, span.start, span.length) for span in receipt.spans),
    )
