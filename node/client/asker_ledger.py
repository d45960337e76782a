"""The asker's own books: what it has promised and spent in each of its channels.

A voucher says what a channel owes for earlier answers, so whoever tells the asker what is spent
decides what it signs for. Here that is nobody but the asker: the file counts the receipts that it
verified, and a promise is on disk before its signature goes out.

    voucher signed -> promise (durable) -> voucher sent -> answer -> receipt verified -> settled
    promise, and no receipt: an answer may have broken off. Before the next promise its receipt is
    looked for at the server; without one nothing is owed for it.

Rules: a receipt is settled once, for the very voucher of the promise. The number of an answer only
rises. A channel that the books do not know is not paid from, nor one whose server was found to lie.
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
BOOKS_VERSION: Final = 2
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


@dataclass(frozen=True, slots=True)
class Promise:
    """A voucher whose receipt has not come, with the salt of its question."""

    signed: SignedVoucher
    salt: bytes


@dataclass(frozen=True, slots=True)
class ChannelBook:
    """What is known of one channel.

    `spent_planck` is what its verified receipts end at, `sequence` the highest number that was
    signed, `last` the last verified receipt, `evidence` a receipt by which the server has lied,
    `salts` those of settled receipts, by their hash.
    """

    server: AccountId
    model: int
    spent_planck: int = 0
    sequence: int = 0
    promise: Promise | None = None
    last: SignedReceipt | None = None
    evidence: SignedReceipt | None = None
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
        """Begin a lost book again from what is known; one that is here only rises."""
        known = self._books.get(channel)
        if known is not None:
            book = replace(
                known,
                spent_planck=max(known.spent_planck, book.spent_planck),
                sequence=max(known.sequence, book.sequence),
                last=known.last if book.last is None else book.last,
            )
        self._put(channel, book)
        return book

    def promise(self, channel: int, promise: Promise) -> None:
        """Make a promise durable, before its voucher is sent.

        What the server has redeemed on chain is spent, whatever its receipts say: it cannot be had
        back, and the last voucher bounded it.
        """
        book, voucher = self._known(channel), promise.signed.voucher
        assert book.promise is None, "the last promise was settled or dropped"
        assert voucher.sequence > book.sequence, "the number of an answer rises"
        assert voucher.before_planck >= book.spent_planck, "what is spent stays spent"
        spent = voucher.before_planck
        sequence = voucher.sequence
        self._put(channel, replace(book, spent_planck=spent, sequence=sequence, promise=promise))

    def settle(self, channel: int, signed: SignedReceipt) -> None:
        """Count a receipt for the open promise. Raises ReceiptDisputedError.

        One that its server has signed and that asks for too much is kept as evidence.
        """
        book = self._known(channel)
        problem = self._problem_of(book, signed)
        if problem:
            identity = receipt_hash(signed.receipt)
            if is_false(signed, book.promise):
                self.keep_evidence(channel, signed)
            raise ReceiptDisputedError(
                f"The receipt {to_hex(identity)} is not paid for: {problem}. Ask another server."
            )
        assert book.promise is not None, "checked"
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

    def keep_evidence(self, channel: int, signed: SignedReceipt) -> None:
        """Keep a receipt by which the server has lied; its channel is paid from no more."""
        self._put(channel, replace(self._known(channel), evidence=signed))

    def _problem_of(self, book: ChannelBook, signed: SignedReceipt) -> str:
        promise = book.promise
        if promise is None:
            return "no answer is open"
        for is_wrong, problem in (
            (signed.voucher != promise.signed, "it is for another voucher"),
            (signed.receipt.server != book.server, "it is of another server"),
            (not is_signed(signed), "its signature is false"),
            (not signed.is_whole, "its fee, voucher or evidence is not what it says"),
        ):
            if is_wrong:
                return problem
        return ""

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


def is_false(signed: SignedReceipt, promise: Promise | None) -> bool:
    """Return whether a receipt convicts its server: it is signed, for this promise, and its fee is
    not what the voucher's price list gives."""
    if promise is None or not is_signed(signed):
        return False
    voucher, receipt = promise.signed.voucher, signed.receipt
    is_own = signed.voucher == promise.signed and receipt.voucher == voucher_hash(voucher)
    return is_own and receipt.fee_planck != voucher.fee(receipt.tokens_in, receipt.tokens_out)


# ------------------------------------------------------------------------------------ the file


def _read_books(path: Path) -> tuple[bool, dict[int, ChannelBook]]:
    try:
        data = json.loads(path.read_bytes())
        if isinstance(data, dict) and data and all(name.isdecimal() for name in data):
            raise LedgerFormerError(
                f"The books {path} are of a former version of this program, whose vouchers no "
                "server takes any more. Move the file away, then begin the book of each channel "
                "again with `openledger channel recover CHANNEL`."
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


def _to_json(book: ChannelBook) -> dict[str, Any]:
    promise = book.promise
    return {
        "server": to_hex(book.server),
        "model": book.model,
        "spent_planck": str(book.spent_planck),
        "sequence": book.sequence,
        "promise": None
        if promise is None
        else {"voucher": to_hex(_voucher.encode(promise.signed)), "salt": to_hex(promise.salt)},
        "last": None if book.last is None else to_hex(_receipt.encode(book.last)),
        "evidence": None if book.evidence is None else to_hex(_receipt.encode(book.evidence)),
        "salts": {to_hex(receipt): to_hex(salt) for receipt, salt in book.salts},
    }


def _from_json(data: dict[str, Any]) -> ChannelBook:
    promise = data["promise"]
    return ChannelBook(
        server=AccountId(_bytes32(data["server"])),
        model=int(data["model"]),
        spent_planck=_amount(data["spent_planck"]),
        sequence=_amount(data["sequence"]),
        promise=None
        if promise is None
        else Promise(_voucher.decode(from_hex(promise["voucher"])), _bytes32(promise["salt"])),
        last=None if data["last"] is None else _receipt.decode(from_hex(data["last"])),
        evidence=None if data["evidence"] is None else _receipt.decode(from_hex(data["evidence"])),
        salts=tuple(
            (Hash(_bytes32(receipt)), _bytes32(salt)) for receipt, salt in data["salts"].items()
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
