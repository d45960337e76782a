"""The errors of Inference, mixed into the pallet; their indices are frozen."""

from __future__ import annotations

from runtime.frame.dispatch import Error


class InferenceErrors:
    """What can be wrong with a call of Inference."""

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
        """The voucher is not one of the channel's asker for this chain, channel and model; ask for
        a new one."""

    class VoucherTooLow(Error, index=7):
        """A later answer of the channel was redeemed, or more; redeem the newest voucher."""

    class AboveDeposit(Error, index=8):
        """The voucher is above the channel's deposit; let the asker top the channel up."""

    class IsClosing(Error, index=9):
        """The channel is closing; open another one."""

    class TooEarly(Error, index=10):
        """The channel is not closing, or its server may still redeem; wait for its last block."""

    class OutOfBounds(Error, index=11):
        """A parameter is out of its bounds, or the shares do not add up to 1,000; correct it."""

    class AboveVoucher(Error, index=12):
        """An answer of so many tokens costs more than the voucher allows; redeem what it was."""

    class VoucherExpired(Error, index=13):
        """The voucher could be redeemed up to a block that has passed."""

    class RatesTooLow(Error, index=14):
        """The voucher's price list is below the model's; let the asker sign by the present one."""

    class NotBonded(Error, index=15):
        """This account is not a bonded server, its bond is below the least, or it is leaving; use
        another server."""

    class AlreadyBonded(Error, index=16):
        """This account is a server already; add to its bond instead."""

    class BondTooLow(Error, index=17):
        """The bond is below the least that servers post; post more."""

    class AlreadyLeaving(Error, index=18):
        """The server is leaving; withdraw its bond when its time is over."""

    class BondLocked(Error, index=19):
        """The bond is held while channels are kept, an epoch is being settled or the time after
        leaving runs; close and remove the channels, and wait."""

    class NotFalse(Error, index=20):
        """The receipt is not signed by the channel's server, or it is in order; nothing is owed."""

    class StillNeeded(Error, index=21):
        """The channel may still be needed as evidence; wait until its time is over and its epochs
        are settled. Where its asker can take something back, call take_back first."""

    class NothingToTakeBack(Error, index=22):
        """Nothing of this channel waits for contributors whose model can never pay them: the model
        is in service, has paid contributors, or the channel has paid nothing since."""

    class AlreadyReported(Error, index=23):
        """The server was slashed for this answer already, by as much or more; nothing is owed."""

    class PoolsWaiting(Error, index=24):
        """Pools of your former service were never closed. Let anybody sweep them into the commons
        (Attribution.sweep_pool), then register again."""

    class AboveBond(Error, index=25):
        """Your bond does not answer for so much: what you redeem of models that pay contributors,
        and have not settled, may not exceed it. Add to the bond (Inference.add_server_bond), also
        when you are leaving, or settle your epochs; then redeem again."""
