"""Files of epochs: which receipts of this node an epoch has, and the file that it is settled from.

An epoch of a model has the answers whose range of their channel was redeemed in it, whole: what a
redemption leaves cut comes with the next. So an answer that was given after the last redemption is
in no epoch yet, however its server hurries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ml.attribution.epoch_files import PAGE_RECEIPTS, ReceiptPages, pages_of
from node.chain.state_reader import PalletViews
from node.storage.blob_errors import BlobError
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptRange, ReceiptStore
from pallets.inference import Channel
from runtime.codec.scale import DecodeError, codec
from runtime.shared.receipts import EpochReceipts, receipt_hash
from runtime.trie.merkle import sum_root
from runtime.types.primitives import ZERO_HASH, Hash

_page = codec(EpochReceipts)


class ForeignFileError(BlobError):
    """An epoch of this server was closed with a file that this node did not write."""

    def __init__(self, blob: Hash) -> None:
        super().__init__(
            f"The epoch was closed with the file {blob.hex()}, which holds no pages of receipts. "
            "Let only this node close epochs with its account."
        )


@dataclass(frozen=True, slots=True)
class EpochFile:
    """What an epoch is closed with: the file's id, and root, number and fees of its receipts."""

    blob: Hash
    root: Hash
    receipts: int
    fees_planck: int


NO_RECEIPTS: Final = EpochFile(ZERO_HASH, ZERO_HASH, receipts=0, fees_planck=0)
"""With which an epoch of before the model opened is given up."""


def channels_of(state: PalletViews, ranges: Iterable[ReceiptRange]) -> dict[int, Channel]:
    """Return the channels of some receipts that are still on the chain."""
    channels = {}
    for number in dict.fromkeys(each.channel for each in ranges):
        channel = state.inference.channels.get(number)
        if channel is not None:
            channels[number] = channel
    return channels


def ranges_of_epoch(
    ranges: Iterable[ReceiptRange], channels: dict[int, Channel], epoch: int
) -> list[ReceiptRange]:
    """Return the receipts that were redeemed in an epoch, the latest closed one or the current."""
    return [
        each
        for each in ranges
        if each.channel in channels and _is_within(each, channels[each.channel], epoch)
    ]


def count_left_out(ranges: Iterable[ReceiptRange], channels: dict[int, Channel], epoch: int) -> int:
    """Return how many receipts were redeemed before an epoch and are in none: an epoch was closed
    without them, so they are in none for ever."""
    return sum(
        each.channel not in channels
        or each.ends_planck <= channels[each.channel].redeemed_before(epoch)
        for each in ranges
    )


def _is_within(each: ReceiptRange, channel: Channel, epoch: int) -> bool:
    first, end = channel.redeemed_before(epoch), channel.redeemed_before(epoch + 1)
    return first <= each.before_planck and each.ends_planck <= end


def largest_that_fit(
    ranges: Iterable[ReceiptRange], receipts_max: int, fees_max_planck: int
) -> list[ReceiptRange]:
    """Return receipts that an epoch has room for, in their order: beginning with the largest fees
    or with the smallest, whichever gives more. The best choice of all would take too long."""
    candidates = list(ranges)
    choices = []
    for sign in (-1, 1):
        kept: list[ReceiptRange] = []
        left_planck = fees_max_planck
        for each in sorted(candidates, key=lambda each: sign * each.fee_planck):
            if len(kept) < receipts_max and each.fee_planck <= left_planck:
                kept.append(each)
                left_planck -= each.fee_planck
        choices.append((-left_planck, kept))
    _, kept = max(choices, key=lambda choice: choice[0])
    return sorted(kept, key=lambda each: (each.channel, each.sequence))


def write_file(store: ReceiptStore, blobs: BlobStore, ranges: list[ReceiptRange]) -> EpochFile:
    """Store the pages of an epoch's receipts and their list. Takes seconds for many.

    Raises BlobError.
    """
    pages = []
    for start in range(0, len(ranges), PAGE_RECEIPTS):
        hashes = [each.hash for each in ranges[start : start + PAGE_RECEIPTS]]
        pages.append(blobs.put(_page.encode(EpochReceipts(tuple(store.signed(hashes))))))
    root, fees_planck = sum_root((each.hash, each.fee_planck) for each in ranges)
    blob = blobs.put(codec(ReceiptPages).encode(ReceiptPages(tuple(pages))))
    return EpochFile(blob, root, len(ranges), fees_planck)


def receipts_in(blobs: BlobStore, blob: Hash, count: int) -> Iterator[tuple[Hash, int]]:
    """Yield hash and fee of the receipts that this node has closed an epoch with, in their order.

    Raises BlobError, which includes files that another program has closed an epoch with.
    """
    pages = pages_of(blobs.get(blob), count)
    if pages is None:
        raise ForeignFileError(blob)
    for page in pages:
        try:
            receipts = _page.decode(blobs.get(page)).receipts
        except DecodeError as error:
            raise ForeignFileError(blob) from error
        for signed in receipts:
            yield receipt_hash(signed.receipt), signed.receipt.fee_planck
