"""The story's model: created by its owner, trained and indexed as jobs of the chain, published."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from node.demo.stage import (
    OWNER,
    POLL_SECONDS,
    WAIT_SECONDS,
    StoryFailedError,
    StoryStage,
    event_of,
)
from pallets.jobs.job import JobState
from runtime.shared.documents import DatanetVersion, Recipe, Train, Trained
from runtime.types.primitives import OPEN, Hash

MODEL_NAME: Final = "pydoc"
LEARNING_RATE_NANO: Final = 5_000_000
RATE_IN: Final = 2 * OPEN
RATE_OUT: Final = 20 * OPEN


@dataclass(frozen=True, slots=True)
class Model:
    """The number of a model with the base and the datanet versions that it is trained on."""

    number: int
    base: Hash
    versions: tuple[DatanetVersion, ...]


def create_model(stage: StoryStage, datanet: int) -> Model:
    """Create a model on the first version of a datanet and the chain's first base."""
    stage.print_line("\n3. Grace creates a model on the shipped base; validators train it as a job")
    bases = stage.client.entries("Models", "bases")
    base, record = bases[0]
    versions = (DatanetVersion(datanet, 1),)
    included = stage.send(
        OWNER,
        "Models",
        "create",
        name=MODEL_NAME,
        base=base,
        datanets=versions,
        rate_in_planck=RATE_IN,
        rate_out_planck=RATE_OUT,
    )
    stage.print_line(f"   base {record.name}, {record.parameters / 1e6:.1f}M parameters")
    return Model(int(event_of(included, "Created").model), base, versions)


def train(stage: StoryStage, model: Model, *, epochs: int, seed: int) -> Trained:
    """Train, index and publish a model. Raises StoryFailedError unless the loss went down."""
    recipe = Recipe(learning_rate_nano=LEARNING_RATE_NANO, epochs=epochs, seed=seed)
    spec = Train(model.number, model.base, model.versions, recipe)
    included = stage.send(OWNER, "Jobs", "submit", spec=spec)
    job = int(event_of(included, "JobOpened").job)
    _watch(stage, job, "training")
    record = stage.client.query("Models", "records", model.number)
    trained: Trained = record.latest.trained
    stage.print_line(
        f"   held-out loss per token: base {trained.base_loss_micronats / 1e6:.4f} nats, "
        f"with adapter {trained.adapter_loss_micronats / 1e6:.4f} nats"
    )
    if trained.adapter_loss_micronats >= trained.base_loss_micronats:
        raise StoryFailedError("Training did not lower the held-out loss.")
    index_job = stage.client.query("Jobs", "jobs", job).index_job
    _watch(stage, index_job, "sketching rows")
    stage.send(OWNER, "Models", "publish", model=model.number, adapter=Hash(trained.adapter))
    stage.print_line(f"   adapter 0x{trained.adapter.hex()[:16]}... published")
    return trained


def _watch(stage: StoryStage, job: int, label: str) -> None:
    """Follow a job to its end; print a line for each fifth of its steps."""
    began, printed_fifth = time.monotonic(), -1
    while True:
        state = stage.client.query("Jobs", "jobs", job).state
        if state is JobState.Settled:
            stage.print_line(
                f"   job {job} settled after {time.monotonic() - began:.0f} s ({label})"
            )
            return
        if state in (JobState.Failed, JobState.Expired, JobState.Cancelled):
            raise StoryFailedError(f"Job {job} ended as {state.name}.")
        if time.monotonic() - began > WAIT_SECONDS:
            raise StoryFailedError(f"Job {job} is not settled after {WAIT_SECONDS:.0f} s.")
        printed_fifth = _print_progress(stage, job, label, printed_fifth)
        time.sleep(POLL_SECONDS)


def _print_progress(stage: StoryStage, job: int, label: str, printed_fifth: int) -> int:
    """Print the newest report of a job once per fifth; return the last fifth that was printed."""
    # Only the nodes that compute a job know its progress, so the first that has reports counts.
    clients = (stage.client, *stage.others)
    answers = (client.call("openledger_jobProgress", job) for client in clients)
    reports = next((answer for answer in answers if answer), None)
    if reports is None:
        return printed_fifth
    last = reports[-1]
    fifth = 5 * last["step"] // max(last["steps"], 1)
    if fifth > printed_fifth:
        loss = last["lossMicronats"]
        loss_text = "" if loss is None else f", loss {loss / 1e6:.3f}"
        stage.print_line(f"   {label}: step {last['step']} of {last['steps']}{loss_text}")
    return max(printed_fifth, int(fifth))
