"""Who may be drawn for a job: bonded, awake, of age, with its base, in a profile that admits it.

A settlement needs a key for reading as well: its server seals the texts of drawn receipts for it.
Nobody executes a job of its own; the owner of a settlement is the server that it judges.

Of the first draw a profile must have more executors than the job needs, so that a profile with
just enough of them, which may all be one person's, gets no jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pallets.jobs.assignment import Candidate, draw
from pallets.jobs.executors import assignments_of, is_silent
from pallets.jobs.job import Job
from pallets.jobs.registry import Executor, Profile
from pallets.jobs.work import base_of, parameters_of, tokens_of
from runtime.shared.documents import Settle
from runtime.types.primitives import ZERO_HASH, Hash

if TYPE_CHECKING:
    from pallets.jobs import Jobs

ASSIGNMENTS_MAX: Final = 16
"""Unfinished jobs of one executor, and settlements beside them; it is not drawn for more."""


def draw_executors(
    jobs: Jobs, job_id: int, job: Job, count: int, needed: int
) -> tuple[Candidate, ...]:
    """Draw up to `count` executors that the job has not had, by randomness that was unknown when it
    opened; none where fewer than `needed` could be drawn."""
    base = base_of(jobs, job.spec)
    size = None if base is None else parameters_of(jobs, base)
    if base is None or size is None:
        return ()
    parameters, tokens = jobs.parameters.get(), tokens_of(jobs, job.spec)
    excluded = {slot.executor for slot in job.slots}
    if not parameters.may_execute_own:
        excluded.add(job.owner)
    assigned = assignments_of(jobs, job.spec)
    admitted: dict[Hash, bool] = {}
    candidates = []
    for account in jobs.executor_accounts.get():
        executor = jobs.registry.get(account)
        assert executor is not None, "listed executors are registered"
        chosen = executor.profile
        if chosen not in admitted:
            admitted[chosen] = admits(jobs.profiles.get(chosen), size, job.work, tokens)
        if (
            account not in excluded
            and job.profile in (None, chosen)
            and admitted[chosen]
            and base in executor.bases
            and (executor.reader != ZERO_HASH or not isinstance(job.spec, Settle))
            and _is_ready(jobs, executor)
            and len(assigned.get(account)) < ASSIGNMENTS_MAX
        ):
            weight = min(executor.bond, parameters.bond_cap)
            candidates.append(Candidate(account, executor.registration, chosen, weight))
    # Bound to job and attempt: two draws of one block must not choose alike.
    bound = job_id.to_bytes(4, "little") + job.attempt.to_bytes(4, "little")
    randomness = jobs.randomness.random(b"job-draw" + bound)
    return draw(candidates, count, needed, randomness)


def admits(profile: Profile | None, base_parameters: int, work: int, tokens: int) -> bool:
    """Return whether the limits of a profile admit a job."""
    return (
        profile is not None
        and base_parameters <= profile.parameters_max
        and work <= profile.work_max
        and tokens <= profile.context_tokens
    )


def _is_ready(jobs: Jobs, executor: Executor) -> bool:
    return (
        executor.bond >= jobs.parameters.get().minimum_bond
        and not is_silent(jobs, executor)
        and executor.drawable_from <= jobs.system.current_number()
    )
