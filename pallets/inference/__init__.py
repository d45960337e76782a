"""Inference: askers pay for answers through channels, and every payment is split at once.

    open -> vouchers off chain -> redeem, redeem, ...
    close by the server: at once
    close by the asker -> challenge window, the server may still redeem -> finish_close by anyone

A voucher says how much the server may draw from the channel in all; the server needs to redeem
only the last one, and draws no more than the answers cost. Rules that hold here: what a channel
may draw is held from its asker and never above the deposit; a redemption pays only the increase, so
redeeming twice pays once; each payment is split by largest remainder, so no planck is lost; part of
it is burned, so that asking one's own model always loses.
"""

from __future__ import annotations

from dataclasses import replace

from pallets import weights
from pallets.attribution import ATTRIBUTION_POT
from pallets.balances import HoldReason
from pallets.inference.records import (
    DEPOSIT_MIN,
    PLATFORM_POT,
    Channel,
    ChannelInfo,
    Genesis,
    Parameters,
    Payout,
    Rates,
)
from pallets.inference.required_pallets import Blocks, ContributorFund, Currency, ModelRegistry
from pallets.transaction_payment import FEE_POT
from runtime.codec.scale import u32
from runtime.frame.dispatch import Error, Root, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import Map, Value, default
from runtime.shared.documents import Voucher, voucher_payload
from runtime.shared.shares import PERMILLE, split_permille
from runtime.types.primitives import (
    ZERO_HASH,
    AccountId,
    Balance,
    MultiAddress,
    MultiSignature,
)
from runtime.types.signature import is_signed_by

__all__ = [
    "DEPOSIT_MIN",
    "PLATFORM_POT",
    "Channel",
    "Genesis",
    "Inference",
    "Parameters",
]


class Inference(Pallet, index=24):
    """Payment of answers: channels, vouchers, and the split among those who made the answer."""

    minimum_deposit: Const[Balance] = DEPOSIT_MIN
    """The least deposit of a channel, in planck."""

    balances: Needs[Currency]
    system: Needs[Blocks]
    models: Needs[ModelRegistry]
    attribution: Needs[ContributorFund]

    parameters: Value[Parameters] = default(Parameters())
    """The parameters that root sets: fee per request (planck), shares of a payment, challenge
    window."""
    next_id: Value[u32] = default(0)
    """The number of the next channel."""
    channels: Map[u32, Channel]
    """The open channels with their deposit and what was drawn from it (planck), by channel."""
    memberships: Map[tuple[AccountId, u32], bool]
    """The channels in which an account is asker or server, by account and channel."""

    class ParametersSet(Event, index=0):
        """Governance changed fee, shares or challenge window."""

        parameters: Parameters

    class ChannelOpened(Event, index=1):
        """An asker may spend up to a deposit at a server."""

        channel: u32
        asker: AccountId
        server: AccountId
        model: u32
        deposit: Balance

    class ChannelToppedUp(Event, index=2):
        """An asker raised the deposit of a channel."""

        channel: u32
        deposit: Balance

    class Redeemed(Event, index=3):
        """A server drew from a channel; `amount` more was paid out and split."""

        channel: u32
        amount: Balance
        drawn: Balance
        payout: Payout

    class ChannelClosing(Event, index=4):
        """An asker closes a channel; its server may redeem until the block `closes_at`."""

        channel: u32
        closes_at: u32

    class ChannelClosed(Event, index=5):
        """A channel is closed; what it did not spend went back to its asker."""

        channel: u32
        refunded: Balance

    class UnknownChannel(Error, index=0):
        """There is no channel with this number, or it is closed; open another one."""

    class NotAllowed(Error, index=1):
        """This account may not ask this model; it is private, retired or does not exist."""

    class DepositTooLow(Error, index=2):
        """A channel holds at least 0.01 OPEN; deposit more."""

    class NotAsker(Error, index=3):
        """Only the account that opened the channel may do this; sign with its key."""

    class NotServer(Error, index=4):
        """Only the server of the channel may redeem its vouchers; sign with the server's key."""

    class NotMember(Error, index=5):
        """Only asker and server of a channel may close it."""

    class BadVoucher(Error, index=6):
        """The voucher is not signed by the channel's asker for this chain, channel and amount;
        ask for a new one."""

    class VoucherTooLow(Error, index=7):
        """More was drawn from the channel before; name the amount drawn in all."""

    class AboveDeposit(Error, index=8):
        """The voucher is above the channel's deposit; let the asker top the channel up."""

    class IsClosing(Error, index=9):
        """The channel is closing; open another one."""

    class TooEarly(Error, index=10):
        """The channel is not closing, or its server may still redeem; wait for its last block."""

    class AboveVoucher(Error, index=12):
        """More is drawn than the voucher allows; let the asker sign a higher one."""

    class OutOfBounds(Error, index=11):
        """A parameter is out of its bounds, or the shares do not add up to 1,000; correct it."""

    # ------------------------------------------------------------------------------- calls

    @call(0, weights.INFERENCE_SET_PARAMETERS)
    def set_parameters(self, origin: Root, parameters: Parameters) -> None:
        """Set fee, shares and challenge window within their bounds; by root."""
        if not parameters.is_within_bounds:
            raise self.OutOfBounds
        self.parameters.put(parameters)
        self.emit(self.ParametersSet(parameters))

    @call(1, weights.INFERENCE_OPEN_CHANNEL)
    def open_channel(
        self, asker: Signed, model: u32, server: MultiAddress, deposit: Balance
    ) -> None:
        """Hold a deposit of yours that a server may draw from by your vouchers."""
        serving = self.lookup(server)
        if not self.models.may_use(asker, model):
            raise self.NotAllowed
        if deposit < DEPOSIT_MIN:
            raise self.DepositTooLow
        number = self.next_id.get()
        self.balances.hold(HoldReason.InferenceChannel, asker, deposit)
        self.next_id.put(number + 1)
        self.channels.put(
            number,
            Channel(
                asker=asker,
                server=serving,
                model=model,
                deposit_planck=deposit,
                redeemed_planck=0,
                closes_at=None,
            ),
        )
        self.memberships.put((asker, number), True)
        self.memberships.put((serving, number), True)
        self.emit(
            self.ChannelOpened(
                channel=number, asker=asker, server=serving, model=model, deposit=deposit
            )
        )

    @call(2, weights.INFERENCE_TOP_UP)
    def top_up(self, who: Signed, channel: u32, amount: Balance) -> None:
        """Raise the deposit of a channel of yours."""
        record = self._channel(channel)
        if record.asker != who:
            raise self.NotAsker
        if record.closes_at is not None:
            raise self.IsClosing
        self.balances.hold(HoldReason.InferenceChannel, record.asker, amount)
        raised = replace(record, deposit_planck=record.deposit_planck + amount)
        self.channels.put(channel, raised)
        self.emit(self.ChannelToppedUp(channel, raised.deposit_planck))

    @call(3, weights.INFERENCE_REDEEM)
    def redeem(
        self,
        who: Signed,
        channel: u32,
        cumulative: Balance,
        drawn: Balance,
        signature: MultiSignature,
    ) -> None:
        """Draw from a channel as its server: `drawn` in all, at most the voucher's `cumulative`.

        Askers sign the most that an answer may cost; servers draw what answers did cost. Drawing
        the same amount again succeeds and pays nothing.
        """
        record = self._channel(channel)
        if record.server != who:
            raise self.NotServer
        if drawn < record.redeemed_planck:
            raise self.VoucherTooLow
        if drawn > cumulative:
            raise self.AboveVoucher
        if cumulative > record.deposit_planck:
            raise self.AboveDeposit
        if not self._is_signed(record, channel, cumulative, signature):
            raise self.BadVoucher
        amount = drawn - record.redeemed_planck
        if not amount:
            return
        self.channels.put(channel, replace(record, redeemed_planck=drawn))
        payout = self._pay(record, amount)
        self.emit(self.Redeemed(channel, amount, drawn, payout))

    @call(4, weights.INFERENCE_CLOSE_CHANNEL)
    def close_channel(self, who: Signed, channel: u32) -> None:
        """Close a channel: at once by its server, after a challenge window by its asker."""
        record = self._channel(channel)
        if record.server == who:
            self._close(channel, record)
            return
        if record.asker != who:
            raise self.NotMember
        if record.closes_at is not None:
            raise self.IsClosing
        closes_at = self.system.current_number() + self.parameters.get().challenge_blocks
        self.channels.put(channel, replace(record, closes_at=closes_at))
        self.emit(self.ChannelClosing(channel, closes_at))

    @call(5, weights.INFERENCE_FINISH_CLOSE)
    def finish_close(self, who: Signed, channel: u32) -> None:
        """Refund the asker of a channel whose challenge window is over; by anybody."""
        record = self._channel(channel)
        if record.closes_at is None or self.system.current_number() <= record.closes_at:
            raise self.TooEarly
        self._close(channel, record)

    # --------------------------------------------------------------------------------- API

    @api("InferenceApi")
    def quote(self, model: u32, tokens_in: u32, tokens_out: u32) -> Balance | None:
        """Return what an answer costs, in planck, rounded up; None for an unknown model."""
        rates = self.rates(model)
        return None if rates is None else rates.fee(tokens_in, tokens_out)

    @api("InferenceApi")
    def channel(self, id: u32) -> Channel | None:
        """Return an open or closing channel."""
        return self.channels.get(id)

    @api("InferenceApi")
    def channels_of(self, account: AccountId) -> tuple[ChannelInfo, ...]:
        """Return the channels in which an account is asker or server, by number."""
        numbers = sorted(number for _, number in self.memberships.keys(account))
        return tuple(ChannelInfo(number, self._channel(number)) for number in numbers)

    @api("InferenceApi")
    def current_parameters(self) -> Parameters:
        """Return fee, shares and challenge window."""
        return self.parameters.get()

    # ------------------------------------------------------------------- for other pallets

    def rates(self, model: int) -> Rates | None:
        """Return the price list of a model now; None for an unknown model."""
        record = self.models.get(model)
        if record is None:
            return None
        platform_fee = self.parameters.get().platform_fee_planck
        return Rates(record.rate_in_planck, record.rate_out_planck, platform_fee)

    def build_genesis(self, genesis: Genesis) -> None:
        """Set the parameters of the chain spec and make the platform's pot."""
        assert genesis.parameters.is_within_bounds, "inference parameters are within bounds"
        self.parameters.put(genesis.parameters)
        self.system.create_pot(PLATFORM_POT)

    def check_invariants(self) -> None:
        """The rest of each channel is held from its asker, and memberships fit channels."""
        left: dict[AccountId, int] = {}
        members: dict[tuple[AccountId, int], bool] = {}
        for number, channel in self.channels.items():
            assert 0 <= channel.redeemed_planck <= channel.deposit_planck, "drawn too much"
            left[channel.asker] = left.get(channel.asker, 0) + channel.left_planck
            members[channel.asker, number] = members[channel.server, number] = True
        assert members == dict(self.memberships.items()), "memberships and channels differ"
        for asker, total in left.items():
            on_hold = self.balances.held(HoldReason.InferenceChannel, asker)
            assert on_hold == total, f"channels of {asker.hex()} do not sum up to what is held"

    # ---------------------------------------------------------------------------- internal

    def _channel(self, number: int) -> Channel:
        record = self.channels.get(number)
        if record is None:
            raise self.UnknownChannel
        return record

    def _is_signed(
        self, channel: Channel, number: int, cumulative: int, signature: MultiSignature
    ) -> bool:
        genesis = self.system.hash_of(0) or ZERO_HASH
        payload = voucher_payload(Voucher(genesis, number, cumulative))
        return is_signed_by(channel.asker, payload, signature)

    def _pay(self, channel: Channel, amount: int) -> Payout:
        """Pay an amount of what is held for a channel to all who have a share in it."""
        parameters = self.parameters.get()
        platform, owner_part, stakers, contributors = split_permille(amount, parameters.shares)
        burn_share = parameters.burn_permille
        burned, kept = split_permille(platform, (burn_share, PERMILLE - burn_share))
        model = self.models.get(channel.model)
        assert model is not None, "models are never removed"
        if self.balances.free(model.owner) + owner_part < self.balances.existential_deposit:
            # The owner's account is gone and so small a payment cannot revive it. The server must
            # be able to redeem all the same, so the part goes to the platform.
            platform, kept, owner_part = platform + owner_part, kept + owner_part, 0
        for dest, part in (
            (PLATFORM_POT, platform),
            (model.owner, owner_part),
            (FEE_POT, stakers),
            (ATTRIBUTION_POT, contributors),
        ):
            if part:
                self.balances.transfer_on_hold(
                    HoldReason.InferenceChannel, channel.asker, dest, part
                )
        if burned:
            self.balances.burn_from(PLATFORM_POT, burned)
        if contributors:
            self.attribution.fund(channel.model, contributors, channel.server)
        return Payout(
            burned=burned,
            platform=kept,
            owner=owner_part,
            stakers=stakers,
            contributors=contributors,
        )

    def _close(self, number: int, channel: Channel) -> None:
        left = channel.left_planck
        if left:
            self.balances.release(HoldReason.InferenceChannel, channel.asker, left)
        self.channels.remove(number)
        self.memberships.remove((channel.asker, number))
        self.memberships.remove((channel.server, number))
        self.emit(self.ChannelClosed(number, left))
