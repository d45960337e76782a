"""Inference at its worst cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.data_cases import store_model
from benchmarks.weights.stage import BLOCK, GENESIS_HASH, WeighingStage
from pallets.attribution import ATTRIBUTION_POT, INDEXES_LISTED_MAX, Attribution
from pallets.attribution.records import Ledger, RecordedIndex
from pallets.inference import Inference
from pallets.inference import Parameters as InferenceParameters
from pallets.inference.channels import REPORTS_FORGOTTEN_MAX
from pallets.inference.records import FormerFee, Mark
from pallets.models import Deployment, Models
from pallets.system import System
from runtime.codec.scale import Bytes64
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.documents import Indexed
from runtime.shared.receipts import (
    GREEDY,
    RECEIPT_VERSION,
    Rates,
    Receipt,
    SignedVoucher,
    Voucher,
    receipt_hash,
    voucher_hash,
    voucher_payload,
)
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

INFERENCE: Final = Benchmarks("Inference")

FEES: Final[Balance] = 100 * OPEN
DEPOSIT: Final[Balance] = 10 * OPEN
EARLY: Final = 1_000 * OPEN
BOND: Final[Balance] = 1_000 * OPEN
TOKENS: Final = 1_000
RATES: Final = Rates(500, 1_500, InferenceParameters().platform_fee_planck)


def fill_pot(stage: WeighingStage) -> None:
    record = AccountInfo(providers=1, data=AccountData(free=FEES))
    stage.pallet(System).put_account(ATTRIBUTION_POT, record)
    stage.pallet(Attribution).accounted.put(FEES)


def bonded_server(stage: WeighingStage) -> AccountId:
    """Bond the server and return it."""
    server = stage.account("server")
    stage.signed(server, "Inference", "register_server", bond=BOND)()
    return server


def _asker(stage: WeighingStage) -> Keypair:
    """Return the sr25519 key of an asker: its signatures take the longest to verify."""
    pair = _asker_key()
    record = AccountInfo(providers=1, data=AccountData(free=1_000 * OPEN))
    stage.pallet(System).put_account(AccountId(pair.account), record)
    return pair


def _published(stage: WeighingStage) -> None:
    """Publish model 0, whose rates have changed a short while ago."""
    model = store_model(stage, stage.account("owner"))
    assert model.latest is not None, "stored models are trained"
    deployed = replace(model, deployed=Deployment(model.latest, 1))
    raised = deployed.with_rates(model.rate_in_planck, model.rate_out_planck, BLOCK)
    stage.pallet(Models).records.put(0, raised)


def index_model(stage: WeighingStage, rows: int = 2_000) -> None:
    """Index model 0, of which nobody has redeemed since."""
    attribution = stage.pallet(Attribution)
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
        rows=rows,
        sketch_size=4_096,
    )
    attribution.index_jobs.put(0, tuple(range(INDEXES_LISTED_MAX)))
    attribution.indexed.put(INDEXES_LISTED_MAX - 1, RecordedIndex(0, 1, indexed))


def _report_answers(stage: WeighingStage) -> None:
    """Let as many answers of channel 0 have been reported as are forgotten with it, and more."""
    for sequence in range(2 * REPORTS_FORGOTTEN_MAX):
        stage.pallet(Inference).reported.put((0, sequence), OPEN)


def _open(stage: WeighingStage, *, closes_at: int | None = None, redeemed: int = 0) -> AccountId:
    """Open channel 0 of the asker, with earlier redemptions in two epochs; returns the asker."""
    asker = AccountId(_asker(stage).account)
    _published(stage)
    server = Id(bonded_server(stage))
    stage.signed(asker, "Inference", "open_channel", model=0, server=server, deposit=DEPOSIT)()
    channels = stage.pallet(Inference).channels
    channel = channels.get(0)
    assert channel is not None, "opened just now"
    marks = (Mark(1, 0), Mark(2, redeemed)) if redeemed else ()
    changed = replace(channel, closes_at=closes_at, redeemed_planck=redeemed, marks=marks)
    channels.put(0, changed)
    return asker


def _voucher() -> SignedVoucher:
    """Return the voucher of channel 0 for an answer of many tokens."""
    pair = _asker_key()
    voucher = Voucher(
        genesis=GENESIS_HASH,
        channel=0,
        model=0,
        train_job=0,
        sequence=9,
        before_planck=OPEN,
        limit_planck=2 * OPEN,
        rates=RATES,
        question=ZERO_HASH,
        sampling=GREEDY,
        may_draw=True,
        expires_at=2 * BLOCK,
    )
    signature = Sr25519(pair.sign(voucher_payload(voucher)))
    return SignedVoucher(voucher, AccountId(pair.account), signature)


def _receipt(stage: WeighingStage, signed: SignedVoucher, index_job: int) -> tuple[Receipt, bytes]:
    """Return a receipt with a false fee, and its server's signature."""
    pair = stage.pair("server")
    receipt = Receipt(
        version=RECEIPT_VERSION,
        voucher=voucher_hash(signed.voucher),
        server=AccountId(pair.account),
        index_job=index_job,
        adapter=ZERO_HASH,
        tokens_in=TOKENS,
        tokens_out=TOKENS,
        fee_planck=OPEN,
        answer=ZERO_HASH,
        evidence=ZERO_HASH,
    )
    return receipt, pair.sign(receipt_hash(receipt))


@INFERENCE.constant
def inference_set_parameters(stage: WeighingStage) -> Work:
    parameters = replace(InferenceParameters(), platform_fee_planck=OPEN)
    return stage.root("Inference", "set_parameters", parameters=parameters)


@INFERENCE.constant
def inference_open_channel(stage: WeighingStage) -> Work:
    asker, server = AccountId(_asker(stage).account), Id(bonded_server(stage))
    _published(stage)
    return stage.signed(asker, "Inference", "open_channel", model=0, server=server, deposit=DEPOSIT)


@INFERENCE.constant
def inference_top_up(stage: WeighingStage) -> Work:
    return stage.signed(_open(stage), "Inference", "top_up", channel=0, amount=OPEN)


@INFERENCE.constant
def inference_redeem(stage: WeighingStage) -> Work:
    # The first redemption since the model pays contributors, at a fee that was changed since; what
    # came before is an epoch of its own.
    _open(stage, redeemed=OPEN)
    index_model(stage)
    server, signed = AccountId(stage.pair("server").account), _voucher()
    stage.pallet(Inference).former_fee.put(FormerFee(1, 2 * BLOCK))
    early = Ledger(redeemed_planck=EARLY, early_planck=EARLY)
    stage.pallet(Attribution).ledgers.put((0, server), early)
    stage.pallet(Attribution).unsettled.put(server, OPEN)
    stage.pallet(Attribution).at_risk.put(server, OPEN)
    return stage.signed(
        server,
        "Inference",
        "redeem",
        voucher=signed.voucher,
        tokens_in=TOKENS,
        tokens_out=TOKENS,
        signature=signed.signature,
    )


@INFERENCE.constant
def inference_close_channel(stage: WeighingStage) -> Work:
    _open(stage)  # nothing was redeemed: the channel is removed at once
    _report_answers(stage)
    server = AccountId(stage.pair("server").account)
    return stage.signed(server, "Inference", "close_channel", channel=0)


@INFERENCE.constant
def inference_finish_close(stage: WeighingStage) -> Work:
    _open(stage, closes_at=1)  # nothing was redeemed: the channel is removed at once
    _report_answers(stage)
    return stage.signed(stage.account("caller"), "Inference", "finish_close", channel=0)


@INFERENCE.constant
def inference_register_server(stage: WeighingStage) -> Work:
    return stage.signed(stage.account("server"), "Inference", "register_server", bond=BOND)


@INFERENCE.constant
def inference_add_server_bond(stage: WeighingStage) -> Work:
    return stage.signed(bonded_server(stage), "Inference", "add_server_bond", amount=OPEN)


@INFERENCE.constant
def inference_leave_service(stage: WeighingStage) -> Work:
    return stage.signed(bonded_server(stage), "Inference", "leave_service")


@INFERENCE.constant
def inference_withdraw_server_bond(stage: WeighingStage) -> Work:
    server, inference = bonded_server(stage), stage.pallet(Inference)
    record = inference.servers.get(server)
    assert record is not None, "bonded just now"
    inference.servers.put(server, replace(record, leaving_at=1))
    inference.parameters.put(replace(InferenceParameters(), retention_blocks=1))
    stage.pallet(Attribution).unsettled.put(server, OPEN)
    return stage.signed(server, "Inference", "withdraw_server_bond")


@INFERENCE.constant
def inference_report_receipt(stage: WeighingStage) -> Work:
    _open(stage, redeemed=OPEN)
    signed = _voucher()
    receipt, signature = _receipt(stage, signed, index_job=0)
    return stage.signed(
        stage.account("caller"),
        "Inference",
        "report_receipt",
        voucher=signed,
        receipt=receipt,
        signature=Bytes64(signature),
    )


@INFERENCE.constant
def inference_report_double_receipt(stage: WeighingStage) -> Work:
    _open(stage, redeemed=OPEN)
    signed = _voucher()
    receipt, signature = _receipt(stage, signed, index_job=0)
    other, other_signature = _receipt(stage, signed, index_job=1)
    return stage.signed(
        stage.account("caller"),
        "Inference",
        "report_double_receipt",
        voucher=signed,
        receipt=receipt,
        signature=Bytes64(signature),
        other=other,
        other_signature=Bytes64(other_signature),
    )


@INFERENCE.constant
def inference_remove_channel(stage: WeighingStage) -> Work:
    _open(stage, redeemed=OPEN)
    inference, server = stage.pallet(Inference), AccountId(stage.pair("server").account)
    channel = inference.channels.get(0)
    assert channel is not None, "opened just now"
    inference.channels.put(0, replace(channel, is_closed=True, closes_at=1))
    inference.parameters.put(replace(InferenceParameters(), retention_blocks=1))
    _report_answers(stage)
    models, attribution = stage.pallet(Models), stage.pallet(Attribution)
    model = models.records.get(0)
    assert model is not None, "published just now"
    models.records.put(0, replace(model, is_retired=True))
    index_model(stage)
    attribution.ledgers.put((0, server), Ledger(epoch=3))
    return stage.signed(server, "Inference", "remove_channel", channel=0)


@INFERENCE.constant
def inference_take_back(stage: WeighingStage) -> Work:
    asker = _open(stage, redeemed=OPEN)
    models, attribution = stage.pallet(Models), stage.pallet(Attribution)
    model = models.records.get(0)
    assert model is not None, "published just now"
    models.records.put(0, replace(model, is_retired=True))
    server = AccountId(stage.pair("server").account)
    fill_pot(stage)
    index_model(stage, rows=1)
    early = Ledger(epoch=1, pool=OPEN, redeemed_planck=2 * OPEN, early_planck=2 * OPEN)
    attribution.ledgers.put((0, server), early)
    return stage.signed(asker, "Inference", "take_back", channel=0)


def _asker_key() -> Keypair:
    return Keypair.from_uri("//Alice", KeyKind.SR25519)
