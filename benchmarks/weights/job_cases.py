"""Jobs at their worst cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.data_cases import BASE, store_model
from benchmarks.weights.stage import BLOCK, GENESIS_HASH, WeighingStage
from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.attribution.records import Epoch, EpochState, Ledger
from pallets.balances import Balances, HoldReason
from pallets.inference import Inference
from pallets.inference.records import Channel, Server
from pallets.jobs import Jobs, Parameters, Profile
from pallets.jobs.candidates import ASSIGNMENTS_MAX
from pallets.jobs.executors import EXECUTORS_MAX, assignments_of
from pallets.jobs.job import AGREEING_MIN, FailureReason, Job, JobState, Slot, SlotState
from pallets.jobs.lifecycle import BUCKET_MAX, DECLINES_MAX, SETTLEMENTS_MAX, UNFINISHED_MAX
from pallets.jobs.parameters import PARAMETERS_MAX
from pallets.jobs.recipe import TARGETS
from pallets.jobs.registry import BASES_MAX, Executor
from pallets.jobs.work import commit_blocks
from pallets.system import System
from runtime.crypto.hashing import blake2b_256
from runtime.frame.fees import BLOCK_WEIGHT_MAX
from runtime.shared.documents import (
    FAULTS_MAX,
    SHARES_PUSHED_MAX,
    DatanetVersion,
    Fault,
    FaultKind,
    JobSpec,
    LargestShare,
    Recipe,
    Settle,
    Settled,
    Share,
    Train,
    Trained,
    commitment,
    output_root,
)
from runtime.types.primitives import (
    OPEN,
    ZERO_HASH,
    AccountData,
    AccountId,
    AccountInfo,
    Balance,
    Hash,
)

JOBS: Final = Benchmarks("Jobs")

JOB: Final = 7
EXECUTORS: Final = 5
"""Executors of a job, the most that root may ask for."""
ATTEMPT: Final = PARAMETERS_MAX.extra_attempts
SILENT: Final = ATTEMPT * AGREEING_MIN
"""Executors of former attempts that were silent; each is slashed at the end of the job."""
DECLINED: Final = DECLINES_MAX - 1
"""Executors that declined a job that has not ended by it."""
WORK: Final = 1_000
FULL_BUCKETS: Final = max(UNFINISHED_MAX, SETTLEMENTS_MAX) // BUCKET_MAX - 1
"""Buckets that are full where all other jobs of a kind have their deadlines in a row."""
FEES: Final[Balance] = 1_000 * OPEN
BOND: Final[Balance] = 1_000 * OPEN
ESCROW: Final[Balance] = 10 * OPEN
SALT: Final = b"s" * 32
PROFILE: Final = Hash(b"profile".ljust(32, b"\0"))
LIMITS: Final = Profile("p" * 64, 1_000, 2**64 - 1, 2**64 - 1, 2**32 - 1)
BASES: Final = tuple(
    sorted([BASE, *(Hash(blake2b_256(b"base %d" % at)) for at in range(BASES_MAX - 1))])
)
TRAINING: Final = Train(
    0, BASE, tuple(DatanetVersion(number, 1) for number in range(16)), Recipe(targets=TARGETS)
)


def _executor(stage: WeighingStage, name: str, registration: int) -> AccountId:
    """Register the executor of a name; it works on a full list of jobs."""
    who, jobs = stage.account(name), stage.pallet(Jobs)
    jobs.profiles.put(PROFILE, LIMITS)
    jobs.registry.put(who, Executor(PROFILE, BOND, registration, last_seen=1, bases=BASES))
    stage.pallet(Balances).hold(HoldReason.JobBond, who, BOND)
    return who


def _register(stage: WeighingStage, count: int, last_seen: int = BLOCK) -> tuple[AccountId, ...]:
    """Register executors that can be drawn; nobody else is listed."""
    jobs = stage.pallet(Jobs)
    made = stage.accounts("executor", count)
    jobs.profiles.put(PROFILE, LIMITS)
    for registration, who in enumerate(made):
        jobs.registry.put(who, Executor(PROFILE, BOND, registration, last_seen, bases=BASES))
    jobs.executor_accounts.put(made)
    jobs.next_registration.put(count)
    return made


def _store(
    stage: WeighingStage, state: JobState, spec: JobSpec, slots: tuple[Slot, ...] = ()
) -> AccountId:
    """Store the job, with its escrow, its deadline in a full bucket and its executors."""
    owner, jobs = stage.account("owner"), stage.pallet(Jobs)
    stage.pallet(Balances).hold(HoldReason.JobEscrow, owner, ESCROW)
    job = Job(
        owner=owner,
        spec=spec,
        state=state,
        escrow=ESCROW,
        index_escrow=0,
        executors=EXECUTORS,
        work=WORK,
        opened_at=1,
        expires_at=2 * BLOCK,
        deadline=BLOCK,
        attempt=ATTEMPT,
        slots=slots,
    )
    jobs.jobs.put(JOB, job)
    jobs.settlements.put(1)
    jobs.unfinished.put(1)
    jobs.unfinished_of.put(owner, 2)
    others = tuple(range(100, 100 + BUCKET_MAX - 1))
    is_settlement = isinstance(spec, Settle)
    deadlines = jobs.settlement_deadlines if is_settlement else jobs.deadlines
    deadlines.put(BLOCK, (*others, JOB))
    assigned = tuple(range(1_000, 1_000 + ASSIGNMENTS_MAX - 1))
    for slot in slots:
        if slot.state is not SlotState.Declined:
            assignments_of(jobs, spec).put(slot.executor, (*assigned, JOB))
            jobs.assigned_work.put(slot.executor, ASSIGNMENTS_MAX * WORK)
    return owner


def fill_deadlines(stage: WeighingStage, *after: int) -> None:
    """Fill the buckets that a deadline so many blocks from now passes on its way to a free one."""
    jobs = stage.pallet(Jobs)
    full = tuple(range(1_000, 1_000 + BUCKET_MAX))
    for first in after:
        for block in range(BLOCK + first, BLOCK + first + FULL_BUCKETS):
            jobs.deadlines.put(block, full)
            jobs.settlement_deadlines.put(block, full)


def slots_of(
    stage: WeighingStage, own: SlotState, others: SlotState, **fields: Any
) -> tuple[Slot, ...]:
    """Return the slots of a job late in its life: silent ones first, then those that declined, then
    its fellows and ours."""
    former = tuple(
        Slot(_executor(stage, f"former {at}", at), at, 0, 1, state)
        for at, state in enumerate([SlotState.NoShow] * SILENT + [SlotState.Declined] * DECLINED)
    )
    fellows = tuple(
        Slot(_executor(stage, f"fellow {at}", at), at, ATTEMPT, BLOCK, others, **_given(fields, at))
        for at in range(EXECUTORS - 1)
    )
    executor = _executor(stage, "executor", 99)
    return (*former, *fellows, Slot(executor, 99, ATTEMPT, BLOCK, own, **fields))


def _given(fields: dict[str, Any], at: int) -> dict[str, Any]:
    """Return the fields of a fellow's slot, whose commitment is its own."""
    return {**fields, "commitment": Hash(blake2b_256(b"commitment %d" % at))}


# -------------------------------------------------------------------------------------- executors


@JOBS.constant
def jobs_register_executor(stage: WeighingStage) -> Work:
    _register(stage, EXECUTORS_MAX, last_seen=1)
    parameters = stage.pallet(Jobs).parameters
    parameters.put(replace(parameters.get(), heartbeat_blocks=1))
    who = stage.account("newcomer")
    wanted = {"profile": PROFILE, "bond": BOND, "bases": BASES, "reader": PROFILE}
    return stage.signed(who, "Jobs", "register_executor", **wanted)


@JOBS.constant
def jobs_register_profile(stage: WeighingStage) -> Work:
    return stage.root("Jobs", "register_profile", id=PROFILE, profile=LIMITS)


@JOBS.constant
def jobs_set_bases(stage: WeighingStage) -> Work:
    return stage.signed(_executor(stage, "executor", 1), "Jobs", "set_bases", bases=BASES)


@JOBS.constant
def jobs_set_reader(stage: WeighingStage) -> Work:
    return stage.signed(_executor(stage, "executor", 1), "Jobs", "set_reader", reader=PROFILE)


@JOBS.constant
def jobs_add_bond(stage: WeighingStage) -> Work:
    return stage.signed(_executor(stage, "executor", 1), "Jobs", "add_bond", amount=OPEN)


@JOBS.constant
def jobs_heartbeat(stage: WeighingStage) -> Work:
    who, parameters = _executor(stage, "executor", 1), stage.pallet(Jobs).parameters
    parameters.put(replace(parameters.get(), heartbeat_blocks=1))
    return stage.signed(who, "Jobs", "heartbeat")


@JOBS.constant
def jobs_unregister_executor(stage: WeighingStage) -> Work:
    who = _executor(stage, "executor", 1)
    others = _register(stage, EXECUTORS_MAX - 1)
    stage.pallet(Jobs).executor_accounts.put((who, *others))
    return stage.signed(who, "Jobs", "unregister_executor")


@JOBS.constant
def jobs_withdraw_bond(stage: WeighingStage) -> Work:
    who, jobs = _executor(stage, "executor", 1), stage.pallet(Jobs)
    jobs.registry.put(who, Executor(PROFILE, BOND, 1, 1, leaving_at=1, bases=BASES))
    _register(stage, EXECUTORS_MAX)
    return stage.signed(who, "Jobs", "withdraw_bond")


# ------------------------------------------------------------------------------------------ jobs


@JOBS.constant
def jobs_cancel(stage: WeighingStage) -> Work:
    owner, jobs = _store(stage, JobState.Open, TRAINING), stage.pallet(Jobs)
    submitted = replace(_stored(stage), opened_at=BLOCK)  # its share of the block is given back
    jobs.jobs.put(JOB, submitted)
    jobs.submission_weight_used.put(BLOCK_WEIGHT_MAX.ref_time // 10)
    return stage.signed(owner, "Jobs", "cancel", job=JOB)


@JOBS.constant
def jobs_set_parameters(stage: WeighingStage) -> Work:
    return stage.root("Jobs", "set_parameters", parameters=Parameters())


@JOBS.constant
def jobs_submit(stage: WeighingStage) -> Work:
    owner = stage.account("owner")
    store_model(stage, owner)
    stage.pallet(Jobs).unfinished.put(UNFINISHED_MAX - 1)  # the place has its highest fee
    fill_deadlines(stage, Parameters().assignment_blocks)
    return stage.signed(owner, "Jobs", "submit", spec=TRAINING)


@JOBS.constant
def jobs_index_again(stage: WeighingStage) -> Work:
    slots = slots_of(stage, SlotState.Revealed, SlotState.Revealed, root=BASE)
    owner, jobs = _store(stage, JobState.Settled, TRAINING, slots), stage.pallet(Jobs)
    store_model(stage, owner)
    train = _stored(stage)
    jobs.jobs.put(JOB + 1, replace(train, state=JobState.Failed))
    jobs.jobs.put(JOB, replace(train, index_job=JOB + 1))
    jobs.unfinished.put(UNFINISHED_MAX - 1)  # the place has its highest fee
    fill_deadlines(stage, Parameters().assignment_blocks)
    return stage.signed(owner, "Jobs", "index_again", train_job=JOB)


@JOBS.constant
def jobs_commit(stage: WeighingStage) -> Work:
    slots = slots_of(stage, SlotState.Assigned, SlotState.Committed)
    _store(stage, JobState.Committing, TRAINING, slots)
    fill_deadlines(stage, 1, Parameters().reveal_blocks)
    sealed = Hash(blake2b_256(b"commitment"))
    who = slots[-1].executor
    return stage.signed(who, "Jobs", "commit", job=JOB, attempt=ATTEMPT, commitment=sealed)


@JOBS.constant
def jobs_report_failure(stage: WeighingStage) -> Work:
    # The report that makes a majority: the server is convicted, and the silent are slashed.
    reason = FailureReason.WithheldTexts
    slots = slots_of(stage, SlotState.Assigned, SlotState.ReportedFailure)
    most = (SILENT + EXECUTORS) // 2  # that were silent; one report more decides
    reported = tuple(
        slot if slot.state is SlotState.Declined else _reported(slot, reason)
        for slot in slots[most:-1]
    )
    store_settlement(stage, JobState.Committing, (*slots[:most], *reported, slots[-1]))
    for attempt in range(ATTEMPT + 1):
        stage.pallet(Attribution).shown.put((JOB, attempt), ZERO_HASH)
    who = slots[-1].executor
    return stage.signed(who, "Jobs", "report_failure", job=JOB, attempt=ATTEMPT, reason=reason)


def _reported(slot: Slot, reason: FailureReason) -> Slot:
    return replace(slot, state=SlotState.ReportedFailure, reason=reason)


@JOBS.constant
def jobs_decline(stage: WeighingStage) -> Work:
    # The last decline that a job bears ends it: the silent are slashed, all others are free again.
    slots = slots_of(stage, SlotState.Assigned, SlotState.Committed)
    _store(stage, JobState.Committing, TRAINING, slots)
    return stage.signed(slots[-1].executor, "Jobs", "decline", job=JOB, attempt=ATTEMPT)


@JOBS.constant
def jobs_on_initialize(stage: WeighingStage) -> Work:
    return stage.pallet(Jobs).on_initialize


@JOBS.linear(entries=(0, SHARES_PUSHED_MAX))
def jobs_reveal(stage: WeighingStage, entries: int) -> Work:
    """Return the weight of Jobs.reveal, which hashes the output."""
    output = _settled(entries)
    who = AccountId(stage.pair("executor").account)
    sealed = commitment(
        genesis=GENESIS_HASH,
        job=JOB,
        executor=who,
        attempt=ATTEMPT,
        root=output_root(output),
        salt=SALT,
    )
    slots = slots_of(stage, SlotState.Committed, SlotState.Revealed, commitment=sealed)
    _store(stage, JobState.Revealing, settling(stage.account("owner")), slots)
    fill_deadlines(stage, 1)
    return stage.signed(who, "Jobs", "reveal", job=JOB, output=output, salt=SALT)


@JOBS.linear(entries=(0, FAULTS_MAX), executors=(EXECUTORS, EXECUTORS_MAX))
def jobs_deadline(stage: WeighingStage, entries: int, executors: int) -> Work:
    """Return the weight of one deadline in Jobs.on_initialize: it fails, settles or draws."""
    jobs = stage.pallet(Jobs)
    if entries:
        _store_settlement(stage, entries)
    elif executors > EXECUTORS:
        _store_undrawn(stage, executors)
    else:
        _store_agreed(stage)
    parameters = Parameters(executors_per_job=EXECUTORS, extra_attempts=ATTEMPT + 1)
    jobs.parameters.put(parameters)
    ends = commit_blocks(parameters, LIMITS, WORK)
    fill_deadlines(stage, 1, parameters.reveal_blocks, parameters.assignment_blocks, ends)
    due = jobs.settlement_deadlines if entries else jobs.deadlines
    due.put(BLOCK, (JOB,))
    return jobs.on_initialize


def _store_agreed(stage: WeighingStage) -> None:
    """Store a training that settles: its INDEX job follows, and the silent are slashed."""
    trained = Trained(
        adapter=BASE,
        moments=BASE,
        trace_root=BASE,
        row_root=BASE,
        steps=1,
        rows_trained=1,
        rows_held_out=1,
        base_loss_micronats=1,
        adapter_loss_micronats=1,
    )
    root, jobs = output_root(trained), stage.pallet(Jobs)
    slots = slots_of(stage, SlotState.Revealed, SlotState.Revealed, root=root)
    owner = _store(stage, JobState.Comparing, TRAINING, slots)
    store_model(stage, owner)
    jobs.jobs.put(JOB, replace(_stored(stage), index_escrow=ESCROW // 2))
    jobs.outputs.put((JOB, root), trained)


def _store_undrawn(stage: WeighingStage, executors: int) -> None:
    """Store a job without agreement that ends since every executor of the registry is busy."""
    slots = slots_of(stage, SlotState.NoShow, SlotState.NoShow)
    owner = _store(stage, JobState.Comparing, TRAINING, slots)
    store_model(stage, owner)
    busy = tuple(range(1_000, 1_000 + ASSIGNMENTS_MAX))
    for who in _register(stage, executors):
        stage.pallet(Jobs).assignments.put(who, busy)


def _stored(stage: WeighingStage) -> Job:
    job = stage.pallet(Jobs).jobs.get(JOB)
    assert job is not None, "stored before"
    return job


def settling(server: AccountId) -> Settle:
    """Return the spec of the epoch that `store_settlement` stores."""
    return Settle(
        model=0,
        server=server,
        epoch=0,
        receipts_root=ZERO_HASH,
        receipts=1_000,
        fees_planck=FEES,
        pool_planck=FEES // 2,
        bound_milli=1_000,
        draws=32,
        text_blocks=1,
    )


def _settled(entries: int) -> Settled:
    """Return a settlement that credits shares at once."""
    contributors = sorted(blake2b_256(b"contributor %d" % at) for at in range(entries))
    shares = (LargestShare(at, Share(AccountId(who), 1)) for at, who in enumerate(contributors))
    return Settled(
        receipts_root=ZERO_HASH,
        faults=(),
        shares=ZERO_HASH,
        shares_root=ZERO_HASH,
        shares_count=entries,
        shares_planck=entries,
        largest=tuple(shares),
    )


def _faulty(stage: WeighingStage, entries: int) -> Settled:
    """Return a settlement that repays channels, which is more work than crediting shares."""
    inference, server = stage.pallet(Inference), stage.account("owner")
    for number, asker in enumerate(stage.accounts("asker", entries)):
        channel = Channel(asker, server, 0, deposit_planck=OPEN, redeemed_planck=OPEN)
        inference.channels.put(number, channel)
    faults = tuple(Fault(FaultKind.Text, at, at, OPEN) for at in range(entries))
    return replace(_settled(0), faults=faults)


def store_settlement(stage: WeighingStage, state: JobState, slots: tuple[Slot, ...]) -> AccountId:
    """Store a SETTLE job and the epoch of a bonded server that it settles, with the texts of former
    attempts; returns the server."""
    attribution, inference = stage.pallet(Attribution), stage.pallet(Inference)
    server = stage.account("owner")
    _store(stage, state, settling(server), slots)
    stage.pallet(Balances).hold(HoldReason.ServerBond, server, FEES)
    inference.servers.put(server, Server(FEES))
    attribution.ledgers.put((0, server), Ledger(epoch=1, settling=0))
    attribution.at_risk.put(server, FEES)
    attribution.accounted.put(FEES // 2)
    attribution.epochs.put(
        (0, server, 0),
        Epoch(
            state=EpochState.Settling,
            job=JOB,
            closed_at=1,
            receipts_root=ZERO_HASH,
            receipts=1_000,
            fees_planck=FEES,
            pool_planck=FEES // 2,
            receipts_blob=ZERO_HASH,
        ),
    )
    for former in range(ATTEMPT):
        attribution.shown.put((JOB, former), ZERO_HASH)
    pot = AccountInfo(providers=1, data=AccountData(free=FEES))
    stage.pallet(System).put_account(ATTRIBUTION_POT, pot)
    return server


def _store_settlement(stage: WeighingStage, entries: int) -> None:
    """Store a SETTLE job whose executors have all revealed the same output."""
    output = _faulty(stage, entries)
    root = output_root(output)
    slots = slots_of(stage, SlotState.Revealed, SlotState.Revealed, root=root)
    store_settlement(stage, JobState.Comparing, slots)
    stage.pallet(Jobs).outputs.put((JOB, root), output)
