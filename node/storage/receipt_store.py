"""Receipts, vouchers and feedback of this node's service, in one SQLite file.

Receipts of other servers' closed epochs are kept apart, for their verifiers.

What an asker was sent is on disk before the answer ends: a receipt, with the texts it was made
from, and how much of the asker's channel is spent. SQLite is in write-ahead mode with full sync, so
kill -9 loses nothing that was acknowledged. Every method is one transaction and may be called from
any thread.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.storage.disk_space import DiskSpace
from runtime.codec.hexadecimal import from_hex
from runtime.codec.scale import codec
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.receipts import EpochReceipts, SignedReceipt, receipt_hash
from runtime.types.primitives import Hash, MultiSignature

_signed = codec(SignedReceipt)
_signature = codec(MultiSignature)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS receipts (
    hash BLOB PRIMARY KEY, id TEXT NOT NULL UNIQUE, model INTEGER NOT NULL, epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL, signed BLOB NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    UNIQUE (model, sequence)
);
CREATE INDEX IF NOT EXISTS receipts_by_epoch ON receipts (model, epoch, sequence);
CREATE TABLE IF NOT EXISTS channels (
    channel INTEGER PRIMARY KEY, cumulative TEXT NOT NULL, spent TEXT NOT NULL,
    signature BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS sealed (model INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS learned (
    hash BLOB PRIMARY KEY, model INTEGER NOT NULL, epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL, signed BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS learned_by_epoch ON learned (model, epoch, sequence);
CREATE TABLE IF NOT EXISTS feedback (
    receipt BLOB PRIMARY KEY, negative INTEGER NOT NULL, signature BLOB NOT NULL
);
"""


class EpochSealedError(Exception):
    """The receipt's epoch was sealed meanwhile; it belongs to the next one."""


class ReceiptStoreDamagedError(OpenLedgerError):
    """The file cannot be read as a receipt store."""

    exit_code = ExitCode.DATA


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt with the texts it was made from."""

    signed: SignedReceipt
    identity: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ChannelRecord:
    """What an asker has promised (`cumulative_planck`, with its signature) and spent."""

    channel: int
    cumulative_planck: int
    spent_planck: int
    signature: bytes


class ReceiptStore:
    """The records of one serving account."""

    def __init__(self, path: Path) -> None:
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

    def record(self, stored: StoredReceipt, spent: ChannelRecord | None) -> Hash:
        """Keep a receipt and what it spent, together. Returns the receipt's id.

        Raises EpochSealedError.
        """
        receipt = stored.signed.receipt
        identity = receipt_hash(receipt)
        with self._transaction() as connection:
            sealed = connection.execute(
                "SELECT epoch FROM sealed WHERE model = ?", (receipt.model,)
            ).fetchone()
            if sealed is not None and receipt.epoch <= sealed[0]:
                raise EpochSealedError(f"Epoch {receipt.epoch} is sealed.")
            connection.execute(
                "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    identity,
                    stored.identity,
                    receipt.model,
                    receipt.epoch,
                    receipt.sequence,
                    _signed.encode(stored.signed),
                    stored.question,
                    stored.answer,
                ),
            )
            if spent is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?)",
                    (
                        spent.channel,
                        str(spent.cumulative_planck),
                        str(spent.spent_planck),
                        spent.signature,
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

    def _one(self, condition: str, value: object) -> StoredReceipt | None:
        query = f"SELECT signed, id, question, answer FROM receipts WHERE {condition}"  # noqa: S608
        with self._lock:
            row = self._connection.execute(query, (value,)).fetchone()
        return None if row is None else StoredReceipt(_signed.decode(row[0]), *row[1:])

    def next_sequence(self, model: int) -> int:
        """Return the sequence number of a model's next receipt."""
        with self._lock:
            row = self._connection.execute(
                "SELECT COALESCE(MAX(sequence), -1) + 1 FROM receipts WHERE model = ?", (model,)
            ).fetchone()
        return int(row[0])

    def seal(self, model: int, epoch: int) -> None:
        """Take no more receipts into an epoch that is about to be closed on chain."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO sealed VALUES (?, ?)", (model, epoch))

    def open_epoch(self, model: int) -> int:
        """Return the first epoch of a model that is not sealed here."""
        with self._lock:
            row = self._connection.execute(
                "SELECT epoch FROM sealed WHERE model = ?", (model,)
            ).fetchone()
        return 0 if row is None else int(row[0]) + 1

    def served(self) -> tuple[tuple[int, int], ...]:
        """Return every (model, epoch) with receipts, in order."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT DISTINCT model, epoch FROM receipts ORDER BY model, epoch"
            ).fetchall()
        return tuple((int(model), int(epoch)) for model, epoch in rows)

    def receipts(self, model: int, epoch: int) -> tuple[SignedReceipt, ...]:
        """Return an epoch's receipts in the order of their sequence."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT signed FROM receipts WHERE model = ? AND epoch = ? ORDER BY sequence",
                (model, epoch),
            ).fetchall()
        return tuple(_signed.decode(row[0]) for row in rows)

    def learn(self, receipts: Sequence[SignedReceipt]) -> None:
        """Keep receipts that another node served; they are shown here and never settled.

        Raises DiskLowError.
        """
        self.check_room()
        rows = [
            (
                receipt_hash(signed.receipt),
                signed.receipt.model,
                signed.receipt.epoch,
                signed.receipt.sequence,
                _signed.encode(signed),
            )
            for signed in receipts
        ]
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO learned VALUES (?, ?, ?, ?, ?)", rows)

    def learned(self, identity: Hash) -> SignedReceipt | None:
        """Return a receipt that another node served, by its hash."""
        with self._lock:
            row = self._connection.execute(
                "SELECT signed FROM learned WHERE hash = ?", (identity,)
            ).fetchone()
        return None if row is None else _signed.decode(row[0])

    def listed(self, model: int, epoch: int) -> tuple[SignedReceipt, ...]:
        """Return an epoch's receipts; of another server's where this node has served none."""
        own = self.receipts(model, epoch)
        if own:
            return own
        with self._lock:
            rows = self._connection.execute(
                "SELECT signed FROM learned WHERE model = ? AND epoch = ? ORDER BY sequence",
                (model, epoch),
            ).fetchall()
        return tuple(_signed.decode(row[0]) for row in rows)

    def epoch(self, model: int, epoch: int) -> EpochReceipts:
        """Return what an epoch is settled from."""
        return EpochReceipts(self.receipts(model, epoch))

    def feedback(self, model: int, epoch: int) -> dict[Hash, bool]:
        """Return the verdicts on an epoch's answers by receipt, true where one is negative."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT receipt, negative FROM feedback JOIN receipts ON receipt = hash "
                "WHERE model = ? AND epoch = ?",
                (model, epoch),
            ).fetchall()
        return {Hash(receipt): bool(negative) for receipt, negative in rows}

    def channel(self, channel: int) -> ChannelRecord | None:
        """Return what is known of a channel."""
        with self._lock:
            row = self._connection.execute(
                "SELECT channel, cumulative, spent, signature FROM channels WHERE channel = ?",
                (channel,),
            ).fetchone()
        return None if row is None else ChannelRecord(row[0], int(row[1]), int(row[2]), row[3])

    def channels(self) -> tuple[ChannelRecord, ...]:
        """Return every channel with a voucher."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT channel, cumulative, spent, signature FROM channels ORDER BY channel"
            ).fetchall()
        return tuple(ChannelRecord(row[0], int(row[1]), int(row[2]), row[3]) for row in rows)

    def put_feedback(self, receipt: Hash, negative: bool, signature: bytes) -> None:
        """Keep an asker's verdict; a later one replaces it. Raises DiskLowError."""
        self.check_room()
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?)",
                (receipt, int(negative), signature),
            )


def _open(path: Path) -> sqlite3.Connection:
    """Open the file and lay it out; nothing stays open when that fails. Raises DatabaseError."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
