"""Answers to jobs: commitments, reveals, reports; agreement of two and more executors."""

import pytest

from pallets.jobs import Jobs
from pallets.jobs.job import (
    FailureReason,
    JobFailure,
    JobState,
)
from pallets.jobs.settlement import JOB_POT
from runtime.shared.documents import (
    Evaluated,
)
from tests.pallets.support.ledger import ALICE
from tests.pallets.support.workshop import (
    BASE,
    BOND,
    EXECUTORS,
    Workshop,
    indexed,
    trained,
)

FIRST, SECOND, THIRD = EXECUTORS[:3]


# ------------------------------------------------------------------------------------------ answers


def test_only_an_assigned_executor_answers(pair: Workshop) -> None:
    job = pair.assigned()
    stranger = next(who for who in EXECUTORS[:4] if who not in pair.executors(job))
    with pytest.raises(Jobs.NotAssigned):
        pair.sign(stranger, "Jobs", "commit", job=job, attempt=0, commitment=BASE)
    with pytest.raises(Jobs.NotAssigned):
        pair.reveal(stranger, job, trained())


def test_an_answer_counts_once(pair: Workshop) -> None:
    job = pair.assigned()
    one, two = pair.executors(job)
    with pytest.raises(Jobs.WrongAttempt):
        pair.sign(one, "Jobs", "commit", job=job, attempt=1, commitment=BASE)
    with pytest.raises(Jobs.NotCommitted):
        pair.reveal(one, job, trained())
    pair.commit(one, job, trained())
    assert pair.state(job) is JobState.Committing
    with pytest.raises(Jobs.AlreadyCommitted):
        pair.commit(one, job, trained())
    reason = FailureReason.BadRows
    with pytest.raises(Jobs.AlreadyCommitted):
        pair.sign(one, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    with pytest.raises(Jobs.RevealPhaseClosed):
        pair.reveal(one, job, trained())
    pair.commit(two, job, trained())
    pair.reveal(one, job, trained())
    with pytest.raises(Jobs.AlreadyRevealed):
        pair.reveal(one, job, trained())


def test_a_copied_commitment_cannot_be_opened(pair: Workshop) -> None:
    job = pair.assigned()
    one, two = pair.executors(job)
    pair.commit(one, job, trained())
    copied = pair.job(job).slots[0].commitment or pair.job(job).slots[1].commitment
    pair.sign(two, "Jobs", "commit", job=job, attempt=0, commitment=copied)
    pair.reveal(one, job, trained())
    with pytest.raises(Jobs.RevealMismatch):
        pair.reveal(two, job, trained())


def test_a_reveal_must_open_the_commitment(workshop: Workshop) -> None:
    job = workshop.assigned()
    workshop.commit(FIRST, job, trained())
    with pytest.raises(Jobs.RevealMismatch):
        workshop.reveal(FIRST, job, trained(1))
    with pytest.raises(Jobs.RevealMismatch):
        workshop.reveal(FIRST, job, trained(), salt=b"t" * 32)
    with pytest.raises(Jobs.OutputMismatch):
        workshop.reveal(FIRST, job, Evaluated(1, 1))


def test_an_index_of_another_sketch_size_does_not_fit(workshop: Workshop) -> None:
    job = workshop.assigned()
    workshop.answer(job, trained())
    workshop.next_block()
    index = workshop.job(job).index_job
    assert index is not None
    workshop.commit(FIRST, index, indexed(32))
    with pytest.raises(Jobs.OutputMismatch):
        workshop.reveal(FIRST, index, indexed(32))


# ------------------------------------------------------------------------------------- two and more


def test_two_equal_roots_settle_and_share_the_pay(pair: Workshop) -> None:
    job = pair.assigned()
    one, two = pair.executors(job)
    before = {who: pair.balances.free(who) for who in (one, two)}
    pair.answer(job, trained())
    settled = pair.job(job)
    assert settled.state is JobState.Settled
    work = settled.escrow - settled.index_escrow
    earned = [pair.balances.free(who) - before[who] for who in (one, two)]
    assert sum(earned) == work
    assert abs(earned[0] - earned[1]) <= 1


def test_a_diverging_executor_loses_its_bond_when_two_others_agree(pair: Workshop) -> None:
    job = pair.assigned()
    honest, wrong = pair.executors(job)
    for who, output in ((honest, trained()), (wrong, trained(1))):
        pair.commit(who, job, output)
    for who, output in ((honest, trained()), (wrong, trained(1))):
        pair.reveal(who, job, output)
    pair.next_block()
    assert pair.state(job) is JobState.Assigned
    (fresh,) = pair.executors(job)
    assert fresh not in (honest, wrong)
    free = pair.balances.free(honest)
    pair.answer(job, trained())
    assert pair.state(job) is JobState.Settled
    assert pair.bond(wrong) == 0
    assert pair.bond(honest) == pair.bond(fresh) == BOND
    work = pair.job(job).escrow - pair.job(job).index_escrow
    reward = BOND * 3 // 10
    assert pair.balances.free(honest) == free + work // 2 + reward // 2
    assert pair.balances.free(JOB_POT) == BOND // 5
    assert pair.balances.burned.get() == BOND // 2


def test_a_refund_follows_when_no_two_ever_agree(pair: Workshop) -> None:
    job = pair.assigned()
    number = 0
    while pair.state(job) is JobState.Assigned:
        answers = {who: trained(number + at) for at, who in enumerate(pair.executors(job))}
        number += len(answers)
        for who, output in answers.items():
            pair.commit(who, job, output)
        for who, output in answers.items():
            pair.reveal(who, job, output)
        pair.next_block()
    assert pair.job(job).failure is JobFailure.NoExecutors
    assert all(pair.bond(who) == BOND for who in EXECUTORS[:4])
    assert pair.escrow(ALICE) == 0


def test_one_of_two_reports_does_not_fail_a_job(pair: Workshop) -> None:
    job = pair.assigned()
    one, two = pair.executors(job)
    reason = FailureReason.TrainingDiverged
    pair.sign(one, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    pair.commit(two, job, trained())
    pair.next_block()
    (fresh,) = pair.executors(job)
    pair.commit(fresh, job, trained())
    for who in (two, fresh):
        pair.reveal(who, job, trained())
    pair.next_block()
    assert pair.state(job) is JobState.Settled
    assert pair.bond(one) == BOND
    assert pair.job(job).slots[2].executor == fresh


def test_most_reports_fail_a_job(pair: Workshop) -> None:
    job = pair.assigned()
    for who in pair.executors(job):
        reason = FailureReason.BadRows
        pair.sign(who, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    assert pair.job(job).failure is JobFailure.ReportedByExecutors


def test_two_no_shows_are_replaced_by_two(pair: Workshop) -> None:
    job = pair.assigned()
    former = pair.executors(job)
    pair.next_block(10)
    assert len(pair.executors(job)) == 2
    assert not set(former) & set(pair.executors(job))
    pair.answer(job, trained())
    assert pair.state(job) is JobState.Settled


def test_a_result_stays_sealed_until_another_executor_has_committed_too(pair: Workshop) -> None:
    job = pair.assigned()
    one, silent = pair.executors(job)
    pair.commit(one, job, trained())
    pair.next_block(10)
    assert pair.state(job) is JobState.Assigned
    (fresh,) = pair.executors(job)
    assert fresh not in (one, silent)
    with pytest.raises(Jobs.RevealPhaseClosed):
        pair.reveal(one, job, trained())
    with pytest.raises(Jobs.WrongAttempt):
        pair.sign(silent, "Jobs", "commit", job=job, attempt=1, commitment=BASE)
    pair.commit(fresh, job, trained())
    assert pair.state(job) is JobState.Revealing
    before = pair.balances.free(one)
    for who in (fresh, one):
        pair.reveal(who, job, trained())
    pair.next_block()
    settled = pair.job(job)
    assert settled.state is JobState.Settled
    assert pair.bond(silent) == BOND - BOND // 20
    assert pair.bond(one) == pair.bond(fresh) == BOND
    assert pair.balances.free(one) > before + (settled.escrow - settled.index_escrow) // 2 - 1


def test_a_sealed_result_that_is_never_revealed_costs_the_bond(pair: Workshop) -> None:
    job = pair.assigned()
    sealed, silent = pair.executors(job)
    pair.commit(sealed, job, trained())
    pair.next_block(10)
    (fresh,) = pair.executors(job)
    pair.commit(fresh, job, trained())
    pair.reveal(fresh, job, trained())
    pair.next_block(5)
    (last,) = pair.executors(job)
    pair.commit(last, job, trained())
    pair.reveal(last, job, trained())
    pair.next_block()
    assert pair.state(job) is JobState.Settled
    assert pair.bond(sealed) == 0
    assert pair.bond(silent) == BOND - BOND // 20
    assert pair.bond(fresh) == pair.bond(last) == BOND


def test_the_owner_is_refunded_and_nobody_is_blamed_when_a_sealed_result_stays_alone() -> None:
    with Workshop(2, executors_per_job=2) as workshop:
        job = workshop.assigned()
        sealed, silent = workshop.executors(job)
        workshop.commit(sealed, job, trained())
        workshop.next_block(10)
        assert workshop.job(job).failure is JobFailure.NoExecutors
        assert workshop.escrow(ALICE) == 0
        assert workshop.bond(sealed) == BOND
        assert workshop.bond(silent) == BOND - BOND // 20
        workshop.check()
