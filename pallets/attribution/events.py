"""The events of Attribution, mixed into the pallet; their indices are frozen."""

from __future__ import annotations

from pallets.attribution.records import Parameters
from runtime.codec.scale import u32
from runtime.frame.pallet import Event
from runtime.types.primitives import AccountId, Balance, Hash


class AttributionEvents:
    """What Attribution reports. Index 7 was of a former rule."""

    class IndexRecorded(Event, index=0):
        """The commitments of attribution of a trained model were recorded."""

        model: u32
        job: u32

    class Funded(Event, index=1):
        """The pool of a model and a server received the contributors' part of a payment."""

        model: u32
        server: AccountId
        amount: Balance

    class EpochClosed(Event, index=2):
        """A server closed an epoch; a settle job checks its receipts."""

        model: u32
        server: AccountId
        epoch: u32
        job: u32
        fees_planck: Balance

    class EpochSettled(Event, index=3):
        """The pool of an epoch was shared among contributors and the commons."""

        model: u32
        server: AccountId
        epoch: u32
        paid_planck: Balance
        commons_planck: Balance

    class SettlementFailed(Event, index=4):
        """The settlement of an epoch failed; its fees are in the pool again."""

        model: u32
        server: AccountId
        epoch: u32

    class Earned(Event, index=5):
        """The share of a contributor in an epoch was credited; it can claim the amount."""

        model: u32
        server: AccountId
        epoch: u32
        contributor: AccountId
        amount: Balance

    class Claimed(Event, index=6):
        """A contributor's earnings were paid out."""

        contributor: AccountId
        amount: Balance

    class CommonsSpent(Event, index=8):
        """Root spent from the commons of a model."""

        model: u32
        dest: AccountId
        amount: Balance

    class ParametersChanged(Event, index=9):
        """Root changed the parameters of attribution."""

        parameters: Parameters

    class EpochConvicted(Event, index=10):
        """The receipts of an epoch were false or withheld: its server lost a part of its bond, and
        the pool went to the commons."""

        model: u32
        server: AccountId
        epoch: u32
        slashed_planck: Balance
        commons_planck: Balance

    class TextsShown(Event, index=11):
        """A server named the file with the texts of drawn receipts."""

        job: u32
        attempt: u32
        blob: Hash

    class PoolSwept(Event, index=12):
        """The pool of a server that has left went to the commons of the model."""

        model: u32
        server: AccountId
        amount: Balance

    class EpochOverdue(Event, index=13):
        """A server has not closed an epoch in time: it lost a part of its bond, and the pool went
        to the commons."""

        model: u32
        server: AccountId
        epoch: u32
        slashed_planck: Balance
        commons_planck: Balance
