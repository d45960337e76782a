"""Kill -9 of the executor process and of the node in mid-training changes no bit of the adapter."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import pytest

from node.client import Client
from node.demo.node_process import NodeProcess
from pallets.jobs.job import JobState
from runtime.shared.documents import DatanetVersion, Recipe, Train, Trained
from tests.story.support.steps import publish_rows, rows_of, send, until

MODULES: Final = ("json", "random", "shutil", "statistics", "textwrap")
RECIPE: Final = Recipe(epochs=3, max_tokens=64, checkpoint_steps=4, rank=4, warmup_steps=2)


def submit_training(client: Client, model: int) -> int:
    base = client.entries("Models", "bases")[0][0]
    version = (DatanetVersion(0, 1),)
    send(
        client,
        "Models",
        "create",
        name=f"model {model}",
        base=base,
        datanets=version,
        rate_in_planck=1,
        rate_out_planck=1,
    )
    landed = send(client, "Jobs", "submit", spec=Train(model, base, version, RECIPE))
    [opened] = [r.event for r in landed.events if type(r.event).__name__ == "JobOpened"]
    return int(opened.job)  # type: ignore[attr-defined]


def steps(client: Client, job: int) -> int:
    reports = client.call("openledger_jobProgress", job)
    return int(reports[-1]["step"]) if reports else 0


def kill_the_executor_after(client: Client, job: int, step: int) -> None:
    until(lambda: steps(client, job) >= step, f"step {step}")
    os.kill(client.call("openledger_status")["executor"]["pid"], signal.SIGKILL)
    until(
        lambda: client.call("openledger_status")["executor"]["restarts"] == 1,
        "a restart of the executor",
    )


def trained(client: Client, model: int, job: int) -> Trained:
    until(
        lambda: client.query("Jobs", "jobs", job).state is JobState.Settled,
        f"settlement of job {job}",
    )
    output: Trained = client.query("Models", "records", model).latest.trained
    return output


@pytest.mark.slow
def test_a_job_ends_with_the_same_adapter_after_kills_of_executor_and_node(
    tmp_path: Path,
) -> None:
    node = NodeProcess(tmp_path)
    node.start()
    try:
        with Client(node.url) as client:
            publish_rows(client, rows_of(*MODULES))
            job = submit_training(client, model=0)
            kill_the_executor_after(client, job, step=5)
            until(lambda: steps(client, job) >= 9, "the ninth step")
    finally:
        node.kill()

    with NodeProcess(tmp_path) as again, Client(again.url) as client:
        disturbed = trained(client, 0, job)
        undisturbed = trained(client, 1, submit_training(client, model=1))

    assert disturbed.adapter == undisturbed.adapter
    assert disturbed.moments == undisturbed.moments
    assert disturbed.steps == undisturbed.steps > 9
