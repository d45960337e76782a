"""Replicas: what settled jobs made is brought to the nodes that are drawn to keep it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from ml.attribution.epoch_files import ReceiptPages
from node.jobs.replicas import JOBS_BACK_MAX, KEEPERS_MORE, RETRY_BLOCKS, Replicas, is_keeper
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptStore
from node.sync.blob_fetcher import BlobUnavailableError
from pallets.attribution.records import Epoch, EpochState
from pallets.jobs.job import Job, JobState
from runtime.codec.scale import codec
from runtime.shared.documents import (
    BatchInput,
    DatanetVersion,
    Index,
    Indexed,
    JobOutput,
    JobSpec,
    Recipe,
    Settle,
    Train,
    Trained,
)
from runtime.shared.receipts import EpochReceipts, SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId, Hash
from tests.node.storage.test_disk_space import disk_of
from tests.runtime.support.paper_receipts import ASKER, SERVER, paper_receipt

WHO = AccountId(b"w" * 32)
ROWS, ADAPTER, MOMENTS, ZERO = (Hash(byte * 32) for byte in (b"r", b"a", b"m", b"\0"))
ROWS_BYTES = 77
TRAIN = Train(0, ZERO, (DatanetVersion(0, 1),), Recipe())
TRAINED = Trained(ADAPTER, MOMENTS, ZERO, ZERO, 1, 2, 3, 4, 5)


def job(state: JobState, spec: JobSpec = TRAIN) -> Job:
    return Job(WHO, spec, state, 0, 0, 2, 0, 0, 9)


class FakeNode:
    """State, and peers that give the blobs in `given`."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.outputs: dict[int, JobOutput] = {}
        self.epochs: dict[tuple[int, AccountId, int], Epoch] = {}
        self.accounts = [WHO]
        self.given = {ROWS, ADAPTER, MOMENTS}
        self.fetched: list[Hash] = []
        self.limits: list[int] = []

    @contextmanager
    def at(self) -> Iterator[Any]:
        jobs = SimpleNamespace(
            next_job=SimpleNamespace(get=lambda: max(self.jobs, default=-1) + 1),
            executor_accounts=SimpleNamespace(get=lambda: tuple(self.accounts)),
            jobs=self.jobs,
            output=self.outputs.get,
        )
        yield SimpleNamespace(jobs=jobs, attribution=SimpleNamespace(epochs=self.epochs))

    def batches(self, versions: tuple[DatanetVersion, ...]) -> tuple[tuple[BatchInput, int], ...]:
        assert versions == TRAIN.datanets
        return ((BatchInput(0, 0, WHO, ROWS, 1), ROWS_BYTES),)

    async def fetch(self, blob: Hash, bytes_max: int = 1 << 30) -> None:
        if blob not in self.given:
            raise BlobUnavailableError("nobody gives it")
        self.fetched.append(blob)
        self.limits.append(bytes_max)


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def receipts(tmp_path: Path) -> Iterator[ReceiptStore]:
    store = ReceiptStore(tmp_path / "receipts.sqlite3")
    yield store
    store.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def replicas(node: FakeNode, blobs: BlobStore, receipts: ReceiptStore) -> Replicas:
    fake = cast(Any, node)
    return Replicas(cast(Any, None), fake, fake, fake, blobs, receipts, WHO)


def look(replicas: Replicas, height: int) -> None:
    trio.run(replicas.keep_up, height)


def test_what_a_job_read_and_made_is_fetched_once_it_has_settled(
    replicas: Replicas, node: FakeNode
) -> None:
    node.jobs[0] = job(JobState.Assigned)
    look(replicas, 1)
    assert node.fetched == []
    node.jobs[0], node.outputs[0] = job(JobState.Settled), TRAINED
    node.jobs[1] = job(JobState.Failed)
    for height in (2, 3):
        look(replicas, height)
    assert node.fetched == [ROWS, ADAPTER, MOMENTS]
    assert node.limits[0] == ROWS_BYTES, "no more than the batch names"


def test_what_nobody_gives_is_asked_for_again_later(replicas: Replicas, node: FakeNode) -> None:
    node.jobs[0], node.outputs[0] = job(JobState.Settled), TRAINED
    node.given.clear()
    look(replicas, 1)
    node.given |= {ROWS, ADAPTER, MOMENTS}
    look(replicas, RETRY_BLOCKS)
    assert node.fetched == []
    look(replicas, RETRY_BLOCKS + 1)
    assert node.fetched == [ROWS, ADAPTER, MOMENTS]


def test_the_span_shards_that_an_index_lists_are_fetched_too(
    replicas: Replicas, node: FakeNode, blobs: BlobStore
) -> None:
    shards = (ROWS, MOMENTS)
    listing = blobs.put(codec(tuple[Hash, ...]).encode(shards))
    node.given |= {ZERO, listing}
    node.jobs[0] = job(JobState.Settled, Index(0, 0, 64))
    node.outputs[0] = Indexed(ADAPTER, *(ZERO,) * 2, 1, MOMENTS, *(ZERO,) * 3, listing, 2, 64)
    look(replicas, 1)
    assert node.fetched == [ADAPTER, MOMENTS, ZERO, listing, *shards]


def test_a_node_looks_back_no_further_than_it_may(replicas: Replicas, node: FakeNode) -> None:
    for number in (0, JOBS_BACK_MAX):
        node.jobs[number], node.outputs[number] = job(JobState.Settled), TRAINED
    look(replicas, 1)
    assert node.fetched == [ROWS, ADAPTER, MOMENTS]


def test_each_job_has_as_many_keepers_as_it_should() -> None:
    accounts = [AccountId(bytes((number,)) * 32) for number in range(20)]
    drawn = set()
    for number in range(8):
        settled = job(JobState.Settled)
        keepers = [who for who in accounts if is_keeper(who, number, settled, accounts)]
        assert len(keepers) == settled.executors + KEEPERS_MORE
        drawn.add(tuple(keepers))
    assert len(drawn) == 8
    assert not is_keeper(WHO, 0, job(JobState.Settled), accounts)


ONE, TWO = paper_receipt(1), paper_receipt(2)
SHARES = Hash(b"h" * 32)


def settled_epoch(node: FakeNode, blobs: BlobStore, *receipts: SignedReceipt) -> Hash:
    """Let an epoch of another server be settled; returns its only page."""
    page = blobs.put(codec(EpochReceipts).encode(EpochReceipts(receipts)))
    listed = blobs.put(codec(ReceiptPages).encode(ReceiptPages((page,))))
    server = AccountId(SERVER.account)
    spec = Settle(
        model=1,
        server=server,
        epoch=0,
        receipts_root=ZERO,
        receipts=len(receipts),
        fees_planck=3,
        pool_planck=2,
        bound_milli=0,
        draws=4,
        text_blocks=50,
    )
    node.jobs[0] = job(JobState.Settled, spec)
    node.epochs[1, server, 0] = Epoch(
        state=EpochState.Settled,
        job=0,
        closed_at=1,
        receipts_root=ZERO,
        receipts=len(receipts),
        fees_planck=3,
        pool_planck=2,
        receipts_blob=listed,
        shares=SHARES,
    )
    node.given |= {page, listed, SHARES}
    return page


def learned(receipts: ReceiptStore) -> list[SignedReceipt]:
    return list(receipts.learned_receipts(1, AccountId(SERVER.account), 0, 0, 10))


def test_receipts_of_another_servers_epoch_are_learned_and_its_shares_kept(
    replicas: Replicas, node: FakeNode, blobs: BlobStore, receipts: ReceiptStore
) -> None:
    page = settled_epoch(node, blobs, ONE, TWO)
    look(replicas, 1)
    assert learned(receipts) == [ONE, TWO]
    assert receipts.learned(receipt_hash(TWO.receipt)) == TWO
    assert {page, SHARES} <= set(node.fetched)


def test_receipts_that_the_disk_may_not_take_are_learned_later(
    replicas: Replicas,
    node: FakeNode,
    blobs: BlobStore,
    receipts: ReceiptStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled_epoch(node, blobs, ONE, TWO)
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", disk_of(1 << 40, 0))
        look(replicas, 1)
    assert learned(receipts) == []
    look(replicas, 1 + RETRY_BLOCKS)
    assert learned(receipts) == [ONE, TWO]


@pytest.mark.parametrize(
    "forged",
    [
        replace(TWO, signature=bytes(64)),
        paper_receipt(2, model=2),
        paper_receipt(2, server=ASKER),
        replace(TWO, evidence=replace(TWO.evidence, phi=b"1")),
    ],
    ids=["signature", "model", "server", "evidence"],
)
def test_forged_receipts_are_not_learned(
    replicas: Replicas,
    node: FakeNode,
    blobs: BlobStore,
    receipts: ReceiptStore,
    forged: SignedReceipt,
) -> None:
    settled_epoch(node, blobs, ONE, forged)
    look(replicas, 1)
    assert learned(receipts) == [ONE]
