"""The errors of Attribution, mixed into the pallet; their indices are frozen."""

from __future__ import annotations

from runtime.frame.dispatch import Error


class AttributionErrors:
    """What can be wrong with a call of Attribution. Indices 1, 11 and 14 were of former rules but
    for the last."""

    class UnknownModel(Error, index=0):
        """There is no such model. Look at the list of models."""

    class GateClosed(Error, index=2):
        """No index of the model has had the rows that attribution needs. The pool waits until one
        has; let its owner take newer versions of its datanets and train on them."""

    class NotIndexed(Error, index=3):
        """The model has no settled index job. Wait for the one that follows its training."""

    class EpochSettling(Error, index=4):
        """An epoch of this model and server is being settled. Close the next one afterwards."""

    class NothingToSettle(Error, index=5):
        """An epoch without receipts or fees pays nobody. Close it when there are some."""

    class TooManyReceipts(Error, index=6):
        """The epoch has more receipts than one settlement may have. Close epochs more often."""

    class FeesExceedPool(Error, index=7):
        """The receipts claim more fees than you have redeemed since the last close. Redeem their
        vouchers first."""

    class NotFailed(Error, index=8):
        """Only your latest epoch, and only when its settlement failed, can be closed again. Close
        the current one."""

    class NotSettling(Error, index=9):
        """The epoch is not being settled. Its settle job comes too late."""

    class OutputDiffers(Error, index=10):
        """The settlement does not fit what the epoch was closed with."""

    class NothingToClaim(Error, index=12):
        """Nothing has been earned since the last claim. Wait for the next settlement."""

    class CommonsTooLow(Error, index=13):
        """The commons of this model hold less than that. Spend at most what they hold."""

    class ParametersOutOfBounds(Error, index=14):
        """A parameter is out of bounds. Compare with ParametersMinimum and ParametersMaximum."""

    class FeesExceedBond(Error, index=15):
        """The fees of all your epochs being settled may not exceed your bond. Add to the bond, wait
        until one is settled, or close with fewer receipts."""

    class NotSettled(Error, index=16):
        """The epoch is not settled, so it has no shares. Wait until it is."""

    class BadProof(Error, index=17):
        """The proof does not show this share in the epoch. Make it from the epoch's file of
        shares."""

    class AlreadyCredited(Error, index=18):
        """The share at this position is credited already; claim what was earned."""

    class NotYourJob(Error, index=19):
        """This is not the settle job of an epoch of yours. Show the texts of your own."""

    class NotShowing(Error, index=20):
        """Texts are shown to the executors of the current attempt, while they work and within the
        time for it."""

    class AlreadyShown(Error, index=21):
        """The texts were shown to these executors. Show them again to others only."""

    class NotWithheld(Error, index=22):
        """The server has shown the texts, or has time left for it. Wait."""

    class ServerBonded(Error, index=23):
        """The server can still close epochs with this pool. Wait until it has left."""

    class NothingToSweep(Error, index=24):
        """This pool is empty. Look at the pools of the model."""

    class TextsDiffer(Error, index=29):
        """The executors of an earlier attempt were shown other texts. Show all of them the same."""

    class EpochFailed(Error, index=26):
        """The settlement of your last epoch failed. Close that one again first."""

    class NotOverdue(Error, index=27):
        """The server has nothing to close, or has time left for it. Wait."""

    class FeesMissing(Error, index=28):
        """Fees and what is missing are not together what you have redeemed since the last close.
        Declare all receipts; what is due of the missing is slashed."""

    class ReceiptsDiffer(Error, index=25):
        """An epoch is closed again with the receipts that it was closed with, for it is known by
        now which of them are drawn. Declare the same root, number and fees."""
