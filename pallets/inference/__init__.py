"""Inference: askers pay for answers through channels, and every payment is split at once.

    open -> vouchers off chain -> redeem, redeem, ...
    close by the server: at once
    close by the asker -> challenge window, the server may still redeem -> finish_close by anyone
    closed -> kept as evidence -> remove_channel

A voucher pays for one answer: the asker signs what it owes for the answers before, the most that
this one may cost, and the price list. Rules that hold here: what a channel may draw is held from
its asker and never above the deposit; a redemption pays only the increase, so redeeming twice pays
once; each payment is split by largest remainder, so no planck is lost; part of it is burned, so
that asking one's own model always loses; who serves has a bond, and what it signs is held against
it.

This file declares the pallet; channels are in `channels`, drawing in `redemption`, bonds in
`servers`, false receipts in `reports`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Final

from pallets import weights
from pallets.balances import HoldReason
from pallets.inference import channels, redemption, reports, servers
from pallets.inference.errors import InferenceErrors
from pallets.inference.records import (
    DEPOSIT_MIN,
    PLATFORM_POT,
    Channel,
    ChannelInfo,
    FormerFee,
    Genesis,
    GenesisServer,
    Parameters,
    Payout,
    Server,
)
from pallets.inference.required_pallets import Blocks, ContributorFund, Currency, ModelRegistry
from runtime.codec.scale import Bytes64, u32
from runtime.frame.dispatch import Root, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Map, Value, default
from runtime.shared.receipts import VOUCHER_BLOCKS_MAX, Rates, Receipt, SignedVoucher, Voucher
from runtime.types.primitives import AccountId, Balance, Hash, MultiAddress, MultiSignature

__all__ = [
    "DEPOSIT_MIN",
    "PLATFORM_POT",
    "Channel",
    "Genesis",
    "GenesisServer",
    "Inference",
    "Parameters",
]


CHANNELS_LISTED_MAX: Final = 256
CHANNELS_LOOKED_AT_MAX: Final = 4_096
"""Channels of one account that are listed at once."""


class Inference(InferenceErrors, Pallet, index=24):
    """Payment of answers: bonded servers, channels, vouchers, and the split among those who made
    the answer."""

    minimum_deposit: Const[Balance] = DEPOSIT_MIN
    """The least deposit of a channel, in planck."""
    maximum_voucher_blocks: Const[u32] = VOUCHER_BLOCKS_MAX
    """The longest life of a voucher for which a price list holds that was changed since, in
    blocks."""

    balances: Needs[Currency]
    system: Needs[Blocks]
    models: Needs[ModelRegistry]
    attribution: Needs[ContributorFund]

    parameters: Value[Parameters] = default(Parameters())
    """The parameters that root sets: fee per request (planck), shares of a payment, times in
    blocks, least bond of a server (planck)."""
    next_id: Value[u32] = default(0)
    """The number of the next channel."""
    channels: Map[u32, Channel]
    """The channels with their deposit and what was drawn from it (planck), by channel; closed ones
    while they may be needed as evidence."""
    memberships: Map[tuple[AccountId, u32], bool]
    """The channels in which an account is asker or server, by account and channel."""
    servers: Map[AccountId, Server]
    """The bonded servers with their bond (planck), by account."""
    former_fee: Value[FormerFee] = default(FormerFee(0, 0))
    """The platform's fee before its last change, and the block up to which vouchers may end that
    still name it."""
    reported: DefaultMap[tuple[u32, u32], Balance] = default(0)
    """What a server was slashed for already by reports of an answer (planck), by channel and
    sequence."""

    class ParametersSet(Event, index=0):
        """Governance changed fee, shares, times or the least bond."""

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
        """A server drew from a channel; `amount` more was paid out and split. `sequence` is that
        of the channel's last answer."""

        channel: u32
        amount: Balance
        drawn: Balance
        payout: Payout
        sequence: u32

    class ChannelClosing(Event, index=4):
        """An asker closes a channel; its server may redeem until the block `closes_at`."""

        channel: u32
        closes_at: u32

    class ChannelClosed(Event, index=5):
        """A channel is closed; what it did not spend went back to its asker."""

        channel: u32
        refunded: Balance

    class ServerRegistered(Event, index=6):
        """An account bonded itself as a server."""

        server: AccountId
        bond: Balance

    class ServerBondAdded(Event, index=7):
        """A server raised its bond."""

        server: AccountId
        bond: Balance

    class ServerLeaving(Event, index=8):
        """No channel is opened to a server any more; its bond is free after a block, once its
        channels are gone and its epochs settled."""

        server: AccountId
        block: u32

    class ServerUnregistered(Event, index=9):
        """A server left with its bond."""

        server: AccountId
        bond: Balance

    class ServerSlashed(Event, index=10):
        """A server lost a part of its bond; `repaid` of it went to the askers that it wronged."""

        server: AccountId
        amount: Balance
        repaid: Balance

    class ReceiptReported(Event, index=11):
        """A receipt was false; it asked or drew `wronged` too much, beyond earlier reports."""

        channel: u32
        receipt: Hash
        wronged: Balance

    class TakenBack(Event, index=12):
        """An asker took back what waited for contributors of a model that can never pay them."""

        channel: u32
        amount: Balance

    # ---------------------------------------------------------------------------- channels

    @call(0, weights.INFERENCE_SET_PARAMETERS)
    def set_parameters(self, origin: Root, parameters: Parameters) -> None:
        """Set fee, shares, times and the least bond within their bounds; by root."""
        if not parameters.is_within_bounds:
            raise self.OutOfBounds
        self._note_former_fee(parameters)
        self.parameters.put(parameters)
        self.emit(self.ParametersSet(parameters))

    @call(1, weights.INFERENCE_OPEN_CHANNEL)
    def open_channel(
        self, asker: Signed, model: u32, server: MultiAddress, deposit: Balance
    ) -> None:
        """Hold a deposit of yours that a bonded server may draw from by your vouchers."""
        channels.open_one(self, asker, model, self.lookup(server), deposit)

    @call(2, weights.INFERENCE_TOP_UP)
    def top_up(self, who: Signed, channel: u32, amount: Balance) -> None:
        """Raise the deposit of a channel of yours."""
        channels.top_up(self, who, channel, amount)

    @call(3, weights.INFERENCE_REDEEM)
    def redeem(
        self,
        who: Signed,
        voucher: Voucher,
        tokens_in: u32,
        tokens_out: u32,
        signature: MultiSignature,
    ) -> None:
        """Draw from a channel as its server what it owes with the answer of a voucher, which had so
        many tokens. Redeeming the same answer again succeeds and pays nothing. What you redeem of
        models that pay contributors, and have not settled, may not exceed your bond."""
        redemption.redeem(
            self,
            who=who,
            voucher=voucher,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            signature=signature,
        )

    @call(4, weights.INFERENCE_CLOSE_CHANNEL)
    def close_channel(self, who: Signed, channel: u32) -> None:
        """Close a channel: at once by its server, after a challenge window by its asker."""
        channels.close(self, who, channel)

    @call(5, weights.INFERENCE_FINISH_CLOSE)
    def finish_close(self, who: Signed, channel: u32) -> None:
        """Refund the asker of a channel whose challenge window is over; by anybody."""
        channels.finish_close(self, channel)

    # ----------------------------------------------------------------------------- servers

    @call(6, weights.INFERENCE_REGISTER_SERVER)
    def register_server(self, who: Signed, bond: Balance) -> None:
        """Become a server, with a bond that is lost for false receipts."""
        servers.register(self, who, bond)

    @call(7, weights.INFERENCE_ADD_SERVER_BOND)
    def add_server_bond(self, who: Signed, amount: Balance) -> None:
        """Add to the bond of your server, which answers for all that you redeem and have not
        settled."""
        servers.add_bond(self, who, amount)

    @call(8, weights.INFERENCE_LEAVE_SERVICE)
    def leave_service(self, who: Signed) -> None:
        """Leave: no channel is opened to your server any more."""
        servers.leave(self, who)

    @call(9, weights.INFERENCE_WITHDRAW_SERVER_BOND)
    def withdraw_server_bond(self, who: Signed) -> None:
        """Take the bond back, when all channels are removed and the time after leaving is over."""
        servers.withdraw(self, who)

    # ---------------------------------------------------------------------------- evidence

    @call(10, weights.INFERENCE_REPORT_RECEIPT)
    def report_receipt(
        self, who: Signed, voucher: SignedVoucher, receipt: Receipt, signature: Bytes64
    ) -> None:
        """Report a receipt whose fee its voucher does not give, or for which its server drew more;
        the asker is paid out of the server's bond."""
        reports.report_receipt(self, voucher, receipt, signature)

    @call(11, weights.INFERENCE_REPORT_DOUBLE_RECEIPT)
    def report_double_receipt(
        self,
        who: Signed,
        voucher: SignedVoucher,
        receipt: Receipt,
        signature: Bytes64,
        other: Receipt,
        other_signature: Bytes64,
    ) -> None:
        """Report two receipts for one voucher; the asker is paid out of the server's bond."""
        reports.report_double_receipt(
            self,
            voucher=voucher,
            receipt=receipt,
            signature=signature,
            other=other,
            other_signature=other_signature,
        )

    @call(12, weights.INFERENCE_REMOVE_CHANNEL)
    def remove_channel(self, who: Signed, channel: u32) -> None:
        """Remove a closed channel that is no evidence any more; by anybody, or earlier by its
        server, which then cannot settle what it has not settled of it."""
        channels.remove(self, who, channel)

    @call(13, weights.INFERENCE_TAKE_BACK)
    def take_back(self, who: Signed, channel: u32) -> None:
        """Give an asker back what its channel paid for the contributors of a model that was retired
        before it could pay them; by anybody."""
        record = channels.known(self, channel)
        paid = channels.waiting(self, record)
        if not paid:
            raise self.NothingToTakeBack
        amount = self.attribution.give_back(record.model, record.server, paid, record.asker)
        repaid = replace(record.without_marks(), repaid_planck=record.repaid_planck + amount)
        self.channels.put(channel, repaid)
        self.emit(self.TakenBack(channel, amount))

    # --------------------------------------------------------------------------------- API

    @api("InferenceApi")
    def quote(self, model: u32, tokens_in: u32, tokens_out: u32) -> Balance | None:
        """Return what an answer costs, in planck, rounded up; None for an unknown model."""
        rates = self.rates(model)
        return None if rates is None else rates.fee(tokens_in, tokens_out)

    @api("InferenceApi")
    def price_list(self, model: u32) -> Rates | None:
        """Return the price list that a voucher names now; None for an unknown model."""
        return self.rates(model)

    @api("InferenceApi")
    def channel(self, id: u32) -> Channel | None:
        """Return a channel, also a closed one that is kept."""
        return self.channels.get(id)

    @api("InferenceApi")
    def channels_of(self, account: AccountId) -> tuple[ChannelInfo, ...]:
        """Return the channels in which an account is asker or server, by number, the 256 latest.
        Anybody may open channels to a server: of an account with more than 4,096 of them, only so
        many are looked at."""
        known = islice(self.memberships.keys(account), CHANNELS_LOOKED_AT_MAX)
        numbers = sorted(number for _, number in known)[-CHANNELS_LISTED_MAX:]
        return tuple(ChannelInfo(number, channels.known(self, number)) for number in numbers)

    @api("InferenceApi")
    def server(self, account: AccountId) -> Server | None:
        """Return a bonded server."""
        return self.servers.get(account)

    @api("InferenceApi")
    def redeemable(self, model: u32, server: AccountId) -> Balance | None:
        """Return what a server may still redeem of a model before it adds to its bond or settles an
        epoch, in planck; None without limit."""
        return servers.redeemable(self, model, server)

    @api("InferenceApi")
    def current_parameters(self) -> Parameters:
        """Return fee, shares, times and the least bond."""
        return self.parameters.get()

    # ------------------------------------------------------------------- for other pallets

    def rates(self, model: int) -> Rates | None:
        """Return the price list of a model now; None for an unknown model."""
        record = self.models.get(model)
        if record is None:
            return None
        platform_fee = self.parameters.get().platform_fee_planck
        return Rates(record.rate_in_planck, record.rate_out_planck, platform_fee)

    def bond_of(self, server: AccountId) -> int:
        """Return the bond of a server, in planck; 0 for an account that is none."""
        record = self.servers.get(server)
        return 0 if record is None else record.bond_planck

    def is_bonded(self, server: AccountId) -> bool:
        """Return whether an account is a bonded server, one that is leaving included."""
        return server in self.servers

    def slash_server(
        self, server: AccountId, amount: int, wronged: tuple[tuple[int, int], ...]
    ) -> int:
        """Take up to `amount` of a bond: wronged channels are repaid first, the rest is burned;
        returns it all."""
        return servers.slash(self, server, amount, wronged)

    def build_genesis(self, genesis: Genesis) -> None:
        """Set the parameters, make the platform's pot, bond the first servers."""
        assert genesis.parameters.is_within_bounds, "inference parameters are within bounds"
        self.parameters.put(genesis.parameters)
        self.system.create_pot(PLATFORM_POT)
        for server in genesis.servers:
            servers.register(self, server.account, server.bond_planck)

    def check_invariants(self) -> None:
        """The rest of each channel and each bond is held, memberships and counts fit channels."""
        left: Counter[AccountId] = Counter()
        kept: Counter[AccountId] = Counter()
        members: dict[tuple[AccountId, int], bool] = {}
        for number, channel in self.channels.items():
            assert 0 <= channel.redeemed_planck <= channel.deposit_planck, "drawn too much"
            assert channel.repaid_planck <= channel.redeemed_planck, "repaid more than was paid"
            assert not channel.is_closed or not channel.left_planck, "closed channels hold nothing"
            left[channel.asker] += channel.left_planck
            kept[channel.server] += 1
            members[channel.asker, number] = members[channel.server, number] = True
        assert members == dict(self.memberships.items()), "memberships and channels differ"
        for asker, total in left.items():
            on_hold = self.balances.held(HoldReason.InferenceChannel, asker)
            assert on_hold == total, f"channels of {asker.hex()} do not sum up to what is held"
        for account, server in self.servers.items():
            bond = self.balances.held(HoldReason.ServerBond, account)
            assert bond == server.bond_planck, f"the bond of {account.hex()} is held"
            assert server.channels == kept[account], f"channels of server {account.hex()}"
        assert all(account in self.servers for account in kept), "channels have a bonded server"

    # ---------------------------------------------------------------------------- internal

    def _note_former_fee(self, parameters: Parameters) -> None:
        """Let vouchers of before the change name the former fee while they can live."""
        now, former = self.system.current_number(), self.former_fee.get()
        lowest = self.parameters.get().platform_fee_planck
        if parameters.platform_fee_planck == lowest:
            return
        if now <= former.until:
            lowest = min(lowest, former.platform_fee_planck)
        self.former_fee.put(FormerFee(lowest, now + VOUCHER_BLOCKS_MAX))
