"""From a contributed row to its pay, over the chain's own pallets: no stand-ins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.attribution import Genesis as AttributionGenesis
from pallets.attribution import Parameters as AttributionParameters
from pallets.balances import Balances, HoldReason
from pallets.datanets.records import Access, Verdict
from pallets.inference import Genesis as InferenceGenesis
from pallets.inference import GenesisServer, Inference
from pallets.jobs import Genesis as JobsGenesis
from pallets.jobs import GenesisExecutor, Jobs, Parameters
from pallets.jobs.job import JobFailure, JobState
from pallets.models import Base, Models, Stage
from pallets.models import Genesis as ModelsGenesis
from runtime.shared.documents import (
    DatanetVersion,
    JobOutput,
    Recipe,
    Share,
    Train,
    commitment,
    output_root,
)
from runtime.shared.receipts import GREEDY, Voucher, voucher_hash, voucher_payload
from runtime.trie.merkle import sum_root
from runtime.types.primitives import OPEN, Ed25519, Hash, Id
from tests.pallets.support.epochs import shared
from tests.pallets.support.ledger import (
    ALICE,
    BOB,
    CHARLIE,
    DAVE,
    EVE,
    GENESIS_HASH,
    KEYS,
    Ledger,
)
from tests.pallets.support.workshop import (
    BASE,
    BOND,
    LIMITS,
    PROFILE,
    READER,
    SALT,
    indexed,
    trained,
)

EXECUTORS = (DAVE, EVE)
CONTRIBUTOR, BUILDER, OWNER = CHARLIE, BOB, ALICE
SERVER = BUILDER
TRAIN = Train(0, BASE, (DatanetVersion(0, 1),), Recipe(max_steps=3))


def chain() -> Ledger:
    """Return a chain with two executors, a published datanet and a model on it."""
    executors = tuple(GenesisExecutor(who, PROFILE, BOND, (BASE,), READER) for who in EXECUTORS)
    ledger = Ledger(
        Models=ModelsGenesis(bases=((BASE, Base("tiny", 3_400_000, 192)),)),
        Jobs=JobsGenesis(
            Parameters(assignment_blocks=1, spare_executors=0, sketch_size=64),
            ((PROFILE, LIMITS),),
            executors,
        ),
        Attribution=AttributionGenesis(AttributionParameters(rows_minimum=2)),
        Inference=InferenceGenesis(servers=(GenesisServer(SERVER, 200 * OPEN),)),
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


def test_a_row_is_trained_on_asked_and_its_contributor_claims() -> None:
    with chain() as ledger:
        ledger.sign(BUILDER, "Jobs", "submit", spec=TRAIN)
        answer(ledger, 0, trained())
        assert stage(ledger) is Stage.Trained
        answer(ledger, 1, indexed())
        assert stage(ledger) is Stage.Indexed
        assert ledger.pallet(Balances).held(HoldReason.JobEscrow, BUILDER) == 0
        ledger.sign(BUILDER, "Models", "publish", model=0, adapter=trained().adapter)

        receipt, fee = ask(ledger, tokens=7_000)
        root, total = sum_root([(receipt, fee)])
        closing = {
            "model": 0,
            "receipts_root": root,
            "receipts": 1,
            "fees_planck": total,
            "missing_planck": 0,
        }
        ledger.sign(SERVER, "Attribution", "close_epoch", receipts_blob=BASE, **closing)
        shares = (Share(CONTRIBUTOR, fee // 2),)
        output = replace(shared(shares), receipts_root=root)
        answer(ledger, 2, output)

        before = ledger.pallet(Balances).free(CONTRIBUTOR)
        ledger.sign(CONTRIBUTOR, "Attribution", "claim")
        assert ledger.pallet(Balances).free(CONTRIBUTOR) == before + fee // 2
        assert ledger.pallet(Balances).free(ATTRIBUTION_POT) == 0
        ledger.check()


def ask(ledger: Ledger, tokens: int) -> tuple[Hash, int]:
    """Let Alice ask a question and the server redeem its answer; returns receipt and fee."""
    server = {"model": 0, "server": Id(SERVER), "deposit": OPEN}
    ledger.sign(ALICE, "Inference", "open_channel", **server)
    inference = ledger.pallet(Inference)
    rates = inference.price_list(0)
    assert rates is not None
    voucher = Voucher(
        genesis=GENESIS_HASH,
        channel=0,
        model=0,
        train_job=0,
        sequence=1,
        before_planck=0,
        limit_planck=OPEN,
        rates=rates,
        question=BASE,
        sampling=GREEDY,
        may_draw=False,
        expires_at=10_000,
    )
    signature = Ed25519(KEYS["Alice"].sign(voucher_payload(voucher)))
    counts = {"tokens_in": tokens, "tokens_out": 0}
    ledger.sign(SERVER, "Inference", "redeem", voucher=voucher, signature=signature, **counts)
    fee = inference.quote(0, tokens, 0)
    assert fee is not None
    assert ledger.pallet(Attribution).pool(0, SERVER).pool == fee // 2
    return voucher_hash(voucher), fee


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


def test_a_training_under_way_counts_for_the_datanets_of_its_job_and_a_new_one_for_the_models() -> (
    None
):
    with chain() as ledger:
        ledger.sign(BUILDER, "Jobs", "submit", spec=TRAIN)
        rows = {"row_hashes": (Hash(b"\x09" * 32),), "blob": BASE, "size_bytes": 9, "datanet": 0}
        ledger.sign(CONTRIBUTOR, "Datanets", "contribute", **rows)
        ledger.sign(OWNER, "Datanets", "review", datanet=0, batch=1, verdict=Verdict.Accept)
        ledger.sign(OWNER, "Datanets", "publish", datanet=0)
        newer = (DatanetVersion(0, 2),)
        ledger.sign(BUILDER, "Models", "set_datanets", model=0, datanets=newer)
        answer(ledger, 0, trained())
        former = ledger.pallet(Jobs).job(0)
        assert former is not None
        assert isinstance(former.spec, Train)
        assert former.spec.datanets == TRAIN.datanets
        # The gate follows the index of each training: three rows are too few here, four are not.
        parameters = AttributionParameters(rows_minimum=4)
        ledger.root("Attribution", "set_parameters", parameters=parameters)
        answer(ledger, 1, indexed(rows=3))
        assert not ledger.pallet(Attribution).is_open(0)
        with pytest.raises(Jobs.DatanetsDiffer):
            ledger.sign(BUILDER, "Jobs", "submit", spec=TRAIN)
        ledger.sign(BUILDER, "Jobs", "submit", spec=replace(TRAIN, datanets=newer))
        answer(ledger, 2, trained(1))
        answer(ledger, 3, indexed(rows=4))
        assert ledger.pallet(Attribution).is_open(0)
        ledger.check()
