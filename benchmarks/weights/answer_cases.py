"""Attribution and Inference at their worst cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from benchmarks.weights.case import Benchmarks, Work
from benchmarks.weights.data_cases import store_model
from benchmarks.weights.job_cases import ATTEMPT, JOB, fill_deadlines, slots_of, store_settlement
from benchmarks.weights.stage import BLOCK, GENESIS_HASH, WeighingStage
from pallets.attribution import ATTRIBUTION_POT, INDEXES_LISTED_MAX, Attribution
from pallets.attribution import Parameters as AttributionParameters
from pallets.attribution.records import Earning, Epoch, EpochState, Ledger, RecordedIndex
from pallets.balances import Balances, HoldReason
from pallets.inference import Channel, Inference
from pallets.inference import Parameters as InferenceParameters
from pallets.inference.channels import REPORTS_FORGOTTEN_MAX
from pallets.inference.records import Server
from pallets.jobs import Parameters as JobParameters
from pallets.jobs.job import JobState, SlotState
from pallets.models import Deployment, Models
from pallets.system import System
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.documents import Indexed, Share
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
from runtime.trie.merkle import sum_proof, sum_root
from runtime.types.primitives import (
    OPEN,
    ZERO_HASH,
    AccountData,
    AccountId,
    AccountInfo,
    Balance,
    Hash,
    Id,
    Sr25519,
)

ATTRIBUTION: Final = Benchmarks("Attribution")
INFERENCE: Final = Benchmarks("Inference")

FEES: Final[Balance] = 100 * OPEN
DEPOSIT: Final[Balance] = 10 * OPEN
BOND: Final[Balance] = 1_000 * OPEN
RECEIPTS: Final = 1_000
SHARES: Final = 2**14
"""Shares of an epoch; a proof of twice as many has one hash more."""


def _fill_pot(stage: WeighingStage) -> None:
    record = AccountInfo(providers=1, data=AccountData(free=FEES))
    stage.pallet(System).put_account(ATTRIBUTION_POT, record)


def _served(stage: WeighingStage) -> AccountId:
    """Return the bonded server of a model whose receipts can be settled."""
    server, attribution = stage.account("server"), stage.pallet(Attribution)
    store_model(stage, server)
    _fill_pot(stage)
    _bond(stage, server)
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
        rows=2_000,
        sketch_size=4_096,
    )
    attribution.index_jobs.put(0, tuple(range(INDEXES_LISTED_MAX)))
    attribution.indexed.put(INDEXES_LISTED_MAX - 1, RecordedIndex(0, 1, indexed))
    attribution.ledgers.put((0, server), Ledger(epoch=1, pool=FEES // 2, redeemed_planck=FEES))
    return server


def _bond(stage: WeighingStage, server: AccountId, **changes: Any) -> None:
    stage.pallet(Balances).hold(HoldReason.ServerBond, server, BOND)
    stage.pallet(Inference).servers.put(server, Server(BOND, **changes))


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
    server = _served(stage)
    fill_deadlines(stage, JobParameters().assignment_blocks)
    return stage.signed(server, "Attribution", "close_epoch", missing_planck=0, **CLOSING)


@ATTRIBUTION.constant
def attribution_close_again(stage: WeighingStage) -> Work:
    server = _served(stage)
    stage.pallet(Attribution).epochs.put((0, server, 0), CLOSED)
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
    leaves = [(Hash(share.contributor), share.planck)] * SHARES
    root, total = sum_root(leaves)
    settled = replace(
        CLOSED,
        state=EpochState.Settled,
        shares=ZERO_HASH,
        shares_root=root,
        shares_count=SHARES,
        shares_planck=total,
    )
    stage.pallet(Attribution).epochs.put((0, server, 0), settled)
    proof = sum_proof(leaves, 1)
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
    server, caller, attribution = _served(stage), stage.account("caller"), stage.pallet(Attribution)
    ledger = attribution.ledgers.get((0, server))
    attribution.ledgers.put((0, server), replace(ledger, due_planck=FEES, due_from=0))
    attribution.unsettled.put(server, 2 * FEES)
    attribution.governed.put(replace(attribution.parameters(), close_blocks=0))
    return stage.signed(caller, "Attribution", "report_overdue", model=0, server=server)


@ATTRIBUTION.constant
def attribution_sweep_pool(stage: WeighingStage) -> Work:
    server, caller = stage.account("server"), stage.account("caller")
    ledger = Ledger(epoch=1, pool=FEES // 2, redeemed_planck=FEES, due_planck=FEES, due_from=1)
    stage.pallet(Attribution).ledgers.put((0, server), ledger)
    stage.pallet(Attribution).unsettled.put(server, 2 * FEES)
    return stage.signed(caller, "Attribution", "sweep_pool", model=0, server=server)


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
    server = stage.account("server")
    _bond(stage, server)
    arguments = {"model": 0, "server": Id(server), "deposit": DEPOSIT}
    stage.signed(asker, "Inference", "open_channel", **arguments)()
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
    asker, server = AccountId(_asker(stage).account), stage.account("server")
    _published(stage)
    _bond(stage, server)
    arguments = {"model": 0, "server": Id(server), "deposit": DEPOSIT}
    return stage.signed(asker, "Inference", "open_channel", **arguments)


@INFERENCE.constant
def inference_top_up(stage: WeighingStage) -> Work:
    return stage.signed(_open(stage), "Inference", "top_up", channel=0, amount=OPEN)


def _voucher(sequence: int = 1) -> SignedVoucher:
    """Return a voucher of the asker for an answer of channel 0."""
    pair = _asker_key()
    voucher = Voucher(
        genesis=GENESIS_HASH,
        channel=0,
        model=0,
        train_job=0,
        sequence=sequence,
        before_planck=0,
        limit_planck=DEPOSIT,
        rates=Rates(OPEN, OPEN, OPEN),
        question=ZERO_HASH,
        sampling=GREEDY,
        may_draw=True,
        expires_at=2 * BLOCK,
    )
    signature = Sr25519(pair.sign(voucher_payload(voucher)))
    return SignedVoucher(voucher, AccountId(pair.account), signature)


def _redeemed(stage: WeighingStage, **changes: Any) -> AccountId:
    """Redeem an answer of channel 0; returns its server."""
    _open(stage)
    server = AccountId(stage.pair("server").account)
    _redemption(stage, server)()
    channels = stage.pallet(Inference).channels
    channel = channels.get(0)
    assert channel is not None, "a redeemed channel stays"
    channels.put(0, replace(channel, **changes))
    return server


def _redemption(stage: WeighingStage, server: AccountId) -> Work:
    signed = _voucher()
    return stage.signed(
        server,
        "Inference",
        "redeem",
        voucher=signed.voucher,
        tokens_in=1,
        tokens_out=1,
        signature=signed.signature,
    )


@INFERENCE.constant
def inference_redeem(stage: WeighingStage) -> Work:
    _open(stage)
    return _redemption(stage, AccountId(stage.pair("server").account))


@INFERENCE.constant
def inference_close_channel(stage: WeighingStage) -> Work:
    _open(stage)
    server = AccountId(stage.pair("server").account)
    return stage.signed(server, "Inference", "close_channel", channel=0)


@INFERENCE.constant
def inference_finish_close(stage: WeighingStage) -> Work:
    _open(stage, closes_at=1)
    return stage.signed(stage.account("caller"), "Inference", "finish_close", channel=0)


@INFERENCE.constant
def inference_register_server(stage: WeighingStage) -> Work:
    return stage.signed(stage.account("server"), "Inference", "register_server", bond=BOND)


@INFERENCE.constant
def inference_add_server_bond(stage: WeighingStage) -> Work:
    server = stage.account("server")
    _bond(stage, server)
    return stage.signed(server, "Inference", "add_server_bond", amount=OPEN)


@INFERENCE.constant
def inference_leave_service(stage: WeighingStage) -> Work:
    server = stage.account("server")
    _bond(stage, server)
    return stage.signed(server, "Inference", "leave_service")


@INFERENCE.constant
def inference_withdraw_server_bond(stage: WeighingStage) -> Work:
    server = stage.account("server")
    _bond(stage, server, leaving_at=1)
    parameters = InferenceParameters(retention_blocks=1)
    stage.pallet(Inference).parameters.put(parameters)
    return stage.signed(server, "Inference", "withdraw_server_bond")


def _receipt(server: AccountId, tokens: int) -> Receipt:
    """Return a false receipt for the answer of channel 0."""
    return Receipt(
        version=RECEIPT_VERSION,
        voucher=voucher_hash(_voucher().voucher),
        server=server,
        index_job=1,
        adapter=ZERO_HASH,
        tokens_in=tokens,
        tokens_out=0,
        fee_planck=OPEN,
        answer=ZERO_HASH,
        evidence=ZERO_HASH,
    )


@INFERENCE.constant
def inference_report_receipt(stage: WeighingStage) -> Work:
    server, caller = _redeemed(stage), stage.account("caller")
    receipt = _receipt(server, 1)
    signature = stage.pair("server").sign(receipt_hash(receipt))
    arguments = {"voucher": _voucher(), "receipt": receipt, "signature": signature}
    return stage.signed(caller, "Inference", "report_receipt", **arguments)


@INFERENCE.constant
def inference_report_double_receipt(stage: WeighingStage) -> Work:
    server, caller = _redeemed(stage), stage.account("caller")
    pair, receipt, other = stage.pair("server"), _receipt(server, 1), _receipt(server, 2)
    return stage.signed(
        caller,
        "Inference",
        "report_double_receipt",
        voucher=_voucher(),
        receipt=receipt,
        signature=pair.sign(receipt_hash(receipt)),
        other=other,
        other_signature=pair.sign(receipt_hash(other)),
    )


@INFERENCE.constant
def inference_remove_channel(stage: WeighingStage) -> Work:
    parameters = InferenceParameters(retention_blocks=1)
    stage.pallet(Inference).parameters.put(parameters)
    server = _redeemed(stage)
    stage.signed(server, "Inference", "close_channel", channel=0)()
    inference = stage.pallet(Inference)
    for sequence in range(REPORTS_FORGOTTEN_MAX):
        inference.reported.put((0, sequence), OPEN)
    return stage.signed(server, "Inference", "remove_channel", channel=0)


@INFERENCE.constant
def inference_take_back(stage: WeighingStage) -> Work:
    _redeemed(stage)
    models = stage.pallet(Models)
    record = models.records.get(0)
    assert record is not None, "stored just now"
    models.records.put(0, replace(record, is_retired=True))
    return stage.signed(stage.account("caller"), "Inference", "take_back", channel=0)


def _asker_key() -> Keypair:
    return Keypair.from_uri("//Alice", KeyKind.SR25519)
