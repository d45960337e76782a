"""Redemption: a server draws what its last answer leaves owed, and the payment is split.

One voucher redeems all answers before it: `before_planck` is signed by the asker. The fee of the
last answer is computed here, from the token counts that the server names and the price list of the
voucher; a server that names other counts than its receipt can be reported. What contributors are
due of is redeemed only up to the server's bond: nothing else answers for its being settled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import HoldReason
from pallets.inference import channels, servers
from pallets.inference.records import PLATFORM_POT, Channel, Payout
from pallets.transaction_payment import FEE_POT
from runtime.shared.receipts import Rates, Voucher, voucher_payload
from runtime.shared.shares import PERMILLE, split_permille
from runtime.types.primitives import ZERO_HASH, AccountId, MultiSignature
from runtime.types.signature import is_signed_by

if TYPE_CHECKING:
    from pallets.inference import Inference


def redeem(
    inference: Inference,
    who: AccountId,
    voucher: Voucher,
    tokens_in: int,
    tokens_out: int,
    signature: MultiSignature,
) -> None:
    """Draw what a channel owes with the answer of a voucher; repeating it pays nothing."""
    number = voucher.channel
    channel = channels.unclosed(inference, number)
    if channel.server != who:
        raise inference.NotServer
    fee = voucher.fee(tokens_in, tokens_out)
    total = voucher.before_planck + fee
    if voucher.sequence == channel.sequence and total == channel.redeemed_planck:
        return
    _check_voucher(inference, channel, voucher, signature)
    if voucher.sequence <= channel.sequence or total < channel.redeemed_planck:
        raise inference.VoucherTooLow
    if fee > voucher.price_planck:
        raise inference.AboveVoucher
    if voucher.limit_planck > channel.deposit_planck:
        raise inference.AboveDeposit
    amount = total - channel.redeemed_planck
    room = servers.redeemable(inference, channel.model, who)
    if room is not None and amount > room:
        raise inference.AboveBond
    payout, epoch = _pay(inference, channel, amount)
    redeemed = replace(channel.marked(epoch), redeemed_planck=total, sequence=voucher.sequence)
    inference.channels.put(number, redeemed)
    inference.emit(
        inference.Redeemed(
            channel=number,
            amount=amount,
            drawn=total,
            payout=payout,
            sequence=voucher.sequence,
        )
    )


def is_signed(
    inference: Inference, channel: Channel, voucher: Voucher, signature: MultiSignature
) -> bool:
    """Return whether a voucher is one of a channel's asker, for this chain and model."""
    genesis = inference.system.hash_of(0) or ZERO_HASH
    return (
        voucher.genesis == genesis
        and voucher.model == channel.model
        and is_signed_by(channel.asker, voucher_payload(voucher), signature)
    )


def _check_voucher(
    inference: Inference, channel: Channel, voucher: Voucher, signature: MultiSignature
) -> None:
    """Raises BadVoucher, VoucherExpired, RatesTooLow."""
    if not is_signed(inference, channel, voucher, signature):
        raise inference.BadVoucher
    if voucher.expires_at < inference.system.current_number():
        raise inference.VoucherExpired
    if not voucher.rates.covers(lowest_rates(inference, channel.model, voucher.expires_at)):
        raise inference.RatesTooLow


def lowest_rates(inference: Inference, model: int, expires_at: int) -> Rates:
    """Return the lowest price list that a voucher ending at a block may name: the present one, or
    the one before, where the voucher can be from that time. So neither can a change take an honest
    server's fee, nor can asker and server agree on less than the owner asks."""
    record = inference.models.get(model)
    assert record is not None, "models are never removed"
    fee = inference.parameters.get().platform_fee_planck
    former = inference.former_fee.get()
    if expires_at <= former.until:
        fee = min(fee, former.platform_fee_planck)
    return Rates(*record.lowest_rates(expires_at), fee)


def _pay(inference: Inference, channel: Channel, amount: int) -> tuple[Payout, int]:
    """Pay an amount of what is held for a channel to all who have a share in it; returns the epoch
    too that it counts for."""
    balances, parameters = inference.balances, inference.parameters.get()
    platform, owner_part, stakers, contributors = split_permille(amount, parameters.shares)
    burn_share = parameters.burn_permille
    burned, kept = split_permille(platform, (burn_share, PERMILLE - burn_share))
    model = inference.models.get(channel.model)
    assert model is not None, "models are never removed"
    if balances.free(model.owner) + owner_part < balances.existential_deposit:
        # The owner's account is gone and so small a payment cannot revive it. The server must be
        # able to redeem all the same, so the part goes to the platform.
        platform, kept, owner_part = platform + owner_part, kept + owner_part, 0
    for dest, part in (
        (PLATFORM_POT, platform),
        (model.owner, owner_part),
        (FEE_POT, stakers),
        (ATTRIBUTION_POT, contributors),
    ):
        if part:
            balances.transfer_on_hold(HoldReason.InferenceChannel, channel.asker, dest, part)
    if burned:
        balances.burn_from(PLATFORM_POT, burned)
    epoch = inference.attribution.fund(channel.model, channel.server, amount, contributors)
    payout = Payout(
        burned=burned,
        platform=kept,
        owner=owner_part,
        stakers=stakers,
        contributors=contributors,
    )
    return payout, epoch
