"""Receipts and feedback of this node's service, in one SQLite file.

Receipts of other servers' closed epochs are kept apart, for their verifiers.

What an asker was sent is on disk before the answer ends: the receipt with its voucher, the texts,
their salt and the answer's tokens as the model gave them. SQLite is in write-ahead mode with full
sync, so kill -9 loses nothing that was acknowledged. Every method is one transaction and may be
called from any thread; a list is read in pages.
"""

from __future__ import annotations

import sqlite3
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.storage.disk_space import DiskSpace
from runtime.codec.hexadecimal import from_hex
from runtime.codec.scale import Bytes32, codec
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.receipts import ShownText, SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId, Hash

PAGE_MAX: Final = 256
STORE_VERSION: Final = 2

_signed = codec(SignedReceipt)
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS receipts (
    hash BLOB PRIMARY KEY, id TEXT NOT NULL UNIQUE, model INTEGER NOT NULL,
    channel INTEGER NOT NULL, sequence INTEGER NOT NULL, before TEXT NOT NULL, ends TEXT NOT NULL,
    epoch INTEGER, signed BLOB NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    salt BLOB NOT NULL, tokens BLOB NOT NULL, UNIQUE (channel, sequence)
);
CREATE INDEX IF NOT EXISTS receipts_by_epoch ON receipts (model, epoch, channel, sequence);
CREATE TABLE IF NOT EXISTS learned (
    hash BLOB PRIMARY KEY, model INTEGER NOT NULL, server BLOB NOT NULL, epoch INTEGER NOT NULL,
    channel INTEGER NOT NULL, sequence INTEGER NOT NULL, signed BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS learned_by_epoch
    ON learned (model, server, epoch, channel, sequence);
CREATE TABLE IF NOT EXISTS failures (
    model INTEGER NOT NULL, epoch INTEGER NOT NULL, job INTEGER NOT NULL,
    PRIMARY KEY (model, epoch, job)
);
CREATE TABLE IF NOT EXISTS feedback (
    receipt BLOB PRIMARY KEY, negative INTEGER NOT NULL, signature BLOB NOT NULL
);
PRAGMA user_version = {STORE_VERSION};
COMMIT;
"""
_WHOLE: Final = "signed, id, question, answer, salt, tokens"


class ReceiptStoreDamagedError(OpenLedgerError):
    """The file cannot be read as a receipt store."""

    exit_code = ExitCode.DATA


class VoucherUsedError(Exception):
    """The voucher has a receipt already, or a later one of its channel has."""


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt with the texts it was made from, their salt and the answer's tokens."""

    signed: SignedReceipt
    identity: str
    question: str
    answer: str
    salt: bytes
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReceiptRange:
    """Where an answer lies in its channel, in planck."""

    hash: Hash
    channel: int
    sequence: int
    before_planck: int
    ends_planck: int

    @property
    def fee_planck(self) -> int:
        """What the answer cost."""
        return self.ends_planck - self.before_planck


class ReceiptStore:
    """The records of one serving account."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises ReceiptStoreDamagedError."""
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._space = DiskSpace(path.parent)
        try:
            self._connection = _open(path)
        except sqlite3.DatabaseError as error:
            raise ReceiptStoreDamagedError(
                f"The receipt store {path} cannot be read: {error}. "
                "Move it away; receipts in it can then no longer be settled by this node."
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def check_room(self) -> None:
        """Check that new questions may be taken, whose receipts come here. Raises DiskLowError."""
        self._space.check()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors, such as a full disk, SQLite has rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # --------------------------------------------------------------------------- own receipts

    def record(self, stored: StoredReceipt) -> Hash:
        """Keep a receipt; returns its hash.

        Raises VoucherUsedError where the channel has a receipt of this sequence or a later one.
        """
        signed = stored.signed
        identity = receipt_hash(signed.receipt)
        with self._transaction() as connection:
            (last,) = connection.execute(
                "SELECT COALESCE(MAX(sequence), 0) FROM receipts WHERE channel = ?",
                (signed.channel,),
            ).fetchone()
            if signed.sequence <= last:
                raise VoucherUsedError(
                    f"Channel {signed.channel} has a receipt for answer {last} already."
                )
            connection.execute(
                "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?)",
                (
                    identity,
                    stored.identity,
                    signed.model,
                    signed.channel,
                    signed.sequence,
                    str(signed.voucher.voucher.before_planck),
                    str(signed.ends_planck),
                    _signed.encode(signed),
                    stored.question,
                    stored.answer,
                    stored.salt,
                    _packed(stored.tokens),
                ),
            )
        return identity

    def get(self, identity: Hash) -> StoredReceipt | None:
        """Return a receipt by its hash."""
        return self._one("hash = ?", identity)

    def find(self, name: str) -> StoredReceipt | None:
        """Return a receipt by its attribution id, or by its hash in hex."""
        receipt = self._one("id = ?", name)
        if receipt is not None:
            return receipt
        try:
            return self.get(Hash(from_hex(name)))
        except ValueError:
            return None

    def shown(self, identity: Hash) -> ShownText | None:
        """Return what executors are shown of a drawn receipt."""
        stored = self.get(identity)
        if stored is None:
            return None
        return ShownText(
            receipt=identity,
            salt=Bytes32(stored.salt),
            question=stored.question,
            answer=stored.answer,
            tokens=stored.tokens,
        )

    def last(self, channel: int) -> SignedReceipt | None:
        """Return the last receipt of a channel."""
        row = self._row(
            "SELECT signed FROM receipts WHERE channel = ? ORDER BY sequence DESC LIMIT 1",
            (channel,),
        )
        return None if row is None else _signed.decode(row[0])

    def last_of_channels(self) -> Iterator[SignedReceipt]:
        """Yield the last receipt of every channel, by number."""
        after = -1
        while True:
            row = self._row(
                "SELECT channel, signed FROM receipts WHERE channel > ? "
                "ORDER BY channel, sequence DESC LIMIT 1",
                (after,),
            )
            if row is None:
                return
            after = int(row[0])
            yield _signed.decode(row[1])

    def models(self) -> tuple[int, ...]:
        """Return the models that this node has answered for, in order."""
        models: list[int] = []
        # From one model to the next by the index: DISTINCT would read every receipt.
        query = "SELECT model FROM receipts WHERE model > ? ORDER BY model LIMIT 1"
        while row := self._row(query, (models[-1] if models else -1,)):
            models.append(int(row[0]))
        return tuple(models)

    # --------------------------------------------------------------------------------- epochs

    def ranges(self, model: int, epoch: int | None = None) -> Iterator[ReceiptRange]:
        """Yield the receipts of an epoch of a model, or those that are in none, by channel and
        sequence."""
        after = (-1, -1)
        while True:
            rows = self._rows(
                "SELECT hash, channel, sequence, before, ends FROM receipts "
                "WHERE model = ? AND epoch IS ? AND (channel, sequence) > (?, ?) "
                "ORDER BY channel, sequence LIMIT ?",
                (model, epoch, *after, PAGE_MAX),
            )
            for hash_, channel, sequence, before, ends in rows:
                yield ReceiptRange(Hash(hash_), channel, sequence, int(before), int(ends))
            if len(rows) < PAGE_MAX:
                return
            after = (rows[-1][1], rows[-1][2])

    def count_open(self, model: int) -> int:
        """Return how many receipts of a model are in no epoch."""
        row = self._row("SELECT COUNT(*) FROM receipts WHERE model = ? AND epoch IS NULL", (model,))
        assert row is not None, "a count has a row"
        return int(row[0])

    def signed(self, identities: Iterable[Hash]) -> Iterator[SignedReceipt]:
        """Yield receipts by their hashes, in this order; all of them are here."""
        for identity in identities:
            row = self._row("SELECT signed FROM receipts WHERE hash = ?", (identity,))
            assert row is not None, "receipts are never removed"
            yield _signed.decode(row[0])

    def has_epoch(self, model: int, epoch: int) -> bool:
        """Return whether receipts are noted to be of an epoch."""
        query = "SELECT 1 FROM receipts WHERE model = ? AND epoch = ? LIMIT 1"
        return self._row(query, (model, epoch)) is not None

    def epoch_of(self, identity: Hash) -> int | None:
        """Return the epoch that a receipt was closed with, also one of another server."""
        row = self._row(
            "SELECT epoch FROM receipts WHERE hash = ? UNION SELECT epoch FROM learned "
            "WHERE hash = ?",
            (identity, identity),
        )
        return None if row is None else row[0]

    def put_epoch(self, epoch: int, identities: Sequence[Hash]) -> None:
        """Note the epoch that receipts were closed with."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE receipts SET epoch = ? WHERE hash = ?",
                [(epoch, identity) for identity in identities],
            )

    def fail_epoch(self, model: int, epoch: int, job: int) -> int:
        """Note that a job could not settle an epoch; returns how many could not, each once."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO failures VALUES (?, ?, ?)", (model, epoch, job)
            )
            (count,) = connection.execute(
                "SELECT COUNT(*) FROM failures WHERE model = ? AND epoch = ?", (model, epoch)
            ).fetchone()
        return int(count)

    def forget_failures(self, model: int, epoch: int) -> None:
        """Count the failures of an epoch from none again, by its operator's word."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM failures WHERE model = ? AND epoch = ?", (model, epoch))

    def epoch_receipts(
        self, model: int, epoch: int | None, start: int, count: int
    ) -> tuple[SignedReceipt, ...]:
        """Return a page of an epoch's receipts by channel and sequence; of None, of those that
        are in no epoch yet."""
        rows = self._rows(
            "SELECT signed FROM receipts WHERE model = ? AND epoch IS ? "
            "ORDER BY channel, sequence LIMIT ? OFFSET ?",
            (model, epoch, min(count, PAGE_MAX), start),
        )
        return tuple(_signed.decode(row[0]) for row in rows)

    # ---------------------------------------------------------------- receipts of other servers

    def learn(self, server: AccountId, epoch: int, receipts: Iterable[SignedReceipt]) -> None:
        """Keep receipts that another node served; they are shown here and never settled.

        Raises DiskLowError.
        """
        self.check_room()
        rows = [
            (
                receipt_hash(signed.receipt),
                signed.model,
                server,
                epoch,
                signed.channel,
                signed.sequence,
                _signed.encode(signed),
            )
            for signed in receipts
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO learned VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )

    def learned(self, identity: Hash) -> SignedReceipt | None:
        """Return a receipt that another node served, by its hash."""
        row = self._row("SELECT signed FROM learned WHERE hash = ?", (identity,))
        return None if row is None else _signed.decode(row[0])

    def learned_receipts(
        self, model: int, server: AccountId, epoch: int, start: int, count: int
    ) -> tuple[SignedReceipt, ...]:
        """Return a page of the receipts of another server's epoch, by channel and sequence."""
        rows = self._rows(
            "SELECT signed FROM learned WHERE model = ? AND server = ? AND epoch = ? "
            "ORDER BY channel, sequence LIMIT ? OFFSET ?",
            (model, server, epoch, min(count, PAGE_MAX), start),
        )
        return tuple(_signed.decode(row[0]) for row in rows)

    # ------------------------------------------------------------------------------- feedback

    def verdict(self, receipt: Hash) -> bool | None:
        """Return the asker's verdict on an answer, true where it is negative."""
        row = self._row("SELECT negative FROM feedback WHERE receipt = ?", (receipt,))
        return None if row is None else bool(row[0])

    def put_feedback(self, receipt: Hash, negative: bool, signature: bytes) -> None:
        """Keep an asker's verdict; a later one replaces it. Raises DiskLowError."""
        self.check_room()
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?)",
                (receipt, int(negative), signature),
            )

    # ------------------------------------------------------------------------------- internal

    def _one(self, condition: str, value: object) -> StoredReceipt | None:
        row = self._row(
            f"SELECT {_WHOLE} FROM receipts WHERE {condition}",  # noqa: S608
            (value,),
        )
        if row is None:
            return None
        signed, identity, question, answer, salt, tokens = row
        return StoredReceipt(
            signed=_signed.decode(signed),
            identity=identity,
            question=question,
            answer=answer,
            salt=salt,
            tokens=_unpacked(tokens),
        )

    def _row(self, query: str, values: Sequence[object]) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
        return row

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()


def _packed(tokens: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(tokens)}I", *tokens)


def _unpacked(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


def _open(path: Path) -> sqlite3.Connection:
    """Open the file and lay it out; nothing stays open when that fails. Raises DatabaseError,
    ReceiptStoreDamagedError."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        _check_version(connection, path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
    except (sqlite3.DatabaseError, ReceiptStoreDamagedError):
        connection.close()
        raise
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file that is not new has the present layout. Raises ReceiptStoreDamagedError."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if tables and version != STORE_VERSION:
        raise ReceiptStoreDamagedError(
            f"The receipt store {path} has the layout {version} and this program reads layout "
            f"{STORE_VERSION}: its receipts were made under other rules, so they can be neither "
            "redeemed nor settled now. Move the file away; the node begins a new one."
        )
