"""The stored values of Datanets: datanets, batches of rows, versions; and their limits."""

from __future__ import annotations

import enum
from typing import Final

from runtime.codec.scale import scale, u32
from runtime.types.primitives import OPEN, AccountId, Balance, Hash

SUMMARY_BYTES_MAX: Final = 256
TEXT_BYTES_MAX: Final = 4_096
TAGS_MAX: Final = 16
TAG_BYTES_MAX: Final = 32
CURATORS_MAX: Final = 16
BATCH_ROWS_MAX: Final = 1_024
BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
ACCEPTED_BATCHES_MAX: Final = 4_096
"""Publishing hashes the root of every accepted batch, so their number is bounded."""
PAGE_MAX: Final = 256
"""The most entries that one answer of a paged API holds."""

CREATION_DEPOSIT: Final = 10 * OPEN
ROW_BOND: Final = OPEN // 1_000
BYTE_DEPOSIT: Final = OPEN // 10_000_000


class Access(enum.IntEnum):
    """Who may read a datanet and contribute to it, besides its owner and curators."""

    Public = 0
    OnRequest = 1
    Private = 2


class BatchStatus(enum.IntEnum):
    """The outcome of a batch."""

    Pending = 0
    Accepted = 1
    Rejected = 2
    Spam = 3
    Withdrawn = 4


class Verdict(enum.IntEnum):
    """A curator's decision on a batch: refund, refund without taking the rows, or burn the bond."""

    Accept = 0
    Reject = 1
    Spam = 2


@scale
class Profile:
    """The texts of a datanet by its owner; all but the licence may be edited later."""

    summary: str
    description: str
    tags: tuple[str, ...]
    licence: str
    source: str
    purpose: str
    schema: str


@scale
class Datanet:
    """A datanet: a community's data set under one name and one licence."""

    owner: AccountId
    name: str
    profile: Profile
    access: Access
    curators: tuple[AccountId, ...]
    created_at: u32
    deposit_planck: Balance


@scale
class Progress:
    """How far a datanet has come: its counters, apart from its texts since they change often."""

    batches: u32 = 0
    pending_batches: u32 = 0
    accepted_batches: u32 = 0
    accepted_rows: u32 = 0
    versions: u32 = 0
    published_batches: u32 = 0
    published_rows: u32 = 0


@scale
class Batch:
    """A contribution: rows in one blob; `root` is the Merkle root over the hashes of its rows."""

    contributor: AccountId
    blob: Hash
    size_bytes: u32
    rows: u32
    root: Hash
    bond_planck: Balance
    deposit_planck: Balance
    status: BatchStatus
    contributed_at: u32


@scale
class Version:
    """A published version: the first `batches` accepted batches, in the order of acceptance.

    `root` is the Merkle root over the roots of these batches. A later version only appends.
    """

    number: u32
    batches: u32
    rows: u32
    root: Hash
    published_at: u32


@scale
class DatanetInfo:
    """A datanet with its number and its counters, as clients ask for it."""

    id: u32
    datanet: Datanet
    progress: Progress


@scale
class BatchInfo:
    """A batch with its number, as clients ask for it."""

    number: u32
    batch: Batch
