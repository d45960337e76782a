"""Vouchers: checks that a question is paid for, once, by the voucher that was signed for it.

A voucher pays for one answer to one question. What is cheap is checked first, so that a voucher
that pays nothing costs the node next to nothing; the signature is verified once. While an answer of
a channel runs, the channel pays for no other: which range the next one takes is not known yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ml.api.service import ChannelBusyError, VoucherMissingError, VoucherRefusedError
from node.storage.receipt_store import ReceiptStore
from pallets.inference import Channel
from runtime.codec.scale import DecodeError, codec
from runtime.shared.receipts import (
    SALT_BYTES,
    TEMPERATURE_MILLI_MAX,
    TOP_P_MILLI_MAX,
    VOUCHER_BLOCKS_MAX,
    Rates,
    SignedVoucher,
    Voucher,
    salted_hash,
    voucher_payload,
)
from runtime.types.primitives import AccountId, Hash
from runtime.types.signature import is_signed_by

_signed_voucher = codec(SignedVoucher)


class Channels(Protocol):
    """The channels of the chain by number."""

    def get(self, channel: int, /) -> Channel | None: ...


class Prices(Protocol):
    """The part of the Inference pallet that is read."""

    @property
    def channels(self) -> Channels: ...
    def rates(self, model: int, /) -> Rates | None: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """What an asker sends to be answered: the question with its voucher and salt, undecoded."""

    model: int
    question: str
    max_tokens: int
    voucher: bytes | None
    salt: bytes | None


@dataclass(frozen=True, slots=True)
class Payment:
    """A checked payment for one answer."""

    signed: SignedVoucher
    salt: bytes

    @property
    def voucher(self) -> Voucher:
        """The asker's promise."""
        return self.signed.voucher

    def check_price(self, tokens_in: int, tokens_out: int) -> None:
        """Check that the voucher pays for so many tokens. Raises VoucherRefusedError."""
        fee = self.voucher.fee(tokens_in, tokens_out)
        if fee > self.voucher.price_planck:
            raise VoucherRefusedError(
                f"The voucher pays {self.voucher.price_planck} planck at most, and this answer may "
                f"cost {fee}. Sign a voucher for that, or ask for fewer tokens."
            )


class VoucherBook:
    """Checks payments, and keeps a channel from paying for two answers at a time."""

    def __init__(
        self, genesis: Hash, server: AccountId, receipts: ReceiptStore, redeem_blocks: int
    ) -> None:
        self._genesis = genesis
        self._server = server
        self._receipts = receipts
        self._life_blocks_min = 2 * redeem_blocks
        self._busy: dict[int, int] = {}
        """What the running answer of a channel costs at most, in planck."""

    def take(self, offer: Offer, state: Prices, now: int) -> Payment:
        """Check what pays for an answer at a height, and keep its channel for it until `release`.

        Raises VoucherMissingError, VoucherRefusedError, ChannelBusyError.
        """
        rates = state.rates(offer.model)
        assert rates is not None, "the model exists"
        if offer.voucher is None or offer.salt is None:
            raise VoucherMissingError(
                f"This answer costs {rates.fee(0, offer.max_tokens)} planck at most, and more for "
                "the tokens of the question. Open a channel to this server; send a voucher in the "
                "header x-openledger-voucher and its question's salt in x-openledger-salt."
            )
        signed = _decoded(offer.voucher)
        voucher = signed.voucher
        channel = state.channels.get(voucher.channel)
        self._check_channel(voucher, channel, offer.model)
        assert channel is not None, "checked"
        self._check_terms(voucher, rates, now)
        if salted_hash(_checked_salt(offer.salt), offer.question) != voucher.question:
            raise VoucherRefusedError(
                "The voucher is for another question, or its salt is another. Sign one for this "
                "question."
            )
        if voucher.channel in self._busy:
            raise ChannelBusyError(
                "The channel pays for another answer now. Wait until that ends, or open another "
                "channel."
            )
        self._check_range(voucher, channel)
        payment = Payment(signed, offer.salt)
        payment.check_price(0, offer.max_tokens)
        if not is_signed_by(channel.asker, voucher_payload(voucher), signed.signature):
            raise VoucherRefusedError("The voucher is not signed by the channel's asker.")
        if signed.account != channel.asker:
            raise VoucherRefusedError("The voucher names another account than its channel's asker.")
        self._busy[voucher.channel] = voucher.price_planck
        return payment

    @property
    def promised_planck(self) -> int:
        """What all answers that run now cost at most."""
        return sum(self._busy.values())

    @property
    def running(self) -> int:
        """How many answers run now."""
        return len(self._busy)

    def release(self, payment: Payment) -> None:
        """Let the channel pay for its next answer: this one is recorded or given up."""
        self._busy.pop(payment.voucher.channel, None)

    def _check_channel(self, voucher: Voucher, channel: Channel | None, model: int) -> None:
        if voucher.genesis != self._genesis:
            raise VoucherRefusedError("The voucher is for another chain.")
        if (
            channel is None
            or channel.server != self._server
            or channel.model != model
            or voucher.model != model
        ):
            raise VoucherRefusedError(
                "The voucher's channel is not one to this server for this model."
            )
        if channel.is_closed or channel.closes_at is not None:
            raise VoucherRefusedError("The voucher's channel is closing. Open another one.")

    def _check_terms(self, voucher: Voucher, rates: Rates, now: int) -> None:
        if not voucher.rates.covers(rates):
            raise VoucherRefusedError(
                "The voucher's price list is below the model's. Read it again and sign by it."
            )
        if not voucher.sampling.is_allowed:
            raise VoucherRefusedError(
                f"The voucher signs for temperature {voucher.sampling.temperature_milli} and top_p "
                f"{voucher.sampling.top_p_milli}, in thousandths; the first is at most "
                f"{TEMPERATURE_MILLI_MAX}, the other from 1 to {TOP_P_MILLI_MAX}."
            )
        if voucher.expires_at < now + self._life_blocks_min:
            raise VoucherRefusedError(
                f"The voucher ends at block {voucher.expires_at}, and this server redeems up to "
                f"block {now + self._life_blocks_min}. Sign one that lives longer."
            )
        if voucher.expires_at > now + VOUCHER_BLOCKS_MAX:
            raise VoucherRefusedError(
                f"The voucher ends at block {voucher.expires_at}, and prices hold up to block "
                f"{now + VOUCHER_BLOCKS_MAX}. Sign one that ends sooner."
            )

    def _check_range(self, voucher: Voucher, channel: Channel) -> None:
        """Check that no answer of the channel was paid by this voucher or a later one."""
        last = self._receipts.last(voucher.channel)
        sequence = max(channel.sequence, last.sequence if last else 0)
        if voucher.sequence <= sequence:
            raise VoucherRefusedError(
                f"The voucher is for answer {voucher.sequence} of its channel, and answer "
                f"{sequence} was given already. Sign a new one for each answer."
            )
        owed = max(channel.redeemed_planck, last.ends_planck if last else 0)
        # No more either: what is redeemed beyond receipts would be missing when the epoch is
        # closed, and an asker could so have this server slashed.
        if voucher.before_planck != owed:
            raise VoucherRefusedError(
                f"The channel owes {owed} planck for earlier answers, and the voucher says "
                f"{voucher.before_planck}. Sign for what it owes; the channel's last receipt is at "
                f"/v1/channels/{voucher.channel}/receipt."
            )
        if voucher.limit_planck > channel.deposit_planck:
            raise VoucherRefusedError(
                f"The voucher goes up to {voucher.limit_planck} planck, and the channel's deposit "
                f"is {channel.deposit_planck}. Top it up."
            )


def _decoded(raw: bytes) -> SignedVoucher:
    try:
        return _signed_voucher.decode(raw)
    except DecodeError as error:
        raise VoucherRefusedError(f"The voucher does not decode: {error}.") from error


def _checked_salt(salt: bytes) -> bytes:
    if len(salt) != SALT_BYTES:
        raise VoucherRefusedError(f"The salt has {len(salt)} bytes, not {SALT_BYTES}.")
    return salt
