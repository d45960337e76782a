"""An executor: it settles the epochs that it is drawn for, by commit and reveal.

    assigned -> no file of receipts in time              -> report
             -> texts shown, or receipts false as such   -> commit -> reveal
             -> texts that cannot be read                -> report
             -> no texts in time                         -> report the server

No executor is drawn twice for a job, so each answers once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.market.chain import GENESIS_HASH
from benchmarks.market.parties import Party, down_blocks
from benchmarks.market.settling import Settlement
from benchmarks.market.terms import BASE, EXECUTOR_BOND, PROFILE, READER, TEXT_BLOCKS, WORK_PERMILLE
from pallets.attribution.texts import SHOWING
from pallets.jobs.job import FailureReason, Job, JobState, Slot, SlotState
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import JobOutput, commitment, output_root
from runtime.types.primitives import Hash

if TYPE_CHECKING:
    from benchmarks.market.world import World

PERMILLE = 1_000


class Executor(Party):
    """An honest executor."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.down = down_blocks(world.dice(name, "down"))
        self.results: dict[int, JobOutput] = {}

    def join(self) -> None:
        """Post the bond."""
        self.chain.sign(
            self.account,
            "Jobs",
            "register_executor",
            profile=PROFILE,
            bond=EXECUTOR_BOND,
            bases=(BASE,),
            reader=READER,
        )

    def act(self) -> None:
        """Go on with every job that this executor is drawn for."""
        if self.block in self.down:
            return
        for entry in self.chain.jobs.jobs_for_executor(self.account):
            number, job = entry.id, entry.job
            slot = job.slot_of(self.account)
            if slot is None:
                continue
            if slot.state is SlotState.Assigned and job.state in SHOWING:
                self.work(number, job, slot)
            elif slot.state is SlotState.Committed and job.state is JobState.Revealing:
                self.reveal(number)

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Commit to the result where it is known, or report what keeps it from being known."""
        if not self.world.has_file(job):
            if self.block > slot.assigned_at + TEXT_BLOCKS:
                self.report(number, slot, FailureReason.MissingReceipts)
            return
        blob = self.chain.attribution.texts_of(number, slot.attempt)
        settlement = self.settlement(number, job)
        if not settlement.looked_at or (blob is not None and self.world.texts[blob]):
            self.commit(number, slot, settlement)
        elif blob is not None:
            self.report(number, slot, FailureReason.WithheldTexts)
        else:
            self.chain.attempt(
                self.account, "Attribution", "report_withheld", job=number, attempt=slot.attempt
            )

    def settlement(self, number: int, job: Job) -> Settlement:
        """Return the result of a job: what is true."""
        return self.world.settlement(number, job)

    def commit(self, number: int, slot: Slot, settlement: Settlement) -> bool:
        """Commit to a result, which the work for it was done for."""
        self.pay_work(number)
        return self.seal(number, slot, settlement.settled)

    def pay_work(self, number: int) -> None:
        """Bear the cost of computing a settlement."""
        job = self.chain.jobs.job(number)
        assert job is not None, "an assigned job exists"
        pay = job.escrow // job.executors
        self.world.note_cost(self.name, pay * WORK_PERMILLE // PERMILLE)

    def seal(self, number: int, slot: Slot, output: JobOutput) -> bool:
        """Commit to an output."""
        self.results[number] = output
        sealed = commitment(
            GENESIS_HASH, number, self.account, slot.attempt, output_root(output), self.salt(number)
        )
        return self.chain.attempt(
            self.account,
            "Jobs",
            "commit",
            job=number,
            attempt=slot.attempt,
            commitment=sealed,
        )

    def reveal(self, number: int) -> bool:
        """Reveal the output of a job."""
        return self.chain.attempt(
            self.account,
            "Jobs",
            "reveal",
            job=number,
            output=self.results[number],
            salt=self.salt(number),
        )

    def report(self, number: int, slot: Slot, reason: FailureReason) -> bool:
        """Report that a job cannot be done."""
        return self.chain.attempt(
            self.account,
            "Jobs",
            "report_failure",
            job=number,
            attempt=slot.attempt,
            reason=reason,
        )

    def salt(self, number: int) -> bytes:
        """Return the salt of the commitment to a job."""
        return Hash(blake2b_256(b"salt" + self.account + number.to_bytes(4, "little")))
