"""Follows a job from block to block until it ends, with its loss as it falls."""

from __future__ import annotations

import time
from typing import Final

from node.client import Client, RejectedError, RequestRefusedError
from node.client.transport_websocket import Subscription, WaitEndedError
from node.commands.base.lookup import find_job
from node.commands.base.output import Output
from node.commands.model.records import MICRONATS, JobDocument, job_document
from pallets.jobs.job import Job, JobFailure, JobState
from runtime.shared.documents import Diverged, JobOutput, Settle

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
        raise RejectedError(failure_sentence(number, job, client.api("JobsApi_output", number)))
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


def failure_sentence(number: int, job: Job, output: JobOutput | None = None) -> str:
    """Return why a job has no result, what it cost, and what to do."""
    why = "" if job.failure is None else f" ({job.failure.name})"
    start = f"Job {number} is {job.state.name}{why}"
    if isinstance(output, Diverged):
        return (
            f"{start}: the training diverged at step {output.step}. Its steps were paid, the rest "
            "was refunded. Lower the learning rate or add warm-up steps, then submit it again."
        )
    refunded = "Most of its price" if job.is_owners_fault else "Its price"
    if job.failure is JobFailure.TooLarge:
        return (
            f"{start}: {job.declines} executors declined it as too large for their machines. "
            f"{refunded} was refunded. Submit a shorter training, or one on a smaller base."
        )
    if isinstance(job.spec, Settle) and len(set(job.revealed)) > 1:
        return (
            f"{start}: its executors found different results and were paid. Look at their logs, "
            "then close the epoch again."
        )
    if job.reports:
        named = ", ".join(sorted({reason.name for reason in job.reports}))
        return (
            f"{start}: its executors reported {named}. {refunded} was refunded. Correct that, or "
            "look at the executors' logs, then submit it again."
        )
    return f"{start}; its price was refunded. Look at the executors' logs, then submit it again."
