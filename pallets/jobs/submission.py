"""Submission of jobs: who may submit which, at what price; which output fits which job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets import weights
from pallets.balances import HoldReason
from pallets.jobs.job import JobState
from pallets.jobs.lifecycle import UNFINISHED_MAX, open_job
from pallets.jobs.recipe import STEPS_MAX, is_valid, steps_of, work_price
from runtime.shared.documents import (
    FAULTS_MAX,
    SHARES_PUSHED_MAX,
    DatanetVersion,
    Evaluate,
    Evaluated,
    Index,
    Indexed,
    JobOutput,
    JobSpec,
    Settle,
    Settled,
    Train,
    Trained,
)
from runtime.types.primitives import AccountId

if TYPE_CHECKING:
    from pallets.jobs import Jobs

DATANETS_MAX: Final = 16
SPAN_SHARDS_MAX: Final = 64


def submit(jobs: Jobs, who: AccountId, spec: JobSpec) -> None:
    """Check a job, hold its price and open it."""
    check_job(jobs, who, spec)
    _require_room(jobs, who)
    jobs.use_submission_share(weights.JOBS_SUBMIT)
    work, index = price_of(jobs, spec)
    jobs.balances.hold(HoldReason.JobEscrow, who, work + index)
    open_job(jobs, spec=spec, owner=who, escrow=work + index, index_escrow=index)


def index_again(jobs: Jobs, who: AccountId, train_job: int) -> None:
    """Open another INDEX job where the former one failed; it has the seed of that one."""
    spec, train = training(jobs, train_job), jobs.require_job(train_job)
    if train.owner != who:
        raise jobs.NotOwner
    former = jobs.require_job(train.index_job) if train.index_job is not None else train
    if former.state not in (JobState.Failed, JobState.Expired):
        raise jobs.IndexExists
    _require_room(jobs, who)
    jobs.use_submission_share(weights.JOBS_INDEX_AGAIN)
    index = Index(spec.model, train_job, jobs.parameters.get().sketch_size)
    escrow, _ = price_of(jobs, index)
    jobs.balances.hold(HoldReason.JobEscrow, who, escrow)
    job = open_job(jobs, index, who, escrow, seed=former.seed)
    jobs.jobs.put(train_job, replace(train, index_job=job))


def _require_room(jobs: Jobs, owner: AccountId) -> None:
    if jobs.unfinished_of.get(owner) >= jobs.parameters.get().open_jobs_per_account:
        raise jobs.TooManyJobs
    if jobs.unfinished.get() >= UNFINISHED_MAX:
        raise jobs.ChainFull


def check_job(jobs: Jobs, who: AccountId, spec: JobSpec) -> None:
    """Check that an account may submit a job. Raises the Error that says why not."""
    if isinstance(spec, Train):
        _check_training(jobs, who, spec)
    elif isinstance(spec, Evaluate):
        train = training(jobs, spec.train_job)
        if train.model != spec.model:
            raise jobs.NotTrained
        if not jobs.models.may_use(who, spec.model):
            raise jobs.NotModelOwner
    else:
        raise jobs.NotSubmittable


def _check_training(jobs: Jobs, who: AccountId, spec: Train) -> None:
    model = jobs.models.get(spec.model)
    if model is None:
        raise jobs.UnknownModel
    if model.owner != who:
        raise jobs.NotModelOwner
    if model.base != spec.base:
        raise jobs.BaseDiffers
    if not spec.datanets or len(spec.datanets) > DATANETS_MAX or model.datanets != spec.datanets:
        raise jobs.DatanetsDiffer
    if not all(jobs.datanets.may_read(who, use.datanet) for use in spec.datanets):
        raise jobs.NoAccess
    if not is_valid(spec.recipe):
        raise jobs.RecipeOutOfBounds
    if steps_of(spec.recipe, rows_of(jobs, spec.datanets)) > STEPS_MAX:
        raise jobs.TrainingTooLong


def training(jobs: Jobs, train_job: int) -> Train:
    """Return the spec of a settled training job. Raises NotTrained."""
    job = jobs.jobs.get(train_job)
    if job is None or job.state is not JobState.Settled or not isinstance(job.spec, Train):
        raise jobs.NotTrained
    return job.spec


def rows_of(jobs: Jobs, datanets: tuple[DatanetVersion, ...]) -> int:
    """Return how many rows published versions have together. Raises UnknownVersion."""
    rows = 0
    for use in datanets:
        version = jobs.datanets.get_version(use.datanet, use.version)
        if version is None:
            raise jobs.UnknownVersion
        rows += version.rows
    return rows


def price_of(jobs: Jobs, spec: JobSpec) -> tuple[int, int]:
    """Return the price of a job, and that of the INDEX job that follows it, in planck.

    Raises UnknownVersion, NotTrained.
    """
    parameters = jobs.parameters.get()
    if isinstance(spec, Train):
        rows = rows_of(jobs, spec.datanets)
        steps = steps_of(spec.recipe, rows)
        return work_price(parameters, rows, steps), work_price(parameters, rows, 0)
    if isinstance(spec, Evaluate | Index):
        rows = rows_of(jobs, training(jobs, spec.train_job).datanets)
        return work_price(parameters, rows, 0), 0
    return work_price(parameters, 0, 0), 0


def fits(spec: JobSpec, output: JobOutput) -> bool:
    """Return whether an output has the kind of a job and repeats what the job's spec fixes."""
    if isinstance(spec, Train):
        return isinstance(output, Trained)
    if isinstance(spec, Evaluate):
        return isinstance(output, Evaluated)
    if isinstance(spec, Index):
        return isinstance(output, Indexed) and output.sketch_size == spec.sketch_size
    assert isinstance(spec, Settle), "every kind of job is handled"
    return isinstance(output, Settled) and output.receipts_root == spec.receipts_root


def is_short(output: JobOutput) -> bool:
    """Return whether the lists of an output are within their maxima."""
    if isinstance(output, Indexed):
        return len(output.span_shards) <= SPAN_SHARDS_MAX
    if isinstance(output, Settled):
        return len(output.largest) <= SHARES_PUSHED_MAX and len(output.faults) <= FAULTS_MAX
    return True
