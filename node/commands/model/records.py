"""Models and jobs as commands print them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.client import Client
from node.client.shares import ledgers_of
from node.commands.base.command import refuse
from node.commands.base.documents import Planck
from node.commands.base.lookup import find_job
from pallets.jobs.job import Job, SlotState
from pallets.models import ModelInfo
from runtime.codec.hexadecimal import to_hex
from runtime.crypto import ss58
from runtime.shared.documents import Evaluate, Evaluated, Index, Settle, Train, Trained

MICRONATS: Final = 1_000_000
OUT: Final = (SlotState.NoShow, SlotState.Declined)
"""Executors in these states have no part in a job any more."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model in a list."""

    id: int
    name: str
    owner: str
    stage: str
    rows: int
    rate_in_planck: Planck
    rate_out_planck: Planck


@dataclass(frozen=True, slots=True)
class ModelsDocument:
    """The models of the chain; rates are per 1,000 tokens of question and answer."""

    models: tuple[ModelRow, ...]


@dataclass(frozen=True, slots=True)
class ModelDocument:
    """A model: what it is trained on, how far it is, what it asks per 1,000 tokens."""

    id: int
    name: str
    owner: str
    stage: str
    base: str
    datanets: tuple[str, ...]
    rows: int
    rows_needed_for_attribution: int
    rate_in_planck: Planck
    rate_out_planck: Planck
    latest_adapter: str | None
    deployed_adapter: str | None
    train_job: int | None
    index_job: int | None
    base_loss_nats: float | None
    adapter_loss_nats: float | None
    pool_planck: Planck
    commons_planck: Planck


@dataclass(frozen=True, slots=True)
class JobDocument:
    """A job of the chain and its result; losses are nats per token on held-out rows."""

    job: int
    kind: str
    model: int
    state: str
    attempt: int
    executors: tuple[str, ...]
    step: int | None
    steps: int | None
    loss_nats: float | None
    adapter: str | None
    base_loss_nats: float | None
    adapter_loss_nats: float | None
    index_job: int | None
    failure: str | None


def latest_training(client: Client, info: ModelInfo) -> int:
    """Return the number of the newest training job of a model. Raises UsageError."""
    numbers: tuple[int, ...] = client.api("JobsApi_jobs_of", info.model.owner)
    specs = ((number, find_job(client, number).spec) for number in numbers)
    trainings = (
        number for number, spec in specs if isinstance(spec, Train) and spec.model == info.id
    )
    newest = next(trainings, None)
    if newest is None:
        refuse(f"Nothing was trained for {info.model.name!r} yet. Use `openledger model train`.")
    return newest


def _model_of(job: Job) -> int:
    spec = job.spec
    assert isinstance(spec, Train | Evaluate | Index | Settle), "these are all kinds of jobs"
    return spec.model


def model_row(info: ModelInfo) -> ModelRow:
    """Return a model's line in a list."""
    model = info.model
    return ModelRow(
        id=info.id,
        name=model.name,
        owner=ss58.encode(model.owner),
        stage=info.stage.name,
        rows=model.rows,
        rate_in_planck=Planck(model.rate_in_planck),
        rate_out_planck=Planck(model.rate_out_planck),
    )


def model_document(client: Client, info: ModelInfo) -> ModelDocument:
    """Return the document of a model."""
    model, latest = info.model, info.model.latest
    trained = None if latest is None else latest.trained
    return ModelDocument(
        id=info.id,
        name=model.name,
        owner=ss58.encode(model.owner),
        stage=info.stage.name,
        base=to_hex(model.base),
        datanets=tuple(f"{use.datanet}@{use.version}" for use in model.datanets),
        rows=model.rows,
        rows_needed_for_attribution=client.api("AttributionApi_parameters").rows_minimum,
        rate_in_planck=Planck(model.rate_in_planck),
        rate_out_planck=Planck(model.rate_out_planck),
        latest_adapter=None if trained is None else to_hex(trained.adapter),
        deployed_adapter=None if model.deployed is None else to_hex(model.deployed.adapter),
        train_job=None if latest is None else latest.train_job,
        index_job=None if latest is None else latest.index_job,
        base_loss_nats=None if trained is None else trained.base_loss_micronats / MICRONATS,
        adapter_loss_nats=None if trained is None else trained.adapter_loss_micronats / MICRONATS,
        pool_planck=Planck(sum(ledger.pool for _, ledger in ledgers_of(client, info.id))),
        commons_planck=Planck(client.api("AttributionApi_common_pool", info.id)),
    )


def job_document(
    client: Client, number: int, job: Job, progress: dict[str, int] | None
) -> JobDocument:
    """Return a job with its newest progress report and its result."""
    output = client.api("JobsApi_output", number)
    has_losses = isinstance(output, Trained | Evaluated)
    loss = None if progress is None else progress.get("lossMicronats")
    return JobDocument(
        job=number,
        kind=type(job.spec).__name__,
        model=_model_of(job),
        state=job.state.name,
        attempt=job.attempt,
        executors=tuple(ss58.encode(slot.executor) for slot in job.slots if slot.state not in OUT),
        step=None if progress is None else progress["step"],
        steps=None if progress is None else progress["steps"],
        loss_nats=None if loss is None else loss / MICRONATS,
        adapter=to_hex(output.adapter) if isinstance(output, Trained) else None,
        base_loss_nats=output.base_loss_micronats / MICRONATS if has_losses else None,
        adapter_loss_nats=output.adapter_loss_micronats / MICRONATS if has_losses else None,
        index_job=job.index_job,
        failure=None if job.failure is None else job.failure.name,
    )
