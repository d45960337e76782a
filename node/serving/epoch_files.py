"""Files of epochs: which receipts of this node an epoch has, and the file that it is settled from.

An epoch of a model has the answers whose range of their channel was redeemed in it, whole: what a
redemption leaves cut comes with the next. So an answer that was given after the last redemption is
in no epoch yet, however its server hurries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from node.chain.state_reader import PalletViews
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptRange, ReceiptStore
from pallets.inference import Channel
from runtime.codec.scale import codec
from runtime.shared.receipts import EpochReceipts, receipt_hash
from runtime.trie.merkle import sum_root
from runtime.types.primitives import Hash

_epoch_receipts = codec(EpochReceipts)


@dataclass(frozen=True, slots=True)
class EpochFile:
    """What an epoch is closed with: the file's id, and root, number and fees of its receipts."""

    blob: Hash
    root: Hash
    receipts: int
    fees_planck: int


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


def _is_within(each: ReceiptRange, channel: Channel, epoch: int) -> bool:
    first, end = channel.redeemed_before(epoch), channel.redeemed_before(epoch + 1)
    return first <= each.before_planck and each.ends_planck <= end


def write_file(store: ReceiptStore, blobs: BlobStore, ranges: list[ReceiptRange]) -> EpochFile:
    """Store the file of an epoch's receipts. Takes seconds for many. Raises BlobError."""
    receipts = tuple(store.signed(each.hash for each in ranges))
    root, fees_planck = sum_root((each.hash, each.fee_planck) for each in ranges)
    blob = blobs.put(_epoch_receipts.encode(EpochReceipts(receipts)))
    return EpochFile(blob, root, len(ranges), fees_planck)


def hashes_in(blobs: BlobStore, blob: Hash) -> list[Hash]:
    """Return the receipts of a file that this node has closed an epoch with. Raises BlobError."""
    receipts = _epoch_receipts.decode(blobs.get(blob)).receipts
    return [receipt_hash(signed.receipt) for signed in receipts]
