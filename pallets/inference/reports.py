"""Reports of false receipts: what a server has signed, held against what it may and what it drew.

    the fee is not what the voucher's price list gives      -> false
    the last redemption drew more than its receipt gives    -> false
    two receipts for one voucher                            -> false

Anybody may report; the wronged asker is paid out of the bond whoever does. An asker that reports an
honest server has nothing to report: all three need the server's own signature or its redemption.

Two things a server may try with reports on itself. A small one, so that the large one comes too
late: a later report of the same answer still costs what it shows beyond the earlier. And a large
one by an asker of its own, so that the bond comes home: an asker is repaid at most the price of the
answer, and a channel at most what it paid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets.attribution.records import SLASH_FACTOR
from pallets.inference import channels, servers
from pallets.inference.records import Channel
from pallets.inference.redemption import is_signed
from runtime.crypto.keys import KeyKind, verify
from runtime.shared.receipts import (
    Receipt,
    SignedVoucher,
    Voucher,
    receipt_hash,
    voucher_hash,
)
from runtime.types.primitives import Hash

if TYPE_CHECKING:
    from pallets.inference import Inference


def report_receipt(
    inference: Inference, voucher: SignedVoucher, receipt: Receipt, signature: bytes
) -> None:
    """Slash the server of a receipt that asks or drew too much. Raises UnknownChannel, BadVoucher,
    NotFalse, AlreadyReported."""
    channel = _checked(inference, voucher, receipt, signature)
    terms = voucher.voucher
    identity = receipt_hash(receipt)
    owed = terms.before_planck + receipt.fee_planck
    is_false = receipt.fee_planck != terms.fee(receipt.tokens_in, receipt.tokens_out)
    wronged = receipt.fee_planck if is_false else 0
    if terms.sequence == channel.sequence:  # a false fee may be tiny beside what was drawn
        wronged = max(wronged, channel.redeemed_planck - owed)
    if not wronged:
        raise inference.NotFalse
    _slash(inference, channel, terms, identity, wronged)


def report_double_receipt(
    inference: Inference,
    voucher: SignedVoucher,
    receipt: Receipt,
    signature: bytes,
    other: Receipt,
    other_signature: bytes,
) -> None:
    """Slash a server that signed two receipts for one voucher. Raises UnknownChannel, BadVoucher,
    NotFalse, AlreadyReported."""
    channel = _checked(inference, voucher, receipt, signature)
    _checked(inference, voucher, other, other_signature)
    if receipt_hash(receipt) == receipt_hash(other):
        raise inference.NotFalse
    fee = max(receipt.fee_planck, other.fee_planck)
    _slash(inference, channel, voucher.voucher, receipt_hash(receipt), fee)


def _checked(
    inference: Inference, voucher: SignedVoucher, receipt: Receipt, signature: bytes
) -> Channel:
    """Return the channel of a receipt that its server signed for this voucher."""
    channel = channels.known(inference, voucher.voucher.channel)
    if not is_signed(inference, channel, voucher.voucher, voucher.signature):
        raise inference.BadVoucher
    if receipt.voucher != voucher_hash(voucher.voucher) or receipt.server != channel.server:
        raise inference.NotFalse
    if not verify(KeyKind.ED25519, signature, receipt_hash(receipt), channel.server):
        raise inference.NotFalse
    return channel


def _slash(
    inference: Inference, channel: Channel, voucher: Voucher, receipt: Hash, wronged: int
) -> None:
    """Slash for what no earlier report of this answer has shown. Raises AlreadyReported."""
    number = voucher.channel
    key = (number, voucher.sequence)
    more = wronged - inference.reported.get(key)
    if more <= 0:
        raise inference.AlreadyReported
    inference.reported.put(key, wronged)
    price = max(0, voucher.price_planck)
    owed = min(wronged, price) - min(wronged - more, price)
    servers.slash(inference, channel.server, SLASH_FACTOR * more, [(number, owed)])
    inference.emit(inference.ReceiptReported(number, receipt, more))
