"""Datanets and batches as commands print them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from node.client import Client
from node.commands.base.documents import Planck
from pallets.datanets.records import BatchStatus, DatanetInfo
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58

PAGE: Final = 256
"""Batches for each request to the node."""


@dataclass(frozen=True, slots=True)
class DatanetRow:
    """A datanet in a list."""

    id: int
    name: str
    owner: str
    licence: str
    access: str
    accepted_rows: int
    published_rows: int
    versions: int


@dataclass(frozen=True, slots=True)
class DatanetsDocument:
    """The datanets of the chain."""

    datanets: tuple[DatanetRow, ...]


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch of a datanet."""

    number: int
    contributor: str
    rows: int
    size_bytes: int
    status: str
    bond_planck: Planck
    deposit_planck: Planck
    blob: str


@dataclass(frozen=True, slots=True)
class DatanetDocument:
    """A datanet with its counters and batches."""

    id: int
    name: str
    owner: str
    summary: str
    description: str
    licence: str
    source: str
    purpose: str
    schema: str
    tags: tuple[str, ...]
    access: str
    curators: tuple[str, ...]
    pending_batches: int
    accepted_rows: int
    published_rows: int
    versions: int
    rows_needed_for_attribution: int
    batches: tuple[BatchRow, ...]


@dataclass(frozen=True, slots=True)
class EarningsRow:
    """What an account has given to a datanet."""

    datanet: int
    name: str
    accepted_rows: int


@dataclass(frozen=True, slots=True)
class DatanetEarningsDocument:
    """What an account has given to datanets, and what its rows have earned in all."""

    account: str
    claimable_planck: Planck
    earned_in_all_planck: Planck
    datanets: tuple[EarningsRow, ...]


def list_batches(client: Client, info: DatanetInfo) -> list[BatchRow]:
    """Return all batches of a datanet."""
    batches: list[BatchRow] = []
    while len(batches) < info.progress.batches:
        page = client.api("DatanetsApi_batches", info.id, len(batches), PAGE)
        if not page:
            break
        batches += [_batch_row(item) for item in page]
    return batches


def datanet_row(info: DatanetInfo) -> DatanetRow:
    """Return a datanet's line in a list."""
    record, progress = info.datanet, info.progress
    return DatanetRow(
        id=info.id,
        name=record.name,
        owner=ss58.encode(record.owner),
        licence=record.profile.licence,
        access=record.access.name,
        accepted_rows=progress.accepted_rows,
        published_rows=progress.published_rows,
        versions=progress.versions,
    )


def _batch_row(info: Any) -> BatchRow:
    batch = info.batch
    return BatchRow(
        number=info.number,
        contributor=ss58.encode(batch.contributor),
        rows=batch.rows,
        size_bytes=batch.size_bytes,
        status=BatchStatus(batch.status).name,
        bond_planck=Planck(batch.bond_planck),
        deposit_planck=Planck(batch.deposit_planck),
        blob=to_hex(batch.blob),
    )
