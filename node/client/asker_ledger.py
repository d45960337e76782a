"""The asker's own books: what it has promised and spent in each of its channels.

A voucher says what a channel owes for earlier answers, so whoever tells the asker what is spent
decides what it signs for. Here that is nobody but the asker: the file counts the receipts that it
verified, and a promise is on disk before its signature goes out.

    voucher signed -> promise (durable) -> voucher sent -> answer received (durable)
                   -> receipt verified -> settled
                   -> receipt refused -> disputed: this channel is paid from no more
    promise, and no receipt: an answer may have broken off. Before the next promise its receipt is
    looked for at the server; without one nothing is owed for it.

Rules: a receipt is settled once, for the very voucher of the promise. All that it is held against
is in the books before it is asked for, so that one that was refused is refused after a kill as
well. The number of an answer only rises. A channel that the books do not know is not paid from.
One command has the books of an account at a time. The salts of questions and answers are kept here
alone: who has none cannot read the texts from a server.
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
from runtime.codec.scale import codec
from runtime.crypto.keys import KeyKind, verify
from runtime.shared.receipts import (
    SALT_BYTES,
    SignedReceipt,
    SignedVoucher,
    receipt_hash,
    voucher_hash,
)
from runtime.types.primitives import AccountId, Hash

FOLDER: Final = "channels"
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
BOOKS_VERSION: Final = 3
SALTS_REMEMBERED: Final = 256
"""Salts of one channel that are remembered, of its latest receipts."""
_voucher = codec(SignedVoucher)
_receipt = codec(SignedReceipt)


class LedgerBusyError(UsageError):
    """Another command has the books."""


class LedgerDamagedError(UsageError):
    """The file of the books cannot be read."""


class LedgerFormerError(UsageError):
    """The file of the books is of a former version of this program."""


class ReceiptDisputedError(RejectedError):
    """A receipt asks for more than was promised, or for something else."""


class ChannelDisputedError(RejectedError):
    """A receipt of the channel was refused, so it is paid from no more."""


@dataclass(frozen=True, slots=True)
class ReceivedAnswer:
    """What came of an answer to its end: the receipt that it names, the tokens that its server
    counts, and the salted hash of its text."""

    receipt: Hash
    tokens_in: int
    tokens_out: int
    answer: Hash


@dataclass(frozen=True, slots=True)
class Promise:
    """A voucher whose receipt has not come, with the salt of its question, the most tokens that
    its receipt may count, and the answer, once it came to its end."""

    signed: SignedVoucher
    salt: bytes
    tokens_in_max: int
    tokens_out_max: int
    received: ReceivedAnswer | None = None


@dataclass(frozen=True, slots=True)
class ChannelBook:
    """What is known of one channel.

    `spent_planck` is what its verified receipts end at, `sequence` the highest number that was
    signed, `last` the last verified receipt, `disputed` a receipt that was refused or by which the
    server has drawn too much, `salts` those of settled receipts, by their hash.
    """

    server: AccountId
    model: int
    spent_planck: int = 0
    sequence: int = 0
    promise: Promise | None = None
    last: SignedReceipt | None = None
    disputed: SignedReceipt | None = None
    salts: tuple[tuple[Hash, bytes], ...] = ()


class AskerLedger:
    """The books of one account on one chain."""

    def __init__(self, folder: Path, genesis: Hash, asker: AccountId) -> None:
        """Read the books below a folder of keys. Raises LedgerDamagedError, LedgerFormerError."""
        self._path = folder / FOLDER / f"{genesis.hex()[:16]}-{asker.hex()}.json"
        self._asker = asker
        self._may_draw = False
        self._books: dict[int, ChannelBook] = {}
        self._read()

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
            self._read()
            yield

    @property
    def may_draw(self) -> bool:
        """Whether this account's questions may be drawn for references."""
        return self._may_draw

    def remember_may_draw(self, may_draw: bool) -> None:
        """Remember whether later questions may be drawn as well."""
        self._write(self._books, may_draw)

    def get(self, channel: int) -> ChannelBook | None:
        """Return the book of a channel; None for one that was not opened by these books."""
        return self._books.get(channel)

    def channels(self) -> dict[int, ChannelBook]:
        """Return all books by their channel."""
        return dict(self._books)

    def begin(self, channel: int, server: AccountId, model: int) -> None:
        """Begin the book of a channel that was just opened."""
        self._put(channel, ChannelBook(server, model))

    def recover(self, channel: int, book: ChannelBook) -> ChannelBook:
        """Begin a lost book again from what is known; one that is here only rises.

        It rises by the receipts of answers that it does not know, and by no other: that of an open
        promise is verified first. Raises ChannelDisputedError.
        """
        known = self._books.get(channel)
        if known is not None:
            _check_undisputed(channel, known)
            if book.last is None or book.last.sequence <= known.sequence:
                return known
            book = replace(
                known,
                spent_planck=max(known.spent_planck, book.spent_planck),
                sequence=max(known.sequence, book.sequence),
                last=book.last,
            )
        self._put(channel, book)
        return book

    def promise(self, channel: int, promise: Promise) -> None:
        """Make a promise durable, before its voucher is sent.

        What the server has redeemed on chain is spent, whatever its receipts say: it cannot be had
        back, and the last voucher bounded it. Raises ChannelDisputedError.
        """
        book, voucher = self._known(channel), promise.signed.voucher
        _check_undisputed(channel, book)
        assert book.promise is None, "the last promise was settled or dropped"
        assert voucher.sequence > book.sequence, "the number of an answer rises"
        assert voucher.before_planck >= book.spent_planck, "what is spent stays spent"
        spent = voucher.before_planck
        sequence = voucher.sequence
        self._put(channel, replace(book, spent_planck=spent, sequence=sequence, promise=promise))

    def receive(
        self, channel: int, received: ReceivedAnswer, tokens_in_max: int, tokens_out_max: int
    ) -> None:
        """Keep what came of the answer to the open promise, and the most tokens that its texts can
        have, before its receipt is asked for."""
        book = self._known(channel)
        promise = book.promise
        assert promise is not None, "an answer follows a promise"
        answered = replace(
            promise,
            tokens_in_max=min(promise.tokens_in_max, tokens_in_max),
            tokens_out_max=min(promise.tokens_out_max, tokens_out_max),
            received=received,
        )
        self._put(channel, replace(book, promise=answered))

    def settle(self, channel: int, signed: SignedReceipt, problem: str = "") -> None:
        """Count a receipt for the open promise; `problem` is what is known against it elsewhere.

        One that is wrong is kept, and its channel is disputed. Raises ReceiptDisputedError,
        ChannelDisputedError.
        """
        book = self._known(channel)
        _check_undisputed(channel, book)
        assert book.promise is not None, "a receipt is asked for because of a promise"
        problem = _problem_of(book, book.promise, signed) or problem
        if problem:
            self.dispute(channel, signed)
            raise ReceiptDisputedError(
                f"The receipt {to_hex(receipt_hash(signed.receipt))} is not paid for: {problem}."
            )
        salt = (receipt_hash(signed.receipt), book.promise.salt)
        settled = replace(
            book,
            spent_planck=signed.ends_planck,
            promise=None,
            last=signed,
            salts=(*book.salts, salt)[-SALTS_REMEMBERED:],
        )
        self._put(channel, settled)

    def drop_promise(self, channel: int) -> None:
        """Owe nothing for the open promise: its server has no receipt for it."""
        self._put(channel, replace(self._known(channel), promise=None))

    def dispute(self, channel: int, signed: SignedReceipt) -> None:
        """Pay from a channel no more, because of this receipt, which is kept."""
        self._put(channel, replace(self._known(channel), disputed=signed))

    def _known(self, channel: int) -> ChannelBook:
        book = self._books.get(channel)
        assert book is not None, "only channels of these books are paid from"
        return book

    def _put(self, channel: int, book: ChannelBook) -> None:
        self._write({**self._books, channel: book}, self._may_draw)

    def _write(self, books: dict[int, ChannelBook], may_draw: bool) -> None:
        document = {
            "version": BOOKS_VERSION,
            "may_draw": may_draw,
            "channels": {str(number): _to_json(each) for number, each in sorted(books.items())},
        }
        self._path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        write_durably(self._path, json.dumps(document, indent=1).encode(), FILE_MODE)
        self._books, self._may_draw = books, may_draw

    def _read(self) -> None:
        self._may_draw, self._books = _read_books(self._path)


def salt_of(folder: Path, genesis: Hash, receipt: Hash) -> bytes | None:
    """Return the salt of a receipt from any books of a chain below a folder of keys.

    Raises LedgerDamagedError, LedgerFormerError.
    """
    for path in sorted((folder / FOLDER).glob(f"{genesis.hex()[:16]}-*.json")):
        for book in _read_books(path)[1].values():
            for identity, salt in book.salts:
                if identity == receipt:
                    return salt
    return None


def is_signed(signed: SignedReceipt) -> bool:
    """Return whether the serving account signed the receipt."""
    receipt = signed.receipt
    return verify(KeyKind.ED25519, signed.signature, receipt_hash(receipt), receipt.server)


def is_false(signed: SignedReceipt) -> bool:
    """Return whether a receipt by itself convicts its server: it is signed, and its fee is not what
    the price list of its voucher gives."""
    voucher, receipt = signed.voucher.voucher, signed.receipt
    is_own = receipt.voucher == voucher_hash(voucher) and is_signed(signed)
    return is_own and receipt.fee_planck != voucher.fee(receipt.tokens_in, receipt.tokens_out)


def _check_undisputed(channel: int, book: ChannelBook) -> None:
    if book.disputed is not None:
        raise ChannelDisputedError(
            f"Channel {channel} is paid from no more, because its server's receipt "
            f"{to_hex(receipt_hash(book.disputed.receipt))} was refused. Ask again: another "
            "channel is opened."
        )


def _problem_of(book: ChannelBook, promise: Promise, signed: SignedReceipt) -> str:
    """Return what is wrong with a receipt for a promise, in a clause; empty where nothing is."""
    receipt, received = signed.receipt, promise.received
    for is_wrong, problem in (
        (signed.voucher != promise.signed, "it is for another voucher"),
        (receipt.server != book.server, "it is of another server"),
        (not is_signed(signed), "its signature is false"),
        (
            receipt.tokens_in > promise.tokens_in_max,
            "it counts more tokens than the question can have",
        ),
        (
            receipt.tokens_out > promise.tokens_out_max,
            "it counts more tokens than the answer can have",
        ),
        (not signed.is_whole, "its fee, voucher or evidence is not what it says"),
    ):
        if is_wrong:
            return problem
    if received is None:
        return ""
    if received.answer != receipt.answer:
        return "its answer is another"
    if (received.tokens_in, received.tokens_out) != (receipt.tokens_in, receipt.tokens_out):
        return "it counts other tokens than the answer said"
    return "" if received.receipt == receipt_hash(receipt) else "its id is not its hash"


# ------------------------------------------------------------------------------------ the file


def _read_books(path: Path) -> tuple[bool, dict[int, ChannelBook]]:
    try:
        data = json.loads(path.read_bytes())
        if _is_former(data):
            raise LedgerFormerError(
                f"The books {path} are of a former version of this program. Move the file away, "
                "then begin the book of each channel again with `openledger channel recover "
                "CHANNEL`."
            )
        if data["version"] != BOOKS_VERSION:
            raise ValueError(f"their version is {data['version']}")
        books = {int(number): _from_json(book) for number, book in data["channels"].items()}
        return _truth(data["may_draw"]), books
    except FileNotFoundError:
        return False, {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LedgerDamagedError(
            f"The books {path} cannot be read ({error}). Move the file away, then begin the book "
            "of each channel again with `openledger channel recover CHANNEL`."
        ) from error


def _is_former(data: object) -> bool:
    """Return whether books are of a former version: 2, or the first, which had no number."""
    if not isinstance(data, dict) or not data:
        return False
    return data.get("version") == 2 or all(name.isdecimal() for name in data)


def _to_json(book: ChannelBook) -> dict[str, Any]:
    return {
        "server": to_hex(book.server),
        "model": book.model,
        "spent_planck": str(book.spent_planck),
        "sequence": book.sequence,
        "promise": None if book.promise is None else _promise_to_json(book.promise),
        "last": None if book.last is None else to_hex(_receipt.encode(book.last)),
        "disputed": None if book.disputed is None else to_hex(_receipt.encode(book.disputed)),
        "salts": {to_hex(receipt): to_hex(salt) for receipt, salt in book.salts},
    }


def _from_json(data: dict[str, Any]) -> ChannelBook:
    return ChannelBook(
        server=AccountId(_bytes32(data["server"])),
        model=int(data["model"]),
        spent_planck=_amount(data["spent_planck"]),
        sequence=_amount(data["sequence"]),
        promise=None if data["promise"] is None else _promise_from_json(data["promise"]),
        last=None if data["last"] is None else _receipt.decode(from_hex(data["last"])),
        disputed=None if data["disputed"] is None else _receipt.decode(from_hex(data["disputed"])),
        salts=tuple(
            (Hash(_bytes32(receipt)), _bytes32(salt)) for receipt, salt in data["salts"].items()
        ),
    )


def _promise_to_json(promise: Promise) -> dict[str, Any]:
    received = promise.received
    return {
        "voucher": to_hex(_voucher.encode(promise.signed)),
        "salt": to_hex(promise.salt),
        "tokens_in_max": promise.tokens_in_max,
        "tokens_out_max": promise.tokens_out_max,
        "received": None
        if received is None
        else {
            "receipt": to_hex(received.receipt),
            "tokens_in": received.tokens_in,
            "tokens_out": received.tokens_out,
            "answer": to_hex(received.answer),
        },
    }


def _promise_from_json(data: dict[str, Any]) -> Promise:
    received = data["received"]
    return Promise(
        signed=_voucher.decode(from_hex(data["voucher"])),
        salt=_bytes32(data["salt"]),
        tokens_in_max=_amount(data["tokens_in_max"]),
        tokens_out_max=_amount(data["tokens_out_max"]),
        received=None
        if received is None
        else ReceivedAnswer(
            receipt=Hash(_bytes32(received["receipt"])),
            tokens_in=_amount(received["tokens_in"]),
            tokens_out=_amount(received["tokens_out"]),
            answer=Hash(_bytes32(received["answer"])),
        ),
    )


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _amount(text: str | int) -> int:
    amount = int(text)
    if amount < 0:
        raise ValueError(f"{text} is no amount")
    return amount


def _bytes32(text: str) -> bytes:
    value = from_hex(text)
    if len(value) != SALT_BYTES:
        raise ValueError(f"{text} has not {SALT_BYTES} bytes")
    return value
