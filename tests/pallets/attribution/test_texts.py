"""Texts of drawn receipts: shown once to each attempt's executors, or the server is convicted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pallets.attribution import Attribution
from pallets.attribution.records import EpochState
from pallets.jobs import Jobs
from pallets.jobs.job import FailureReason, JobFailure, JobState
from runtime.types.primitives import AccountId, Hash
from tests.pallets.support.epochs import (
    FEES,
    MODEL,
    POOL,
    close,
    earn,
    epoch,
    open_gate,
    shared,
)
from tests.pallets.support.ledger import ALICE, BOB
from tests.pallets.support.workshop import EXECUTORS, SERVER, SERVER_BOND, Workshop

BLOB, OTHER = Hash(b"texts".ljust(32, b"\0")), Hash(b"others".ljust(32, b"\0"))
CONTENT = Hash(b"content".ljust(32, b"\0"))
WINDOW = 5


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """Give a chain whose server has closed an epoch; two executors are assigned to job 0."""
    with Workshop(4, executors_per_job=2, commit_blocks=30) as made:
        open_gate(made)
        earn(made)
        parameters = replace(made.attribution.parameters(), text_blocks=WINDOW)
        made.root("Attribution", "set_parameters", parameters=parameters)
        assert close(made) == 0
        made.next_block()
        yield made
        made.check()


def show(
    workshop: Workshop,
    attempt: int = 0,
    *,
    job: int = 0,
    who: AccountId = SERVER,
    blob: Hash = BLOB,
    content: Hash = CONTENT,
) -> None:
    named = {"job": job, "attempt": attempt, "blob": blob, "content": content}
    workshop.sign(who, "Attribution", "show_texts", **named)


def report(workshop: Workshop, job: int = 0, attempt: int = 0) -> None:
    workshop.sign(BOB, "Attribution", "report_withheld", job=job, attempt=attempt)


def cannot(workshop: Workshop, who: AccountId, reason: FailureReason) -> None:
    attempt = next(slot.attempt for slot in workshop.job(0).slots if slot.executor == who)
    workshop.sign(who, "Jobs", "report_failure", job=0, attempt=attempt, reason=reason)


# ------------------------------------------------------------------------------------------ showing


def test_a_server_shows_texts_once_to_the_executors_of_an_attempt(workshop: Workshop) -> None:
    show(workshop)
    assert workshop.attribution.texts_of(0, 0) == BLOB
    assert workshop.events(Attribution.TextsShown) == [Attribution.TextsShown(0, 0, BLOB)]
    with pytest.raises(Attribution.AlreadyShown):
        show(workshop, blob=OTHER)


def test_nobody_else_shows_texts(workshop: Workshop) -> None:
    for who in (ALICE, EXECUTORS[0]):
        with pytest.raises(Attribution.NotYourJob):
            show(workshop, who=who)
    with pytest.raises(Attribution.NotYourJob):
        show(workshop, job=9)
    train = workshop.submit()
    with pytest.raises(Attribution.NotYourJob):
        show(workshop, job=train)


def test_texts_are_shown_in_time_and_to_the_current_attempt(workshop: Workshop) -> None:
    with pytest.raises(Attribution.NotShowing):
        show(workshop, attempt=1)
    workshop.next_block(WINDOW + 1)
    with pytest.raises(Attribution.NotShowing):
        show(workshop)


def test_texts_are_shown_in_the_last_block_of_the_window(workshop: Workshop) -> None:
    workshop.next_block(WINDOW)
    show(workshop)


def test_fresh_executors_are_shown_the_texts_anew(workshop: Workshop) -> None:
    show(workshop)
    first, second = workshop.executors(0)
    workshop.commit(first, 0, shared(()))
    cannot(workshop, second, FailureReason.MissingBlob)
    workshop.next_block()
    assert workshop.job(0).attempt == 1
    with pytest.raises(Attribution.NotShowing):
        show(workshop, attempt=0)
    with pytest.raises(Attribution.TextsDiffer):
        show(workshop, attempt=1, blob=OTHER, content=OTHER)
    show(workshop, attempt=1, blob=OTHER)
    assert workshop.attribution.texts_of(0, 1) == OTHER
    assert workshop.attribution.content_of(0) == CONTENT


def test_texts_are_forgotten_when_the_epoch_is_settled(workshop: Workshop) -> None:
    show(workshop)
    workshop.answer(0, shared(()))
    assert epoch(workshop).state is EpochState.Settled
    assert workshop.attribution.texts_of(0, 0) is None
    assert workshop.attribution.content_of(0) is None
    with pytest.raises(Attribution.NotShowing):
        show(workshop)


# -------------------------------------------------------------------------------------- withholding


def test_a_server_that_shows_nothing_in_time_is_convicted_and_executors_are_paid(
    workshop: Workshop,
) -> None:
    before = {who: workshop.balances.free(who) for who in EXECUTORS}
    escrow = workshop.escrow(SERVER)
    workshop.next_block(WINDOW)
    with pytest.raises(Attribution.NotWithheld):
        report(workshop)
    workshop.next_block()
    report(workshop)
    assert epoch(workshop).state is EpochState.Convicted
    assert workshop.inference.bond_of(SERVER) == SERVER_BOND - FEES
    assert workshop.attribution.common_pool(MODEL) == POOL
    job = workshop.job(0)
    assert (job.state, job.failure) == (JobState.Failed, JobFailure.Withheld)
    assert workshop.escrow(SERVER) == 0
    waited = [slot.executor for slot in job.slots]
    assert sum(workshop.balances.free(who) - before[who] for who in waited) == escrow
    assert not workshop.attribution.is_settling(SERVER)
    with pytest.raises(Attribution.NotWithheld):
        report(workshop)


def test_a_server_that_has_shown_texts_is_not_reported(workshop: Workshop) -> None:
    show(workshop)
    workshop.next_block(WINDOW + 1)
    with pytest.raises(Attribution.NotWithheld):
        report(workshop)


def test_only_settle_jobs_have_texts_to_withhold(workshop: Workshop) -> None:
    train = workshop.submit()
    workshop.next_block(WINDOW + 2)
    for job in (train, 9):
        with pytest.raises(Attribution.NotWithheld):
            report(workshop, job)


def test_texts_withheld_from_a_later_attempt_convict_and_leave_nothing_behind(
    workshop: Workshop,
) -> None:
    show(workshop)
    first, second = workshop.executors(0)
    workshop.commit(first, 0, shared(()))
    cannot(workshop, second, FailureReason.WithheldTexts)
    workshop.next_block()
    assert workshop.job(0).attempt == 1
    workshop.next_block(WINDOW + 1)
    report(workshop, attempt=1)
    assert epoch(workshop).state is EpochState.Convicted
    assert list(workshop.attribution.shown.keys(0)) == []


def test_most_executors_together_convict_a_server_of_unreadable_texts(workshop: Workshop) -> None:
    show(workshop)
    for who in workshop.executors(0):
        cannot(workshop, who, FailureReason.WithheldTexts)
    assert epoch(workshop).state is EpochState.Convicted
    assert workshop.inference.bond_of(SERVER) == SERVER_BOND - FEES
    assert workshop.attribution.common_pool(MODEL) == POOL
    assert workshop.attribution.texts_of(0, 0) is None


@pytest.mark.parametrize("other", [FailureReason.MissingBlob, FailureReason.Unsupported])
def test_one_executor_of_two_convicts_nobody(workshop: Workshop, other: FailureReason) -> None:
    show(workshop)
    first, second = workshop.executors(0)
    cannot(workshop, first, FailureReason.WithheldTexts)
    cannot(workshop, second, other)
    assert epoch(workshop).state is EpochState.Failed
    assert workshop.inference.bond_of(SERVER) == SERVER_BOND
    assert workshop.attribution.pool(MODEL, SERVER).pool == POOL


def test_a_withheld_report_after_a_commit_is_refused(workshop: Workshop) -> None:
    first, _ = workshop.executors(0)
    workshop.commit(first, 0, shared(()))
    with pytest.raises(Jobs.AlreadyCommitted):
        cannot(workshop, first, FailureReason.WithheldTexts)
    show(workshop)
