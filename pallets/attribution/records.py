"""The records of attribution: ledgers, epochs, earnings, parameters and their bounds."""

from __future__ import annotations

import enum
from dataclasses import fields
from typing import Final

from runtime.codec.scale import scale, u16, u32
from runtime.shared.documents import Indexed
from runtime.types.primitives import OPEN, AccountId, Balance, Hash

SLASH_FACTOR: Final = 10
"""A false receipt costs its server at least so many times its fee."""
CONVICTION_MIN: Final = 10 * OPEN
"""A convicted epoch costs its server no less: epochs of next to nothing whose texts are never shown
would else keep executors waiting for next to nothing."""

LedgerKey = tuple[int, AccountId]
"""Model and server."""
EpochKey = tuple[int, AccountId, int]
"""Model, server and the number of the epoch."""


class EpochState(enum.IntEnum):
    """Where a closed epoch is.

    A failed one gave its fees back to the ledger, and its server may close it again; it is
    forfeited where the ledger goes to the commons before. Of a convicted one the receipts were
    false or withheld.
    """

    Settling = 0
    Settled = 1
    Failed = 2
    Convicted = 3
    Forfeited = 4


@scale
class Ledger:
    """What one server's answers of one model wait for settlement with.

    `epoch` is the number of the epoch that redemptions count for; `pool` is the contributors' part
    of `redeemed_planck`, both since the last close; `settling` is the closed epoch being settled;
    `early_planck` of what was redeemed came before the model first opened, and `due_from` is the
    block from which the time to close what is due runs, None where there is no need to.
    """

    epoch: u32 = 0
    pool: Balance = 0
    redeemed_planck: Balance = 0
    settling: u32 | None = None
    early_planck: Balance = 0
    due_from: u32 | None = None

    @property
    def due_planck(self) -> int:
        """What has to be declared: all that was redeemed since the model first opened."""
        return self.redeemed_planck - self.early_planck

    @property
    def next_epoch(self) -> int:
        """The number that the next close gets: what came early is an epoch of its own, the
        first."""
        return self.epoch - 1 if self.early_planck and self.due_planck else self.epoch

    @property
    def next_planck(self) -> int:
        """What the next close has to add up to."""
        return self.early_planck or self.redeemed_planck


@scale
class ServerLedger:
    """The ledger of a server, as clients ask for it."""

    server: AccountId
    ledger: Ledger


@scale
class Epoch:
    """A closed epoch: the receipts that its server declared, and the payout of settlement.

    `receipts_root` is the root of a Merkle-sum tree (`runtime.trie.merkle.sum_root`) over receipt
    hashes with their fees; its total is `fees_planck`. `receipts_blob` names the file of
    `EpochReceipts` from which executors settle. `closed_at` is the block of the first close: an
    index of later does not count, also where the epoch is closed again. `pool_planck` is what
    contributors share: `shares_planck` of it by the Merkle-sum tree `shares_root` over
    `shares_count` accounts, of which `claimed_planck` is credited; the rest went to the commons.
    """

    state: EpochState
    job: u32
    closed_at: u32
    receipts_root: Hash
    receipts: u32
    fees_planck: Balance
    pool_planck: Balance
    receipts_blob: Hash
    shares: Hash | None = None
    shares_root: Hash | None = None
    shares_count: u32 = 0
    shares_planck: Balance = 0
    claimed_planck: Balance = 0


@scale
class Earning:
    """The earnings of a contributor: claimable now, and in all."""

    claimable: Balance = 0
    lifetime: Balance = 0


@scale
class RecordedIndex:
    """The commitments of a settled INDEX job of a model, and the block that recorded them."""

    model: u32
    recorded_at: u32
    indexed: Indexed


@scale
class IndexEntry:
    """The commitments of one settled INDEX job."""

    job: u32
    indexed: Indexed


@scale
class Parameters:
    """The parameters that root may change, within bounds.

    Executors look at the texts of `draws` receipts of an epoch, which the server shows within
    `text_blocks` blocks of each assignment. A server closes an epoch within `close_blocks` blocks
    of the redemption by which what is due came to the price of settling it, or of the settlement of
    the one before.
    """

    rows_minimum: u32 = 1_500
    bound_milli: u16 = 1_000
    receipts_maximum: u32 = 100_000
    price_receipt_planck: Balance = OPEN // 100_000
    draws: u16 = 32
    text_blocks: u32 = 600
    close_blocks: u32 = 86_400


PARAMETERS_MIN: Final = Parameters(
    rows_minimum=1,
    bound_milli=0,
    receipts_maximum=1,
    price_receipt_planck=0,
    draws=1,
    text_blocks=5,
    close_blocks=5,
)
PARAMETERS_MAX: Final = Parameters(
    rows_minimum=1_000_000,
    bound_milli=5_000,
    receipts_maximum=1_000_000,
    price_receipt_planck=OPEN,
    draws=256,
    text_blocks=100_000,
    close_blocks=10_000_000,
)


@scale
class Genesis:
    """The parameters of a chain."""

    parameters: Parameters = Parameters()


def are_within_bounds(parameters: Parameters) -> bool:
    """Return whether every parameter lies within its bounds."""
    return all(
        getattr(PARAMETERS_MIN, field.name)
        <= getattr(parameters, field.name)
        <= getattr(PARAMETERS_MAX, field.name)
        for field in fields(parameters)
    )
