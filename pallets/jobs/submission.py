"""Submission of jobs: who may submit which, for what fee; which output fits which job.

A job costs its price, which is held, and where the chain is more than half full the fee for a place
as well, which is burned: it doubles with every further sixteenth, so that nobody keeps the chain
full for long. It is not given back to who cancels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pallets import weights
from pallets.balances import HoldReason
from pallets.jobs.job import JobState
from pallets.jobs.lifecycle import UNFINISHED_MAX, open_job
from pallets.jobs.recipe import STEPS_MAX, is_valid, steps_of
from pallets.jobs.work import index_quote, quote, rows_of, training
from runtime.shared.documents import (
    DATANETS_MAX,
    FAULTS_MAX,
    SHARES_PUSHED_MAX,
    Diverged,
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

PLACE_STEPS: Final = 16
"""Parts of all places; from half of them on the fee doubles with each."""


def submit(jobs: Jobs, who: AccountId, spec: JobSpec) -> None:
    """Check a job, hold its price and open it."""
    check_job(jobs, who, spec)
    _require_room(jobs, who)
    jobs.use_submission_share(weights.JOBS_SUBMIT)
    own, index = quote(jobs, spec), index_quote(jobs, spec)
    place = _pay_place(jobs, who)
    escrow = own.price + index.price
    jobs.balances.hold(HoldReason.JobEscrow, who, escrow)
    job = open_job(jobs, spec, who, escrow, work=own.work, index_escrow=index.price)
    _tell_place(jobs, job, who, place)


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
    own = quote(jobs, index)
    place = _pay_place(jobs, who)
    jobs.balances.hold(HoldReason.JobEscrow, who, own.price)
    job = open_job(jobs, index, who, own.price, work=own.work, seed=former.seed)
    _tell_place(jobs, job, who, place)
    jobs.jobs.put(train_job, replace(train, index_job=job))


def place_fee(jobs: Jobs) -> int:
    """Return the fee for a place in planck: nothing while the chain is less than half full."""
    steps = jobs.unfinished.get() * PLACE_STEPS // UNFINISHED_MAX - PLACE_STEPS // 2
    return jobs.parameters.get().price_place_planck << steps if steps >= 0 else 0


def _pay_place(jobs: Jobs, who: AccountId) -> int:
    fee = place_fee(jobs)
    if fee:
        jobs.balances.burn_from(who, fee, keep_alive=True)
    return fee


def _tell_place(jobs: Jobs, job: int, owner: AccountId, fee: int) -> None:
    if fee:
        jobs.emit(jobs.PlacePaid(job, owner, fee))


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


def fits(spec: JobSpec, output: JobOutput) -> bool:
    """Return whether an output has the kind of a job and repeats what the job's spec fixes."""
    if isinstance(spec, Train):
        return isinstance(output, Trained) or (isinstance(output, Diverged) and output.step > 0)
    if isinstance(spec, Evaluate):
        return isinstance(output, Evaluated)
    if isinstance(spec, Index):
        return isinstance(output, Indexed) and output.sketch_size == spec.sketch_size
    assert isinstance(spec, Settle), "every kind of job is handled"
    return isinstance(output, Settled) and output.receipts_root == spec.receipts_root


def is_short(output: JobOutput) -> bool:
    """Return whether the lists of a settlement are within their maxima; others have no lists."""
    if not isinstance(output, Settled):
        return True
    return len(output.largest) <= SHARES_PUSHED_MAX and len(output.faults) <= FAULTS_MAX
