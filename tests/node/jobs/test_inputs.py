"""What a settlement is computed from: receipts that nobody has invented, each once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from node.jobs.inputs import Inputs, InputsMissingError, InputsRefusedError, check_settlement
from node.storage.blob_store import BlobStore
from runtime.codec.scale import codec
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.documents import Settle
from runtime.shared.receipts import EpochReceipts, SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId, Hash
from tests.node.storage.test_receipt_store import stored

SERVER = Keypair.from_uri("//Alice")
ASKER = Keypair.from_uri("//Zoe", KeyKind.SR25519)
OTHER = Keypair.from_uri("//Eve")
SPEC = Settle(1, 0, Hash(bytes(32)))


def receipt(sequence: int, pair: Keypair = SERVER, **changed: object) -> SignedReceipt:
    accounts = {"server": AccountId(SERVER.account), "asker": AccountId(ASKER.account)}
    document = replace(stored(sequence).signed.receipt, **{**accounts, **changed})  # type: ignore[arg-type]
    return SignedReceipt(document, pair.sign(receipt_hash(document)))


ONE, TWO = receipt(0), receipt(1)


def check(*receipts: SignedReceipt) -> None:
    check_settlement(SPEC, AccountId(SERVER.account), EpochReceipts(receipts))


def test_signed_receipts_are_taken() -> None:
    check(ONE, TWO)


@pytest.mark.parametrize(
    "forged",
    [
        receipt(0, OTHER),
        receipt(0, model=2),
        receipt(0, epoch=1),
        receipt(0, OTHER, server=AccountId(OTHER.account)),
        replace(ONE, receipt=replace(ONE.receipt, contributor_fee_planck=12)),
    ],
)
def test_a_receipt_that_its_server_did_not_sign_for_this_epoch_is_refused(
    forged: SignedReceipt,
) -> None:
    with pytest.raises(InputsRefusedError):
        check(forged, TWO)


@pytest.mark.parametrize("receipts", [(ONE, ONE), (ONE, TWO, ONE), (TWO, ONE)])
def test_a_receipt_pays_once(receipts: tuple[SignedReceipt, ...]) -> None:
    with pytest.raises(InputsRefusedError, match="twice"):
        check(*receipts)


# ------------------------------------------------------------------------------------------- files


class FakeState:
    """A model with the index jobs 3 and 5, and an epoch that is closed."""

    def __init__(self, blobs: BlobStore) -> None:
        self.entries = [
            SimpleNamespace(job=job, indexed=SimpleNamespace(aggregates=blobs.put(b"%d" % job)))
            for job in (3, 5)
        ]
        self.epochs: dict[tuple[int, int], Any] = {}

    def close(self, blob: Hash) -> None:
        server = AccountId(SERVER.account)
        self.epochs[1, 0] = SimpleNamespace(server=server, receipts_blob=blob)

    @contextmanager
    def at(self) -> Iterator[Any]:
        attribution = SimpleNamespace(commitments=lambda _: self.entries, epochs=self.epochs)
        yield SimpleNamespace(attribution=attribution)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def state(blobs: BlobStore) -> FakeState:
    return FakeState(blobs)


def prepared(state: FakeState, blobs: BlobStore, folder: Path, *receipts: SignedReceipt) -> bytes:
    """Prepare a settlement; the aggregates that it is computed with."""
    state.close(blobs.put(codec(EpochReceipts).encode(EpochReceipts(receipts))))
    Inputs(cast(Any, state), blobs).prepare(SPEC, folder)
    return (folder / "aggregates.scale").read_bytes()


def test_an_epoch_is_settled_with_the_index_that_its_receipts_name(
    state: FakeState, blobs: BlobStore, tmp_path: Path
) -> None:
    assert prepared(state, blobs, tmp_path, receipt(0, index_job=3)) == b"3"
    both = (receipt(0, index_job=3), receipt(1, index_job=5))
    assert prepared(state, blobs, tmp_path, *both) == b"5"


def test_an_epoch_of_no_receipts_or_of_an_unknown_index_is_refused(
    state: FakeState, blobs: BlobStore, tmp_path: Path
) -> None:
    for receipts in ((), (receipt(0, index_job=4),)):
        with pytest.raises(InputsRefusedError):
            prepared(state, blobs, tmp_path, *receipts)
    state.close(blobs.put(b"no receipts at all"))
    with pytest.raises(InputsRefusedError):
        Inputs(cast(Any, state), blobs).prepare(SPEC, tmp_path)


def test_an_epoch_whose_file_is_nowhere_cannot_be_settled(
    state: FakeState, blobs: BlobStore, tmp_path: Path
) -> None:
    state.close(Hash(bytes(32)))
    with pytest.raises(InputsMissingError):
        Inputs(cast(Any, state), blobs).prepare(SPEC, tmp_path)
