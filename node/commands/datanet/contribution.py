"""A contribution: a file of rows is checked whole, then uploaded and sent in batches.

Cost and licence are shown before anything is sent. Rows that the file repeats or that the datanet
has already are left out and counted, so the same command run again sends only what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genesis.amounts import format_amount
from ml.rows.chunker import TextRefusedError, chunk_text
from ml.rows.readers import FileRefusedError, ReadReport, collect_rows, read_rows
from ml.rows.row import Row, encode_batch, row_hash
from node.client import Client, InsufficientFundsError, UsageError, Wait
from node.commands.base.command import refuse
from node.commands.base.documents import Planck
from node.commands.base.lookup import rows_needed
from node.commands.base.output import Advance, Output
from node.commands.base.transaction import (
    EventDocument,
    Spending,
    dry_run,
    event_documents,
    exit_code_of,
    send,
)
from node.commands.datanet.records import list_batches
from pallets.datanets.records import (
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    BYTE_DEPOSIT,
    ROW_BOND,
    BatchStatus,
    DatanetInfo,
)
from runtime.codec.hexadecimal import to_hex
from runtime.frame.dispatch import Call
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
        """The bond of the rows until their review."""
        return len(self.hashes) * ROW_BOND

    @property
    def deposit_planck(self) -> int:
        """The deposit for the bytes until their review."""
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
        """The bond of all rows."""
        return Planck(sum(batch.bond_planck for batch in self.batches))

    @property
    def deposit_planck(self) -> Planck:
        """The deposit for all bytes."""
        return Planck(sum(batch.deposit_planck for batch in self.batches))


def contribute_file(
    output: Output, client: Client, spending: Spending, info: DatanetInfo, file: Path
) -> ContributionDocument:
    """Check a file, show what it costs, upload its batches and send them.

    Raises UsageError, InsufficientFundsError, and what reading a file of rows raises.
    """
    prepared = prepare(client, info.id, file)
    if not prepared.batches:
        refuse(
            f"Nothing is left to send: the datanet has all {prepared.already_there:,} rows of "
            f"{file.name} already."
        )
    contribution = _Contribution(
        output=output, client=client, spending=spending, info=info, prepared=prepared
    )
    contribution.describe()
    return contribution.dry_run() if spending.is_dry_run else contribution.send()


class _Contribution:
    """A checked file on its way into one datanet."""

    def __init__(
        self,
        output: Output,
        client: Client,
        spending: Spending,
        info: DatanetInfo,
        prepared: Prepared,
    ) -> None:
        self._output = output
        self._client = client
        self._spending = spending
        self._info = info
        self._prepared = prepared
        self._rows_needed = rows_needed(client)
        self._rows_after = info.progress.accepted_rows + self._pending_rows() + prepared.rows
        self._free_before = client.balance(spending.signer.account).free

    def describe(self) -> None:
        """Print the contents of the file, and the amounts that are held until the review."""
        output, prepared = self._output, self._prepared
        output.note(f"All {prepared.rows_in_file:,} rows are well-formed ({prepared.shape}).")
        for duplicate in prepared.duplicates[:DUPLICATES_SHOWN]:
            output.note(f"  line {duplicate.line:,} repeats line {duplicate.first_line:,}")
        more = len(prepared.duplicates) - DUPLICATES_SHOWN
        if more > 0:
            output.note(f"  and {more:,} more repeated rows")
        if prepared.already_there:
            output.note(f"{prepared.already_there:,} rows are in the datanet already and left out.")
        datanet = self._info.datanet
        output.note(
            f"{prepared.rows:,} rows in {len(prepared.batches)} batches go to {datanet.name!r} "
            f"under {datanet.profile.licence}; a bond of {format_amount(prepared.bond_planck)} and "
            f"a deposit of {format_amount(prepared.deposit_planck)} are held until they are "
            "reviewed."
        )
        output.note(f"{self._rows_after:,} of {self._rows_needed:,} rows needed for attribution")

    def dry_run(self) -> ContributionDocument:
        """Return what a contribution would cost and do; nothing is signed or uploaded."""
        fee = self._quote_fees()
        call = self._call(self._prepared.batches[0])
        first = dry_run(self._client, self._spending, call, self._output)
        if first.error is not None:
            self._output.note(f"The first batch would fail. {first.error}")
        self._output.exit_code = exit_code_of(first)
        deposits = self._prepared.bond_planck + self._prepared.deposit_planck
        return self._document(
            batches=[_sent_batch(batch, None, None, None) for batch in self._prepared.batches],
            fee=fee,
            free_after=self._free_before - fee - deposits,
            events=first.events,
        )

    def send(self) -> ContributionDocument:
        """Upload the batches, then send one transaction for each."""
        self._quote_fees()
        self._upload()
        batches: list[SentBatch] = []
        events: list[EventDocument] = []
        fee = 0
        for batch in self._prepared.batches:
            call = self._call(batch)
            transaction, landed = send(self._output, self._client, self._spending, call)
            records = () if landed is None else event_documents(landed.events)
            fee += 0 if landed is None else landed.fee_planck
            block_number = None if landed is None else landed.block_number
            numbers = [
                record.fields["batch"]
                for record in records
                if record.event == "Datanets.Contributed"
            ]
            number = numbers[0] if numbers else None
            batches.append(_sent_batch(batch, transaction, block_number, number))
            events += records
        free_after = self._client.balance(self._spending.signer.account).free
        if self._spending.wait is not Wait.NONE:
            self._output.note(
                "The rows now wait for the review of the datanet's owner or a curator."
            )
        return self._document(batches=batches, fee=fee, free_after=free_after, events=tuple(events))

    def _upload(self) -> None:
        size_bytes = sum(len(batch.data) for batch in self._prepared.batches)
        done = 0
        with self._output.progress("Uploading") as advance:
            for batch in self._prepared.batches:
                self._client.blobs.upload(batch.data, _shifted(advance, done, size_bytes))
                done += len(batch.data)

    def _pending_rows(self) -> int:
        if not self._info.progress.pending_batches:
            return 0
        batches = list_batches(self._client, self._info)
        return sum(batch.rows for batch in batches if batch.status == BatchStatus.Pending.name)

    def _quote_fees(self) -> int:
        """Return what all transactions cost. Raises InsufficientFundsError."""
        spending, prepared = self._spending, self._prepared
        fees = sum(
            self._client.fee(self._call(batch), spending.signer.account).fee_planck
            + spending.tip_planck
            for batch in prepared.batches
        )
        needed = fees + prepared.bond_planck + prepared.deposit_planck
        if needed > self._free_before:
            raise InsufficientFundsError(
                f"The contribution takes {format_amount(needed)} (fees, bond and deposit), the "
                f"account has {format_amount(self._free_before)}. Send it more OPEN, or contribute "
                "fewer rows."
            )
        return fees

    def _call(self, batch: PreparedBatch) -> Call:
        return self._client.make_call(
            "Datanets",
            "contribute",
            datanet=self._info.id,
            blob=batch.blob,
            size_bytes=len(batch.data),
            row_hashes=batch.hashes,
        )

    def _document(
        self,
        *,
        batches: Sequence[SentBatch],
        fee: int,
        free_after: int,
        events: tuple[EventDocument, ...],
    ) -> ContributionDocument:
        info, prepared = self._info, self._prepared
        return ContributionDocument(
            datanet=info.id,
            name=info.datanet.name,
            licence=info.datanet.profile.licence,
            is_dry_run=self._spending.is_dry_run,
            rows=prepared.rows,
            rows_in_file=prepared.rows_in_file,
            repeated_in_file=len(prepared.duplicates),
            in_datanet_already=prepared.already_there,
            bond_planck=prepared.bond_planck,
            deposit_planck=prepared.deposit_planck,
            fee_planck=Planck(fee),
            free_before_planck=Planck(self._free_before),
            free_after_planck=Planck(free_after),
            rows_in_datanet_after=self._rows_after,
            rows_needed_for_attribution=self._rows_needed,
            duplicates=prepared.duplicates,
            batches=tuple(batches),
            events=events,
        )


def _sent_batch(
    batch: PreparedBatch, transaction: str | None, block_number: int | None, number: int | None
) -> SentBatch:
    return SentBatch(
        blob=to_hex(batch.blob),
        rows=len(batch.hashes),
        size_bytes=len(batch.data),
        transaction=transaction,
        block_number=block_number,
        batch=number,
    )


def _shifted(advance: Advance, start: int, size_bytes: int) -> Advance:
    """Return an advance of one batch as an advance of all of them."""
    return lambda done, _: advance(start + done, size_bytes)


def prepare(client: Client, datanet: int, file: Path) -> Prepared:
    """Read, check and split a file of rows. Raises FileRefusedError, LineRefusedError."""
    report = _read(file)
    hashes = [Hash(row_hash(row)) for row in report.rows]
    batches = client.query_many("Datanets", "rows", [(datanet, row) for row in hashes])
    fresh = [
        (row, row_id)
        for row, row_id, batch in zip(report.rows, hashes, batches, strict=True)
        if batch is None
    ]
    duplicates = tuple(
        DuplicateDocument(duplicate.line, duplicate.first_line) for duplicate in report.duplicates
    )
    return Prepared(
        shape=report.shape.value,
        rows_in_file=len(report.rows) + len(duplicates),
        duplicates=duplicates,
        already_there=len(hashes) - len(fresh),
        batches=tuple(split(fresh)),
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
        hashes = tuple(row_id for _, row_id in rows[start:end])
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
