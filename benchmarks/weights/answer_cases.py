"""Attribution at its worst cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.data_cases import store_model
from benchmarks.weights.job_cases import fill_deadlines
from benchmarks.weights.payment_cases import FEES, bonded_server, fill_pot
from benchmarks.weights.stage import BLOCK, WeighingStage
from pallets.attribution import INDEXES_LISTED_MAX, Attribution
from pallets.attribution import Parameters as AttributionParameters
from pallets.attribution.records import Earning, Epoch, EpochState, Ledger, RecordedIndex
from pallets.balances import Balances, HoldReason
from pallets.jobs import Jobs
from pallets.jobs import Parameters as JobParameters
from pallets.jobs.job import Job, JobState, Slot, SlotState
from runtime.crypto.hashing import blake2b_256
from runtime.shared.documents import Indexed, Settle, Share
from runtime.trie.merkle import sum_proof, sum_root
from runtime.types.primitives import (
    OPEN,
    ZERO_HASH,
    AccountId,
    Hash,
)

ATTRIBUTION: Final = Benchmarks("Attribution")

RECEIPTS: Final = 1_000
SHARES: Final = 1 << 16
"""Contributors of an epoch whose share is claimed: its proof has sixteen nodes."""
JOB: Final = 7


def _served(stage: WeighingStage) -> AccountId:
    """Return the server of a model whose receipts can be settled."""
    server, attribution = bonded_server(stage), stage.pallet(Attribution)
    store_model(stage, server)
    fill_pot(stage)
    attribution.index_jobs.put(0, tuple(range(INDEXES_LISTED_MAX)))
    indexed = Indexed(
        phi=ZERO_HASH,
        phi_root=ZERO_HASH,
        gram_hash=ZERO_HASH,
        damping=1,
        psi=ZERO_HASH,
        psi_root=ZERO_HASH,
        aggregates=ZERO_HASH,
        aggregate_root=ZERO_HASH,
        span_shards=ZERO_HASH,
        rows=1_000_000,
        sketch_size=4_096,
    )
    attribution.indexed.put(INDEXES_LISTED_MAX - 1, RecordedIndex(0, 1, indexed))
    ledger = Ledger(epoch=1, pool=FEES, redeemed_planck=FEES)
    attribution.ledgers.put((0, server), ledger)
    return server


def _epoch(state: EpochState, job: int = 0) -> Epoch:
    return Epoch(
        state=state,
        job=job,
        closed_at=1,
        receipts_root=ZERO_HASH,
        receipts=RECEIPTS,
        fees_planck=FEES,
        pool_planck=FEES,
        receipts_blob=ZERO_HASH,
    )


# -------------------------------------------------------------------------------------- Attribution


@ATTRIBUTION.constant
def attribution_close_epoch(stage: WeighingStage) -> Work:
    server = _served(stage)
    fill_deadlines(stage, JobParameters().assignment_blocks)
    return stage.signed(
        server,
        "Attribution",
        "close_epoch",
        model=0,
        receipts_root=ZERO_HASH,
        receipts=RECEIPTS,
        fees_planck=FEES,
        receipts_blob=ZERO_HASH,
    )


@ATTRIBUTION.constant
def attribution_close_again(stage: WeighingStage) -> Work:
    server = _served(stage)
    stage.pallet(Attribution).epochs.put((0, server, 0), _epoch(EpochState.Failed))
    fill_deadlines(stage, JobParameters().assignment_blocks)
    return stage.signed(
        server,
        "Attribution",
        "close_again",
        model=0,
        epoch=0,
        receipts_root=ZERO_HASH,
        receipts=RECEIPTS,
        fees_planck=FEES,
        receipts_blob=ZERO_HASH,
    )


def _contributor(stage: WeighingStage) -> AccountId:
    """Return a contributor that has earned and has no account yet."""
    who, attribution = AccountId(stage.pair("contributor").account), stage.pallet(Attribution)
    attribution.earned.put(who, Earning(OPEN, OPEN))
    fill_pot(stage)
    return who


@ATTRIBUTION.constant
def attribution_claim(stage: WeighingStage) -> Work:
    return stage.signed(_contributor(stage), "Attribution", "claim")


@ATTRIBUTION.constant
def attribution_claim_for(stage: WeighingStage) -> Work:
    contributor, caller = _contributor(stage), stage.account("caller")
    return stage.signed(caller, "Attribution", "claim_for", account=contributor)


@ATTRIBUTION.constant
def attribution_spend_commons(stage: WeighingStage) -> Work:
    dest, attribution = _contributor(stage), stage.pallet(Attribution)
    attribution.commons.put(0, OPEN)
    return stage.root("Attribution", "spend_commons", model=0, dest=dest, amount=OPEN)


@ATTRIBUTION.constant
def attribution_set_parameters(stage: WeighingStage) -> Work:
    parameters = AttributionParameters()
    return stage.root("Attribution", "set_parameters", parameters=parameters)


@ATTRIBUTION.constant
def attribution_claim_share(stage: WeighingStage) -> Work:
    server, caller = _served(stage), stage.account("caller")
    leaves = [(Hash(blake2b_256(b"contributor %d" % at)), 10**9) for at in range(SHARES)]
    root, total = sum_root(leaves)
    settled = replace(
        _epoch(EpochState.Settled),
        shares=ZERO_HASH,
        shares_root=root,
        shares_count=SHARES,
        shares_planck=total,
    )
    stage.pallet(Attribution).epochs.put((0, server, 0), settled)
    leaf, planck = leaves[SHARES // 2]
    return stage.signed(
        caller,
        "Attribution",
        "claim_share",
        model=0,
        server=server,
        epoch=0,
        share=Share(AccountId(leaf), planck),
        proof=sum_proof(leaves, SHARES // 2),
    )


def _shown(stage: WeighingStage, assigned_at: int) -> AccountId:
    """Store the SETTLE job of an epoch, which waits for texts; returns its server."""
    server, jobs = _served(stage), stage.pallet(Jobs)
    attribution = stage.pallet(Attribution)
    spec = Settle(
        model=0,
        server=server,
        epoch=0,
        receipts_root=ZERO_HASH,
        receipts=RECEIPTS,
        fees_planck=FEES,
        pool_planck=FEES,
        bound_milli=1_000,
        draws=32,
    )
    executors = stage.accounts("executor", JobParameters().executors_per_job)
    slots = tuple(
        Slot(who, at, 0, assigned_at, SlotState.Assigned) for at, who in enumerate(executors)
    )
    stage.pallet(Balances).hold(HoldReason.JobEscrow, server, OPEN)
    job = Job(
        owner=server,
        spec=spec,
        state=JobState.Assigned,
        escrow=OPEN,
        index_escrow=0,
        executors=len(executors),
        work=1_000,
        opened_at=1,
        expires_at=2 * BLOCK,
        deadline=BLOCK + 10,
        slots=slots,
    )
    jobs.jobs.put(JOB, job)
    jobs.settlements.put(1)
    jobs.deadlines.put(BLOCK + 10, (JOB,))
    attribution.ledgers.put((0, server), Ledger(epoch=1, settling=0))
    attribution.settling.put(server, 1)
    attribution.epochs.put((0, server, 0), _epoch(EpochState.Settling, JOB))
    return server


@ATTRIBUTION.constant
def attribution_show_texts(stage: WeighingStage) -> Work:
    server = _shown(stage, assigned_at=BLOCK)
    return stage.signed(server, "Attribution", "show_texts", job=JOB, attempt=0, blob=ZERO_HASH)


@ATTRIBUTION.constant
def attribution_report_withheld(stage: WeighingStage) -> Work:
    _shown(stage, assigned_at=1)
    return stage.signed(
        stage.account("caller"), "Attribution", "report_withheld", job=JOB, attempt=0
    )


@ATTRIBUTION.constant
def attribution_sweep_pool(stage: WeighingStage) -> Work:
    caller, gone = stage.account("caller"), AccountId(stage.pair("gone").account)
    ledger = Ledger(epoch=1, pool=FEES, redeemed_planck=FEES)
    stage.pallet(Attribution).ledgers.put((0, gone), ledger)
    return stage.signed(caller, "Attribution", "sweep_pool", model=0, server=gone)
