"""The executor: follows finalized blocks, has this account's jobs computed, and answers on chain.

    assigned, nothing promised       prepare inputs, compute in the executor process
    promised, slot Assigned          send commit (or report_failure)
    slot Committed, job Revealing    send reveal
    otherwise                        wait

Before anything is sent it is in the outbox, so every step is repeatable: after kill -9 of this
node, of the process, or of both, the same answer goes out. What has been sent is done when its
effect is in final state. Until then it is looked for on the best branch and in the pool, and what
is in neither (dropped, expired, lost with a branch) is signed and sent again.
"""

from __future__ import annotations

import enum
import logging
import secrets
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from ml.jobs.frames import Failed, Progress, Result
from ml.jobs.frames import Job as JobFrame
from node.chain.chain import Chain, Finalized
from node.chain.state_reader import Reader
from node.jobs.answer_store import Outbox, OutboxDamagedError, Promise
from node.jobs.executor_process import Worker, WorkerDied
from node.jobs.inputs import Inputs, InputsAwaited, InputsMissing, InputsRefused
from node.storage.blob_store import BlobError, BlobStore
from node.transactions.errors import PoolError
from node.transactions.submitter import Submitter
from pallets.jobs.job import FailureReason, Job, JobEntry, JobState, Slot, SlotState
from runtime.codec.scale import codec
from runtime.shared.documents import JobOutput, JobSpec, commitment, output_root
from runtime.types.primitives import Hash

RESEND_BLOCKS: Final = 8
PROGRESS_KEPT_MAX: Final = 4_096
SALT_BYTES: Final = 32
OUTPUTS_KEPT: Final = 64
STALL_BLOCKS: Final = 30
AWAITED_BLOCKS: Final = 120
"""How long a job waits for a peer with its inputs before this executor says that it cannot do it:
the node that has them may be starting again."""
REPORT_BLOCKS: Final = 20
"""Before the end of the commit phase it says so in any case: who is silent is slashed."""
JOBS_WITH_PROGRESS_MAX: Final = 64

_REASONS: Final[dict[str, FailureReason]] = {
    "TrainingDivergedError": FailureReason.TrainingDiverged,
    "InputMissingError": FailureReason.MissingBlob,
    "InputCorruptError": FailureReason.BadRows,
    "RowsRefused": FailureReason.BadRows,
    "BaseMismatchError": FailureReason.UnknownBase,
    "BaseNotFoundError": FailureReason.UnknownBase,
}

logger = logging.getLogger(__name__)
_spec = codec(JobSpec)
_output = codec(JobOutput)


class OutputMisnamed(Exception):
    """The executor process named a file that is missing or has another content."""


class Step(enum.Enum):
    """What to do for a job now."""

    COMPUTE = "compute"
    COMMIT = "commit"
    REVEAL = "reveal"
    REPORT = "report"
    WAIT = "wait"


def next_step(job: Job, slot: Slot, promise: Promise | None) -> Step:
    """Decide from the job on chain and what was promised; the table is in the module's head."""
    if job.is_final:
        return Step.WAIT
    if promise is None:
        working = job.state in (JobState.Assigned, JobState.Committing)
        return Step.COMPUTE if working and slot.state is SlotState.Assigned else Step.WAIT
    if slot.state is SlotState.Assigned and job.state in (JobState.Assigned, JobState.Committing):
        return Step.COMMIT if promise.output else Step.REPORT
    if slot.state is SlotState.Committed and job.state is JobState.Revealing:
        return Step.REVEAL
    return Step.WAIT


@dataclass(frozen=True, slots=True)
class ProgressRecord:
    """One report of a running job; losses in micro-nats per token, None where there is none."""

    step: int
    steps: int
    loss_micronats: int | None
    held_out_micronats: int | None


@dataclass(frozen=True, slots=True)
class _Sent:
    """A transaction with a step of an answer, and the final height at which it was last offered."""

    height: int
    transaction: Hash


class Executor:
    """Answers the jobs that are assigned to this node's account."""

    def __init__(
        self,
        chain: Chain,
        reader: Reader,
        submitter: Submitter,
        blobs: BlobStore,
        inputs: Inputs,
        worker: Worker,
        folder: Path,
        base_model: str = "",
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._blobs = blobs
        self._inputs = inputs
        self.worker = worker
        self._folder = folder
        self._base_model = base_model
        self._outbox = Outbox(folder / "outbox")
        self._computing: set[tuple[int, int]] = set()
        self._sent: dict[tuple[int, int, Step], _Sent] = {}
        self._stalled: dict[tuple[int, int], int] = {}
        self._awaited: dict[tuple[int, int], int] = {}
        self._progress: dict[int, deque[ProgressRecord]] = {}

    def progress(self, job: int) -> list[ProgressRecord]:
        """Return the latest reports of a job that runs or ran here."""
        return list(self._progress.get(job, ()))

    async def run(self) -> None:
        """Follow finalized blocks until cancelled; the process ends with it."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    async with self._chain.events() as events:
                        await self._follow(events, nursery)
                    logger.warning("executor-lagging action=resubscribe")
        finally:
            await self.worker.stop()

    async def _follow(
        self, events: trio.MemoryReceiveChannel[object], nursery: trio.Nursery
    ) -> None:
        self._act(nursery)
        async for event in events:
            if isinstance(event, Finalized):
                self._act(nursery)

    def _act(self, nursery: trio.Nursery) -> None:
        """Take the next step of every assigned job."""
        entries = self._assigned()
        for entry in entries:
            slot = self._own_slot(entry.job)
            if slot is None:
                continue
            promise = self._promise(entry.id, slot.attempt)
            step = next_step(entry.job, slot, promise)
            if step is Step.COMPUTE:
                self._start(entry, nursery)
            elif step is not Step.WAIT and promise is not None:
                self._send(entry, step, promise)
        self._forget({entry.id for entry in entries})

    def _assigned(self, block: Hash | None = None) -> tuple[JobEntry, ...]:
        """Return this account's jobs after a block, the last final one by default."""
        with self._reader.at(block) as state:
            return state.jobs.jobs_for_executor(self._submitter.account)

    def _own_slot(self, job: Job) -> Slot | None:
        return job.slot_of(self._submitter.account)

    def _promise(self, job: int, attempt: int) -> Promise | None:
        try:
            return self._outbox.get(job, attempt)
        except OutboxDamagedError as error:
            logger.error("outbox-damaged job=%d attempt=%d reason=%r", job, attempt, str(error))
            self._outbox.remove(job, attempt)
            return None

    def _forget(self, alive: set[int]) -> None:
        """Drop promises, work folders and notes of jobs that no longer need an answer."""
        stale = [key for key in self._outbox if key[0] not in alive]
        for job, attempt in stale[: max(0, len(stale) - OUTPUTS_KEPT)]:
            self._outbox.remove(job, attempt)
        busy = alive | {job for job, _ in self._computing}
        for path in self._work_folders():
            if int(path.name) not in busy:
                shutil.rmtree(path, ignore_errors=True)
        self._sent = {key: sent for key, sent in self._sent.items() if key[0] in alive}
        self._stalled = {key: height for key, height in self._stalled.items() if key[0] in alive}
        self._awaited = {key: height for key, height in self._awaited.items() if key[0] in alive}
        for job in list(self._progress)[: max(0, len(self._progress) - JOBS_WITH_PROGRESS_MAX)]:
            del self._progress[job]

    def _work_folders(self) -> list[Path]:
        folder = self._folder / "jobs"
        found = folder.iterdir() if folder.exists() else ()
        return [path for path in found if path.name.isdecimal()]

    # ---------------------------------------------------------------------------- computing

    def _start(self, entry: JobEntry, nursery: trio.Nursery) -> None:
        key = (entry.id, entry.job.attempt)
        stalled_at = self._stalled.get(key, -STALL_BLOCKS)
        if key in self._computing or self._chain.finalized.number < stalled_at + STALL_BLOCKS:
            return
        self._computing.add(key)
        nursery.start_soon(self._compute, entry)

    async def _compute(self, entry: JobEntry) -> None:
        """Compute a job and send its commitment; a full disk or absent peers only delay it."""
        key = (entry.id, entry.job.attempt)
        logger.info("job-started job=%d kind=%s", entry.id, type(entry.job.spec).__name__)
        try:
            promise = await self._answer(entry, self._folder / "jobs" / str(entry.id))
            await trio.to_thread.run_sync(self._outbox.put, promise)
        except (OSError, BlobError, InputsAwaited) as error:
            logger.error("job-stalled job=%d reason=%r", entry.id, str(error))
            self._stalled[key] = self._chain.finalized.number
            return
        finally:
            self._computing.discard(key)
        logger.info("job-computed job=%d failed=%s", entry.id, not promise.output)
        for each in self._assigned():
            slot = self._own_slot(each.job) if each.id == entry.id else None
            if slot is not None:
                step = next_step(each.job, slot, promise)
                if step in (Step.COMMIT, Step.REPORT):
                    self._send(each, step, promise)

    async def _answer(self, entry: JobEntry, folder: Path) -> Promise:
        """Return what is to be answered, a failure included.

        Raises OSError, BlobError, InputsAwaited.
        """
        try:
            frame = await trio.to_thread.run_sync(self._prepare, entry, folder)
            answer: Result | Failed = await self.worker.run(frame, self._heard)
            return await trio.to_thread.run_sync(self._answered, entry, answer, folder)
        except InputsMissing as error:
            if isinstance(error, InputsAwaited) and self._may_wait(entry):
                raise
            return self._failure(entry, FailureReason.MissingBlob, str(error))
        except InputsRefused as error:
            return self._failure(entry, FailureReason.BadRows, str(error))
        except (WorkerDied, OutputMisnamed) as error:
            return self._failure(entry, FailureReason.Unsupported, str(error))

    def _may_wait(self, entry: JobEntry) -> bool:
        """Say whether there is time left to look for the inputs of a job again."""
        height = self._chain.finalized.number
        began = self._awaited.setdefault((entry.id, entry.job.attempt), height)
        return height < min(
            began + AWAITED_BLOCKS, entry.job.deadline - STALL_BLOCKS - REPORT_BLOCKS
        )

    def _prepare(self, entry: JobEntry, folder: Path) -> JobFrame:
        work = folder / "work"
        inputs = folder / "inputs"
        work.mkdir(parents=True, exist_ok=True)
        companion = self._inputs.prepare(entry.job.spec, inputs)
        return JobFrame(
            id=entry.id,
            spec=_spec.encode(entry.job.spec),
            inputs=str(inputs),
            work=str(work),
            seed=bytes(entry.job.seed or bytes(32)),
            base=self._base_model,
            train_spec=companion.train_spec,
            trained=companion.trained,
        )

    def _heard(self, report: Progress) -> None:
        records = self._progress.setdefault(report.id, deque(maxlen=PROGRESS_KEPT_MAX))
        records.append(
            ProgressRecord(
                report.step,
                report.steps,
                None if report.loss_micronats < 0 else report.loss_micronats,
                None if report.held_out_micronats < 0 else report.held_out_micronats,
            )
        )

    def _answered(self, entry: JobEntry, answer: Result | Failed, folder: Path) -> Promise:
        if isinstance(answer, Failed):
            reason = _REASONS.get(answer.reason, FailureReason.Unsupported)
            return self._failure(entry, reason, f"{answer.reason}: {answer.message}")
        outputs = folder / "work" / "outputs"
        for at in range(0, len(answer.files), 32):
            name = Hash(answer.files[at : at + 32])
            path = outputs / name.hex()
            if not path.is_file() or self._blobs.put(path.read_bytes()) != name:
                raise OutputMisnamed(f"The executor process has no file {name.hex()}.")
        salt = secrets.token_bytes(SALT_BYTES)
        return Promise(entry.id, entry.job.attempt, salt, answer.output, 0, "")

    def _failure(self, entry: JobEntry, reason: FailureReason, message: str) -> Promise:
        logger.warning("job-failed job=%d reason=%s message=%r", entry.id, reason.name, message)
        return Promise(entry.id, entry.job.attempt, b"", b"", int(reason), message)

    # ------------------------------------------------------------------------------ sending

    def _send(self, entry: JobEntry, step: Step, promise: Promise) -> None:
        """Send a step, unless it is on its way; what is on its way for long is offered again."""
        key = (entry.id, promise.attempt, step)
        height, sent = self._chain.finalized.number, self._sent.get(key)
        if sent is not None and height < sent.height + RESEND_BLOCKS:
            return
        if not self._is_open_at_best(entry.id, step, promise):
            return
        if sent is not None and self._submitter.offer_again(sent.transaction):
            self._sent[key] = _Sent(height, sent.transaction)
            return
        try:
            transaction = self._submit(entry, step, promise)
        except PoolError as error:
            logger.warning("answer-refused job=%d step=%s reason=%r", entry.id, step, str(error))
            return
        self._sent[key] = _Sent(height, transaction)
        logger.info("answer-sent job=%d attempt=%d step=%s", *key[:2], step.value)

    def _is_open_at_best(self, job: int, step: Step, promise: Promise) -> bool:
        """Whether the best branch still waits for a step; if not, finality is all that lacks."""
        for entry in self._assigned(self._chain.best.hash):
            slot = self._own_slot(entry.job)
            if entry.id == job and slot is not None:
                return next_step(entry.job, slot, promise) is step
        return False

    def _submit(self, entry: JobEntry, step: Step, promise: Promise) -> Hash:
        submitter, job = self._submitter, entry.id
        if step is Step.REPORT:
            reason = FailureReason(promise.failure)
            return submitter.submit(
                "Jobs", "report_failure", job=job, attempt=promise.attempt, reason=reason
            )
        output = _output.decode(promise.output)
        if step is Step.COMMIT:
            sealed = commitment(
                self._chain.genesis_hash,
                job,
                submitter.account,
                promise.attempt,
                output_root(output),
                promise.salt,
            )
            return submitter.submit(
                "Jobs", "commit", job=job, attempt=promise.attempt, commitment=sealed
            )
        return submitter.submit("Jobs", "reveal", job=job, output=output, salt=promise.salt)
