"""Attribution at its worst cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.data_cases import store_model
from benchmarks.weights.job_cases import ATTEMPT, JOB, fill_deadlines, slots_of, store_settlement
from benchmarks.weights.payment_cases import index_model
from benchmarks.weights.stage import WeighingStage
from pallets.attribution import ATTRIBUTION_POT, Attribution
from pallets.attribution import Parameters as AttributionParameters
from pallets.attribution.records import Earning, Epoch, EpochState, Ledger
from pallets.balances import Balances, HoldReason
from pallets.inference import Inference
from pallets.inference.records import Server
from pallets.jobs import Parameters as JobParameters
from pallets.jobs.job import JobState, SlotState
from pallets.system import System
from runtime.shared.documents import Share
from runtime.trie.merkle import COUNT_MAX, SumNode, SumProof, proven_sum
from runtime.types.primitives import (
    OPEN,
    ZERO_HASH,
    AccountData,
    AccountId,
    AccountInfo,
    Balance,
    Hash,
)

ATTRIBUTION: Final = Benchmarks("Attribution")

FEES: Final[Balance] = 100 * OPEN
BOND: Final[Balance] = 1_000 * OPEN
RECEIPTS: Final = 1_000
MISSING: Final[Balance] = OPEN


def _fill_pot(stage: WeighingStage) -> None:
    record = AccountInfo(providers=1, data=AccountData(free=FEES))
    stage.pallet(System).put_account(ATTRIBUTION_POT, record)


def _served(stage: WeighingStage) -> AccountId:
    """Return the bonded server of a model whose receipts can be settled."""
    server = stage.account("server")
    store_model(stage, server)
    _fill_pot(stage)
    _bond(stage, server)
    index_model(stage)
    _fund(stage, server, FEES)
    return server


def _fund(stage: WeighingStage, server: AccountId, redeemed: int) -> None:
    """Let a server have redeemed of model 0, and of others, since the last close."""
    attribution = stage.pallet(Attribution)
    ledger = Ledger(1, redeemed // 2, redeemed, None, due_from=1)
    attribution.ledgers.put((0, server), ledger)
    attribution.unsettled.put(server, 2 * redeemed)
    attribution.opened.put(0, True)


def _bond(stage: WeighingStage, server: AccountId) -> None:
    stage.pallet(Balances).hold(HoldReason.ServerBond, server, BOND)
    stage.pallet(Inference).servers.put(server, Server(BOND))


CLOSING: Final[Mapping[str, Any]] = {
    "model": 0,
    "receipts_root": ZERO_HASH,
    "receipts": RECEIPTS,
    "fees_planck": FEES,
    "receipts_blob": ZERO_HASH,
}
CLOSED: Final = Epoch(
    state=EpochState.Failed,
    job=0,
    closed_at=1,
    receipts_root=ZERO_HASH,
    receipts=RECEIPTS,
    fees_planck=FEES,
    pool_planck=FEES // 2,
    receipts_blob=ZERO_HASH,
)


# -------------------------------------------------------------------------------------- Attribution


@ATTRIBUTION.constant
def attribution_close_epoch(stage: WeighingStage) -> Work:
    # Receipts are missing: what is due of them is slashed.
    server = _served(stage)
    _fund(stage, server, FEES + MISSING)
    settled = replace(CLOSED, state=EpochState.Settled)
    stage.pallet(Attribution).epochs.put((0, server, 0), settled)
    fill_deadlines(stage, JobParameters().assignment_blocks)
    return stage.signed(server, "Attribution", "close_epoch", missing_planck=MISSING, **CLOSING)


@ATTRIBUTION.constant
def attribution_close_again(stage: WeighingStage) -> Work:
    server = _served(stage)
    store_settlement(stage, JobState.Failed, slots_of(stage, SlotState.NoShow, SlotState.NoShow))
    stage.pallet(Attribution).epochs.put((0, server, 0), replace(CLOSED, job=JOB))
    fill_deadlines(stage, JobParameters().assignment_blocks)
    return stage.signed(server, "Attribution", "close_again", epoch=0, **CLOSING)


def _contributor(stage: WeighingStage) -> AccountId:
    """Return a contributor that has earned and has no account yet."""
    who, attribution = AccountId(stage.pair("contributor").account), stage.pallet(Attribution)
    attribution.earned.put(who, Earning(OPEN, OPEN))
    attribution.accounted.put(OPEN)
    _fill_pot(stage)
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
    server, caller = stage.account("server"), stage.account("caller")
    share = Share(AccountId(stage.pair("contributor").account), 1)
    proof = SumProof(0, COUNT_MAX, (SumNode(ZERO_HASH, 1),) * COUNT_MAX.bit_length())
    proven = proven_sum(Hash(share.contributor), share.planck, proof)
    assert proven is not None, "the deepest tree that there is"
    root, total = proven
    settled = replace(
        CLOSED,
        state=EpochState.Settled,
        shares=ZERO_HASH,
        shares_root=root,
        shares_count=COUNT_MAX,
        shares_planck=total,
    )
    stage.pallet(Attribution).epochs.put((0, server, 0), settled)
    key = {"model": 0, "server": server, "epoch": 0}
    return stage.signed(caller, "Attribution", "claim_share", share=share, proof=proof, **key)


@ATTRIBUTION.constant
def attribution_show_texts(stage: WeighingStage) -> Work:
    slots = slots_of(stage, SlotState.Assigned, SlotState.NoShow)
    server = store_settlement(stage, JobState.Assigned, slots)
    return stage.signed(
        server,
        "Attribution",
        "show_texts",
        job=JOB,
        attempt=ATTEMPT,
        blob=ZERO_HASH,
        content=ZERO_HASH,
    )


@ATTRIBUTION.constant
def attribution_report_withheld(stage: WeighingStage) -> Work:
    slots = slots_of(stage, SlotState.Assigned, SlotState.NoShow)
    waiting = tuple(replace(slot, assigned_at=1) for slot in slots)
    store_settlement(stage, JobState.Assigned, waiting)
    caller = stage.account("caller")
    return stage.signed(caller, "Attribution", "report_withheld", job=JOB, attempt=ATTEMPT)


@ATTRIBUTION.constant
def attribution_report_overdue(stage: WeighingStage) -> Work:
    # The epoch before has failed, and is forfeited.
    server, caller, attribution = _served(stage), stage.account("caller"), stage.pallet(Attribution)
    attribution.epochs.put((0, server, 0), CLOSED)
    attribution.governed.put(replace(attribution.parameters(), close_blocks=0))
    return stage.signed(caller, "Attribution", "report_overdue", model=0, server=server)


@ATTRIBUTION.constant
def attribution_sweep_pool(stage: WeighingStage) -> Work:
    # The epoch before has failed, and is forfeited.
    server, caller = stage.account("server"), stage.account("caller")
    _fund(stage, server, FEES)
    stage.pallet(Attribution).epochs.put((0, server, 0), CLOSED)
    return stage.signed(caller, "Attribution", "sweep_pool", model=0, server=server)
