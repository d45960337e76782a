"""The kinds of jobs: a spec and inputs in, a JobOutput and its files out.

TRAIN trains an adapter or finds the step at which it diverges, EVALUATE measures it again, INDEX
sketches its rows, SETTLE checks the receipts of an epoch and shares its pool (ml/jobs/settling.py).
Every kind is a pure function of its inputs, seed and profile; only TRAIN saves checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from ml.adapters.validation import load_adapter
from ml.attribution.index import build_index
from ml.attribution.sketch import load_moments
from ml.durable_file import write_durably
from ml.jobs import frames
from ml.jobs.inputs import InputCorruptError, JobRows, read_blob, read_job_rows
from ml.jobs.job_base import load_job_base
from ml.jobs.settling import settle_epoch
from ml.rows.row import Row
from ml.train.checkpoint import CHECKPOINT_NAME, CheckpointUnreadableError
from ml.train.curve import curve_lines
from ml.train.data import held_out_rows
from ml.train.loop import Progress, TrainingDivergedError, TrainReport, train
from ml.train.loss import evaluate
from ml.train.profile import Profile
from runtime.codec.scale import DecodeError, codec
from runtime.shared.documents import (
    Diverged,
    Evaluate,
    Evaluated,
    Index,
    JobOutput,
    JobSpec,
    Recipe,
    Settle,
    Train,
    Trained,
)
from runtime.trie.merkle import blob_id
from runtime.types.primitives import Hash

CURVE_NAME: Final = "curve.jsonl"
SEED_BYTES: Final = 32

T = TypeVar("T")

ReportProgress = Callable[[int, int, int, int], None]
"""(step, steps, loss, held-out loss); may raise to stop the job."""


class SpecRefusedError(Exception):
    """The job's spec, seed or companion documents cannot be used."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job's output and the ids of its files in outputs/."""

    output: JobOutput
    files: tuple[Hash, ...]


def run_job(job: frames.Job, report: ReportProgress, profile: Profile) -> Outcome:
    """Run one job to its end. Raises the named errors of the stage that fails."""
    spec = _decoded(job.spec, JobSpec, "spec")
    inputs, work = Path(job.inputs), Path(job.work)
    (work / frames.OUTPUTS_FOLDER).mkdir(parents=True, exist_ok=True)
    if isinstance(spec, Train):
        return _train_adapter(job, spec, inputs, work, report=report, profile=profile)
    if isinstance(spec, Evaluate):
        return _evaluate_adapter(job, inputs)
    if isinstance(spec, Index):
        return _index_rows(job, spec, inputs, work, report=report)
    if isinstance(spec, Settle):
        return _settle_epoch(job, spec, inputs, work, report)
    raise SpecRefusedError(
        f"The job kind {type(spec).__name__} is unknown to this executor; update it."
    )


def _train_adapter(
    job: frames.Job,
    spec: Train,
    inputs: Path,
    work: Path,
    *,
    report: ReportProgress,
    profile: Profile,
) -> Outcome:
    model, tokenizer = load_job_base(job.base, spec.base)
    rows = read_job_rows(inputs)

    def report_step(progress: Progress) -> None:
        held_out = -1 if progress.held_out_micronats is None else progress.held_out_micronats
        report(progress.step, progress.steps, progress.loss_micronats, held_out)

    def run_training() -> TrainReport:
        return train(
            model,
            tokenizer,
            rows.rows,
            spec.recipe,
            work_folder=work,
            progress=report_step,
            context=profile.id + job.spec + job.seed,
            device=profile.device,
        )

    try:
        try:
            trained = run_training()
        except CheckpointUnreadableError:
            # A damaged checkpoint costs the steps that it saved, not the job: start again.
            (work / CHECKPOINT_NAME).unlink()
            trained = run_training()
    except TrainingDivergedError as error:
        # A result and no failure: who computes it finds the same step, and is paid for the steps.
        return Outcome(Diverged(error.step), ())
    write_durably(work / CURVE_NAME, curve_lines(trained).encode())
    output = Trained(
        adapter=trained.adapter_hash,
        moments=trained.moments_hash,
        trace_root=trained.trace_root,
        row_root=rows.root,
        steps=trained.steps,
        rows_trained=trained.rows_trained,
        rows_held_out=trained.rows_held_out,
        base_loss_micronats=trained.base_loss_micronats or 0,
        adapter_loss_micronats=trained.adapter_loss_micronats or 0,
    )
    leaves = b"".join(trained.trace_leaves)
    return Outcome(output, _write_outputs(work, trained.adapter, trained.moments, leaves))


def _evaluate_adapter(job: frames.Job, inputs: Path) -> Outcome:
    spec, trained = _training(job)
    model, tokenizer = load_job_base(job.base, spec.base)
    rows = _checked_rows(inputs, trained)
    numbers = sorted(_held_out(rows, spec.recipe))
    measured: list[Row] = [rows.rows[number] for number in numbers]
    if not measured:
        return Outcome(Evaluated(0, 0), ())
    length = spec.recipe.max_tokens
    model.set_attn_implementation("eager")  # As in training: the same loss must come out.
    base_loss = evaluate(model, tokenizer, measured, length)
    load_adapter(read_blob(inputs, trained.adapter), spec.recipe, model)
    return Outcome(Evaluated(base_loss, evaluate(model, tokenizer, measured, length)), ())


def _index_rows(
    job: frames.Job, spec: Index, inputs: Path, work: Path, *, report: ReportProgress
) -> Outcome:
    train_spec, trained = _training(job)
    if len(job.seed) != SEED_BYTES:
        raise SpecRefusedError(f"The sketch seed must be {SEED_BYTES} bytes, not {len(job.seed)}.")
    model, tokenizer = load_job_base(job.base, train_spec.base)
    rows = _checked_rows(inputs, trained)
    wrapped = load_adapter(read_blob(inputs, trained.adapter), train_spec.recipe, model)
    indexed, files = build_index(
        wrapped,
        tokenizer,
        rows=rows.rows,
        contributors=rows.contributors,
        moments=load_moments(read_blob(inputs, trained.moments)),
        seed=job.seed,
        sketch_size=spec.sketch_size,
        max_tokens=train_spec.recipe.max_tokens,
        held_out=_held_out(rows, train_spec.recipe),
        progress=lambda done, total: report(done, total, -1, -1),
    )
    return Outcome(indexed, _write_outputs(work, *files.values()))


def _settle_epoch(
    job: frames.Job, spec: Settle, inputs: Path, work: Path, report: ReportProgress
) -> Outcome:
    settled, shares = settle_epoch(
        spec,
        inputs,
        seed=job.seed,
        base=job.base,
        report=lambda done, total: report(done, total, -1, -1),
    )
    return Outcome(settled, () if shares is None else _write_outputs(work, shares))


def _training(job: frames.Job) -> tuple[Train, Trained]:
    spec = _decoded(job.train_spec, JobSpec, "train_spec")
    output = _decoded(job.trained, JobOutput, "trained")
    if not isinstance(spec, Train) or not isinstance(output, Trained):
        raise SpecRefusedError("train_spec and trained must be those of a training job.")
    return spec, output


def _checked_rows(inputs: Path, trained: Trained) -> JobRows:
    rows = read_job_rows(inputs)
    if rows.root != trained.row_root:
        raise InputCorruptError("The rows are not those of the training job; fetch its rows again.")
    return rows


def _held_out(rows: JobRows, recipe: Recipe) -> frozenset[int]:
    return held_out_rows(rows.hashes, recipe.evaluation_permille)


def _write_outputs(work: Path, *files: bytes) -> tuple[Hash, ...]:
    """Write files into outputs/ under their blob ids; return the ids."""
    names = tuple(blob_id(data) for data in files)
    for name, data in zip(names, files, strict=True):
        write_durably(work / frames.OUTPUTS_FOLDER / bytes(name).hex(), data)
    return names


def _decoded(data: bytes, hint: type[T], name: str) -> T:
    try:
        return codec(hint).decode(data)
    except DecodeError as error:
        raise SpecRefusedError(f"{name} does not decode: {error}.") from error
