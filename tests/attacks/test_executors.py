"""What an executor could gain by lying or choosing, and what could cost an honest one: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pallets.attribution.records import EpochState
from pallets.jobs import Jobs, Parameters
from pallets.jobs.job import FailureReason, JobFailure, JobState, SlotState
from runtime.shared.documents import FAULTS_MAX, FaultKind, commitment, output_root
from runtime.types.primitives import OPEN, AccountId, Hash
from tests.pallets.support.epochs import (
    close,
    earn,
    epoch,
    fault,
    faulty,
    open_gate,
    shared,
    show_texts,
)
from tests.pallets.support.ledger import ALICE, BOB, GENESIS_HASH
from tests.pallets.support.workshop import (
    BASE,
    BOND,
    EXECUTORS,
    OTHER_BASE,
    READER,
    SALT,
    SERVER,
    SERVER_BOND,
    Workshop,
    train,
    trained,
)


@pytest.fixture
def chain() -> Iterator[Workshop]:
    with Workshop(3, executors_per_job=2) as chain:
        open_gate(chain)
        earn(chain)
        yield chain
        chain.check()


def test_an_executor_cannot_make_a_profile_of_its_own(chain: Workshop) -> None:
    with pytest.raises(Jobs.UnknownProfile):
        chain.register(EXECUTORS[5], profile=Hash(b"mine".ljust(32, b"\0")))


def test_two_executors_cannot_keep_a_profile_to_themselves() -> None:
    with Workshop(2, executors_per_job=2, spare_executors=1) as chain:
        job = chain.submit()
        chain.next_block(2)
        assert chain.state(job) is JobState.Open


def test_an_executor_without_the_base_is_not_slashed_for_a_job_on_it() -> None:
    with Workshop(2, executors_per_job=2) as chain:
        chain.sign(EXECUTORS[0], "Jobs", "set_bases", bases=(OTHER_BASE,))
        job = chain.submit(train(base=BASE))
        chain.next_block(2)
        assert chain.state(job) is JobState.Open
        assert chain.bond(EXECUTORS[0]) == BOND


def test_an_executor_that_declines_at_once_pays_nothing_and_cannot_choose_for_ever(
    chain: Workshop,
) -> None:
    job = chain.assigned()
    [first, second] = chain.executors(job)
    chain.sign(first, "Jobs", "decline", job=job, attempt=0)
    chain.next_block()
    assert chain.bond(first) == BOND
    record = chain.jobs.registry.get(first)
    assert record is not None
    assert record.declines == 1, "eight in a row, and it is not drawn"
    assert second in [slot.executor for slot in chain.job(job).slots]


def test_who_knows_the_next_draw_cannot_register_the_accounts_that_it_hits() -> None:
    """The author of the latest block knows it, and has any number of keys to choose from."""
    with Workshop(1, age_blocks=20, open_jobs_per_account=100) as chain:
        jobs = [chain.submit() for _ in range(10)]
        for who in EXECUTORS[1:]:
            chain.register(who)
        chain.next_block()
        assert {who for job in jobs for who in chain.executors(job)} == {EXECUTORS[0]}
        chain.next_block(19)
        later = [chain.assigned() for _ in range(5)]
        assert {who for job in later for who in chain.executors(job)} != {EXECUTORS[0]}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set_bases", {"bases": (BASE, OTHER_BASE)}),
        ("set_reader", {"reader": READER}),
        ("add_bond", {"amount": OPEN}),
    ],
)
def test_who_knows_the_next_draw_cannot_change_what_it_is_drawn_for(
    name: str, arguments: dict[str, Any]
) -> None:
    with Workshop(1, age_blocks=4, retry_blocks=1) as chain:
        chain.sign(EXECUTORS[0], "Jobs", name, **arguments)
        _is_drawn_in(chain, 4)


def test_who_knows_the_next_draw_cannot_end_its_silence_for_it() -> None:
    with Workshop(1, age_blocks=4, retry_blocks=1, heartbeat_blocks=5) as chain:
        chain.next_block(6)
        chain.sign(EXECUTORS[0], "Jobs", "heartbeat")
        _is_drawn_in(chain, 4)


def _is_drawn_in(chain: Workshop, blocks: int) -> None:
    job = chain.submit()
    chain.next_block(blocks - 1)
    assert chain.state(job) is JobState.Open
    chain.next_block()
    assert chain.executors(job) == [EXECUTORS[0]]


def test_a_job_is_opened_before_its_draw_can_be_known() -> None:
    """Who makes two blocks in a row could else choose its number by jobs that it opens before."""
    parameters = Parameters()
    assert parameters.assignment_blocks >= parameters.age_blocks
    with Workshop(1, assignment_blocks=parameters.assignment_blocks, open_blocks=60) as chain:
        job = chain.submit()
        chain.next_block(parameters.assignment_blocks - 1)
        assert chain.state(job) is JobState.Open
        chain.next_block()
        assert chain.state(job) is JobState.Assigned


def test_a_slash_keeps_no_executor_from_the_next_draw() -> None:
    with Workshop(1, age_blocks=20, extra_attempts=0, commit_blocks=2) as chain:
        chain.assigned()
        chain.next_block(4)
        assert chain.bond(EXECUTORS[0]) < BOND
        assert chain.executors(chain.assigned()) == [EXECUTORS[0]]


def test_nobody_is_drawn_for_a_job_of_its_own() -> None:
    with Workshop(1, open_jobs_per_account=100) as chain:
        chain.balances.transfer(BOB, ALICE, 2 * BOND)
        chain.register(ALICE, 2 * BOND)
        chain.next_block()
        jobs = [chain.assigned() for _ in range(10)]
        assert {who for job in jobs for who in chain.executors(job)} == {EXECUTORS[0]}


def test_a_server_is_not_drawn_for_the_settlement_that_judges_it() -> None:
    with Workshop(1) as chain:
        open_gate(chain)
        earn(chain)
        chain.balances.transfer(BOB, SERVER, 2 * BOND)
        chain.register(SERVER, 2 * BOND)
        chain.sign(SERVER, "Jobs", "set_reader", reader=READER)
        chain.sign(EXECUTORS[0], "Jobs", "unregister_executor")
        chain.next_block()
        job = close(chain)
        chain.next_block(3)
        assert chain.state(job) is JobState.Open


def test_one_executor_alone_cannot_have_a_server_convicted(chain: Workshop) -> None:
    job = close(chain)
    chain.next_block()
    liar, honest = chain.executors(job)
    show_texts(chain, job)
    reason = FailureReason.WithheldTexts
    chain.sign(liar, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
    chain.commit(honest, job, shared(()))
    chain.next_block()
    [fresh] = chain.executors(job)
    show_texts(chain, job, attempt=1)
    chain.commit(fresh, job, shared(()))
    for who in (honest, fresh):
        chain.reveal(who, job, shared(()))
    chain.next_block()
    assert epoch(chain).state is EpochState.Settled
    assert chain.inference.bond_of(SERVER) == SERVER_BOND


def test_the_last_executor_that_is_left_cannot_have_a_server_convicted() -> None:
    """The other one declines, and nobody is left to take its place."""
    with Workshop(2, executors_per_job=2) as chain:
        open_gate(chain)
        earn(chain)
        job = close(chain)
        chain.next_block()
        liar, other = chain.executors(job)
        chain.sign(other, "Jobs", "decline", job=job, attempt=0)
        chain.next_block()
        reason = FailureReason.WithheldTexts
        chain.sign(liar, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
        chain.next_block()
        assert chain.job(job).failure is JobFailure.NoExecutors
        assert epoch(chain).state is EpochState.Failed
        assert chain.inference.bond_of(SERVER) == SERVER_BOND


def test_one_report_beside_a_silent_executor_only_draws_others() -> None:
    with Workshop(4, executors_per_job=2) as chain:
        open_gate(chain)
        earn(chain)
        job = close(chain)
        chain.next_block()
        liar, silent = chain.executors(job)
        reason = FailureReason.WithheldTexts
        chain.sign(liar, "Jobs", "report_failure", job=job, attempt=0, reason=reason)
        while chain.job(job).attempt == 0:
            chain.next_block()
        assert not {liar, silent} & set(chain.executors(job))
        assert len(chain.executors(job)) == 2
        show_texts(chain, job, attempt=1)
        chain.answer(job, shared(()))
        assert epoch(chain).state is EpochState.Settled
        assert chain.inference.bond_of(SERVER) == SERVER_BOND


def test_one_executor_alone_cannot_approve_of_a_false_receipt(chain: Workshop) -> None:
    job = close(chain)
    chain.next_block()
    liar, honest = chain.executors(job)
    show_texts(chain, job)
    verdict = faulty(fault(FaultKind.Sketch, OPEN))
    outputs = {liar: shared(()), honest: verdict}
    for who in (liar, honest):
        chain.commit(who, job, outputs[who])
    for who in (liar, honest):
        chain.reveal(who, job, outputs[who])
    chain.next_block()
    [fresh] = chain.executors(job)
    chain.commit(fresh, job, verdict)
    chain.reveal(fresh, job, verdict)
    chain.next_block()
    assert epoch(chain).state is EpochState.Convicted
    assert chain.bond(liar) == 0
    assert chain.bond(honest) >= BOND


def test_an_executor_cannot_copy_the_commitment_of_another(chain: Workshop) -> None:
    job = chain.assigned()
    first, second = chain.executors(job)
    chain.commit(first, job, trained())
    sealed = chain.job(job).slots[0].commitment
    chain.sign(second, "Jobs", "commit", job=job, attempt=0, commitment=sealed)
    chain.reveal(first, job, trained())
    with pytest.raises(Jobs.RevealMismatch):
        chain.reveal(second, job, trained())


def test_who_copies_a_pending_commitment_first_keeps_nobody_from_committing(
    chain: Workshop,
) -> None:
    job = chain.assigned()
    honest, copier = chain.executors(job)
    sealed = commitment(GENESIS_HASH, job, honest, 0, output_root(trained()), SALT)
    chain.sign(copier, "Jobs", "commit", job=job, attempt=0, commitment=sealed)
    chain.commit(honest, job, trained())
    chain.reveal(honest, job, trained())
    chain.next_block(chain.jobs.parameters.get().reveal_blocks)
    [fresh] = chain.executors(job)
    chain.answer(job, trained())
    assert chain.state(job) is JobState.Settled
    assert chain.bond(honest) >= BOND
    assert chain.bond(fresh) >= BOND
    assert chain.bond(copier) == 0, "it cannot open what it copied"


def test_an_honest_output_is_never_too_long_to_be_revealed(chain: Workshop) -> None:
    """However many receipts are false, the faults that are named have room."""
    many = tuple(fault(FaultKind.Range, 1) for _ in range(FAULTS_MAX))
    job = close(chain)
    chain.next_block()
    chain.answer(job, faulty(*many))
    assert epoch(chain).state is EpochState.Convicted
    assert not chain.events(Jobs.ExecutorSlashed)


def test_an_executor_whose_settlement_is_refused_keeps_its_bond(chain: Workshop) -> None:
    job = close(chain)
    chain.next_block()
    refused = replace(shared(()), shares_planck=10**30)
    chain.answer(job, refused)
    assert chain.state(job) is JobState.Failed
    assert epoch(chain).state is EpochState.Failed, "the pool waits for another settlement"
    assert not chain.events(Jobs.ExecutorSlashed)


def test_an_executor_that_waited_for_texts_in_vain_is_paid(chain: Workshop) -> None:
    job = close(chain)
    escrow = chain.job(job).escrow
    chain.next_block()
    waiting = chain.executors(job)
    before = sum(chain.balances.free(who) for who in waiting)
    chain.next_block(chain.attribution.parameters().text_blocks + 1)
    assert chain.state(job) is JobState.Assigned, "no deadline runs out while they wait"
    chain.sign(BOB, "Attribution", "report_withheld", job=job, attempt=0)
    assert sum(chain.balances.free(who) for who in waiting) == before + escrow
    assert not chain.events(Jobs.ExecutorSlashed)


def test_a_root_is_bound_to_its_executor_and_job(chain: Workshop) -> None:
    job = chain.assigned()
    first, second = chain.executors(job)
    chain.commit(first, job, trained())
    chain.commit(second, job, trained(), salt=b"t" * 32)
    with pytest.raises(Jobs.RevealMismatch):
        chain.reveal(second, job, trained(), salt=b"s" * 32)
    assert output_root(trained()) == output_root(trained())
    assert ALICE not in chain.executors(job)


def withheld_at_the_second_attempt(chain: Workshop, revealing: int) -> tuple[AccountId, AccountId]:
    """Let two executors commit to different results, and the server show the next ones nothing."""
    open_gate(chain)
    earn(chain)
    job = close(chain)
    chain.next_block()
    one, two = chain.executors(job)
    show_texts(chain, job)
    outputs = {one: shared(()), two: faulty(fault(FaultKind.Text, OPEN))}
    for who, output in outputs.items():
        chain.commit(who, job, output)
    for who in (one, two)[:revealing]:
        chain.reveal(who, job, outputs[who])
    while chain.job(job).attempt == 0:
        chain.next_block()
    chain.next_block(chain.attribution.parameters().text_blocks + 1)
    chain.sign(BOB, "Attribution", "report_withheld", job=job, attempt=1)
    return one, two


def test_executors_that_have_worked_are_paid_where_the_next_ones_are_shown_nothing() -> None:
    with Workshop(4, executors_per_job=2) as chain:
        before = {who: chain.balances.free(who) for who in EXECUTORS}
        for who in withheld_at_the_second_attempt(chain, revealing=2):
            assert chain.balances.free(who) > before[who]
            assert chain.bond(who) == BOND


def test_an_executor_that_did_not_reveal_is_not_saved_by_texts_that_are_withheld_later() -> None:
    with Workshop(4, executors_per_job=2) as chain:
        one, two = withheld_at_the_second_attempt(chain, revealing=1)
        assert chain.bond(one) == BOND
        assert chain.bond(two) == 0


def test_declining_costs_no_owner_whose_job_somebody_works_on() -> None:
    with Workshop(3, executors_per_job=2, decline_blocks=4, commit_blocks=100) as chain:
        for number in range(12):
            sybil = AccountId(bytes((number,)) * 32)
            chain.balances.transfer(BOB, sybil, BOND + OPEN)
            chain.register(sybil)
        chain.next_block(chain.jobs.parameters.get().age_blocks)
        job = chain.assigned()
        escrow, free = chain.job(job).escrow, chain.balances.free(ALICE)
        worker = chain.executors(job)[0]
        while not chain.job(job).is_final:
            for slot in chain.job(job).slots:
                is_working = slot.executor == worker or slot.state is not SlotState.Assigned
                if not is_working and chain.number > slot.assigned_at + 1:
                    chain.sign(slot.executor, "Jobs", "decline", job=job, attempt=slot.attempt)
            chain.next_block()
        assert chain.job(job).failure is JobFailure.TooLarge
        assert chain.balances.free(ALICE) == free + escrow, "all of it came back"
