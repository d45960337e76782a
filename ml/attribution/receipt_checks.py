"""What every receipt of an epoch must be, checked from the receipts and the chain alone.

The receipts come ascending by channel and sequence. Each must be paid by a voucher of the asker of
a channel to the server, take a range of the channel that follows the last one and was redeemed in
the epoch, be signed by the server, fit its voucher and its evidence, name an index that the model
had, and have a sketch of unit norm. Which of these fails first is the fault: the order decides who
is paid for it, because only behind `Range` is it certain that the asker paid.
"""

from __future__ import annotations

from collections.abc import Iterable

from ml.attribution.epoch_files import ChannelRange, IndexInput
from ml.attribution.sketch import is_of_unit_norm
from runtime.crypto.keys import KeyKind, verify
from runtime.shared.documents import Fault, FaultKind, Settle
from runtime.shared.receipts import (
    SPANS_MAX,
    TOP_ROWS_MAX,
    SignedReceipt,
    receipt_hash,
    voucher_payload,
)
from runtime.types.primitives import Hash
from runtime.types.signature import is_signed_by


class ReceiptChecks:
    """Checks the receipts of one epoch in their order."""

    def __init__(
        self,
        spec: Settle,
        genesis: Hash,
        channels: Iterable[ChannelRange],
        indexes: Iterable[IndexInput],
    ) -> None:
        self._spec = spec
        self._genesis = genesis
        self._channels = {channel.channel: channel for channel in channels}
        self._indexes = {index.index_job: index for index in indexes}
        self._last = (-1, 0)
        """Channel and sequence of the last receipt."""
        self._ends_planck = 0
        """Where the range of the last receipt ends in its channel."""

    def check(self, position: int, signed: SignedReceipt) -> Fault | None:
        """Return the fault of the next receipt, or None where it is in order."""
        for kind, is_right in (
            (FaultKind.Voucher, self._has_voucher),
            (FaultKind.Order, self._follows),
            (FaultKind.Range, self._was_redeemed),
            (FaultKind.Receipt, self._is_receipt),
            (FaultKind.Index, self._names_index),
            (FaultKind.Sketch, self._has_sketch),
        ):
            if not is_right(signed):
                return Fault(kind, position, signed.channel, signed.receipt.fee_planck)
        self._last = (signed.channel, signed.sequence)
        self._ends_planck = signed.ends_planck
        return None

    def _has_voucher(self, signed: SignedReceipt) -> bool:
        voucher, channel = signed.voucher.voucher, self._channels.get(signed.channel)
        return (
            channel is not None
            and signed.asker == channel.asker
            and voucher.genesis == self._genesis
            and voucher.model == self._spec.model
            and is_signed_by(channel.asker, voucher_payload(voucher), signed.voucher.signature)
        )

    def _follows(self, signed: SignedReceipt) -> bool:
        channel, sequence = self._last
        if signed.channel != channel:
            return signed.channel > channel
        before = signed.voucher.voucher.before_planck
        return signed.sequence > sequence and before >= self._ends_planck

    def _was_redeemed(self, signed: SignedReceipt) -> bool:
        channel = self._channels[signed.channel]
        before = signed.voucher.voucher.before_planck
        return channel.start_planck <= before and signed.ends_planck <= channel.end_planck

    def _is_receipt(self, signed: SignedReceipt) -> bool:
        receipt, evidence = signed.receipt, signed.evidence
        return (
            signed.is_whole
            and receipt.server == self._spec.server
            and len(evidence.top) <= TOP_ROWS_MAX
            and len(evidence.spans) <= SPANS_MAX
            and verify(KeyKind.ED25519, signed.signature, receipt_hash(receipt), receipt.server)
        )

    def _names_index(self, signed: SignedReceipt) -> bool:
        receipt, index = signed.receipt, self._indexes.get(signed.receipt.index_job)
        return (
            index is not None
            and signed.voucher.voucher.train_job == index.train_job
            and receipt.adapter == index.adapter
            and len(signed.evidence.phi) == index.indexed.sketch_size
        )

    def _has_sketch(self, signed: SignedReceipt) -> bool:
        return is_of_unit_norm(signed.evidence.phi)
