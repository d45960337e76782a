"""The executor: follows finalized blocks, has this account's jobs computed, and answers on chain.

    assigned, beyond this machine    decline, while that costs nothing
    assigned, nothing computed       prepare inputs, compute in the executor process
    texts not shown in time          report the server that withholds them
    computing, no time left          stop the process, report CannotFinish
    computed, slot Assigned          send commit (or report_failure)
    slot Committed, job Revealing    send reveal
    otherwise                        wait

Before anything is sent (node/jobs/step_sender.py) it is in the answer store, so every step is
repeatable: after kill -9 of this node, of the process, or of both, the same answer goes out.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections import defaultdict, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import trio
from nacl.public import PrivateKey

from ml.jobs.frames import OUTPUTS_FOLDER, Failed, Progress, Result
from ml.jobs.frames import Job as JobFrame
from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.chain.state_reader import StateReader
from node.jobs.answer_store import AnswerDamagedError, JobAnswer, JobAnswerStore
from node.jobs.epoch_inputs import OwedFilesError, TextsAwaitedError
from node.jobs.executor_process import ExecutorDiedError, ExecutorProcess
from node.jobs.inputs import Companion, Inputs, InputsAwaitedError, InputsMissingError
from node.jobs.pace import Pace, Speed, is_hopeless, last_block
from node.jobs.presence import Presence
from node.jobs.step_sender import Step, StepSender, next_step
from node.keys.reader_key import load_registered_key
from node.operations.config import ConfigError
from node.operations.data_folder import ANSWERS_FOLDER, JOBS_FOLDER
from node.storage.blob_errors import BlobError
from node.storage.blob_store import BlobStore
from node.transactions.submitter import Submitter
from pallets.jobs.job import FailureReason, Job, JobEntry, Slot
from pallets.jobs.work import base_of
from runtime.codec.scale import codec
from runtime.shared.documents import JobOutput, JobSpec, Settle
from runtime.types.primitives import ZERO_HASH, Hash

WORK_FOLDER: Final = "work"
"""Frozen: an upgraded node goes on with the jobs whose folders it finds."""
PROGRESS_KEPT_MAX: Final = 4_096
SALT_BYTES: Final = 32
STALE_ANSWERS_MAX: Final = 64
STALL_BLOCKS: Final = 30
AWAITED_BLOCKS: Final = 120
"""How long a job waits for a peer with its inputs before this executor reports a failure: the node
that has them may be restarting."""
DECLINE_BLOCKS: Final = 2
"""So many blocks before the time to decline ends nothing is declined any more: it could be late."""
JOBS_WITH_PROGRESS_MAX: Final = 64
SETTLE_SCALES: Final = 2
"""What a settlement counts in its reports: the receipts of the epoch, then the drawn answers."""

_REASONS: Final[dict[str, FailureReason]] = {
    "InputMissingError": FailureReason.MissingBlob,
    "InputCorruptError": FailureReason.BadRows,
    "RowsTooFewError": FailureReason.BadRows,
    "BaseMismatchError": FailureReason.UnknownBase,
    "BaseNotFoundError": FailureReason.UnknownBase,
}

logger = logging.getLogger(__name__)
_spec = codec(JobSpec)
_output = codec(JobOutput)


class OutputMisnamedError(Exception):
    """The executor process named a file that is missing or has another content."""


def _time_for(job: Job, height: int) -> int:
    """Return how many blocks there are to compute a job that begins now. A settlement may have to
    wait for its texts as long as its server has time to show them."""
    waiting = job.spec.text_blocks if isinstance(job.spec, Settle) else 0
    return job.commits_end - height - waiting


def _no_answer(job: int, attempt: int) -> JobAnswer:
    return JobAnswer(job, attempt, b"", b"", 0, "")


@dataclass(frozen=True, slots=True)
class ProgressRecord:
    """One report of a running job; losses in micro-nats per token, None where there is none."""

    step: int
    steps: int
    loss_micronats: int | None
    held_out_micronats: int | None


class Executor:
    """Answers the jobs that are assigned to this node's account."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        submitter: Submitter,
        blobs: BlobStore,
        inputs: Inputs,
        process: ExecutorProcess,
        folder: Path,
        presence: Presence,
        base_model: str = "",
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._blobs = blobs
        self._inputs = inputs
        self.process = process
        self._folder = folder
        self._presence = presence
        self._base_model = base_model
        self._answers = JobAnswerStore(folder / ANSWERS_FOLDER)
        self._computing: set[tuple[int, int]] = set()
        self._sender = StepSender(chain, reader, submitter)
        self._stalled: dict[tuple[int, int], int] = {}
        self._awaited: dict[tuple[int, int], int] = {}
        self._progress: dict[int, deque[ProgressRecord]] = {}
        self._paces: dict[int, Pace] = {}
        self._speeds: defaultdict[type, Speed] = defaultdict(Speed)
        """By kind of job: a unit of one takes longer than a unit of another."""
        self._scopes: dict[tuple[int, int], trio.CancelScope] = {}
        """What is being computed, by job and attempt; cancelling one gives the job up."""

    def progress(self, job: int) -> list[ProgressRecord]:
        """Return the latest reports of a job that runs or ran here."""
        return list(self._progress.get(job, ()))

    async def run(self) -> None:
        """Follow finalized blocks until cancelled; the process ends with it."""
        await trio.to_thread.run_sync(self._presence.learn)
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    async with self._chain.events() as events:
                        await self._follow(events, nursery)
                    logger.warning("executor-lagging action=resubscribe")
        finally:
            await self.process.stop()

    async def _follow(
        self, events: trio.MemoryReceiveChannel[object], nursery: trio.Nursery
    ) -> None:
        self._act(nursery)
        async for event in events:
            if isinstance(event, FinalChanged):
                self._act(nursery)

    def _act(self, nursery: trio.Nursery) -> None:
        """Take the next step of every assigned job."""
        self._presence.show()
        entries = self._assigned()
        busy_blocks = 0
        for entry in entries:
            slot = self._own_slot(entry.job)
            if slot is None:
                continue
            answer = self._stored_answer(entry.id, slot.attempt)
            step = next_step(entry.job, slot, answer)
            if step is Step.COMPUTE and self._declines(entry, slot, busy_blocks):
                self._sender.send(entry.id, Step.DECLINE, _no_answer(entry.id, slot.attempt))
            elif step is Step.COMPUTE and self._gives_up(entry, slot):
                continue
            elif step is Step.COMPUTE and self._is_kept_waiting(entry, slot):
                self._sender.send(entry.id, Step.ACCUSE, _no_answer(entry.id, slot.attempt))
            elif step is Step.COMPUTE:
                self._start(entry, slot, nursery)
                busy_blocks += self._speeds[type(entry.job.spec)].blocks_for(entry.job.work)
            elif step is not Step.WAIT and answer is not None:
                self._sender.send(entry.id, step, answer)
        self._forget({entry.id for entry in entries})

    def _assigned(self) -> tuple[JobEntry, ...]:
        """Return this account's jobs after the last final block, the first due first."""
        with self._reader.at() as state:
            entries = state.jobs.jobs_for_executor(self._submitter.account)
        return tuple(sorted(entries, key=lambda entry: (entry.job.commits_end, entry.id)))

    def _own_slot(self, job: Job) -> Slot | None:
        return job.slot_of(self._submitter.account)

    def _stored_answer(self, job: int, attempt: int) -> JobAnswer | None:
        try:
            return self._answers.load(job, attempt)
        except AnswerDamagedError as error:
            logger.error("outbox-damaged job=%d attempt=%d reason=%r", job, attempt, str(error))
            self._answers.remove(job, attempt)
            return None

    def _forget(self, alive: set[int]) -> None:
        """Drop answers, work folders and notes of jobs that no longer need an answer."""
        stale = [key for key in self._answers if key[0] not in alive]
        for job, attempt in stale[: max(0, len(stale) - STALE_ANSWERS_MAX)]:
            self._answers.remove(job, attempt)
        busy = alive | {job for job, _ in self._computing}
        for path in self._work_folders():
            if int(path.name) not in busy:
                shutil.rmtree(path, ignore_errors=True)
        self._sender.forget(alive)
        self._stalled = {key: height for key, height in self._stalled.items() if key[0] in alive}
        self._awaited = {key: height for key, height in self._awaited.items() if key[0] in alive}
        self._paces = {job: pace for job, pace in self._paces.items() if job in busy}
        for job in list(self._progress)[: max(0, len(self._progress) - JOBS_WITH_PROGRESS_MAX)]:
            del self._progress[job]

    def _work_folders(self) -> list[Path]:
        folder = self._folder / JOBS_FOLDER
        paths = folder.iterdir() if folder.exists() else ()
        return [path for path in paths if path.name.isdecimal()]

    # ---------------------------------------------------------------------------- computing

    def _declines(self, entry: JobEntry, slot: Slot, busy_blocks: int = 0) -> bool:
        """Return whether a job is beyond this machine, which has earlier ones to do first, and may
        be declined still."""
        height, job = self._chain.finalized.number, entry.job
        with self._reader.at() as state:
            last = slot.assigned_at + state.jobs.parameters.get().decline_blocks - DECLINE_BLOCKS
        if (entry.id, slot.attempt) in self._computing or height > last:
            return False
        why = self._why_not(job) or self._why_unread(job)
        speed = self._speeds[type(job.spec)]
        if not why and speed.is_too_slow(job.work, _time_for(job, height), busy_blocks):
            why = "It would take longer here than there is time."
        if why:
            logger.warning("job-declined job=%d reason=%r", entry.id, why)
        return bool(why)

    def _why_not(self, job: Job) -> str:
        """Return why this machine has not what a job needs; empty where it has."""
        with self._reader.at() as state:
            base = base_of(state.jobs, job.spec)
        return self._presence.why_not(base, job.profile)

    def _why_unread(self, job: Job) -> str:
        """Return why this machine cannot read the texts of a settlement; empty where it can."""
        if isinstance(job.spec, Settle):
            try:
                self._reader_key()
            except (ConfigError, OSError) as error:
                return str(error)
        return ""

    def _reader_key(self) -> PrivateKey:
        """Return the key for which servers encrypt texts for this executor. Raises ConfigError,
        OSError."""
        with self._reader.at() as state:
            record = state.jobs.registry.get(self._submitter.account)
        registered = ZERO_HASH if record is None else record.reader
        return load_registered_key(self._folder, registered)

    def _is_kept_waiting(self, entry: JobEntry, slot: Slot) -> bool:
        """Return whether a server owes this executor texts, and its time to show them is over."""
        spec = entry.job.spec
        if not isinstance(spec, Settle):
            return False
        with self._reader.at() as state:
            is_shown = (entry.id, slot.attempt) in state.attribution.shown
        is_late = self._chain.finalized.number > slot.assigned_at + spec.text_blocks
        return is_late and not is_shown

    def _gives_up(self, entry: JobEntry, slot: Slot) -> bool:
        """Stop what cannot be finished in time, and report it; returns whether it was given up."""
        key, height = (entry.id, slot.attempt), self._chain.finalized.number
        last = last_block(slot.assigned_at, entry.job.commits_end)
        if not is_hopeless(height, last, self._paces.get(entry.id)):
            return False
        if key in self._scopes:
            self._scopes[key].cancel()  # its task reports the failure
        elif key not in self._computing:
            reason = FailureReason.CannotFinish
            answer = self._failure(entry, slot, reason, "It could not be begun in time.")
            self._answers.store(answer)
            self._sender.send(entry.id, Step.REPORT, answer)
        return True

    def _start(self, entry: JobEntry, slot: Slot, nursery: trio.Nursery) -> None:
        key = (entry.id, slot.attempt)
        stalled_at = self._stalled.get(key, -STALL_BLOCKS)
        if key in self._computing or self._chain.finalized.number < stalled_at + STALL_BLOCKS:
            return
        self._computing.add(key)
        nursery.start_soon(self._compute, entry, slot)

    async def _compute(self, entry: JobEntry, slot: Slot) -> None:
        """Compute a job and send its commitment; a full disk or absent peers only delay it."""
        key = (entry.id, slot.attempt)
        logger.info("job-started job=%d kind=%s", entry.id, type(entry.job.spec).__name__)
        try:
            folder = self._folder / JOBS_FOLDER / str(entry.id)
            with trio.CancelScope() as scope:
                self._scopes[key] = scope
                answer = await self._compute_answer(entry, slot, folder)
            if scope.cancelled_caught:
                reason = FailureReason.CannotFinish
                answer = self._failure(entry, slot, reason, "It cannot be done in the time left.")
            await trio.to_thread.run_sync(self._answers.store, answer)
        except TextsAwaitedError:
            return
        except (OSError, BlobError, InputsAwaitedError, OwedFilesError) as error:
            logger.error("job-stalled job=%d reason=%r", entry.id, str(error))
            self._stalled[key] = self._chain.finalized.number
            return
        finally:
            self._computing.discard(key)
            self._scopes.pop(key, None)
        logger.info("job-computed job=%d failed=%s", entry.id, not answer.output)
        for current in self._assigned():
            own = self._own_slot(current.job) if current.id == entry.id else None
            if own is not None:
                step = next_step(current.job, own, answer)
                if step in (Step.COMMIT, Step.REPORT):
                    self._sender.send(current.id, step, answer)

    async def _compute_answer(self, entry: JobEntry, slot: Slot, folder: Path) -> JobAnswer:
        """Compute the answer, a failure included.

        Raises OSError, BlobError, InputsAwaitedError, TextsAwaitedError, OwedFilesError.
        """
        why = self._why_not(entry.job)
        if why:
            # Too late to decline; computing it would give another result than that of the others.
            return self._failure(entry, slot, FailureReason.UnknownBase, why)
        try:
            frame = await trio.to_thread.run_sync(self._prepare, entry, slot, folder)
            self._paces.pop(entry.id, None)  # of an earlier try: its waiting is no work
            result: Result | Failed = await self.process.run(frame, self._record_progress)
            if isinstance(result, Result):
                self._measure(entry)
            return await trio.to_thread.run_sync(self._answer_of, entry, slot, result, folder)
        except InputsMissingError as error:
            if isinstance(error, InputsAwaitedError) and self._may_wait(entry, slot):
                raise
            return self._failure(entry, slot, FailureReason.MissingBlob, str(error))
        except OwedFilesError as error:
            if not error.is_lasting and self._is_in_time(entry, slot):
                raise
            return self._failure(entry, slot, error.reason, str(error))
        except (ExecutorDiedError, OutputMisnamedError, ConfigError) as error:
            return self._failure(entry, slot, FailureReason.Unsupported, str(error))

    def _may_wait(self, entry: JobEntry, slot: Slot) -> bool:
        """Return whether there is time left to look for the inputs of a job again."""
        height = self._chain.finalized.number
        began = self._awaited.setdefault((entry.id, slot.attempt), height)
        last = last_block(slot.assigned_at, entry.job.commits_end)
        return height < min(began + AWAITED_BLOCKS, last - STALL_BLOCKS)

    def _is_in_time(self, entry: JobEntry, slot: Slot) -> bool:
        """Return whether a server has time left to bring what it owes: it may be restarting."""
        assert isinstance(entry.job.spec, Settle), "only for an epoch a server owes something"
        return self._chain.finalized.number <= slot.assigned_at + entry.job.spec.text_blocks

    def _measure(self, entry: JobEntry) -> None:
        """Note how long the work of a job has taken from its first report on. The work of a
        settlement is to look at drawn answers, its second scale; receipts come on top."""
        pace, height = self._paces.get(entry.id), self._chain.finalized.number
        kind = type(entry.job.spec)
        if pace is None or pace.began is None or (kind is Settle and pace.scales < SETTLE_SCALES):
            return
        self._speeds[kind].record(entry.job.work, height - pace.began)

    def _prepare(self, entry: JobEntry, slot: Slot, folder: Path) -> JobFrame:
        work = folder / WORK_FOLDER
        inputs = folder / "inputs"
        work.mkdir(parents=True, exist_ok=True)
        companion = self._lay_out(entry, slot, inputs)
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

    def _lay_out(self, entry: JobEntry, slot: Slot, folder: Path) -> Companion:
        """Fill the inputs folder of a job.

        Raises TextsAwaitedError, OwedFilesError, InputsMissingError, BlobError, OSError.
        """
        if isinstance(entry.job.spec, Settle):
            key = self._reader_key()
            self._inputs.prepare_settlement(entry.job.spec, entry.id, slot.attempt, key, folder)
            return Companion()
        return self._inputs.prepare(entry.job.spec, folder)

    def _record_progress(self, report: Progress) -> None:
        pace = self._paces.setdefault(report.id, Pace())
        pace.record(self._chain.finalized.number, report.step, report.steps)
        records = self._progress.setdefault(report.id, deque(maxlen=PROGRESS_KEPT_MAX))
        records.append(
            ProgressRecord(
                report.step,
                report.steps,
                None if report.loss_micronats < 0 else report.loss_micronats,
                None if report.held_out_micronats < 0 else report.held_out_micronats,
            )
        )

    def _answer_of(
        self, entry: JobEntry, slot: Slot, result: Result | Failed, folder: Path
    ) -> JobAnswer:
        if isinstance(result, Failed):
            reason = _REASONS.get(result.reason, FailureReason.Unsupported)
            return self._failure(entry, slot, reason, f"{result.reason}: {result.message}")
        outputs = folder / WORK_FOLDER / OUTPUTS_FOLDER
        for at in range(0, len(result.files), 32):
            name = Hash(result.files[at : at + 32])
            path = outputs / name.hex()
            if not path.is_file() or self._blobs.put(path.read_bytes()) != name:
                raise OutputMisnamedError(f"The executor process has no file {name.hex()}.")
        salt = secrets.token_bytes(SALT_BYTES)
        return JobAnswer(entry.id, slot.attempt, salt, result.output, 0, "")

    def _failure(
        self, entry: JobEntry, slot: Slot, reason: FailureReason, message: str
    ) -> JobAnswer:
        logger.warning("job-failed job=%d reason=%s message=%r", entry.id, reason.name, message)
        return replace(_no_answer(entry.id, slot.attempt), failure=int(reason), message=message)
