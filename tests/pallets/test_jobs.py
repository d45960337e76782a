"""Jobs: submission, assignment, answers, agreement, payment, slashes, executors, parameters."""

import pytest

from pallets.jobs import Jobs
from pallets.jobs.job import (
    FINAL_STATES,
    TRANSITIONS,
    FailureReason,
    Job,
    JobFailure,
    JobState,
    Offence,
    SlotState,
    agreed_root,
    move,
)
from pallets.jobs.recipe import is_valid, steps_of
from pallets.jobs.settlement import JOB_POT
from pallets.jobs.work import WORK_UNIT
from pallets.randomness import Randomness
from runtime.frame.fees import BLOCK_WEIGHT_MAX
from runtime.shared.documents import (
    DatanetVersion,
    Evaluate,
    Evaluated,
    Index,
    Recipe,
    Settle,
    Train,
)
from runtime.types.primitives import OPEN, Hash
from tests.pallets.support.ledger import ALICE, BOB
from tests.pallets.support.workshop import (
    BASE,
    BASE_PARAMETERS,
    BOND,
    EXECUTORS,
    LIMITS,
    OTHER_PROFILE,
    PROFILE,
    REFUSING_MODEL,
    ROWS,
    SALT,
    SERVER,
    BaseRecord,
    Models,
    Workshop,
    indexed,
    train,
    trained,
)

FIRST, SECOND, THIRD = EXECUTORS[:3]
SETTLE = Settle(
    model=0,
    server=SERVER,
    epoch=0,
    receipts_root=BASE,
    receipts=1,
    fees_planck=OPEN,
    pool_planck=OPEN // 2,
    bound_milli=1_000,
    draws=32,
    text_blocks=50,
)


# -------------------------------------------------------------------------------------- transitions


def record(state: JobState) -> Job:
    return Job(ALICE, train(), state, 0, 0, 1, 0, 1, 9)


@pytest.mark.parametrize("start", list(JobState))
@pytest.mark.parametrize("end", list(JobState))
def test_a_job_moves_by_the_table_alone(start: JobState, end: JobState) -> None:
    if end in TRANSITIONS.get(start, frozenset()):
        assert move(record(start), end).state is end
    else:
        with pytest.raises(AssertionError):
            move(record(start), end)


def test_the_indices_of_states_are_frozen() -> None:
    names = "Open Assigned Committing Revealing Comparing Auditing Settled Disputed Bisecting"
    names += " Referee Escalated Cancelled Failed Expired"
    assert [state.name for state in sorted(JobState)] == names.split()
    assert not any(state in TRANSITIONS for state in FINAL_STATES)


@pytest.mark.parametrize(
    ("roots", "executors", "agreed"),
    [
        ("", 1, None),
        ("a", 1, "a"),
        ("a", 2, None),
        ("ab", 2, None),
        ("aa", 2, "a"),
        ("aba", 2, "a"),
        ("abc", 3, None),
        ("aab", 3, "a"),
        ("aabb", 4, None),
        ("aabba", 4, "a"),
    ],
)
def test_agreement_needs_two_equal_roots_and_no_rival(
    roots: str, executors: int, agreed: str | None
) -> None:
    hashes = [Hash(root.encode() * 32) for root in roots]
    expected = Hash(agreed.encode() * 32) if agreed else None
    assert agreed_root(hashes, executors) == expected


# --------------------------------------------------------------------------------------- submission


def test_submitting_holds_the_published_price(workshop: Workshop) -> None:
    price = workshop.jobs.price(train())
    workshop.submit()
    assert workshop.escrow(ALICE) == price
    training, index = (
        (7 * 16 + 5 * 10 // 2) * 192 * BASE_PARAMETERS,
        3 * ROWS * 192 * BASE_PARAMETERS,
    )
    units = -(-training // WORK_UNIT) + -(-index // WORK_UNIT)
    assert units == 27 + 58
    assert price == 2 * (OPEN // 100 + ROWS * OPEN // 10_000) + units * OPEN // 100


def test_the_price_grows_with_rows_steps_and_executors() -> None:
    with Workshop() as one, Workshop(3, executors_per_job=3) as three:
        assert three.jobs.price(train()) == 3 * (one.jobs.price(train()) or 0)
        assert (one.jobs.price(train(max_steps=100)) or 0) > (one.jobs.price(train()) or 0)
        assert one.jobs.price(Train(0, BASE, (DatanetVersion(0, 5),), Recipe())) is None
        context, drawn = BaseRecord(BASE_PARAMETERS).context_tokens, 1
        units = -(-3 * drawn * context * BASE_PARAMETERS // WORK_UNIT)
        work = units * one.jobs.parameters.get().price_work_planck
        assert one.jobs.price(SETTLE) == OPEN // 100 + work


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (Index(0, 0, 64), Jobs.NotSubmittable),
        (SETTLE, Jobs.NotSubmittable),
        (train(7), Jobs.UnknownModel),
        (train(base=PROFILE), Jobs.BaseDiffers),
        (Train(0, BASE, (), Recipe()), Jobs.DatanetsDiffer),
        (Train(0, BASE, (DatanetVersion(1, 1),), Recipe()), Jobs.DatanetsDiffer),
        (Train(3, BASE, (DatanetVersion(9, 1),), Recipe()), Jobs.NoAccess),
        (Train(4, BASE, (DatanetVersion(0, 7),), Recipe()), Jobs.UnknownVersion),
        (train(rank=0), Jobs.RecipeOutOfBounds),
        (train(rank=257), Jobs.RecipeOutOfBounds),
        (train(targets=()), Jobs.RecipeOutOfBounds),
        (train(targets=("q_proj", "q_proj")), Jobs.RecipeOutOfBounds),
        (train(targets=("lm_head",)), Jobs.RecipeOutOfBounds),
        (train(micro_batch_rows=3), Jobs.RecipeOutOfBounds),
        (Evaluate(0, 3), Jobs.NotTrained),
    ],
)
def test_a_bad_submission_is_refused_by_name(
    workshop: Workshop, spec: Train, error: type[Exception]
) -> None:
    with pytest.raises(error):
        workshop.submit(spec)
    assert workshop.escrow(ALICE) == 0


def test_only_the_owner_trains_a_model(workshop: Workshop) -> None:
    with pytest.raises(Jobs.NotModelOwner):
        workshop.submit(who=BOB)


def test_a_training_of_too_many_steps_is_refused(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pallets.jobs.submission.STEPS_MAX", 6)
    with pytest.raises(Jobs.TrainingTooLong):
        workshop.submit()
    workshop.submit(train(max_steps=6))


def test_an_account_has_a_maximum_of_unfinished_jobs() -> None:
    with Workshop(open_jobs_per_account=1) as workshop:
        job = workshop.submit()
        with pytest.raises(Jobs.TooManyJobs):
            workshop.submit()
        workshop.sign(ALICE, "Jobs", "cancel", job=job)
        workshop.submit()


def test_the_chain_has_a_maximum_of_unfinished_jobs(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pallets.jobs.submission.UNFINISHED_MAX", 1)
    workshop.submit()
    with pytest.raises(Jobs.ChainFull):
        workshop.submit()


def test_submissions_take_at_most_their_share_of_a_block() -> None:
    with Workshop(submission_percent=1, open_jobs_per_account=1_000) as workshop:
        call = workshop.machine.call("Jobs", "submit", spec=train())
        weight = workshop.machine.weight_of(call).ref_time
        for _ in range(BLOCK_WEIGHT_MAX.ref_time // 100 // weight):
            workshop.submit()
        with pytest.raises(Jobs.JobsFull):
            workshop.submit()
        workshop.next_block()
        workshop.submit()


def test_submit_and_cancel_pairs_leave_room_for_others_and_for_every_commit() -> None:
    """They once filled the share of all jobs, and a bond was lost."""
    with Workshop(submission_percent=1) as workshop:
        job = workshop.assigned()
        call = workshop.machine.call("Jobs", "submit", spec=train())
        weight = workshop.machine.weight_of(call).ref_time
        for _ in range(3 * BLOCK_WEIGHT_MAX.ref_time // 100 // weight):
            workshop.sign(ALICE, "Jobs", "cancel", job=workshop.submit())
        workshop.submit()
        workshop.commit(FIRST, job, trained())
        assert workshop.state(job) is JobState.Revealing


def test_a_recipe_counts_its_steps() -> None:
    assert steps_of(Recipe(epochs=3, batch_rows=16), 100) == 21
    assert steps_of(Recipe(max_steps=5), 100) == 5
    assert is_valid(Recipe())


# ----------------------------------------------------------------------------------- cancel, expire


def test_an_open_job_can_be_cancelled_once(workshop: Workshop) -> None:
    job = workshop.submit()
    with pytest.raises(Jobs.NotOwner):
        workshop.sign(BOB, "Jobs", "cancel", job=job)
    workshop.sign(ALICE, "Jobs", "cancel", job=job)
    assert workshop.state(job) is JobState.Cancelled
    assert workshop.escrow(ALICE) == 0
    with pytest.raises(Jobs.NotCancellable):
        workshop.sign(ALICE, "Jobs", "cancel", job=job)
    with pytest.raises(Jobs.UnknownJob):
        workshop.sign(ALICE, "Jobs", "cancel", job=99)


def test_an_assigned_job_cannot_be_cancelled(workshop: Workshop) -> None:
    job = workshop.assigned()
    with pytest.raises(Jobs.NotCancellable):
        workshop.sign(ALICE, "Jobs", "cancel", job=job)


def test_a_job_without_executors_waits_and_then_expires_with_a_refund() -> None:
    with Workshop(1, executors_per_job=2, open_blocks=12) as workshop:
        job = workshop.submit()
        workshop.next_block(11)
        assert workshop.state(job) is JobState.Open
        workshop.next_block()
        assert workshop.state(job) is JobState.Expired
        assert workshop.escrow(ALICE) == 0
        assert workshop.bond(FIRST) == BOND


def test_a_waiting_job_is_assigned_when_an_executor_joins() -> None:
    with Workshop(1, executors_per_job=2, retry_blocks=3) as workshop:
        job = workshop.submit()
        workshop.next_block()
        workshop.register(SECOND)
        workshop.next_block(3)
        assert sorted(workshop.executors(job)) == sorted([FIRST, SECOND])


def test_executors_of_different_profiles_do_not_share_a_job() -> None:
    with Workshop(1, ((PROFILE, LIMITS), (OTHER_PROFILE, LIMITS)), executors_per_job=2) as workshop:
        workshop.register(SECOND, profile=OTHER_PROFILE)
        job = workshop.submit()
        workshop.next_block(6)
        assert workshop.state(job) is JobState.Open


# ------------------------------------------------------------------------------------ one executor


def test_one_executor_trains_is_paid_and_the_index_job_follows(workshop: Workshop) -> None:
    before = workshop.balances.free(FIRST)
    price = workshop.jobs.price(train()) or 0
    job = workshop.assigned()
    workshop.commit(FIRST, job, trained())
    assert workshop.state(job) is JobState.Revealing
    workshop.reveal(FIRST, job, trained())
    assert workshop.state(job) is JobState.Comparing
    workshop.next_block()
    settled = workshop.job(job)
    assert settled.state is JobState.Settled
    assert workshop.jobs.output(job) == trained()
    assert workshop.pallet(Models).trained.get(job) == trained()
    assert workshop.balances.free(FIRST) == before + price - settled.index_escrow
    assert workshop.escrow(ALICE) == settled.index_escrow
    index = settled.index_job
    assert index is not None
    assert workshop.job(index).spec == Index(0, job, 64)
    assert workshop.job(index).seed is None
    workshop.next_block()
    subject = b"job-seed" + index.to_bytes(4, "little")
    assert workshop.job(index).seed == workshop.pallet(Randomness).random(subject)
    workshop.answer(index, indexed())
    assert workshop.state(index) is JobState.Settled
    assert workshop.escrow(ALICE) == 0
    assert workshop.balances.free(FIRST) == before + price
    assert workshop.attribution.commitments(0)[0].indexed == indexed()


def test_an_evaluation_settles_on_losses(workshop: Workshop) -> None:
    job = workshop.assigned()
    workshop.answer(job, trained())
    with pytest.raises(Jobs.NotModelOwner):
        workshop.submit(Evaluate(0, job), who=BOB)
    with pytest.raises(Jobs.NotTrained):
        workshop.submit(Evaluate(2, job))
    evaluation = workshop.assigned(Evaluate(0, job))
    workshop.answer(evaluation, Evaluated(5, 4))
    assert workshop.jobs.output(evaluation) == Evaluated(5, 4)


def test_a_reported_failure_of_the_only_executor_refunds(workshop: Workshop) -> None:
    job = workshop.assigned()
    reason = FailureReason.MissingBlob
    workshop.sign(FIRST, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    failed = workshop.job(job)
    assert (failed.state, failed.failure) == (JobState.Failed, JobFailure.ReportedByExecutors)
    assert failed.slots[0].reason is reason
    assert workshop.escrow(ALICE) == 0
    assert workshop.balances.free(JOB_POT) == failed.escrow // 5, "blobs are the owner's to give"
    assert workshop.bond(FIRST) == BOND
    with pytest.raises(Jobs.AlreadyReported):
        workshop.sign(FIRST, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    with pytest.raises(Jobs.AlreadyReported):
        workshop.commit(FIRST, job, trained())


def test_a_no_show_costs_a_twentieth_of_the_bond_and_the_requester_nothing(
    workshop: Workshop,
) -> None:
    job = workshop.assigned()
    issued = workshop.balances.total_issuance.get()
    workshop.next_block(10)
    assert workshop.job(job).failure is JobFailure.NoExecutors
    assert workshop.job(job).slots[0].state is SlotState.NoShow
    lost = BOND // 20
    assert workshop.bond(FIRST) == BOND - lost
    assert workshop.balances.free(JOB_POT) == lost // 5
    assert workshop.balances.total_issuance.get() == issued - lost * 4 // 5
    assert workshop.escrow(ALICE) == 0
    with pytest.raises(Jobs.CommitPhaseOver):
        workshop.commit(FIRST, job, trained())


def test_a_commit_without_a_reveal_costs_the_whole_bond(workshop: Workshop) -> None:
    job = workshop.assigned()
    workshop.commit(FIRST, job, trained())
    workshop.next_block(5)
    assert workshop.state(job) is JobState.Failed
    assert workshop.bond(FIRST) == 0
    (slash,) = workshop.events(Jobs.ExecutorSlashed)
    assert (slash.offence, slash.amount) == (Offence.Unrevealed, BOND)
    with pytest.raises(Jobs.RevealPhaseClosed):
        workshop.reveal(FIRST, job, trained())
    later = workshop.submit()
    workshop.next_block()
    assert workshop.state(later) is JobState.Open


def test_a_fresh_executor_replaces_a_no_show() -> None:
    with Workshop(2) as workshop:
        job = workshop.assigned()
        (first,) = workshop.executors(job)
        workshop.next_block(10)
        (second,) = workshop.executors(job)
        assert workshop.job(job).attempt == 1
        assert second != first
        with pytest.raises(Jobs.CommitPhaseOver):
            workshop.commit(first, job, trained())
        workshop.answer(job, trained())
        assert workshop.state(job) is JobState.Settled
        assert workshop.bond(second) == BOND
        assert workshop.bond(first) < BOND


def test_the_number_of_attempts_is_bounded() -> None:
    with Workshop(5, extra_attempts=2) as workshop:
        job = workshop.assigned()
        workshop.next_block(30)
        assert workshop.job(job).failure is JobFailure.NoAgreement
        assert len(workshop.job(job).slots) == 3


def test_a_refused_training_pays_its_executors_and_refunds_the_rest(workshop: Workshop) -> None:
    job = workshop.assigned(train(REFUSING_MODEL))
    before, owned = workshop.balances.free(FIRST), workshop.balances.free(ALICE)
    workshop.answer(job, trained())
    failed = workshop.job(job)
    assert (failed.state, failed.failure) == (JobState.Failed, JobFailure.ResultRefused)
    assert workshop.pallet(Models).trained.get(job) is None
    assert workshop.jobs.output(job) is None
    work = failed.escrow - failed.index_escrow
    assert workshop.balances.free(FIRST) == before + work
    assert workshop.balances.free(ALICE) == owned + failed.index_escrow
    assert workshop.escrow(ALICE) == 0


# -------------------------------------------------------------------------------------- index again


def test_a_failed_index_can_be_paid_again_and_keeps_its_seed(workshop: Workshop) -> None:
    job = workshop.assigned()
    workshop.answer(job, trained())
    index = workshop.job(job).index_job
    assert index is not None
    with pytest.raises(Jobs.IndexExists):
        workshop.sign(ALICE, "Jobs", "index_again", train_job=job)
    with pytest.raises(Jobs.NotCancellable):
        workshop.sign(ALICE, "Jobs", "cancel", job=index)
    workshop.next_block()
    reason = FailureReason.MissingBlob
    workshop.sign(FIRST, "Jobs", "report_failure", job=index, attempt=0, reason=reason)
    seed = workshop.job(index).seed
    with pytest.raises(Jobs.NotOwner):
        workshop.sign(BOB, "Jobs", "index_again", train_job=job)
    with pytest.raises(Jobs.NotTrained):
        workshop.sign(ALICE, "Jobs", "index_again", train_job=index)
    workshop.sign(ALICE, "Jobs", "index_again", train_job=job)
    again = workshop.job(job).index_job
    assert again is not None
    assert again != index
    workshop.next_block()
    assert workshop.job(again).seed == seed
    workshop.answer(again, indexed())
    with pytest.raises(Jobs.IndexExists):
        workshop.sign(ALICE, "Jobs", "index_again", train_job=job)


def test_an_unknown_job_reads_as_none(workshop: Workshop) -> None:
    assert workshop.jobs.job(5) is None
    assert workshop.jobs.output(5) is None
    with pytest.raises(Jobs.UnknownJob):
        workshop.sign(FIRST, "Jobs", "commit", job=5, attempt=0, commitment=Hash(SALT))
