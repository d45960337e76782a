"""Executors that do not work, lie, or choose, and cliques of them with a server."""

from __future__ import annotations

from functools import partial
from statistics import mean
from typing import Final

from benchmarks.market.executors import Executor
from benchmarks.market.servers import Declaration
from benchmarks.market.settling import Settlement
from benchmarks.market.strategies.serving import COALITION, SERVER, FalseReceipts
from benchmarks.market.strategies.strategy import CLIQUE, UNSEEN, Strategy
from benchmarks.market.world import EXECUTORS_MAX, EXECUTORS_MIN
from pallets.jobs.job import FailureReason, Job, Slot
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import Settle, Settled
from runtime.types.primitives import ZERO_HASH, Hash

LIAR: Final = "executor0"
PARTNER: Final = "executor1"
FEW_RECEIPTS: Final = 10


class CopiesCommitment(Executor):
    """Waits for the commitment of another executor, and commits to the same."""

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Copy a commitment."""
        for other in job.slots:
            if other.commitment is not None:
                self.world.lies += 1
                self.chain.attempt(
                    self.account,
                    "Jobs",
                    "commit",
                    job=number,
                    attempt=slot.attempt,
                    commitment=other.commitment,
                )

    def reveal(self, number: int) -> bool:
        """Try to open the copy with what another executor has revealed."""
        job = self.chain.jobs.job(number)
        assert job is not None, "an assigned job exists"
        for root in job.revealed:
            output = self.chain.jobs.outputs.get((number, root))
            assert output is not None, "a revealed output is stored"
            self.results[number] = output
            return super().reveal(number)
        return False


class RevealsNothing(Executor):
    """Commits to something, and never reveals."""

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Commit without work."""
        self.world.lies += self.seal(number, slot, guess(job, number))

    def reveal(self, number: int) -> bool:
        """Stay silent."""
        return False


class Guesses(Executor):
    """Answers at random."""

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Commit to a guess."""
        self.world.lies += self.seal(number, slot, guess(job, number))


class Approves(Executor):
    """Looks at nothing, and finds every receipt in order."""

    def settlement(self, number: int, job: Job) -> Settlement:
        """Return the shares as if there was no fault."""
        return self.world.settlement(number, job, is_honest=False)

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Commit without the work."""
        faults = self.world.settlement(number, job).settled.faults
        if self.seal(number, slot, self.settlement(number, job).settled) and faults:
            self.world.lies += 1


class CliqueMember(Executor):
    """Approves what its server falsified, where both places of a job are the clique's."""

    def settlement(self, number: int, job: Job) -> Settlement:
        """Return what suits the clique, or the truth where it would be found out."""
        is_ours = isinstance(job.spec, Settle) and job.spec.server == self.server
        return self.world.settlement(number, job, is_honest=not (is_ours and self.holds_all(job)))

    def holds_all(self, job: Job) -> bool:
        """Return whether the clique has both places of a job."""
        return {slot.executor for slot in job.slots} == self.clique

    @property
    def server(self) -> bytes:
        """The account of the server of the clique."""
        return self.world.parties[SERVER].account

    @property
    def clique(self) -> set[bytes]:
        """The accounts of the clique."""
        return {self.world.parties[name].account for name in (LIAR, PARTNER)}


class CliqueAgainstServers(CliqueMember):
    """Reports texts as withheld that were shown, where both places of a job are the clique's."""

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Report where nobody contradicts."""
        if self.holds_all(job):
            self.world.lies += self.report(number, slot, FailureReason.WithheldTexts)
        else:
            super().work(number, job, slot)


class CriesWithheld(Executor):
    """Reports texts as withheld that the server has shown."""

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Report at once."""
        self.world.lies += self.report(number, slot, FailureReason.WithheldTexts)


class Declines(Executor):
    """Declines the jobs that pay little."""

    def work(self, number: int, job: Job, slot: Slot) -> None:
        """Decline epochs of few receipts."""
        if isinstance(job.spec, Settle) and job.spec.receipts < FEW_RECEIPTS:
            self.world.lies += self.chain.attempt(
                self.account, "Jobs", "decline", job=number, attempt=slot.attempt
            )
        super().work(number, job, slot)


def guess(job: Job, number: int) -> Settled:
    """Return an output that fits a job and is not its result."""
    assert isinstance(job.spec, Settle), "the market has no other jobs"
    return Settled(
        receipts_root=job.spec.receipts_root,
        faults=(),
        shares=ZERO_HASH,
        shares_root=Hash(blake2b_256(b"guess" + number.to_bytes(4, "little"))),
        shares_count=1,
        shares_planck=1,
        largest=(),
    )


class OtherLiar(FalseReceipts):
    """A server that lies beside the executor whose lies are counted."""

    def note_closed(self, declaration: Declaration) -> None:
        """Count nothing."""


COUNTS: Final = range(EXECUTORS_MIN, EXECUTORS_MAX + 1)
CHANCE_OF_BOTH: Final = mean(2 / (count * (count - 1)) for count in COUNTS)
"""The chance with which two of so many executors get both places of a job."""
FALSE_SERVER: Final = partial(OtherLiar, percent=20)

STRATEGIES: Final = (
    Strategy(
        "commitment copier",
        "An executor commits to what another one has committed to.",
        (LIAR,),
        {LIAR: CopiesCommitment},
    ),
    Strategy(
        "no reveal",
        "An executor commits without work and never reveals.",
        (LIAR,),
        {LIAR: RevealsNothing},
    ),
    Strategy("guesser", "An executor answers at random.", (LIAR,), {LIAR: Guesses}),
    Strategy(
        "approves alone",
        "An executor looks at nothing and finds all in order; one server falsifies 20 %.",
        (LIAR,),
        {LIAR: Approves, SERVER: FALSE_SERVER},
        against="wrong sketch 20 %",
    ),
    Strategy(
        "looks at nothing",
        "An executor looks at nothing and finds all in order; nobody else lies.",
        (LIAR,),
        {LIAR: Approves},
        mark=UNSEEN,
    ),
    Strategy(
        "cries withheld",
        "An executor reports texts as withheld that were shown.",
        (LIAR,),
        {LIAR: CriesWithheld},
    ),
    Strategy(
        "decliner",
        "An executor declines the jobs that pay little.",
        (LIAR,),
        {LIAR: Declines},
    ),
    Strategy(
        "clique",
        "Two executors approve what their server falsified, where they hold both places.",
        (*COALITION, LIAR, PARTNER),
        {LIAR: CliqueMember, PARTNER: CliqueMember, SERVER: partial(FalseReceipts, percent=100)},
        mark=CLIQUE,
        expected_found=1 - CHANCE_OF_BOTH,
    ),
    Strategy(
        "clique against servers",
        "Two executors report shown texts as withheld, where they hold both places.",
        (LIAR, PARTNER),
        {LIAR: CliqueAgainstServers, PARTNER: CliqueAgainstServers},
        mark=CLIQUE,
    ),
)
