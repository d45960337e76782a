"""Vouchers: checks that an answer is paid for, and what this node may draw from a channel.

An asker signs the most that the server may draw in all, the price of the longest answer included.
What is drawn later is only what the answers did cost; the difference covers the next answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml.api.service import VoucherMissingError, VoucherRefusedError
from node.storage.receipt_store import ChannelRecord, ReceiptStore
from pallets.inference import Channel, Inference
from pallets.inference.records import Rates
from runtime.codec.scale import DecodeError, codec
from runtime.shared.receipts import SignedVoucher, Voucher, voucher_payload
from runtime.types.primitives import AccountId, Hash, MultiSignature
from runtime.types.signature import is_signed_by

_signature = codec(MultiSignature)
_signed_voucher = codec(SignedVoucher)


@dataclass(frozen=True, slots=True)
class Payment:
    """A checked payment: the channel to draw from and what the voucher allows in all."""

    channel: int
    asker: AccountId
    cumulative_planck: int
    signature: bytes
    reserved_planck: int
    rates: Rates
    """The price list when the answer was accepted: later changes are for later answers."""


class VoucherBook:
    """Checks payments; a reservation keeps two concurrent answers from spending the same planck."""

    def __init__(self, genesis: Hash, server: AccountId, receipts: ReceiptStore) -> None:
        self._genesis = genesis
        self._server = server
        self._receipts = receipts
        self._reserved: dict[int, int] = {}

    def reserve(
        self, raw: bytes | None, model: int, tokens_in: int, tokens_out: int, state: Inference
    ) -> Payment:
        """Reserve the price of an answer of so many tokens at most.

        Raises VoucherMissingError, VoucherRefusedError.
        """
        payment = self.check(raw, model, tokens_in, tokens_out, state)
        reserved = self._reserved.get(payment.channel, 0)
        self._reserved[payment.channel] = reserved + payment.reserved_planck
        return payment

    def check(
        self, raw: bytes | None, model: int, tokens_in: int, tokens_out: int, state: Inference
    ) -> Payment:
        """Check that a voucher pays for so many tokens, and reserve nothing.

        Raises VoucherMissingError, VoucherRefusedError.
        """
        rates = state.rates(model)
        assert rates is not None, "the model exists"
        price_planck = rates.fee(tokens_in, tokens_out)
        if raw is None:
            raise VoucherMissingError(
                f"This answer costs {price_planck} planck at least. Open a channel to this server "
                "and send a voucher in the header x-openledger-voucher."
            )
        signed = _decoded(raw)
        voucher = signed.voucher
        channel = state.channels.get(voucher.channel)
        if channel is None or channel.server != self._server or channel.model != model:
            raise VoucherRefusedError(
                "The voucher's channel is not one to this server for this model."
            )
        if voucher.genesis != self._genesis:
            raise VoucherRefusedError("The voucher is for another chain.")
        if channel.closes_at is not None:
            raise VoucherRefusedError("The voucher's channel is closing. Open another one.")
        if not is_signed_by(channel.asker, voucher_payload(voucher), signed.signature):
            raise VoucherRefusedError("The voucher is not signed by the channel's asker.")
        self._check_amount(voucher, channel, price_planck)
        encoded = _signature.encode(signed.signature)
        return Payment(
            channel=voucher.channel,
            asker=channel.asker,
            cumulative_planck=voucher.cumulative_planck,
            signature=encoded,
            reserved_planck=price_planck,
            rates=rates,
        )

    def _check_amount(self, voucher: Voucher, channel: Channel, price_planck: int) -> None:
        if voucher.cumulative_planck > channel.deposit_planck:
            raise VoucherRefusedError("The voucher is above the channel's deposit. Top it up.")
        record = self._receipts.channel(voucher.channel)
        spent = max(channel.redeemed_planck, record.spent_planck if record else 0)
        needed = spent + self._reserved.get(voucher.channel, 0) + price_planck
        if voucher.cumulative_planck < needed:
            raise VoucherRefusedError(
                f"The voucher allows {voucher.cumulative_planck} planck in all; with what is "
                f"spent, this answer needs {needed}. Sign a voucher for that."
            )

    def add_fee(self, payment: Payment, fee_planck: int, redeemed_planck: int) -> ChannelRecord:
        """Return the channel's record with an answer's fee added and the higher voucher."""
        former = self._receipts.channel(payment.channel)
        spent = max(redeemed_planck, former.spent_planck if former else 0) + fee_planck
        if former is not None and former.cumulative_planck > payment.cumulative_planck:
            return ChannelRecord(payment.channel, former.cumulative_planck, spent, former.signature)
        return ChannelRecord(payment.channel, payment.cumulative_planck, spent, payment.signature)

    def release(self, payment: Payment) -> None:
        """Give a reservation back once its answer is recorded or given up."""
        left = self._reserved.get(payment.channel, 0) - payment.reserved_planck
        if left > 0:
            self._reserved[payment.channel] = left
        else:
            self._reserved.pop(payment.channel, None)


def _decoded(raw: bytes) -> SignedVoucher:
    try:
        return _signed_voucher.decode(raw)
    except DecodeError as error:
        raise VoucherRefusedError(f"The voucher does not decode: {error}.") from error
