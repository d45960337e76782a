"""The epoch closer: seals, draws what answers cost, closes; what is done already stays as it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.serving.epoch_closer import (
    EPOCH_BLOCKS,
    EpochCloser,
    SettlementRefusedError,
)
from node.serving.redeemer import Redeemer, RedeemSettings
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ChannelRecord, ReceiptStore
from node.transactions.errors import BadFormatError
from node.transactions.submitter import RESEND_BLOCKS
from pallets.attribution.records import EpochState
from runtime.codec.scale import codec
from runtime.shared.receipts import EpochReceipts, receipt_hash
from runtime.trie.merkle import sum_root
from runtime.types.primitives import Ed25519, MultiSignature
from tests.node.storage.test_disk_space import disk_of
from tests.node.storage.test_receipt_store import stored

MODEL = 1
SIGNATURE = codec(MultiSignature).encode(Ed25519(bytes(64)))


class FakeChainState:
    """What the epoch closer reads, and where its calls go."""

    def __init__(self) -> None:
        self.epochs: dict[tuple[int, int], Any] = {}
        self.ledger = SimpleNamespace(epoch=0, settling=None)
        self.rows = 100
        self.channels = {7: SimpleNamespace(model=MODEL, redeemed_planck=0, closes_at=None)}
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.is_refusing = False

    @contextmanager
    def at(self) -> Iterator[Any]:
        attribution = SimpleNamespace(
            epochs=self.epochs,
            pool=lambda _: self.ledger,
            parameters=lambda: SimpleNamespace(rows_minimum=50),
        )
        yield SimpleNamespace(
            attribution=attribution,
            models=SimpleNamespace(rows_of=lambda _: self.rows),
            inference=SimpleNamespace(channels=self.channels),
        )

    def submit(self, pallet: str, name: str, **arguments: Any) -> None:
        if self.is_refusing:
            raise BadFormatError("refused")
        self.sent.append((f"{pallet}.{name}", arguments))


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    for sequence in range(3):
        store.record(stored(sequence), ChannelRecord(7, 500, 10 * (sequence + 1), SIGNATURE))
    yield store
    store.close()


@pytest.fixture
def state() -> FakeChainState:
    return FakeChainState()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def closer(receipts: ReceiptStore, state: FakeChainState, blobs: BlobStore) -> EpochCloser:
    fake, nothing = cast(Any, state), cast(Any, None)
    redeemer = Redeemer(nothing, fake, fake, receipts, RedeemSettings())
    return EpochCloser(nothing, fake, fake, receipts, blobs, redeemer)


def test_closing_draws_what_answers_cost_and_names_the_receipts(
    closer: EpochCloser, receipts: ReceiptStore, state: FakeChainState, blobs: BlobStore
) -> None:
    assert closer.close_model(MODEL) == 0
    (redeem, drawn), (close, closed) = state.sent
    assert (redeem, close) == ("Inference.redeem", "Attribution.close_epoch")
    assert (drawn["channel"], drawn["cumulative"], drawn["drawn"]) == (7, 500, 30)
    signed = [each.receipt for each in receipts.receipts(MODEL, 0)]
    root, fees = sum_root((receipt_hash(each), each.contributor_fee_planck) for each in signed)
    assert (closed["receipts_root"], closed["fees_planck"], closed["receipts"]) == (root, fees, 3)
    file = codec(EpochReceipts).decode(blobs.get(closed["receipts_blob"]))
    assert [each.receipt for each in file.receipts] == signed, "others settle from the file"
    assert receipts.open_epoch(MODEL) == 1


def test_what_is_redeemed_already_is_not_redeemed_again(
    closer: EpochCloser, state: FakeChainState
) -> None:
    state.channels[7].redeemed_planck = 30
    closer.close(MODEL, 0)
    assert [name for name, _ in state.sent] == ["Attribution.close_epoch"]


def test_channels_of_other_models_and_closed_ones_are_left_alone(
    closer: EpochCloser, state: FakeChainState
) -> None:
    state.channels[7].model = 2
    closer.close(MODEL, 0)
    state.channels.clear()
    closer.close(MODEL, 0)
    assert {name for name, _ in state.sent} == {"Attribution.close_epoch"}


def test_an_epoch_that_failed_is_closed_again(closer: EpochCloser, state: FakeChainState) -> None:
    state.epochs[MODEL, 0] = SimpleNamespace(state=EpochState.Failed)
    state.ledger.epoch = 1
    closer.close(MODEL, 0)
    assert state.sent[-1][0] == "Attribution.close_again"
    assert state.sent[-1][1]["epoch"] == 0


def test_an_epoch_that_cannot_be_closed_now_is_left_unsealed(
    closer: EpochCloser, receipts: ReceiptStore, state: FakeChainState
) -> None:
    state.rows = 49
    with pytest.raises(SettlementRefusedError, match="49 of 50 rows"):
        closer.close(MODEL, 0)
    state.rows, state.ledger.settling = 50, 0
    with pytest.raises(SettlementRefusedError, match="being settled"):
        closer.close(MODEL, 0)
    state.ledger.settling, state.ledger.epoch = None, 3
    with pytest.raises(SettlementRefusedError, match="at epoch 3"):
        closer.close(MODEL, 0)
    state.epochs[MODEL, 0] = SimpleNamespace(state=EpochState.Settled)
    with pytest.raises(SettlementRefusedError, match="closed already"):
        closer.close(MODEL, 0)
    with pytest.raises(SettlementRefusedError, match="no receipts"):
        closer.close_model(MODEL)
    assert state.sent == []
    assert receipts.open_epoch(MODEL) == 0


def test_a_full_disk_does_not_stop_the_closer(
    closer: EpochCloser, state: FakeChainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", disk_of(1 << 40, 0))
        closer._close_all(EPOCH_BLOCKS)
        assert not closer._is_due(EPOCH_BLOCKS + RESEND_BLOCKS)
    closer._close_all(2 * EPOCH_BLOCKS)
    assert closer._is_due(2 * EPOCH_BLOCKS + RESEND_BLOCKS)


def test_a_pool_that_refuses_does_not_stop_the_closer(
    closer: EpochCloser, state: FakeChainState
) -> None:
    state.is_refusing = True
    closer._close_all(EPOCH_BLOCKS)
    assert not closer._is_due(EPOCH_BLOCKS + RESEND_BLOCKS)
    state.is_refusing = False
    closer._close_all(2 * EPOCH_BLOCKS)
    assert closer._is_due(2 * EPOCH_BLOCKS + RESEND_BLOCKS)
    assert not closer._is_due(2 * EPOCH_BLOCKS + 1)
