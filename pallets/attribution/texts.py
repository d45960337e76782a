"""Texts of drawn receipts: their server shows them to the executors, or is convicted.

When executors are assigned to the SETTLE job of an epoch, the seed of the job draws receipts, and
the server has `text_blocks` blocks to name a file with their texts, encrypted for these executors,
and the hash of its content. That is the same for all executors of a job, also those of a later
attempt: what they conclude differs only where one of them errs.

That a server named no file is a fact of the chain, which anybody may report; a file that no
executor can read, or with another content, is for the executors to report (`Jobs.report_failure`,
WithheldTexts), as is a file of receipts that they cannot get (MissingReceipts).

Showing is operational, as the answers of executors are: whoever fills the blocks cannot make an
honest server late. `check_show` refuses what cannot succeed before it is in a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pallets.attribution import epochs
from pallets.jobs.job import Job, JobState, Slot, SlotState
from runtime.shared.documents import Settle
from runtime.types.primitives import AccountId, Hash

if TYPE_CHECKING:
    from pallets.attribution import Attribution

SHOWING: tuple[JobState, ...] = (JobState.Assigned, JobState.Committing)


def check_show(
    attribution: Attribution, who: AccountId, job: int, attempt: int, blob: Hash, content: Hash
) -> None:
    """Check that a file of texts may be named. Raises NotYourJob, NotShowing, AlreadyShown,
    TextsDiffer."""
    settling = attribution.jobs.job(job)
    if settling is None or not isinstance(settling.spec, Settle) or settling.spec.server != who:
        raise attribution.NotYourJob
    if not _waiting(settling, attempt) or _is_late(attribution, settling, settling.spec, attempt):
        raise attribution.NotShowing
    if (job, attempt) in attribution.shown:
        raise attribution.AlreadyShown
    if attribution.shown_content.get(job) not in (None, content):
        raise attribution.TextsDiffer


def show(
    attribution: Attribution, who: AccountId, job: int, attempt: int, blob: Hash, content: Hash
) -> None:
    """Name the file of texts for the executors of an attempt, and the hash of its content. Raises
    what `check_show` raises."""
    check_show(attribution, who, job, attempt, blob, content)
    attribution.shown.put((job, attempt), blob)
    attribution.shown_content.put(job, content)
    attribution.emit(attribution.TextsShown(job, attempt, blob))


def report_withheld(attribution: Attribution, job_id: int, attempt: int) -> None:
    """Convict a server that named no file of texts in time; the executors that waited are paid.
    Raises NotWithheld."""
    job = attribution.jobs.job(job_id)
    if (
        job is None
        or not isinstance(job.spec, Settle)
        or not _waiting(job, attempt)
        or (job_id, attempt) in attribution.shown
        or not _is_late(attribution, job, job.spec, attempt)
    ):
        raise attribution.NotWithheld
    epochs.convict(attribution, job.spec, false_planck=0)
    attribution.jobs.end_withheld(job_id)
    forget(attribution, job_id)


def forget(attribution: Attribution, job_id: int) -> None:
    """Forget the files of texts of a job that has ended."""
    for key in list(attribution.shown.keys(job_id)):
        attribution.shown.remove(key)
    attribution.shown_content.remove(job_id)


def _waiting(job: Job, attempt: int) -> tuple[Slot, ...]:
    """Return the parts of executors that were assigned in an attempt and have not answered."""
    return tuple(
        slot
        for slot in job.slots
        if slot.attempt == attempt and slot.state is SlotState.Assigned and job.state in SHOWING
    )


def _is_late(attribution: Attribution, job: Job, spec: Settle, attempt: int) -> bool:
    assigned_at = min(slot.assigned_at for slot in _waiting(job, attempt))
    return attribution.system.current_number() > assigned_at + spec.text_blocks
