"""The work of a job, what it costs, and how long it may take: integers that the chain computes.

Work is counted in units of 10^11 parameter-tokens: one forward and backward pass of a base with so
many parameters over so many tokens. Rows count with the longest length that the recipe allows.

    Train      (steps x batch_rows + measured rows / 2) x max_tokens x parameters, for the held-out
               rows are measured forward only, at the start, on the way and at the end
    Evaluate   rows x max_tokens x parameters
    Index      3 x rows x max_tokens x parameters, for it takes a gradient of every single row
    Settle     3 x drawn receipts x context of the base x parameters; Attribution prices the rest
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pallets.jobs.job import JobState
from pallets.jobs.parameters import PARAMETERS_MAX, Parameters
from pallets.jobs.recipe import steps_of
from runtime.shared.documents import (
    CURVE_EVALUATIONS,
    DatanetVersion,
    Evaluate,
    Index,
    JobSpec,
    Recipe,
    Settle,
    Train,
    held_out_max,
)
from runtime.types.primitives import Hash

if TYPE_CHECKING:
    from pallets.jobs import Jobs
    from pallets.jobs.registry import Profile

WORK_UNIT: Final = 10**11
WORK_MAX: Final = 2**64 - 1
INDEX_PASSES: Final = 3
COMMIT_BLOCKS_MAX: Final = PARAMETERS_MAX.commit_blocks
MILLI_PERCENT: Final = 1_000 * 100


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job costs in planck and its work in units."""

    price: int
    work: int


def quote(jobs: Jobs, spec: JobSpec) -> Quote:
    """Return price and work of a job. Raises UnknownVersion, NotTrained."""
    parameters = jobs.parameters.get()
    if isinstance(spec, Settle):
        work = _settle_work(jobs, spec)
        return Quote(_price(parameters, 0, work), work)
    train = spec if isinstance(spec, Train) else training(jobs, _train_job(spec))
    rows = rows_of(jobs, train.datanets)
    work = _work(spec, train.recipe, rows, parameters_of(jobs, train.base) or 0)
    return Quote(_price(parameters, rows, work), work)


def index_quote(jobs: Jobs, spec: JobSpec) -> Quote:
    """Return price and work of the INDEX job that follows a job: none but after training."""
    if not isinstance(spec, Train):
        return Quote(0, 0)
    rows, parameters = rows_of(jobs, spec.datanets), parameters_of(jobs, spec.base) or 0
    work = _units(INDEX_PASSES * rows, spec.recipe, parameters)
    return Quote(_price(jobs.parameters.get(), rows, work), work)


def planned_steps(jobs: Jobs, spec: Train) -> int:
    """Return how many steps a training takes at most; at least 1."""
    return max(1, steps_of(spec.recipe, rows_of(jobs, spec.datanets)))


def base_of(jobs: Jobs, spec: JobSpec) -> Hash | None:
    """Return the base that a job needs: its model's, which never changes."""
    assert isinstance(spec, Train | Evaluate | Index | Settle), "every kind has a model"
    model = jobs.models.get(spec.model)
    return None if model is None else model.base


def parameters_of(jobs: Jobs, base: Hash) -> int | None:
    """Return how many parameters a registered base has."""
    record = jobs.models.base(base)
    return None if record is None else record.parameters


def tokens_of(jobs: Jobs, spec: JobSpec) -> int:
    """Return how long the rows of a job are at most, in tokens; 0 where it reads none."""
    if isinstance(spec, Settle):
        return 0
    train = spec if isinstance(spec, Train) else training(jobs, _train_job(spec))
    return train.recipe.max_tokens


def commit_blocks(parameters: Parameters, profile: Profile, work: int) -> int:
    """Return how many blocks executors of a profile have for so much work, to the commitment."""
    thousandths = work * profile.blocks_per_unit_milli * parameters.slack_percent
    return min(parameters.commit_blocks + -(-thousandths // MILLI_PERCENT), COMMIT_BLOCKS_MAX)


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


def _train_job(spec: JobSpec) -> int:
    assert isinstance(spec, Evaluate | Index), "the other kinds name no training"
    return spec.train_job


def _work(spec: JobSpec, recipe: Recipe, rows: int, parameters: int) -> int:
    if isinstance(spec, Train):
        trained = steps_of(recipe, rows) * recipe.batch_rows
        return _units(trained + -(-_measured(recipe, rows) // 2), recipe, parameters)
    return _units((INDEX_PASSES if isinstance(spec, Index) else 1) * rows, recipe, parameters)


def _measured(recipe: Recipe, rows: int) -> int:
    """Return how many rows a training measures at most, each as often as it is measured."""
    evaluations = min(steps_of(recipe, rows), CURVE_EVALUATIONS) + 1
    return evaluations * held_out_max(rows, recipe.evaluation_permille)


def _settle_work(jobs: Jobs, spec: Settle) -> int:
    """Return the work of holding drawn answers against their model: a pass and a gradient each."""
    base = base_of(jobs, spec)
    record = None if base is None else jobs.models.base(base)
    if record is None:
        return 0
    drawn = min(spec.draws, spec.receipts)
    tokens = INDEX_PASSES * drawn * record.context_tokens
    return min(-(-tokens * record.parameters // WORK_UNIT), WORK_MAX)


def _units(rows: int, recipe: Recipe, parameters: int) -> int:
    return min(-(-rows * recipe.max_tokens * parameters // WORK_UNIT), WORK_MAX)


def _price(parameters: Parameters, rows: int, work: int) -> int:
    """Return the price of a job for all its executors together."""
    price_planck = (
        parameters.price_base_planck
        + rows * parameters.price_row_planck
        + work * parameters.price_work_planck
    )
    return price_planck * parameters.executors_per_job
