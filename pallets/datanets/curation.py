"""The life of a batch: contributed, then accepted, refused or withdrawn; and of versions.

The caller of these functions has checked that the sender may do so; they check everything else
before they write.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pallets.balances import HoldReason
from pallets.datanets.records import (
    ACCEPTED_BATCHES_MAX,
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    BYTE_DEPOSIT,
    ROW_BOND,
    Batch,
    BatchStatus,
    Version,
)
from runtime.trie.merkle import merkle_root
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.datanets import Datanets


def contribute(
    pallet: Datanets,
    contributor: AccountId,
    datanet: int,
    blob: Hash,
    size_bytes: int,
    row_hashes: tuple[Hash, ...],
) -> None:
    """File a batch as pending and hold what it costs. Raises errors of the pallet."""
    _check_rows(pallet, datanet, size_bytes, row_hashes)
    progress, rows = pallet.progress.get(datanet), len(row_hashes)
    number = progress.batches
    bond, deposit = rows * ROW_BOND, size_bytes * BYTE_DEPOSIT
    pallet.balances.hold(HoldReason.DatanetBond, contributor, bond + deposit)
    batch = Batch(
        contributor=contributor,
        blob=blob,
        size_bytes=size_bytes,
        rows=rows,
        root=merkle_root(row_hashes),
        bond_planck=bond,
        deposit_planck=deposit,
        status=BatchStatus.Pending,
        contributed_at=pallet.system.current_number(),
    )
    pallet.contributions.put((datanet, number), batch)
    pallet.pending_rows.put((datanet, number), row_hashes)
    for row in row_hashes:
        pallet.rows.put((datanet, row), number)
    pending = progress.pending_batches + 1
    pallet.progress.put(datanet, replace(progress, batches=number + 1, pending_batches=pending))
    pallet.emit(
        pallet.Contributed(
            datanet=datanet, batch=number, contributor=contributor, blob=blob, rows=rows
        )
    )


def accept(pallet: Datanets, datanet: int, number: int) -> None:
    """Take the rows of a pending batch into the datanet and refund the contributor."""
    batch = _pending(pallet, datanet, number)
    progress = pallet.progress.get(datanet)
    position = progress.accepted_batches
    if position >= ACCEPTED_BATCHES_MAX:
        raise pallet.DatanetFull
    posted = batch.bond_planck + batch.deposit_planck
    pallet.balances.release(HoldReason.DatanetBond, batch.contributor, posted)
    pallet.contributions.put((datanet, number), replace(batch, status=BatchStatus.Accepted))
    pallet.pending_rows.remove((datanet, number))
    pallet.accepted.put((datanet, position), number)
    given = pallet.contributed.get((datanet, batch.contributor))
    pallet.contributed.put((datanet, batch.contributor), given + batch.rows)
    counted = replace(
        progress,
        pending_batches=progress.pending_batches - 1,
        accepted_batches=position + 1,
        accepted_rows=progress.accepted_rows + batch.rows,
    )
    pallet.progress.put(datanet, counted)


def refuse(pallet: Datanets, datanet: int, number: int, *, is_spam: bool) -> None:
    """Free the rows of a pending batch; burn what was posted for spam, else refund it."""
    batch = _pending(pallet, datanet, number)
    posted = batch.bond_planck + batch.deposit_planck
    if is_spam:
        pallet.balances.slash_held(HoldReason.DatanetBond, batch.contributor, posted)
        _free_rows(pallet, datanet, number, replace(batch, status=BatchStatus.Spam))
    else:
        pallet.balances.release(HoldReason.DatanetBond, batch.contributor, posted)
        _free_rows(pallet, datanet, number, replace(batch, status=BatchStatus.Rejected))


def withdraw(pallet: Datanets, who: AccountId, datanet: int, number: int) -> None:
    """Free the rows of a pending batch of `who` and refund what was posted."""
    batch = _pending(pallet, datanet, number)
    if batch.contributor != who:
        raise pallet.NotContributor
    posted = batch.bond_planck + batch.deposit_planck
    pallet.balances.release(HoldReason.DatanetBond, who, posted)
    _free_rows(pallet, datanet, number, replace(batch, status=BatchStatus.Withdrawn))


def publish(pallet: Datanets, datanet: int) -> Version:
    """File and return the next version: all batches accepted so far."""
    progress = pallet.progress.get(datanet)
    count, rows = progress.accepted_batches, progress.accepted_rows
    if count == progress.published_batches:
        raise pallet.NothingNew
    root = merkle_root(pallet.accepted_batch(datanet, at).batch.root for at in range(count))
    number = progress.versions + 1
    version = Version(
        number=number,
        batches=count,
        rows=rows,
        root=root,
        published_at=pallet.system.current_number(),
    )
    pallet.versions.put((datanet, number), version)
    published = replace(progress, versions=number, published_batches=count, published_rows=rows)
    pallet.progress.put(datanet, published)
    return version


def _check_rows(
    pallet: Datanets, datanet: int, size_bytes: int, row_hashes: tuple[Hash, ...]
) -> None:
    if not row_hashes or not size_bytes:
        raise pallet.EmptyBatch
    if len(row_hashes) > BATCH_ROWS_MAX or size_bytes > BATCH_BYTES_MAX:
        raise pallet.BatchTooLarge
    # The set is only counted, never iterated over: its order differs between processes.
    if len(set(row_hashes)) < len(row_hashes):
        raise pallet.DuplicateRow
    if any((datanet, row) in pallet.rows for row in row_hashes):
        raise pallet.DuplicateRow


def _pending(pallet: Datanets, datanet: int, number: int) -> Batch:
    batch = pallet.contributions.get((datanet, number))
    if batch is None:
        raise pallet.UnknownBatch
    if batch.status is not BatchStatus.Pending:
        raise pallet.NotPending
    return batch


def _free_rows(pallet: Datanets, datanet: int, number: int, decided: Batch) -> None:
    pallet.contributions.put((datanet, number), decided)
    for row in pallet.pending_rows.get((datanet, number)):
        pallet.rows.remove((datanet, row))
    pallet.pending_rows.remove((datanet, number))
    progress = pallet.progress.get(datanet)
    pending = progress.pending_batches - 1
    pallet.progress.put(datanet, replace(progress, pending_batches=pending))
