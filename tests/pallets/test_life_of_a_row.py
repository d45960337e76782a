"""From a contributed row to its pay, over the chain's own pallets: no stand-ins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.attribution import Genesis as AttributionGenesis
from pallets.attribution import Parameters as AttributionParameters
from pallets.balances import Balances, HoldReason
from pallets.datanets.records import Access, Verdict
from pallets.jobs import Genesis as JobsGenesis
from pallets.jobs import GenesisExecutor, Jobs, Parameters
from pallets.jobs.job import JobFailure, JobState
from pallets.models import Base, Models, Stage
from pallets.models import Genesis as ModelsGenesis
from runtime.shared.documents import (
    DatanetVersion,
    JobOutput,
    Recipe,
    Settled,
    SettlementEntry,
    Train,
    commitment,
    output_root,
)
from runtime.trie.merkle import sum_root
from runtime.types.primitives import OPEN, Hash
from tests.pallets.support.ledger import ALICE, BOB, CHARLIE, DAVE, EVE, GENESIS_HASH, Ledger
from tests.pallets.support.workshop import BASE, BOND, LIMITS, PROFILE, SALT, indexed, trained

EXECUTORS = (DAVE, EVE)
CONTRIBUTOR, BUILDER, OWNER = CHARLIE, BOB, ALICE
TRAIN = Train(0, BASE, (DatanetVersion(0, 1),), Recipe(max_steps=3))


def chain() -> Ledger:
    """Return a chain with two executors, a published datanet and a model on it."""
    executors = tuple(GenesisExecutor(who, PROFILE, BOND, (BASE,)) for who in EXECUTORS)
    ledger = Ledger(
        Models=ModelsGenesis(bases=((BASE, Base("tiny", 3_400_000, 192)),)),
        Jobs=JobsGenesis(
            Parameters(assignment_blocks=1, spare_executors=0, sketch_size=64),
            ((PROFILE, LIMITS),),
            executors,
        ),
        Attribution=AttributionGenesis(AttributionParameters(rows_minimum=2)),
    )
    texts = ("summary", "description", "source", "purpose", "schema")
    words = {"name": "poems", "licence": "MIT", **{text: text for text in texts}}
    ledger.sign(OWNER, "Datanets", "create", tags=(), access=Access.Public, **words)
    rows = tuple(Hash(bytes([row]) * 32) for row in range(3))
    arguments = {"datanet": 0, "blob": BASE, "size_bytes": 9, "row_hashes": rows}
    ledger.sign(CONTRIBUTOR, "Datanets", "contribute", **arguments)
    ledger.sign(OWNER, "Datanets", "review", datanet=0, batch=0, verdict=Verdict.Accept)
    ledger.sign(OWNER, "Datanets", "publish", datanet=0)
    rates = {"rate_in_planck": 1_000, "rate_out_planck": 3_000}
    used = (DatanetVersion(0, 1),)
    ledger.sign(BUILDER, "Models", "create", name="bard", base=BASE, datanets=used, **rates)
    return ledger


def answer(ledger: Ledger, job: int, output: JobOutput) -> None:
    """Let both executors do a job that is open, until it has ended."""
    while (record := ledger.pallet(Jobs).job(job)) is not None and not record.slots:
        ledger.next_block()
    for who in EXECUTORS:
        sealed = commitment(GENESIS_HASH, job, who, 0, output_root(output), SALT)
        ledger.sign(who, "Jobs", "commit", job=job, attempt=0, commitment=sealed)
    for who in EXECUTORS:
        ledger.sign(who, "Jobs", "reveal", job=job, output=output, salt=SALT)
    ledger.next_block()


def stage(ledger: Ledger) -> Stage:
    model = ledger.pallet(Models).get(0)
    assert model is not None
    return model.stage


@pytest.mark.parametrize("score", [5, -5])
def test_a_row_is_trained_on_and_its_contributor_claims(score: int) -> None:
    with chain() as ledger:
        ledger.sign(BUILDER, "Jobs", "submit", spec=TRAIN)
        answer(ledger, 0, trained())
        assert stage(ledger) is Stage.Trained
        answer(ledger, 1, indexed())
        assert stage(ledger) is Stage.Indexed
        assert ledger.pallet(Balances).held(HoldReason.JobEscrow, BUILDER) == 0

        fee = 7 * OPEN
        ledger.pallet(Balances).transfer(OWNER, ATTRIBUTION_POT, fee)
        ledger.pallet(Attribution).fund(0, fee, BUILDER)
        root, total = sum_root([(BASE, 3 * OPEN), (PROFILE, 4 * OPEN)])
        closing = {"model": 0, "receipts_root": root, "receipts": 2, "fees_planck": total}
        closing["receipts_blob"] = BASE
        ledger.sign(BUILDER, "Attribution", "close_epoch", **closing)
        entries = (SettlementEntry(CONTRIBUTOR, score, 0),)
        answer(ledger, 2, Settled(2, root, total, entries))

        before = ledger.pallet(Balances).free(CONTRIBUTOR)
        if score > 0:
            ledger.sign(CONTRIBUTOR, "Attribution", "claim")
            assert ledger.pallet(Balances).free(CONTRIBUTOR) == before + fee
        else:
            with pytest.raises(Attribution.NothingToClaim):
                ledger.sign(CONTRIBUTOR, "Attribution", "claim")
            assert ledger.pallet(Attribution).pool(0).commons == fee
        ledger.check()


def test_an_index_of_a_training_that_was_repeated_is_paid_and_refused() -> None:
    with chain() as ledger:
        for _ in range(2):
            ledger.sign(BUILDER, "Jobs", "submit", spec=TRAIN)
        answer(ledger, 0, trained())
        answer(ledger, 1, trained())
        before = ledger.pallet(Balances).free(DAVE)
        first = ledger.pallet(Jobs).job(0)
        assert first is not None
        assert first.index_job is not None
        answer(ledger, first.index_job, indexed())
        index = ledger.pallet(Jobs).job(first.index_job)
        assert index is not None
        assert (index.state, index.failure) == (JobState.Failed, JobFailure.ResultRefused)
        assert ledger.pallet(Balances).free(DAVE) == before + index.escrow // 2
        assert ledger.pallet(Attribution).commitments(0) == ()


def test_the_base_of_a_job_is_the_models() -> None:
    with chain() as ledger, pytest.raises(Jobs.BaseDiffers):
        ledger.sign(BUILDER, "Jobs", "submit", spec=replace(TRAIN, base=PROFILE))
