"""The records of attribution: pools, epochs, earnings, penalties, parameters and their bounds."""

from __future__ import annotations

import enum
from dataclasses import fields
from typing import Final

from runtime.codec.scale import scale, u16, u32, u128
from runtime.shared.documents import Indexed
from runtime.types.primitives import OPEN, AccountId, Balance, Hash

PERMILLE: Final = 1000
DECAY_EPOCHS_MAX: Final = 256
"""After so many epochs without an entry, a penalty counts no more."""


class EpochState(enum.IntEnum):
    """Where a closed epoch is. A failed one gave its fees back to the pool; close it again."""

    Settling = 0
    Settled = 1
    Failed = 2


@scale
class Ledger:
    """The tokens of one model: `pool` waits for settlement, `commons` was withheld by the bound.
    `epoch` is the number that receipts carry now; `settling` is the closed epoch being settled.
    """

    epoch: u32 = 0
    pool: Balance = 0
    commons: Balance = 0
    settling: u32 | None = None


@scale
class Epoch:
    """A closed epoch: the receipts that its server named, and the payout of settlement.

    `receipts_root` is the root of a Merkle-sum tree (`runtime.trie.merkle.sum_root`) over receipt
    hashes with the contributors' fees; its total is `fees_planck`. `receipts_blob` names the file
    of `EpochReceipts` from which executors settle.
    """

    state: EpochState
    server: AccountId
    job: u32
    closed_at: u32
    receipts_root: Hash
    receipts: u32
    fees_planck: Balance
    receipts_blob: Hash
    paid_planck: Balance = 0
    commons_planck: Balance = 0
    contributors: u32 = 0
    output: Hash | None = None


@scale
class Earning:
    """The earnings of a contributor: claimable now, and in all."""

    claimable: Balance = 0
    lifetime: Balance = 0


@scale
class Penalty:
    """Points of a contributor at a model: its permille of an epoch's absolute scores when its net
    was negative, added up, decaying from epoch to epoch. `epoch` is the last one that added.
    """

    points: u128 = 0
    epoch: u32 = 0


@scale
class IndexEntry:
    """The commitments of one settled INDEX job."""

    job: u32
    indexed: Indexed


@scale
class Parameters:
    """The parameters that root may change, within bounds."""

    rows_minimum: u32 = 1_500
    bound_milli: u16 = 1_000
    decay_permille: u16 = 900
    receipts_maximum: u32 = 100_000
    price_receipt_planck: Balance = OPEN // 100_000


PARAMETERS_MIN: Final = Parameters(
    rows_minimum=1,
    bound_milli=0,
    decay_permille=0,
    receipts_maximum=1,
    price_receipt_planck=0,
)
PARAMETERS_MAX: Final = Parameters(
    rows_minimum=1_000_000,
    bound_milli=5_000,
    decay_permille=999,
    receipts_maximum=1_000_000,
    price_receipt_planck=OPEN,
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


def decayed(penalty: Penalty, epoch: int, decay_permille: int) -> int:
    """Return the points of a penalty as they count in a later epoch."""
    elapsed = epoch - penalty.epoch
    if elapsed > DECAY_EPOCHS_MAX:
        return 0
    numerator: int = penalty.points * decay_permille**elapsed
    denominator: int = PERMILLE**elapsed
    return numerator // denominator
