"""The steps of an executor and how they are sent: each once, and again until its effect is final.

A step is done when its effect is in final state. Until then it is looked for on the best branch and
in the pool; where it is in neither (dropped, expired, lost with a branch) it is signed and sent
again.
"""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass

from node.chain.chain import Chain
from node.chain.state_reader import StateReader
from node.jobs.answer_store import JobAnswer
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from pallets.jobs.job import FailureReason, Job, JobState, Slot, SlotState
from runtime.codec.scale import codec
from runtime.shared.documents import JobOutput, commitment, output_root
from runtime.types.primitives import Hash

logger = logging.getLogger(__name__)
_output = codec(JobOutput)


class Step(enum.Enum):
    """What to do for a job now."""

    COMPUTE = "compute"
    COMMIT = "commit"
    REVEAL = "reveal"
    REPORT = "report"
    ACCUSE = "accuse"
    DECLINE = "decline"
    WAIT = "wait"


def next_step(job: Job, slot: Slot, answer: JobAnswer | None) -> Step:
    """Decide by the job on chain and the stored answer; `executor` has the table in words."""
    if job.is_final:
        return Step.WAIT
    if answer is None:
        working = job.state in (JobState.Assigned, JobState.Committing)
        return Step.COMPUTE if working and slot.state is SlotState.Assigned else Step.WAIT
    if slot.state is SlotState.Assigned and job.state in (JobState.Assigned, JobState.Committing):
        return Step.COMMIT if answer.output else Step.REPORT
    if slot.state is SlotState.Committed and job.state is JobState.Revealing:
        return Step.REVEAL
    return Step.WAIT


@dataclass(frozen=True, slots=True)
class _Sent:
    """A transaction with a step of an answer, and the final height at which it was last offered."""

    height: int
    transaction: Hash


class StepSender:
    """Sends the steps of one account."""

    def __init__(self, chain: Chain, reader: StateReader, submitter: Submitter) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._sent: dict[tuple[int, int, Step], _Sent] = {}

    def send(self, job: int, step: Step, answer: JobAnswer) -> None:
        """Send a step unless it is on its way; one that is on its way for long is sent again."""
        key = (job, answer.attempt, step)
        height, sent = self._chain.finalized.number, self._sent.get(key)
        if sent is not None and height < sent.height + RESEND_BLOCKS:
            return
        if not self._is_open_at_best(job, step, answer):
            return
        if sent is not None and self._submitter.rebroadcast(sent.transaction):
            self._sent[key] = _Sent(height, sent.transaction)
            return
        try:
            transaction = self._submit(job, step, answer)
        except PoolError as error:
            logger.warning("answer-refused job=%d step=%s reason=%r", job, step.value, str(error))
            return
        self._sent[key] = _Sent(height, transaction)
        logger.info("answer-sent job=%d attempt=%d step=%s", *key[:2], step.value)

    def _is_open_at_best(self, job: int, step: Step, answer: JobAnswer) -> bool:
        """Return whether the best branch still waits for a step; if not, it only needs finality."""
        with self._reader.at(self._chain.best.hash) as state:
            entries = state.jobs.jobs_for_executor(self._submitter.account)
        for entry in entries:
            slot = entry.job.slot_of(self._submitter.account)
            if entry.id == job and slot is not None:
                if step in (Step.DECLINE, Step.ACCUSE):
                    return next_step(entry.job, slot, None) is Step.COMPUTE
                return next_step(entry.job, slot, answer) is step
        return False

    def forget(self, alive: set[int]) -> None:
        """Forget what was sent for jobs that need no answer any more."""
        self._sent = {key: sent for key, sent in self._sent.items() if key[0] in alive}

    def _submit(self, job: int, step: Step, answer: JobAnswer) -> Hash:
        submitter = self._submitter
        if step is Step.DECLINE:
            return submitter.submit("Jobs", "decline", job=job, attempt=answer.attempt)
        if step is Step.ACCUSE:
            return submitter.submit(
                "Attribution", "report_withheld", job=job, attempt=answer.attempt
            )
        if step is Step.REPORT:
            reason = FailureReason(answer.failure)
            return submitter.submit(
                "Jobs", "report_failure", job=job, attempt=answer.attempt, reason=reason
            )
        output = _output.decode(answer.output)
        if step is Step.COMMIT:
            sealed = commitment(
                self._chain.genesis_hash,
                job,
                submitter.account,
                answer.attempt,
                output_root(output),
                answer.salt,
            )
            return submitter.submit(
                "Jobs", "commit", job=job, attempt=answer.attempt, commitment=sealed
            )
        return submitter.submit("Jobs", "reveal", job=job, output=output, salt=answer.salt)
