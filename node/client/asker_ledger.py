"""The asker's own books: what it has promised and spent in each of its channels.

A voucher says what a server may draw in all, so whoever tells the asker what is spent already
decides what it signs for. Here that is nobody but the asker: the file counts the receipts that it
verified, and a promise is on disk before its signature goes out.

    promise (durable) -> voucher -> answer -> receipt verified -> settled
    promise, and no receipt: an answer may have broken off. Before the next promise its receipt is
    looked for at the server; without one nothing is owed for it.

Rules: a receipt is settled once, by the server of the channel, for the question of the promise, at
most for its price. A channel that the books do not know is not paid from. One command has the books
of an account at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ml.durable_file import write_durably
from node.client.errors import RejectedError, UsageError
from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.shared.receipts import Receipt, receipt_hash
from runtime.types.primitives import AccountId, Hash

FOLDER: Final = "channels"
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
RECEIPTS_REMEMBERED: Final = 256
"""Receipts of one channel that are remembered; a promise is settled long before so many follow."""


class LedgerBusyError(UsageError):
    """Another command has the books."""


class LedgerDamagedError(UsageError):
    """The file of the books cannot be read."""


class ReceiptDisputedError(RejectedError):
    """A receipt asks for more than was promised, or for something else."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A voucher whose receipt has not come: the question's hash, the price at most in planck, and
    the epoch of the model when it was made."""

    question: Hash
    price_planck: int
    epoch: int


@dataclass(frozen=True, slots=True)
class ChannelBook:
    """What is known of one channel: the fees of its receipts, and the promise that is open."""

    server: AccountId
    model: int
    spent_planck: int = 0
    promise: Promise | None = None
    receipts: tuple[Hash, ...] = ()


class AskerLedger:
    """The books of one account on one chain."""

    def __init__(self, folder: Path, genesis: Hash, asker: AccountId) -> None:
        """Read the books below a folder of keys. Raises LedgerDamagedError."""
        self._path = folder / FOLDER / f"{genesis.hex()[:16]}-{asker.hex()}.json"
        self._asker = asker
        self._books = self._read()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other commands from the books, and read them again. Raises LedgerBusyError."""
        self._path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        lock = self._path.with_suffix(".lock")
        with open(os.open(lock, os.O_RDWR | os.O_CREAT, FILE_MODE), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise LedgerBusyError(
                    "Another command asks for this account now, and a channel pays for one answer "
                    "at a time. Wait until it ends."
                ) from error
            self._books = self._read()
            yield

    def get(self, channel: int) -> ChannelBook | None:
        """Return the book of a channel; None for one that was not opened by these books."""
        return self._books.get(channel)

    def begin(self, channel: int, server: AccountId, model: int) -> None:
        """Begin the book of a channel that was just opened."""
        self._put(channel, ChannelBook(server, model))

    def promise(self, channel: int, promise: Promise, redeemed_planck: int) -> int:
        """Make a promise durable; returns what a voucher for it allows in all, in planck.

        What the server has redeemed on chain is spent, whatever its receipts say: it cannot be had
        back, and the last voucher bounded it.
        """
        book = self._known(channel)
        assert book.promise is None, "the last promise was settled or dropped"
        spent = max(book.spent_planck, redeemed_planck)
        self._put(channel, replace(book, spent_planck=spent, promise=promise))
        return spent + promise.price_planck

    def settle(self, channel: int, receipt: Receipt) -> None:
        """Count a receipt, whose signature was verified, for the open promise.

        Raises ReceiptDisputedError.
        """
        book = self._known(channel)
        problem = self._problem_of(channel, book, receipt)
        if problem:
            raise ReceiptDisputedError(
                f"The receipt {to_hex(receipt_hash(receipt))} is not paid for: {problem}. Ask "
                "another server."
            )
        receipts = (*book.receipts, receipt_hash(receipt))[-RECEIPTS_REMEMBERED:]
        spent = book.spent_planck + receipt.fee_planck
        self._put(channel, replace(book, spent_planck=spent, promise=None, receipts=receipts))

    def drop_promise(self, channel: int) -> None:
        """Owe nothing for the open promise: its server has no receipt for it."""
        self._put(channel, replace(self._known(channel), promise=None))

    def _problem_of(self, channel: int, book: ChannelBook, receipt: Receipt) -> str:
        promise = book.promise
        if promise is None:
            return "no answer is open"
        for is_wrong, problem in (
            (receipt_hash(receipt) in book.receipts, "it is counted already"),
            (receipt.channel != channel, "it is of another channel"),
            (receipt.model != book.model, "it is of another model"),
            (receipt.server != book.server, "it is of another server"),
            (receipt.asker != self._asker, "it is of another asker"),
            (receipt.question != promise.question, "it is of another question"),
            (receipt.fee_planck > promise.price_planck, "its fee is above what was promised"),
        ):
            if is_wrong:
                return problem
        return ""

    def _known(self, channel: int) -> ChannelBook:
        book = self._books.get(channel)
        assert book is not None, "only channels of these books are paid from"
        return book

    def _put(self, channel: int, book: ChannelBook) -> None:
        books = {**self._books, channel: book}
        document = {str(number): _to_json(each) for number, each in sorted(books.items())}
        self._path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        write_durably(self._path, json.dumps(document, indent=1).encode(), FILE_MODE)
        self._books = books

    def _read(self) -> dict[int, ChannelBook]:
        try:
            data = json.loads(self._path.read_bytes())
            return {int(number): _from_json(book) for number, book in data.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise LedgerDamagedError(
                f"The books {self._path} cannot be read ({error}). Move the file away; its "
                "channels can then be closed, and new ones opened."
            ) from error


def _to_json(book: ChannelBook) -> dict[str, Any]:
    promise = book.promise
    return {
        "server": to_hex(book.server),
        "model": book.model,
        "spent_planck": str(book.spent_planck),
        "promise": None
        if promise is None
        else {
            "question": to_hex(promise.question),
            "price_planck": str(promise.price_planck),
            "epoch": promise.epoch,
        },
        "receipts": [to_hex(receipt) for receipt in book.receipts],
    }


def _from_json(data: dict[str, Any]) -> ChannelBook:
    promise = data["promise"]
    return ChannelBook(
        server=AccountId(_hash32(data["server"])),
        model=int(data["model"]),
        spent_planck=_amount(data["spent_planck"]),
        promise=None
        if promise is None
        else Promise(
            question=Hash(_hash32(promise["question"])),
            price_planck=_amount(promise["price_planck"]),
            epoch=int(promise["epoch"]),
        ),
        receipts=tuple(Hash(_hash32(text)) for text in data["receipts"]),
    )


def _amount(text: str) -> int:
    amount = int(text)
    if amount < 0:
        raise ValueError(f"{text} is no amount")
    return amount


def _hash32(text: str) -> bytes:
    value = from_hex(text)
    if len(value) != 32:
        raise ValueError(f"{text} has not 32 bytes")
    return value
