"""Follows a job from block to block until it ends, with its loss as it falls."""

from __future__ import annotations

import time
from typing import Final

from node.client import Client, RejectedError, RequestRefusedError
from node.client.transport_websocket import Subscription, WaitEndedError
from node.commands.base.lookup import find_job
from node.commands.base.output import Output
from node.commands.model.records import MICRONATS, JobDocument, job_document
from pallets.jobs.job import Job, JobState

LOOK_SECONDS: Final = 1.0
"""How long to wait for a new block before the executor is asked again."""

Report = dict[str, int]


def follow_training(output: Output, client: Client, number: int) -> JobDocument:
    """Follow a job, and the index job after a training job, to the end. Raises RejectedError."""
    document = follow_job(output, client, number)
    if document.kind == "Train" and document.index_job is not None:
        output.note(f"Training settled as adapter {document.adapter}; now its rows are sketched.")
        follow_job(output, client, document.index_job)
        document = job_document(client, number, find_job(client, number), None)
    return document


def follow_job(output: Output, client: Client, number: int) -> JobDocument:
    """Follow one job to its end. Raises RejectedError when it fails."""
    reports: list[Report] = []
    with client.new_blocks() as blocks, output.progress(f"Job {number}", "steps") as advance:
        while True:
            job = find_job(client, number)
            reports += _new_reports(client, number, len(reports))
            if reports:
                advance(reports[-1]["step"], reports[-1]["steps"])
            if job.is_final:
                break
            _wait(blocks)
    if job.state is not JobState.Settled:
        raise RejectedError(_failure(number, job))
    _print_losses(output, reports)
    return job_document(client, number, job, reports[-1] if reports else None)


def newest_report(client: Client, number: int) -> Report | None:
    """Return the last progress report of a job that runs on the node."""
    reports = _new_reports(client, number, 0)
    return reports[-1] if reports else None


def _new_reports(client: Client, number: int, after: int) -> list[Report]:
    try:
        reports: list[Report] = client.call("openledger_jobProgress", number, after)
    except RequestRefusedError:
        return []  # the job runs elsewhere; only its states are seen then
    return reports


def _wait(blocks: Subscription) -> None:
    try:
        blocks.next(time.monotonic() + LOOK_SECONDS)
    except WaitEndedError:
        return  # no block yet; the executor may have made progress all the same


def _print_losses(output: Output, reports: list[Report]) -> None:
    measured = [report for report in reports if report.get("heldOutMicronats") is not None]
    for report in measured:
        loss = report["heldOutMicronats"] / MICRONATS
        output.note(f"step {report['step']:,}: held-out loss {loss:.4f} nats per token")


def _failure(number: int, job: Job) -> str:
    why = "" if job.failure is None else f" ({job.failure.name})"
    return (
        f"Job {number} is {job.state.name}{why}; its price was refunded. Look at the executors' "
        "logs, then submit it again."
    )
