"""The files from which an epoch is settled, as node and executor process share them.

    inputs/epoch.scale    EpochInput: what the chain says of channels and indexes, and the pages
    inputs/texts.scale    ShownTexts of the drawn receipts, already decrypted
    inputs/<blob id>      the pages of receipts, aggregates, adapters and moments

An epoch may have 100,000 receipts, so its file is a list of pages, each a file of its own of at
most `PAGE_RECEIPTS` receipts: nobody holds more than one of them at a time. This module imports
nothing heavy.
"""

from __future__ import annotations

from typing import Final

from runtime.codec.scale import DecodeError, codec, scale, u32
from runtime.shared.documents import Indexed, Recipe
from runtime.shared.receipts import EpochReceipts
from runtime.types.primitives import AccountId, Balance, Hash

EPOCH_FILE: Final = "epoch.scale"
TEXTS_FILE: Final = "texts.scale"
PAGE_RECEIPTS: Final = 256
PAGE_BYTES_MAX: Final = 16 << 20
"""A page beyond that is none: a receipt has about 6 KB, most of it the answer's sketch."""


@scale
class ReceiptPages:
    """The file that a server names when it closes an epoch: its pages, all but the last full."""

    pages: tuple[Hash, ...]


@scale
class ChannelRange:
    """A channel to the epoch's server for its model, and the range that was redeemed in the epoch,
    in planck."""

    channel: u32
    asker: AccountId
    start_planck: Balance
    end_planck: Balance


@scale
class IndexInput:
    """An index of the model that was recorded before the close, and the training behind it."""

    index_job: u32
    train_job: u32
    base: Hash
    recipe: Recipe
    adapter: Hash
    moments: Hash
    seed: Hash
    indexed: Indexed


@scale
class EpochInput:
    """What is known of an epoch: the chain's genesis, channels and indexes that its receipts name
    and the chain knows, ascending by number, and the pages.

    `pages` is None where the file that the server named is no list of pages, or one of them is
    longer than a page can be.
    """

    genesis: Hash
    channels: tuple[ChannelRange, ...]
    indexes: tuple[IndexInput, ...]
    pages: tuple[Hash, ...] | None


def pages_bytes(receipts: int) -> int:
    """Return no less than the length of the file that lists the pages of so many receipts."""
    return 4 + 32 * -(-receipts // PAGE_RECEIPTS)


def pages_of(data: bytes, receipts: int) -> tuple[Hash, ...] | None:
    """Return the pages of an epoch's file, or None where it is not that of so many receipts."""
    try:
        pages = codec(ReceiptPages).decode(data).pages
    except DecodeError:
        return None
    return pages if len(pages) == -(-receipts // PAGE_RECEIPTS) else None


def receipts_of(data: bytes) -> EpochReceipts | None:
    """Return the receipts of a page, or None where it is none."""
    if len(data) > PAGE_BYTES_MAX:
        return None
    try:
        page = codec(EpochReceipts).decode(data)
    except DecodeError:
        return None
    return page if len(page.receipts) <= PAGE_RECEIPTS else None
