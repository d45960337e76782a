"""Why Jobs refuses a call: one class per cause, whose docstring is what a user reads."""

from __future__ import annotations

from runtime.frame.dispatch import Error


class JobsErrors:
    """The errors of Jobs, which inherits them. Indices are part of the encoding; 32 is spent."""

    class UnknownJob(Error, index=0):
        """There is no job of this number. Look at the jobs of your account."""

    class NotRegistered(Error, index=1):
        """This account is no executor. Register it with a bond first."""

    class AlreadyRegistered(Error, index=2):
        """This account is an executor already. Add to its bond, or leave before registering."""

    class RegistryFull(Error, index=3):
        """All places of executors are taken. Wait until one leaves."""

    class BondTooLow(Error, index=4):
        """The bond is below the minimum. Register with at least the minimum bond."""

    class ExecutorBusy(Error, index=5):
        """The executor still has unfinished jobs. Finish them, then leave."""

    class AlreadyLeaving(Error, index=6):
        """The executor is leaving already. Withdraw its bond when the unbonding time is over."""

    class NotLeaving(Error, index=7):
        """The executor has not asked to leave. Unregister it first."""

    class BondLocked(Error, index=8):
        """The unbonding time is not over. Try again at the block that ExecutorLeaving named."""

    class NotSubmittable(Error, index=9):
        """The chain opens index and settle jobs by itself. Submit a train or evaluate job."""

    class UnknownModel(Error, index=10):
        """There is no such model. Create it first."""

    class NotModelOwner(Error, index=11):
        """The model is not yours to run jobs for. Sign with the account that owns it."""

    class BaseDiffers(Error, index=12):
        """The base is not the model's. Submit the base that the model was created with."""

    class DatanetsDiffer(Error, index=13):
        """The datanets are not the model's. Submit exactly the versions the model names."""

    class UnknownVersion(Error, index=14):
        """A datanet has no such published version. Choose one that is published."""

    class NoAccess(Error, index=15):
        """You may not read one of the datanets. Ask its owner for access."""

    class RecipeOutOfBounds(Error, index=16):
        """A recipe setting is out of bounds. Compare with the constants RecipeMinimum and
        RecipeMaximum; targets are known and distinct, micro batches divide batches."""

    class TrainingTooLong(Error, index=17):
        """The training would take too many steps. Lower the epochs or set max_steps."""

    class NotTrained(Error, index=18):
        """That is no settled training job of this model. Name one that has settled."""

    class TooManyJobs(Error, index=19):
        """Your account has too many unfinished jobs. Wait until one ends."""

    class ChainFull(Error, index=20):
        """The chain has too many unfinished jobs of this kind. Try later; nothing was held."""

    class JobsFull(Error, index=21):
        """The share of this block that submissions may use is full. Send the extrinsic again."""

    class NotOwner(Error, index=22):
        """The job belongs to another account. Sign with the account that submitted it."""

    class NotCancellable(Error, index=23):
        """Only submitted jobs that are still open can be cancelled. Wait until the job ends."""

    class NotAssigned(Error, index=24):
        """You are not an executor of this job. Ask for the jobs of your executor."""

    class WrongAttempt(Error, index=25):
        """Your part of this job belongs to another attempt. Read the job again."""

    class AlreadyCommitted(Error, index=26):
        """You have committed to this job already. The first commitment counts."""

    class AlreadyRevealed(Error, index=27):
        """You have revealed this job already. Nothing more is to be done."""

    class AlreadyReported(Error, index=28):
        """You have reported that you cannot do this job. It is out of your hands now."""

    class CommitPhaseOver(Error, index=29):
        """The time for commitments and reports is over. Read the job again."""

    class RevealPhaseClosed(Error, index=30):
        """Reveals are not open now. Wait for RevealsOpened, or read how the job ended."""

    class NotCommitted(Error, index=31):
        """You have no commitment in this job that could be revealed."""

    class RevealMismatch(Error, index=33):
        """Output and salt do not give your commitment. Reveal what you committed to."""

    class OutputMismatch(Error, index=34):
        """The output does not fit the job's kind or settings. Reveal the output it asks for."""

    class OutputTooLong(Error, index=35):
        """The output has too many entries for a block. Compare with the pallet's constants."""

    class IndexExists(Error, index=36):
        """The training job's index is there or under way. Nothing is to be done again."""

    class ParametersOutOfBounds(Error, index=37):
        """A parameter is out of bounds. Compare with ParametersMinimum and ParametersMaximum."""

    class SeenAlready(Error, index=38):
        """The executor was seen a short while ago, or this chain asks for no sign of life. A
        heartbeat is needed only when a sixteenth of the parameter heartbeat_blocks has passed."""

    class DeclineOver(Error, index=39):
        """The time to decline is over. Report CannotFinish where the machine cannot do the job."""

    class UnknownProfile(Error, index=40):
        """No such profile is registered on this chain. Root registers one with register_profile;
        `openledger executor profile` prints the call for this machine."""

    class InvalidProfile(Error, index=41):
        """A profile has a name of 1 to 64 bytes and limits above zero. Correct it."""

    class InvalidBases(Error, index=42):
        """Bases are at most 64 distinct content hashes in ascending order. Correct the list."""
