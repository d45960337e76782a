"""Sends a checked contribution: cost and licence are told first, then files, then calls."""

from __future__ import annotations

from pathlib import Path

from genesis.amounts import format_amount
from node.client import Client, InsufficientFundsError, Wait
from node.commands.base.documents import Planck
from node.commands.base.frame import refuse
from node.commands.base.output import Advance, Output
from node.commands.base.transaction_options import (
    EventDocument,
    Spending,
    dry_run,
    event_documents,
    send,
)
from node.commands.datanet.contribution import (
    DUPLICATES_SHOWN,
    ContributionDocument,
    Prepared,
    PreparedBatch,
    SentBatch,
    prepare,
)
from node.commands.datanet.datanet import list_batches, rows_needed
from pallets.datanets.records import BatchStatus, DatanetInfo
from runtime.frame.dispatch import Call


def contribute_file(
    output: Output, client: Client, spending: Spending, info: DatanetInfo, file: Path
) -> ContributionDocument:
    """Check a file, tell what it costs, upload its batches and contribute them."""
    prepared = prepare(client, info.id, file)
    if not prepared.batches:
        refuse(
            f"Nothing is left to send: the datanet has all {prepared.already_there:,} rows of "
            f"{file.name} already."
        )
    rows_after = info.progress.accepted_rows + _pending_rows(client, info) + prepared.rows
    _describe(output, info, prepared)
    output.note(f"{rows_after:,} of {rows_needed(client):,} rows needed for attribution")
    before = client.balance(spending.signer.account).free
    fee = _fees(client, spending, info, prepared, before)
    if spending.is_dry_run:
        first = dry_run(client, spending, _call(client, info, prepared.batches[0]))
        if first.error is not None:
            output.note(f"The first batch would fail. {first.error}")
        after = before - fee - prepared.bond_planck - prepared.deposit_planck
        sent = tuple(_planned(batch) for batch in prepared.batches)
        return _document(
            client, info, prepared, rows_after, sent, True, fee, before, after, first.events
        )
    return _send(output, client, spending, info, prepared, rows_after, before)


def _send(
    output: Output,
    client: Client,
    spending: Spending,
    info: DatanetInfo,
    prepared: Prepared,
    rows_after: int,
    before: int,
) -> ContributionDocument:
    _upload(output, client, prepared)
    sent: list[SentBatch] = []
    events: list[EventDocument] = []
    fee = 0
    for batch in prepared.batches:
        transaction, landed = send(output, client, spending, _call(client, info, batch))
        records = () if landed is None else event_documents(landed.events)
        fee += 0 if landed is None else landed.fee_planck
        numbers = [each.fields["batch"] for each in records if each.event == "Datanets.Contributed"]
        sent.append(
            SentBatch(
                "0x" + batch.blob.hex(),
                len(batch.hashes),
                len(batch.data),
                transaction,
                None if landed is None else landed.block_number,
                numbers[0] if numbers else None,
            )
        )
        events += records
    after = client.balance(spending.signer.account).free
    if spending.wait is not Wait.NONE:
        output.note("The rows now wait for the review of the datanet's owner or a curator.")
    return _document(
        client, info, prepared, rows_after, tuple(sent), False, fee, before, after, tuple(events)
    )


def _upload(output: Output, client: Client, prepared: Prepared) -> None:
    size = sum(len(batch.data) for batch in prepared.batches)
    done = 0
    with output.progress("Uploading") as advance:
        for batch in prepared.batches:
            client.blobs.upload(batch.data, _shifted(advance, done, size))
            done += len(batch.data)


def _shifted(advance: Advance, done: int, size: int) -> Advance:
    return lambda there, _: advance(done + there, size)


def _describe(output: Output, info: DatanetInfo, prepared: Prepared) -> None:
    licence = info.datanet.profile.licence
    output.note(f"All {prepared.rows_in_file:,} rows are well-formed ({prepared.shape}).")
    for each in prepared.duplicates[:DUPLICATES_SHOWN]:
        output.note(f"  line {each.line:,} repeats line {each.first_line:,}")
    more = len(prepared.duplicates) - DUPLICATES_SHOWN
    if more > 0:
        output.note(f"  and {more:,} more repeated rows")
    if prepared.already_there:
        output.note(f"{prepared.already_there:,} rows are in the datanet already and left out.")
    output.note(
        f"{prepared.rows:,} rows in {len(prepared.batches)} batches go to {info.datanet.name!r} "
        f"under {licence}; a bond of {format_amount(prepared.bond_planck)} and a deposit of "
        f"{format_amount(prepared.deposit_planck)} are held until they are reviewed."
    )


def _pending_rows(client: Client, info: DatanetInfo) -> int:
    if not info.progress.pending_batches:
        return 0
    pending = BatchStatus.Pending.name
    return sum(each.rows for each in list_batches(client, info) if each.status == pending)


def _fees(
    client: Client, spending: Spending, info: DatanetInfo, prepared: Prepared, free: int
) -> int:
    account = spending.signer.account
    calls = [_call(client, info, batch) for batch in prepared.batches]
    fees = sum(client.fee(call, account).fee_planck + spending.tip_planck for call in calls)
    needed = fees + prepared.bond_planck + prepared.deposit_planck
    if needed > free:
        raise InsufficientFundsError(
            f"The contribution takes {format_amount(needed)} (fees, bond and deposit), the account "
            f"has {format_amount(free)}. Send it more OPEN, or contribute fewer rows."
        )
    return fees


def _call(client: Client, info: DatanetInfo, batch: PreparedBatch) -> Call:
    return client.make_call(
        "Datanets",
        "contribute",
        datanet=info.id,
        blob=batch.blob,
        size_bytes=len(batch.data),
        row_hashes=batch.hashes,
    )


def _planned(batch: PreparedBatch) -> SentBatch:
    return SentBatch("0x" + batch.blob.hex(), len(batch.hashes), len(batch.data), None, None, None)


def _document(
    client: Client,
    info: DatanetInfo,
    prepared: Prepared,
    rows_after: int,
    batches: tuple[SentBatch, ...],
    is_dry_run: bool,
    fee: int,
    before: int,
    after: int,
    events: tuple[EventDocument, ...],
) -> ContributionDocument:
    return ContributionDocument(
        info.id,
        info.datanet.name,
        info.datanet.profile.licence,
        is_dry_run,
        prepared.rows,
        prepared.rows_in_file,
        len(prepared.duplicates),
        prepared.already_there,
        prepared.bond_planck,
        prepared.deposit_planck,
        Planck(fee),
        Planck(before),
        Planck(after),
        rows_after,
        rows_needed(client),
        prepared.duplicates,
        batches,
        events,
    )
