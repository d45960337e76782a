"""Jobs: training, evaluation, indexing and settlement as work that bonded executors agree on.

A job is opened by an extrinsic (or by the chain), assigned to executors by randomness of a later
block, answered by commit and reveal, and settled on the root that they agree on. Nothing is learned
here: this pallet compares hashes, moves amounts and watches deadlines.

This file declares the pallet; the states of a job are in `job`, its way in `lifecycle`, its end in
`settlement`; who is drawn in `candidates` and `assignment`; executors and profiles in `executors`
and `registry`; prices and times in `work`, checks in `submission` and `recipe`. Each answer counts
once for (job, attempt, executor).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final

from pallets import weights
from pallets.balances import HoldReason
from pallets.jobs import answers, executors, lifecycle, settlement, submission
from pallets.jobs.candidates import ASSIGNMENTS_MAX
from pallets.jobs.errors import JobsErrors
from pallets.jobs.events import JobsEvents
from pallets.jobs.executors import EXECUTORS_MAX
from pallets.jobs.job import (
    FailureReason,
    Job,
    JobEntry,
    JobFailure,
    JobState,
    Offence,
)
from pallets.jobs.lifecycle import SETTLEMENTS_MAX, UNFINISHED_MAX
from pallets.jobs.parameters import (
    PARAMETERS_MAX,
    PARAMETERS_MIN,
    Parameters,
    are_within_bounds,
)
from pallets.jobs.recipe import RECIPE_MAX, RECIPE_MIN, STEPS_MAX
from pallets.jobs.registry import (
    BASES_MAX,
    Executor,
    ExecutorEntry,
    Genesis,
    GenesisExecutor,
    Profile,
)
from pallets.jobs.required_pallets import (
    AttributionLedger,
    Beacon,
    Blocks,
    Currency,
    DatanetRegistry,
    ModelRegistry,
)
from pallets.jobs.settlement import JOB_POT
from pallets.jobs.work import WORK_UNIT, index_quote, quote
from runtime.codec.scale import Bytes32, u32, u64, u128
from runtime.frame.dispatch import Root, Signed
from runtime.frame.fees import BLOCK_WEIGHT_MAX
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Hasher, Map, Value, default, stored
from runtime.shared.documents import (
    DATANETS_MAX,
    SHARES_PUSHED_MAX,
    Index,
    JobOutput,
    JobSpec,
    Recipe,
    Settle,
)
from runtime.types.primitives import AccountId, Balance, Hash, Weight

__all__ = ["Genesis", "GenesisExecutor", "Jobs", "Parameters", "Profile"]

JOBS_LISTED_MAX: Final = 1_000


class Jobs(JobsErrors, JobsEvents, Pallet, index=22):
    """Training, evaluation, indexing and settlement, done by bonded executors that must agree."""

    maximum_executors: Const[u32] = EXECUTORS_MAX
    """The most executors that are not leaving."""
    maximum_unfinished: Const[u32] = UNFINISHED_MAX
    """The most unfinished jobs of the whole chain at which a new one can be submitted."""
    maximum_settlements: Const[u32] = SETTLEMENTS_MAX
    """The most unfinished settlements of the whole chain; they have places of their own."""
    maximum_bases: Const[u32] = BASES_MAX
    """The most bases that one executor declares."""
    work_unit: Const[u64] = WORK_UNIT
    """The parameter-tokens of one unit of work."""
    maximum_assignments: Const[u32] = ASSIGNMENTS_MAX
    """The most unfinished jobs of one executor, and the most unfinished settlements beside them."""
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
    """The number of unfinished jobs of an account that are no settlements, by account."""
    unfinished: Value[u32] = default(0)
    """The number of unfinished jobs of the whole chain that are no settlements."""
    settlements: Value[u32] = default(0)
    """The number of unfinished settlements of the whole chain."""
    deadlines: DefaultMap[u32, tuple[u32, ...]] = default((), Hasher.TWOX_64_CONCAT)
    """The jobs that are no settlements whose state ends at a block, by block number."""
    settlement_deadlines: DefaultMap[u32, tuple[u32, ...]] = default((), Hasher.TWOX_64_CONCAT)
    """The settlements whose state ends at a block, by block number."""
    next_registration: Value[u32] = default(0)
    """The number of the next registration of an executor."""
    executor_accounts: Value[tuple[AccountId, ...]] = default(())
    """The accounts of the executors that are not leaving, in the order in which they joined."""
    profiles: Map[Hash, Profile]
    """Rate and limits of the profiles that root registered, by the hash of what they fix."""
    registry: Map[AccountId, Executor]
    """Profile, bond (planck), bases, reader key and record of an executor, by account."""
    assignments: DefaultMap[AccountId, tuple[u32, ...]] = default(())
    """The unfinished jobs that an executor is assigned to and are no settlements, by account."""
    settlement_assignments: DefaultMap[AccountId, tuple[u32, ...]] = default(())
    """The unfinished settlements that an executor is assigned to, by account."""
    assigned_work: DefaultMap[AccountId, u128] = default(0)
    """The work of the unfinished jobs that an executor is assigned to, in units, by account."""
    submission_weight_used: Value[u128] = default(0)
    """The execution time that submissions have used in this block, in picoseconds."""

    # ------------------------------------------------------------------------------- executors

    @call(0, weights.JOBS_REGISTER_EXECUTOR)
    def register_executor(
        self, who: Signed, profile: Hash, bond: Balance, bases: tuple[Hash, ...], reader: Hash
    ) -> None:
        """Become an executor of a registered profile, with a bond that is lost for wrong or missing
        work, the bases that your machine has, and the X25519 key that texts are encrypted for. It
        is not drawn in the first `age_blocks`."""
        wanted = GenesisExecutor(who, profile, bond, bases, reader)
        executors.register(self, who, wanted, drawable_from=executors.of_age(self))

    @call(1, weights.JOBS_ADD_BOND)
    def add_bond(self, who: Signed, amount: Balance) -> None:
        """Add to the bond of your executor; it is not drawn for `age_blocks`."""
        executors.add_bond(self, who, amount)

    @call(2, weights.JOBS_HEARTBEAT, operational=True, check=executors.check_heartbeat)
    def heartbeat(self, who: Signed) -> None:
        """Report that your executor is ready; commits count as well. A silent one is not drawn."""
        executors.check_heartbeat(self, who)
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
        if record.opened_at == self.system.current_number():
            self.free_submission_share(weights.JOBS_SUBMIT)
        lifecycle.unschedule(self, job, record)
        settlement.cancel(self, job, record)

    @call(7, weights.JOBS_COMMIT, operational=True, check=answers.check_commit)
    def commit(self, who: Signed, job: u32, attempt: u32, commitment: Hash) -> None:
        """Commit to a result as its executor; the sealed result is revealed later."""
        answers.commit(self, who=who, job_id=job, attempt=attempt, commitment=commitment)

    @call(8, answers.reveal_weight, operational=True, check=answers.check_reveal)
    def reveal(self, who: Signed, job: u32, output: JobOutput, salt: Bytes32) -> None:
        """Reveal the result that you committed to, with the salt of the commitment."""
        answers.reveal(self, who=who, job_id=job, output=output, salt=salt)

    @call(9, weights.JOBS_REPORT_FAILURE, operational=True, check=answers.check_report)
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

    @call(12, weights.JOBS_DECLINE, operational=True, check=answers.check_decline)
    def decline(self, who: Signed, job: u32, attempt: u32) -> None:
        """Say soon after the assignment that a job is too large for your machine, at no cost; who
        declines eight jobs in a row is not drawn for the unbonding time."""
        answers.decline(self, who, job, attempt)

    @call(13, weights.JOBS_REGISTER_PROFILE)
    def register_profile(self, origin: Root, id: Hash, profile: Profile) -> None:
        """Let executors register for a profile, or change its rate and limits."""
        executors.register_profile(self, id, profile)

    @call(14, weights.JOBS_SET_BASES)
    def set_bases(self, who: Signed, bases: tuple[Hash, ...]) -> None:
        """Declare the bases that your executor's machine has, in ascending order of their hashes;
        it is drawn for jobs of these alone, and for none in `age_blocks`."""
        executors.set_bases(self, who, bases)

    @call(15, weights.JOBS_SET_READER)
    def set_reader(self, who: Signed, reader: Hash) -> None:
        """Declare the X25519 key for which texts are encrypted that your executor is to read; it is
        not drawn for `age_blocks`."""
        executors.set_reader(self, who, reader)

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
        numbers = executors.assigned_jobs(self, account)
        return tuple(JobEntry(job, self.require_job(job)) for job in numbers)

    @api("JobsApi")
    def price(self, spec: JobSpec) -> Balance | None:
        """Return what is held for a job now, in planck; None when its data do not exist."""
        try:
            return quote(self, spec).price + index_quote(self, spec).price
        except (self.UnknownVersion, self.NotTrained):
            return None

    @api("JobsApi")
    def place_fee(self) -> Balance:
        """Return what a place for a submitted job costs now besides its price, in planck; 0 while
        the chain is less than half full."""
        return submission.place_fee(self)

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
        """Open a settlement for another pallet, with the seed of a former one where there is one;
        returns its number. Raises ChainFull, or what holding the escrow raises."""
        assert isinstance(spec, Settle), "other jobs are submitted"
        assert owner == spec.server, "who is judged owns the job, and is not drawn for it"
        if self.settlements.get() >= SETTLEMENTS_MAX:
            raise self.ChainFull
        self.balances.hold(HoldReason.JobEscrow, owner, escrow_planck)
        work = quote(self, spec).work
        return lifecycle.open_job(self, spec, owner, escrow_planck, work=work, seed=seed)

    def end_withheld(self, job: int) -> None:
        """End a settle job whose server has shown no texts in time; its executors are paid."""
        record = self.require_job(job)
        lifecycle.unschedule(self, job, record)
        settlement.end_withheld(self, job, record)

    # --------------------------------------------------------------------- hooks and genesis

    def build_genesis(self, genesis: Genesis) -> None:
        """Set the parameters, make the pot, register profiles and the first executors."""
        assert are_within_bounds(genesis.parameters), "parameters of jobs within their bounds"
        self.parameters.put(genesis.parameters)
        self.system.create_pot(JOB_POT)
        for identity, profile in genesis.profiles:
            executors.register_profile(self, identity, profile)
        for entry in genesis.executors:
            executors.register(self, entry.account, entry, drawable_from=0)

    def on_initialize(self) -> Weight:
        """Free the share of submissions, and do what the deadlines of this block ask for."""
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

    def use_submission_share(self, weight: Weight) -> None:
        """Use up some of the share of a block that submissions have together. Raises JobsFull."""
        percent = self.parameters.get().submission_percent
        used = self.submission_weight_used.get() + weight.ref_time
        if used > BLOCK_WEIGHT_MAX.ref_time * percent // 100:
            raise self.JobsFull
        self.submission_weight_used.put(used)

    def free_submission_share(self, weight: Weight) -> None:
        """Give back what a submission of this block has used, for it was cancelled in it."""
        self.submission_weight_used.put(max(0, self.submission_weight_used.get() - weight.ref_time))
