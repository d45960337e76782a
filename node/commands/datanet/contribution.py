"""From a file of rows to batches that a datanet accepts: everything is checked before any is sent.

What the file repeats, and what the datanet has already, is left out and counted; so running the
same contribution again sends what is missing and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml.rows.chunker import TextRefusedError, chunk_text
from ml.rows.readers import FileRefusedError, ReadReport, collect_rows, read_rows
from ml.rows.row import Row, encode_batch, row_hash
from node.client import Client, UsageError
from node.commands.base.documents import Planck
from node.commands.base.transaction_options import EventDocument
from pallets.datanets.records import BATCH_BYTES_MAX, BATCH_ROWS_MAX, BYTE_DEPOSIT, ROW_BOND
from runtime.trie.merkle import blob_id
from runtime.types.primitives import Hash

TEXT_SUFFIXES: Final = (".md", ".markdown", ".txt")
DUPLICATES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class DuplicateDocument:
    """A line whose row stands at an earlier line already."""

    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A batch: its file, its rows, and the transaction that contributed it."""

    blob: str
    rows: int
    size_bytes: int
    transaction: str | None
    block_number: int | None
    batch: int | None


@dataclass(frozen=True, slots=True)
class ContributionDocument:
    """A contribution; in a dry run nothing was sent and the batches have no transaction."""

    datanet: int
    name: str
    licence: str
    is_dry_run: bool
    rows: int
    rows_in_file: int
    repeated_in_file: int
    in_datanet_already: int
    bond_planck: Planck
    deposit_planck: Planck
    fee_planck: Planck
    free_before_planck: Planck
    free_after_planck: Planck
    rows_in_datanet_after: int
    rows_needed_for_attribution: int
    duplicates: tuple[DuplicateDocument, ...]
    batches: tuple[SentBatch, ...]
    events: tuple[EventDocument, ...]


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Rows that go into one call, their file and their hashes."""

    data: bytes
    blob: Hash
    hashes: tuple[Hash, ...]

    @property
    def bond_planck(self) -> int:
        """What is held for the rows until their review."""
        return len(self.hashes) * ROW_BOND

    @property
    def deposit_planck(self) -> int:
        """What is held for the bytes until their review."""
        return len(self.data) * BYTE_DEPOSIT


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked file: the batches to send, and what was left out."""

    shape: str
    rows_in_file: int
    duplicates: tuple[DuplicateDocument, ...]
    already_there: int
    batches: tuple[PreparedBatch, ...]

    @property
    def rows(self) -> int:
        """The rows to send."""
        return sum(len(batch.hashes) for batch in self.batches)

    @property
    def bond_planck(self) -> Planck:
        """What is held for the rows."""
        return Planck(sum(batch.bond_planck for batch in self.batches))

    @property
    def deposit_planck(self) -> Planck:
        """What is held for the bytes."""
        return Planck(sum(batch.deposit_planck for batch in self.batches))


def prepare(client: Client, datanet: int, file: Path) -> Prepared:
    """Read, check and split a file of rows. Raises FileRefusedError, LineRefusedError."""
    report = _read(file)
    hashes = [Hash(row_hash(row)) for row in report.rows]
    known = client.query_many("Datanets", "rows", [(datanet, each) for each in hashes])
    fresh = [
        (row, each)
        for row, each, batch in zip(report.rows, hashes, known, strict=True)
        if batch is None
    ]
    duplicates = tuple(DuplicateDocument(each.line, each.first_line) for each in report.duplicates)
    return Prepared(
        report.shape.value,
        len(report.rows) + len(duplicates),
        duplicates,
        len(hashes) - len(fresh),
        tuple(split(fresh)),
    )


def split(rows: Sequence[tuple[Row, Hash]]) -> list[PreparedBatch]:
    """Split rows into batches that one call may carry, as few as the limits allow."""
    batches = []
    start = 0
    while start < len(rows):
        end, size = start, 0
        while end < len(rows) and end - start < BATCH_ROWS_MAX:
            # Each row is its texts and at most 11 bytes of lengths; the batch has a few of its own.
            row = rows[end][0]
            size += len(row.prompt.encode()) + len(row.completion.encode()) + 11
            if size > BATCH_BYTES_MAX - 16 and end > start:
                break
            end += 1
        data = encode_batch([row for row, _ in rows[start:end]])
        hashes = tuple(each for _, each in rows[start:end])
        batches.append(PreparedBatch(data, blob_id(data), hashes))
        start = end
    return batches


def _read(file: Path) -> ReadReport:
    if file.suffix.lower() not in TEXT_SUFFIXES:
        return read_rows(file)
    if not file.is_file():
        raise FileRefusedError(f"{file.name} is not a file; name a file of rows or of text.")
    data = file.read_bytes()
    try:
        chunks = chunk_text(data)
    except TextRefusedError as error:
        raise UsageError(f"{file.name}: {error}") from error
    lines = (data.count(b"\n", 0, chunk.start) + 1 for chunk in chunks)
    return collect_rows(
        (line, {"text": chunk.text}) for line, chunk in zip(lines, chunks, strict=True)
    )
