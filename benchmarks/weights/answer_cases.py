"""Attribution and Inference at their worst cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.data_cases import store_model
from benchmarks.weights.job_cases import fill_deadlines
from benchmarks.weights.stage import GENESIS_HASH, WeighingStage
from pallets.attribution import ATTRIBUTION_POT, INDEXES_MAX, Attribution
from pallets.attribution import Parameters as AttributionParameters
from pallets.attribution.records import Earning, Epoch, EpochState, Ledger
from pallets.inference import Channel, Inference
from pallets.inference import Parameters as InferenceParameters
from pallets.jobs import Parameters as JobParameters
from pallets.models import Deployment, Models
from pallets.system import System
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.documents import Voucher, voucher_payload
from runtime.types.primitives import (
    OPEN,
    ZERO_HASH,
    AccountData,
    AccountId,
    AccountInfo,
    Balance,
    Id,
    Sr25519,
)

ATTRIBUTION: Final = Benchmarks("Attribution")
INFERENCE: Final = Benchmarks("Inference")

FEES: Final[Balance] = 100 * OPEN
DEPOSIT: Final[Balance] = 10 * OPEN
RECEIPTS: Final = 1_000


def _fill_pot(stage: WeighingStage) -> None:
    record = AccountInfo(providers=1, data=AccountData(free=FEES))
    stage.pallet(System).put_account(ATTRIBUTION_POT, record)


def _served(stage: WeighingStage) -> AccountId:
    """Return the server of a model whose receipts can be settled."""
    server, attribution = stage.account("server"), stage.pallet(Attribution)
    store_model(stage, server)
    _fill_pot(stage)
    attribution.index_jobs.put(0, tuple(range(INDEXES_MAX)))
    attribution.ledgers.put(0, Ledger(epoch=1, pool=FEES))
    attribution.brought.put((0, server), FEES)
    return server


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
    failed = Epoch(
        state=EpochState.Failed,
        server=server,
        job=0,
        closed_at=1,
        receipts_root=ZERO_HASH,
        receipts=RECEIPTS,
        fees_planck=FEES,
        receipts_blob=ZERO_HASH,
    )
    stage.pallet(Attribution).epochs.put((0, 0), failed)
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
    attribution.ledgers.put(0, Ledger(commons=OPEN))
    return stage.root("Attribution", "spend_commons", model=0, dest=dest, amount=OPEN)


@ATTRIBUTION.constant
def attribution_set_parameters(stage: WeighingStage) -> Work:
    parameters = AttributionParameters()
    return stage.root("Attribution", "set_parameters", parameters=parameters)


@ATTRIBUTION.constant
def attribution_report_overdue(stage: WeighingStage) -> Work:
    server, attribution = _served(stage), stage.pallet(Attribution)
    overdue = Ledger(epoch=1, pool=FEES, redeemed_planck=FEES, due_from=1)
    attribution.ledgers.put((0, server), overdue)
    attribution.unsettled.put(server, FEES)
    attribution.governed.put(replace(AttributionParameters(), close_blocks=5))
    caller = stage.account("caller")
    return stage.signed(caller, "Attribution", "report_overdue", model=0, server=server)


# ---------------------------------------------------------------------------------------- Inference


def _asker(stage: WeighingStage) -> Keypair:
    """Return the sr25519 key of an asker: its signatures take the longest to verify."""
    pair = _asker_key()
    record = AccountInfo(providers=1, data=AccountData(free=1_000 * OPEN))
    stage.pallet(System).put_account(AccountId(pair.account), record)
    return pair


def _published(stage: WeighingStage) -> None:
    """Publish model 0."""
    model = store_model(stage, stage.account("owner"))
    assert model.latest is not None, "stored models are trained"
    deployed = Deployment(model.latest, 1)
    stage.pallet(Models).records.put(0, replace(model, deployed=deployed))


def _open(stage: WeighingStage, *, closes_at: int | None = None) -> AccountId:
    """Open channel 0 of the asker and return it."""
    asker = AccountId(_asker(stage).account)
    _published(stage)
    server = Id(stage.account("server"))
    stage.signed(asker, "Inference", "open_channel", model=0, server=server, deposit=DEPOSIT)()
    channels = stage.pallet(Inference).channels
    channel = channels.get(0)
    assert isinstance(channel, Channel), "opened just now"
    channels.put(0, replace(channel, closes_at=closes_at))
    return asker


@INFERENCE.constant
def inference_set_parameters(stage: WeighingStage) -> Work:
    return stage.root("Inference", "set_parameters", parameters=InferenceParameters())


@INFERENCE.constant
def inference_open_channel(stage: WeighingStage) -> Work:
    asker, server = AccountId(_asker(stage).account), Id(stage.account("server"))
    _published(stage)
    return stage.signed(asker, "Inference", "open_channel", model=0, server=server, deposit=DEPOSIT)


@INFERENCE.constant
def inference_top_up(stage: WeighingStage) -> Work:
    return stage.signed(_open(stage), "Inference", "top_up", channel=0, amount=OPEN)


@INFERENCE.constant
def inference_redeem(stage: WeighingStage) -> Work:
    _open(stage)
    server, pair = AccountId(stage.pair("server").account), _asker_key()
    signature = pair.sign(voucher_payload(Voucher(GENESIS_HASH, 0, OPEN)))
    return stage.signed(
        server,
        "Inference",
        "redeem",
        channel=0,
        cumulative=OPEN,
        drawn=OPEN,
        signature=Sr25519(signature),
    )


@INFERENCE.constant
def inference_close_channel(stage: WeighingStage) -> Work:
    _open(stage)
    server = AccountId(stage.pair("server").account)
    return stage.signed(server, "Inference", "close_channel", channel=0)


@INFERENCE.constant
def inference_finish_close(stage: WeighingStage) -> Work:
    _open(stage, closes_at=1)
    return stage.signed(stage.account("caller"), "Inference", "finish_close", channel=0)


def _asker_key() -> Keypair:
    return Keypair.from_uri("//Alice", KeyKind.SR25519)
