"""What Jobs tells of what happened."""

from __future__ import annotations

from pallets.jobs.job import FailureReason, JobFailure, Offence
from pallets.jobs.parameters import Parameters
from pallets.jobs.registry import Profile
from runtime.codec.scale import u32
from runtime.frame.pallet import Event
from runtime.types.primitives import AccountId, Balance, Hash


class JobsEvents:
    """The events of Jobs, which inherits them. Indices are part of the encoding."""

    class JobOpened(Event, index=0):
        """A job was opened and its escrow held."""

        job: u32
        owner: AccountId
        escrow: Balance

    class JobAssigned(Event, index=1):
        """Executors were drawn for a job; it is theirs to commit to a result."""

        job: u32
        attempt: u32
        executors: tuple[AccountId, ...]

    class ResultCommitted(Event, index=2):
        """An executor has committed to a result."""

        job: u32
        attempt: u32
        executor: AccountId

    class FailureReported(Event, index=3):
        """An executor has reported that it cannot answer."""

        job: u32
        attempt: u32
        executor: AccountId
        reason: FailureReason

    class RevealsOpened(Event, index=4):
        """Commits are over; results are to be revealed."""

        job: u32
        attempt: u32

    class ResultRevealed(Event, index=5):
        """An executor has revealed its result."""

        job: u32
        attempt: u32
        executor: AccountId
        root: Hash

    class JobSettled(Event, index=6):
        """A job is done; its executors were paid."""

        job: u32
        root: Hash
        paid: Balance

    class JobFailed(Event, index=7):
        """A job ended without a result; its escrow was refunded but for what was kept or earned."""

        job: u32
        failure: JobFailure
        refunded: Balance

    class JobExpired(Event, index=8):
        """A job found no executors in time; its escrow was refunded."""

        job: u32
        refunded: Balance

    class JobCancelled(Event, index=9):
        """The owner took a job back before it was assigned; its escrow was refunded."""

        job: u32
        refunded: Balance

    class ExecutorRegistered(Event, index=10):
        """An executor joined."""

        executor: AccountId
        registration: u32
        profile: Hash
        bond: Balance

    class BondAdded(Event, index=11):
        """An executor raised its bond."""

        executor: AccountId
        bond: Balance

    class ExecutorLeaving(Event, index=12):
        """An executor is not drawn any more; its bond is free from a block on."""

        executor: AccountId
        block: u32

    class ExecutorUnregistered(Event, index=13):
        """An executor left with its bond."""

        executor: AccountId
        bond: Balance

    class ExecutorSlashed(Event, index=14):
        """An executor lost (a part of) its bond."""

        job: u32
        executor: AccountId
        offence: Offence
        amount: Balance

    class ParametersChanged(Event, index=15):
        """Root changed the parameters of jobs."""

        parameters: Parameters

    class JobDeclined(Event, index=16):
        """A job is too large for an executor's machine; another executor is drawn."""

        job: u32
        attempt: u32
        executor: AccountId

    class PlacePaid(Event, index=17):
        """The fee for the place of a job was burned, for the chain has many jobs."""

        job: u32
        owner: AccountId
        fee: Balance

    class ProfileRegistered(Event, index=18):
        """Executors of a profile can register, or its limits have changed."""

        id: Hash
        profile: Profile

    class BasesDeclared(Event, index=19):
        """An executor has other bases from now on."""

        executor: AccountId
        bases: tuple[Hash, ...]

    class ReaderDeclared(Event, index=20):
        """Texts for an executor are encrypted for another key from now on."""

        executor: AccountId
        reader: Hash
