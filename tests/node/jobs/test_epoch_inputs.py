"""What an epoch is settled from: what the chain says of it, and what its server wrote, as it is."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from nacl.public import PrivateKey

from ml.api.requests import BODY_BYTES_MAX
from ml.attribution.epoch_files import (
    EPOCH_FILE,
    PAGE_RECEIPTS,
    TEXTS_FILE,
    EpochInput,
    ReceiptPages,
    pages_of,
)
from ml.engine.interface import ANSWER_TOKENS_MAX
from node.chain.state_reader import PalletViews
from node.jobs import epoch_inputs
from node.jobs import inputs as inputs_module
from node.jobs.epoch_inputs import (
    BOX_BYTES_MORE,
    ReceiptsMissingError,
    TextsAwaitedError,
    TextsMissingError,
    TextsWithheldError,
    texts_bytes_max,
)
from node.jobs.inputs import Inputs
from node.keys.sealed_box import seal
from node.storage.blob_store import BLOB_BYTES_MAX, BlobStore
from pallets.attribution import Attribution
from pallets.attribution.records import PARAMETERS_MAX, Epoch, EpochState, RecordedIndex
from pallets.inference import Channel, Inference
from pallets.inference.records import Mark
from pallets.jobs import Jobs
from pallets.jobs.job import Job, JobState
from runtime.codec.scale import Bytes32, codec
from runtime.shared.documents import (
    DatanetVersion,
    Index,
    Indexed,
    JobSpec,
    Recipe,
    Settle,
    Train,
    Trained,
    output_root,
)
from runtime.shared.receipts import EpochReceipts, ShownText, ShownTexts, SignedReceipt
from runtime.trie.merkle import blob_id
from runtime.types.primitives import ZERO_HASH, AccountId, Hash
from tests.pallets.support.ledger import Ledger
from tests.runtime.support.paper_receipts import ASKER, GENESIS, SERVER, paper_receipt

WHO, ZOE = AccountId(SERVER.account), AccountId(ASKER.account)
TRAIN_JOB, INDEX_JOB, SETTLE_JOB, CLOSED_AT = 5, 6, 7, 40
READER = PrivateKey(b"r" * 32)
TRAINED = Trained(
    adapter=blob_id(b"adapter"),
    moments=blob_id(b"moments"),
    trace_root=ZERO_HASH,
    row_root=ZERO_HASH,
    steps=1,
    rows_trained=1,
    rows_held_out=0,
    base_loss_micronats=2,
    adapter_loss_micronats=1,
)
INDEXED = Indexed(
    phi=ZERO_HASH,
    phi_root=ZERO_HASH,
    gram_hash=ZERO_HASH,
    damping=1,
    psi=ZERO_HASH,
    psi_root=ZERO_HASH,
    aggregates=blob_id(b"aggregates"),
    aggregate_root=ZERO_HASH,
    span_shards=ZERO_HASH,
    rows=1,
    sketch_size=8,
)


class Node:
    """A chain in memory with one model, its index and a channel, and a blob store."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.blobs = BlobStore(folder / "blobs")
        self.folder = folder / "inputs"
        self.inputs = Inputs(cast(Any, self), self.blobs, GENESIS)
        for data in (b"adapter", b"moments", b"aggregates"):
            self.blobs.put(data)
        train = Train(1, Hash(b"b" * 32), (DatanetVersion(0, 1),), Recipe())
        self.put_job(TRAIN_JOB, train, root=output_root(TRAINED))
        ledger.pallet(Jobs).outputs.put((TRAIN_JOB, output_root(TRAINED)), TRAINED)
        self.put_job(INDEX_JOB, Index(1, TRAIN_JOB, 8), seed=Hash(b"i" * 32))
        self.put_index(INDEX_JOB)
        self.put_channel(0)

    @contextmanager
    def at(self) -> Iterator[PalletViews]:
        yield PalletViews.of(self.ledger.machine)

    def put_job(self, number: int, spec: JobSpec, **more: Any) -> None:
        job = Job(
            owner=WHO,
            spec=spec,
            state=JobState.Settled,
            escrow=0,
            index_escrow=0,
            executors=2,
            work=1,
            opened_at=1,
            expires_at=9,
            **more,
        )
        self.ledger.pallet(Jobs).jobs.put(number, job)

    def put_index(self, job: int, model: int = 1, recorded_at: int = CLOSED_AT) -> None:
        record = RecordedIndex(model, recorded_at, INDEXED)
        self.ledger.pallet(Attribution).indexed.put(job, record)

    def put_channel(self, number: int, **changes: Any) -> None:
        channel = Channel(
            asker=ZOE,
            server=WHO,
            model=1,
            deposit_planck=1_000,
            redeemed_planck=500,
            marks=(Mark(3, 100), Mark(4, 300)),
        )
        self.ledger.pallet(Inference).channels.put(number, replace(channel, **changes))

    def close(self, receipts: list[SignedReceipt], blob: Hash | None = None) -> Settle:
        """Close epoch 3 with these receipts; returns the spec of its job."""
        pages = []
        for start in range(0, len(receipts), PAGE_RECEIPTS):
            page = EpochReceipts(tuple(receipts[start : start + PAGE_RECEIPTS]))
            pages.append(self.blobs.put(codec(EpochReceipts).encode(page)))
        listed = self.blobs.put(codec(ReceiptPages).encode(ReceiptPages(tuple(pages))))
        epoch = Epoch(
            state=EpochState.Settling,
            job=SETTLE_JOB,
            closed_at=CLOSED_AT,
            receipts_root=ZERO_HASH,
            receipts=len(receipts),
            fees_planck=1,
            pool_planck=1,
            receipts_blob=listed if blob is None else blob,
        )
        self.ledger.pallet(Attribution).epochs.put((1, WHO, 3), epoch)
        return Settle(
            model=1,
            server=WHO,
            epoch=3,
            receipts_root=ZERO_HASH,
            receipts=len(receipts),
            fees_planck=1,
            pool_planck=1,
            bound_milli=0,
            draws=4,
            text_blocks=50,
        )

    def show(self, texts: bytes | None = None, reader: PrivateKey = READER) -> None:
        """Show texts to the executors of attempt 0."""
        content = codec(ShownTexts).encode(ShownTexts(())) if texts is None else texts
        box = self.blobs.put(seal(content, [bytes(reader.public_key)]))
        self.name(box, content)

    def name(self, box: Hash, content: bytes) -> None:
        """Name a file of texts and its content on the chain."""
        self.ledger.pallet(Attribution).shown.put((SETTLE_JOB, 0), box)
        self.ledger.pallet(Attribution).shown_content.put(SETTLE_JOB, blob_id(content))

    def prepare(self, spec: Settle) -> EpochInput:
        self.inputs.prepare_settlement(spec, SETTLE_JOB, 0, READER, self.folder)
        return codec(EpochInput).decode((self.folder / EPOCH_FILE).read_bytes())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Ledger() as ledger:
        yield Node(ledger, tmp_path)


def test_an_epoch_is_laid_out_with_its_channels_and_indexes(node: Node) -> None:
    receipts = [paper_receipt(number) for number in range(1, 4)]
    node.show()
    epoch = node.prepare(node.close(receipts))
    [channel], [index] = epoch.channels, epoch.indexes
    assert (channel.channel, channel.asker) == (0, ZOE)
    assert (channel.start_planck, channel.end_planck) == (100, 300)
    assert (index.index_job, index.train_job, index.adapter) == (6, 5, TRAINED.adapter)
    assert (node.folder / TRAINED.adapter.hex()).read_bytes() == b"adapter"
    assert (node.folder / INDEXED.aggregates.hex()).read_bytes() == b"aggregates"
    assert codec(ShownTexts).decode((node.folder / TEXTS_FILE).read_bytes()) == ShownTexts(())


def test_later_redemptions_do_not_change_what_executors_settle_from(node: Node) -> None:
    spec = node.close([paper_receipt(1)])
    node.show()
    early = node.prepare(spec)
    node.put_channel(0, redeemed_planck=900)
    assert node.prepare(spec) == early


def test_what_is_not_the_servers_or_the_models_is_left_out(node: Node) -> None:
    receipts = [paper_receipt(1, channel=channel) for channel in range(4)]
    node.put_channel(1, server=ZOE)
    node.put_channel(2, model=2)
    node.show()
    epoch = node.prepare(node.close(receipts))
    assert [channel.channel for channel in epoch.channels] == [0]


@pytest.mark.parametrize("change", [{"model": 2}, {"recorded_at": CLOSED_AT + 1}])
def test_an_index_of_another_model_or_after_the_close_counts_for_nothing(
    node: Node, change: dict[str, int]
) -> None:
    node.put_index(INDEX_JOB, **change)
    node.show()
    assert node.prepare(node.close([paper_receipt(1)])).indexes == ()


def test_an_epoch_of_many_receipts_comes_in_pages(node: Node) -> None:
    receipts = [paper_receipt(number) for number in range(1, PAGE_RECEIPTS + 2)]
    node.show()
    epoch = node.prepare(node.close(receipts))
    assert epoch.pages is not None
    assert len(epoch.pages) == 2
    assert all((node.folder / page.hex()).exists() for page in epoch.pages)


@pytest.mark.parametrize("file", [b"", b"garbage", bytes(33)])
def test_a_file_that_lists_no_pages_is_laid_out_as_none(node: Node, file: bytes) -> None:
    node.show()
    assert node.prepare(node.close([paper_receipt(1)], node.blobs.put(file))).pages is None


def test_a_page_of_garbage_is_laid_out_for_the_executor_to_judge(node: Node) -> None:
    page = node.blobs.put(b"garbage")
    listed = codec(ReceiptPages).encode(ReceiptPages((page,)))
    node.show()
    epoch = node.prepare(node.close([paper_receipt(1)], node.blobs.put(listed)))
    assert (epoch.pages, epoch.channels) == ((page,), ())


def test_a_list_or_a_page_that_is_too_long_is_no_list(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.show()
    listed = node.blobs.put(bytes(4 + 32 + 1))
    assert node.prepare(node.close([paper_receipt(1)], listed)).pages is None
    monkeypatch.setattr(epoch_inputs, "PAGE_BYTES_MAX", 10)
    assert node.prepare(node.close([paper_receipt(1)])).pages is None


@pytest.mark.parametrize("more", [0, 10])
def test_a_box_that_is_too_long_is_withheld(
    node: Node, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    node.show()
    spec = node.close([paper_receipt(1)])
    node.prepare(spec)
    monkeypatch.setattr(epoch_inputs, "TEXT_BYTES_MAX", 0)
    monkeypatch.setattr(inputs_module, "BOX_BYTES_MORE", more * 1_000)
    with pytest.raises(TextsWithheldError, match="exceed 0 bytes" if more else "not 0"):
        node.prepare(spec)


def test_the_largest_texts_can_be_shown_for_any_number_of_draws(node: Node) -> None:
    question, answer = "q" * BODY_BYTES_MAX, "a" * (ANSWER_TOKENS_MAX * 256)
    tokens = (1 << 31,) * ANSWER_TOKENS_MAX
    shown = ShownText(ZERO_HASH, Bytes32(bytes(32)), question, answer, tokens)
    largest = len(codec(ShownText).encode(shown))
    spec = replace(node.close([]), draws=PARAMETERS_MAX.draws, receipts=10**6)
    assert spec.draws * largest <= texts_bytes_max(spec) < BLOB_BYTES_MAX - BOX_BYTES_MORE
    assert 3 * largest <= texts_bytes_max(replace(spec, receipts=3)) < 4 * largest


def test_a_file_with_more_pages_than_receipts_is_none() -> None:
    pages = codec(ReceiptPages).encode(ReceiptPages((ZERO_HASH, ZERO_HASH)))
    assert pages_of(pages, PAGE_RECEIPTS) is None
    assert pages_of(pages, PAGE_RECEIPTS + 1) is not None


def test_an_epoch_whose_file_is_nowhere_cannot_be_settled(node: Node) -> None:
    node.show()
    with pytest.raises(ReceiptsMissingError):
        node.prepare(node.close([paper_receipt(1)], Hash(b"?" * 32)))
    lost = codec(ReceiptPages).encode(ReceiptPages((Hash(b"?" * 32),)))
    with pytest.raises(ReceiptsMissingError):
        node.prepare(node.close([paper_receipt(1)], node.blobs.put(lost)))


def test_texts_that_no_peer_gives_are_missing(node: Node) -> None:
    node.name(Hash(b"?" * 32), b"")
    with pytest.raises(TextsMissingError):
        node.prepare(node.close([paper_receipt(1)]))


def test_texts_that_are_not_shown_yet_are_waited_for(node: Node) -> None:
    with pytest.raises(TextsAwaitedError):
        node.prepare(node.close([paper_receipt(1)]))


def test_texts_that_this_executor_cannot_read_are_withheld(node: Node) -> None:
    spec = node.close([paper_receipt(1)])
    node.show(reader=PrivateKey(b"o" * 32))
    with pytest.raises(TextsWithheldError):
        node.prepare(spec)
    node.show(texts=b"garbage")
    with pytest.raises(TextsWithheldError):
        node.prepare(spec)
    box = node.blobs.put(b"no box at all")
    node.name(box, b"")
    with pytest.raises(TextsWithheldError):
        node.prepare(spec)


def test_texts_with_another_content_than_is_named_for_all_executors_are_withheld(
    node: Node,
) -> None:
    spec = node.close([paper_receipt(1)])
    node.show()
    named = node.ledger.pallet(Attribution).shown_content
    named.put(SETTLE_JOB, blob_id(b"what the other executor reads"))
    with pytest.raises(TextsWithheldError):
        node.prepare(spec)


def test_texts_are_readable_to_nobody_else_on_the_machine(node: Node) -> None:
    node.show()
    node.prepare(node.close([paper_receipt(1)]))
    assert stat.S_IMODE((node.folder / TEXTS_FILE).stat().st_mode) == 0o600


def test_a_channel_without_a_redemption_in_the_epoch_is_as_good_as_none(node: Node) -> None:
    """It may be opened while the epoch is settled: executors read the chain at other heights."""
    spec = node.close([paper_receipt(1, channel=channel) for channel in range(2)])
    node.show()
    early = node.prepare(spec)
    node.put_channel(1, marks=())
    assert node.prepare(spec) == early
