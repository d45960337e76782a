"""Reports of false receipts: what a server has signed, held against what it may and what it drew.

    the fee is not what the voucher's price list gives      -> false
    the last redemption drew more than its receipt gives    -> false
    two receipts for one voucher                            -> false

Anybody may report; the wronged asker is paid out of the bond whoever does. An asker that reports an
honest server has nothing to report: all three need the server's own signature or its redemption.

Server and asker may be one person. So an asker is paid no more than what was drawn for the answer,
for a receipt can name any fee; and a report of a small fault does not end the matter: a later one
of the same answer costs what it is greater.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    NotFalse."""
    channel = _checked(inference, voucher, receipt, signature)
    terms = voucher.voucher
    identity = receipt_hash(receipt)
    owed = terms.before_planck + receipt.fee_planck
    is_last = terms.sequence == channel.sequence
    if receipt.fee_planck != terms.fee(receipt.tokens_in, receipt.tokens_out):
        wronged = min(receipt.fee_planck, terms.price_planck)
    elif is_last and channel.redeemed_planck > owed:
        wronged = channel.redeemed_planck - owed
    else:
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
    NotFalse."""
    channel = _checked(inference, voucher, receipt, signature)
    _checked(inference, voucher, other, other_signature)
    if receipt_hash(receipt) == receipt_hash(other):
        raise inference.NotFalse
    terms = voucher.voucher
    wronged = min(max(receipt.fee_planck, other.fee_planck), terms.price_planck)
    _slash(inference, channel, terms, receipt_hash(receipt), wronged)


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
    """Slash for the greatest fault of an answer, once for each planck of it. Raises NotFalse."""
    key = (voucher.channel, voucher.sequence)
    former = inference.reported.get(key) or 0
    if wronged <= former:
        raise inference.NotFalse
    inference.reported.put(key, wronged)
    is_last = voucher.sequence == channel.sequence
    drawn = max(0, channel.redeemed_planck - voucher.before_planck) if is_last else 0
    more, owed = wronged - former, max(0, min(wronged, drawn) - former)
    amount = servers.SLASH_FACTOR * more
    servers.slash(inference, channel.server, amount, [(channel.asker, owed)])
    inference.emit(inference.ReceiptReported(voucher.channel, receipt, more))
