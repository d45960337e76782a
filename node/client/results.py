"""The results of the client: frozen values, amounts in planck."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from runtime.frame.events import EventRecord
from runtime.frame.extrinsic import Extrinsic
from runtime.types.primitives import AccountData, AccountId, Hash, Header, Weight


class Wait(enum.StrEnum):
    """How long a submission is followed."""

    NONE = "none"
    INCLUDED = "included"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class ChainInfo:
    """A node's description of itself and its chain."""

    chain: str
    node_name: str
    node_version: str
    genesis_hash: Hash
    spec_name: str
    spec_version: int
    transaction_version: int
    best: Header
    finalized: Header
    peers: int
    is_syncing: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its decoded extrinsics, and its certificate of finality where it has one."""

    header: Header
    extrinsics: tuple[Extrinsic, ...]
    justification: bytes | None = None

    @property
    def hash(self) -> Hash:
        """The block hash."""
        return self.header.hash


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """The fee of inclusion now, without a tip."""

    fee_planck: int
    weight: Weight


@dataclass(frozen=True, slots=True)
class DryRun:
    """The effects that a transaction would have on the best block; nothing of it is stored.

    `error` is the sentence of a failed dispatch, None when it would succeed.
    """

    fee_planck: int
    error: str | None
    needs_funds: bool
    events: tuple[EventRecord, ...]
    before: AccountData
    after: AccountData


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed transaction, ready to be sent."""

    raw: bytes
    hash: Hash
    account: AccountId
    nonce: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """The node's pool has taken a transaction."""

    extrinsic_hash: Hash


@dataclass(frozen=True, slots=True)
class Included:
    """A transaction is in a block: where, what it cost, what happened.

    `error` is the sentence of a failed dispatch, None when it succeeded.
    """

    extrinsic_hash: Hash
    block_hash: Hash
    block_number: int
    index: int
    fee_planck: int
    error: str | None
    needs_funds: bool
    events: tuple[EventRecord, ...]


@dataclass(frozen=True, slots=True)
class Finalized(Included):
    """A transaction is in a block that will never be reverted."""


Outcome = Submitted | Included
"""The result of a submission; Finalized is an Included."""
