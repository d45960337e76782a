"""Jobs: training, evaluation, indexing and settlement as work that bonded executors agree on.

A job is opened by an extrinsic (or by the chain), assigned to executors by randomness of a later
block, answered by commit and reveal, and settled on the root that they agree on. Nothing is learned
here: this pallet compares hashes, moves amounts and watches deadlines.

This file declares the pallet; states and records are in `job`, the way of a job in `lifecycle`, its
end in `settlement`, drawing in `assignment`, executors in `executors`, prices and checks in
`submission` and `recipe`. Each answer counts once for (job, attempt, executor).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from pallets import weights
from pallets.balances import HoldReason
from pallets.jobs import answers, executors, lifecycle, settlement, submission
from pallets.jobs.errors import JobsErrors
from pallets.jobs.executors import EXECUTORS_MAX
from pallets.jobs.job import (
    PARAMETERS_MAX,
    PARAMETERS_MIN,
    Executor,
    ExecutorEntry,
    FailureReason,
    Genesis,
    GenesisExecutor,
    Job,
    JobEntry,
    JobFailure,
    JobState,
    Offence,
    Parameters,
    are_within_bounds,
)
from pallets.jobs.lifecycle import ASSIGNMENTS_MAX, UNFINISHED_MAX
from pallets.jobs.recipe import RECIPE_MAX, RECIPE_MIN, STEPS_MAX
from pallets.jobs.required_pallets import (
    AttributionLedger,
    Beacon,
    Blocks,
    Currency,
    DatanetRegistry,
    ModelRegistry,
)
from pallets.jobs.settlement import JOB_POT
from pallets.jobs.submission import DATANETS_MAX
from runtime.codec.scale import Bytes32, u32, u128
from runtime.frame.dispatch import Root, Signed
from runtime.frame.fees import BLOCK_WEIGHT_MAX
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Hasher, Map, Value, default, stored
from runtime.shared.documents import (
    SHARES_PUSHED_MAX,
    Index,
    JobOutput,
    JobSpec,
    Recipe,
    Settle,
)
from runtime.types.primitives import AccountId, Balance, Hash, Weight

__all__ = ["Genesis", "GenesisExecutor", "Jobs", "Parameters"]

JOBS_LISTED_MAX: Final = 1_000


class Jobs(JobsErrors, Pallet, index=22):
    """Training, evaluation, indexing and settlement, done by bonded executors that must agree."""

    maximum_executors: Const[u32] = EXECUTORS_MAX
    """The most executors that are not leaving."""
    maximum_unfinished: Const[u32] = UNFINISHED_MAX
    """The most unfinished jobs of the whole chain at which a new one can be submitted."""
    maximum_assignments: Const[u32] = ASSIGNMENTS_MAX
    """The most unfinished jobs of one executor."""
    maximum_datanets: Const[u32] = DATANETS_MAX
    """The most datanets of one training job."""
    maximum_steps: Const[u32] = STEPS_MAX
    """The most optimizer steps of one training job."""
    maximum_shares_pushed: Const[u32] = SHARES_PUSHED_MAX
    """The most shares that one settlement credits at once; the others are claimed."""
    recipe_minimum: Const[Recipe] = RECIPE_MIN
    """The least values of the settings of a training recipe."""
    recipe_maximum: Const[Recipe] = RECIPE_MAX
    """The greatest values of the settings of a training recipe."""
    parameters_minimum: Const[Parameters] = PARAMETERS_MIN
    """The least values that root may set as parameters of jobs."""
    parameters_maximum: Const[Parameters] = PARAMETERS_MAX
    """The greatest values that root may set as parameters of jobs."""

    system: Needs[Blocks]
    balances: Needs[Currency]
    datanets: Needs[DatanetRegistry]
    models: Needs[ModelRegistry]
    attribution: Needs[AttributionLedger]
    randomness: Needs[Beacon]

    parameters: Value[Parameters] = default(Parameters())
    """The parameters of jobs that root sets: times in blocks, bonds and prices in planck."""
    next_job: Value[u32] = default(0)
    """The number of the next job."""
    jobs: Map[u32, Job] = stored(Hasher.TWOX_64_CONCAT)
    """The jobs with their state, escrow (planck) and executors, by job."""
    outputs: Map[tuple[u32, Hash], JobOutput]
    """The outputs that executors have revealed, by job and root of the output."""
    owned: Map[tuple[AccountId, u32], bool]
    """The jobs of an account, by account and job."""
    unfinished_of: DefaultMap[AccountId, u32] = default(0)
    """The number of unfinished jobs of an account, by account."""
    unfinished: Value[u32] = default(0)
    """The number of unfinished jobs of the whole chain."""
    deadlines: DefaultMap[u32, tuple[u32, ...]] = default((), Hasher.TWOX_64_CONCAT)
    """The jobs whose state ends at a block, by block number."""
    next_registration: Value[u32] = default(0)
    """The number of the next registration of an executor."""
    executor_accounts: Value[tuple[AccountId, ...]] = default(())
    """The accounts of the executors that are not leaving, in the order in which they joined."""
    registry: Map[AccountId, Executor]
    """Profile, bond (planck) and record of an executor, by account."""
    assignments: DefaultMap[AccountId, tuple[u32, ...]] = default(())
    """The unfinished jobs that an executor is assigned to, by account."""
    weight_used: Value[u128] = default(0)
    """The execution time that calls of jobs have used in this block, in picoseconds."""
    submission_weight_used: Value[u128] = default(0)
    """The part of it that submissions have used, in picoseconds."""

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
        """A job ended without a result; its escrow was refunded."""

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

    # ------------------------------------------------------------------------------- executors

    @call(0, weights.JOBS_REGISTER_EXECUTOR)
    def register_executor(self, who: Signed, profile: Hash, bond: Balance) -> None:
        """Become an executor of a profile, with a bond that is lost for wrong or missing work."""
        executors.register(self, who, profile, bond)

    @call(1, weights.JOBS_ADD_BOND)
    def add_bond(self, who: Signed, amount: Balance) -> None:
        """Add to the bond of your executor."""
        executors.add_bond(self, who, amount)

    @call(2, weights.JOBS_HEARTBEAT)
    def heartbeat(self, who: Signed) -> None:
        """Report that your executor is ready; commits count as well. A silent one is not drawn."""
        executors.note_seen(self, who)

    @call(3, weights.JOBS_UNREGISTER_EXECUTOR)
    def unregister_executor(self, who: Signed) -> None:
        """Leave: your executor must be free of jobs, and is not drawn any more."""
        executors.leave(self, who)

    @call(4, weights.JOBS_WITHDRAW_BOND)
    def withdraw_bond(self, who: Signed) -> None:
        """Take the bond back when the unbonding time is over."""
        executors.withdraw(self, who)

    # ------------------------------------------------------------------------------------ jobs

    @call(5, weights.JOBS_SUBMIT)
    def submit(self, who: Signed, spec: JobSpec) -> None:
        """Submit a train or evaluate job; its price is held until the job ends. The index job
        that follows training is part of the price."""
        submission.submit(self, who, spec)

    @call(6, weights.JOBS_CANCEL)
    def cancel(self, who: Signed, job: u32) -> None:
        """Take back a job that no executor works on yet; its escrow is refunded."""
        record = self.require_job(job)
        if record.owner != who:
            raise self.NotOwner
        if record.state is not JobState.Open or isinstance(record.spec, Index | Settle):
            raise self.NotCancellable
        lifecycle.unschedule(self, job, record)
        settlement.cancel(self, job, record)

    @call(7, weights.JOBS_COMMIT)
    def commit(self, who: Signed, job: u32, attempt: u32, commitment: Hash) -> None:
        """Commit to a result as its executor; the sealed result is revealed later."""
        answers.commit(self, who=who, job_id=job, attempt=attempt, commitment=commitment)

    @call(8, answers.reveal_weight)
    def reveal(self, who: Signed, job: u32, output: JobOutput, salt: Bytes32) -> None:
        """Reveal the result that you committed to, with the salt of the commitment."""
        answers.reveal(self, who=who, job_id=job, output=output, salt=salt)

    @call(9, weights.JOBS_REPORT_FAILURE)
    def report_failure(self, who: Signed, job: u32, attempt: u32, reason: FailureReason) -> None:
        """Report that you cannot do a job, and why; the job fails when most executors say so."""
        answers.report_failure(self, who=who, job_id=job, attempt=attempt, reason=reason)

    @call(10, weights.JOBS_INDEX_AGAIN)
    def index_again(self, who: Signed, train_job: u32) -> None:
        """Pay for another index job after that of your training job failed or expired. It keeps
        the seed of the former one, so that failing on purpose draws no better one."""
        submission.index_again(self, who, train_job)

    @call(11, weights.JOBS_SET_PARAMETERS, operational=True)
    def set_parameters(self, origin: Root, parameters: Parameters) -> None:
        """Change the parameters of jobs, within their bounds; jobs keep the price they had."""
        if not are_within_bounds(parameters):
            raise self.ParametersOutOfBounds
        self.parameters.put(parameters)
        self.emit(self.ParametersChanged(parameters))

    # --------------------------------------------------------------------------- runtime API

    @api("JobsApi")
    def job(self, job: u32) -> Job | None:
        """Return a job."""
        return self.jobs.get(job)

    @api("JobsApi")
    def jobs_of(self, account: AccountId) -> tuple[u32, ...]:
        """Return the numbers of an account's jobs, the latest first, at most 1,000."""
        numbers = [number for _, number in self.owned.keys(account)]
        return tuple(sorted(numbers, reverse=True)[:JOBS_LISTED_MAX])

    @api("JobsApi")
    def jobs_for_executor(self, account: AccountId) -> tuple[JobEntry, ...]:
        """Return the unfinished jobs that an executor is assigned to."""
        return tuple(JobEntry(job, self.require_job(job)) for job in self.assignments.get(account))

    @api("JobsApi")
    def price(self, spec: JobSpec) -> Balance | None:
        """Return what a job costs now, in planck; None when its data do not exist."""
        try:
            return sum(submission.price_of(self, spec))
        except (self.UnknownVersion, self.NotTrained):
            return None

    @api("JobsApi")
    def executors(self) -> tuple[ExecutorEntry, ...]:
        """Return all executors."""
        return executors.listed(self)

    @api("JobsApi")
    def output(self, job: u32) -> JobOutput | None:
        """Return what a job settled on; None before, and for settle jobs."""
        record = self.jobs.get(job)
        if record is None or record.root is None:
            return None
        return self.outputs.get((job, record.root))

    # ------------------------------------------------------------------- for other pallets

    def open(
        self, spec: JobSpec, owner: AccountId, escrow_planck: int, seed: Hash | None = None
    ) -> int:
        """Open a job for another pallet, with the seed of a former one where there is one; returns
        its number. Raises ChainFull, or what holding the escrow raises."""
        if self.unfinished.get() >= UNFINISHED_MAX:
            raise self.ChainFull
        self.balances.hold(HoldReason.JobEscrow, owner, escrow_planck)
        return lifecycle.open_job(self, spec, owner, escrow_planck, seed=seed)

    def end_withheld(self, job: int) -> None:
        """End a settle job whose server has shown no texts in time; its executors are paid."""
        record = self.require_job(job)
        lifecycle.unschedule(self, job, record)
        settlement.end_withheld(self, job, record)

    # --------------------------------------------------------------------- hooks and genesis

    def build_genesis(self, genesis: Genesis) -> None:
        """Set the parameters, make the pot, register the first executors."""
        assert are_within_bounds(genesis.parameters), "parameters of jobs within their bounds"
        self.parameters.put(genesis.parameters)
        self.system.create_pot(JOB_POT)
        for entry in genesis.executors:
            executors.register(self, entry.account, entry.profile, entry.bond)

    def on_initialize(self) -> Weight:
        """Free the jobs' share of the block, and do what the deadlines of this block ask for."""
        self.weight_used.clear()
        self.submission_weight_used.clear()
        return weights.JOBS_ON_INITIALIZE + lifecycle.process_due(self)

    def check_invariants(self) -> None:
        """Holds are the escrows and bonds; each unfinished job has one deadline ahead of it."""
        lifecycle.check_invariants(self)

    # ------------------------------------------------------------------------------ internal

    def transaction(self) -> AbstractContextManager[None]:
        """Undo everything inside when it raises."""
        return self._machine.transaction()

    def require_job(self, job: int) -> Job:
        """Return a job. Raises UnknownJob."""
        record = self.jobs.get(job)
        if record is None:
            raise self.UnknownJob
        return record

    def use_block_share(self, weight: Weight) -> None:
        """Use up some of the share of a block that all jobs have together. Raises JobsFull."""
        self._use(self.weight_used, weight, self.parameters.get().weight_percent)

    def use_submission_share(self, weight: Weight) -> None:
        """Use up some of the part of that share that submissions have. Raises JobsFull."""
        self._use(self.submission_weight_used, weight, self.parameters.get().submission_percent)
        self.use_block_share(weight)

    def _use(self, counter: Value[u128], weight: Weight, percent: int) -> None:
        used = counter.get() + weight.ref_time
        if used > BLOCK_WEIGHT_MAX.ref_time * percent // 100:
            raise self.JobsFull
        counter.put(used)
