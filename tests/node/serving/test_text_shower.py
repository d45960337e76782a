"""The text shower: the drawn texts, all of them, sealed for the executors that wait, in time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from nacl.public import PrivateKey

from ml.attribution.epoch_files import ReceiptPages
from node.chain.state_reader import PalletViews
from node.keys.sealed_box import open_box
from node.serving.text_shower import TextShower
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptStore, StoredReceipt
from node.transactions.errors import BadFormatError
from node.transactions.submitter import RESEND_BLOCKS
from pallets.attribution import Attribution
from pallets.attribution.records import Epoch, EpochState, Ledger
from pallets.jobs import Jobs
from pallets.jobs.job import Job, JobState, Slot, SlotState
from pallets.jobs.registry import Executor
from runtime.codec.scale import codec
from runtime.shared.documents import Settle
from runtime.shared.receipts import EpochReceipts, ShownTexts, drawn_receipts, receipt_hash
from runtime.trie.merkle import blob_id
from runtime.types.primitives import ZERO_HASH, AccountId, Hash
from tests.pallets.support.ledger import Ledger as Chain
from tests.runtime.support.paper_receipts import FEE, SALT, SERVER, paper_receipt

WHO = AccountId(SERVER.account)
EXECUTORS = tuple(AccountId(bytes([number]) * 32) for number in (1, 2, 3))
READERS = tuple(PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
JOB, SEED, RECEIPTS, DRAWS = 7, Hash(b"d" * 32), 12, 3


class Node:
    """A chain in memory on which an epoch of this server is being settled."""

    account = WHO

    def __init__(self, chain: Chain, folder: Path) -> None:
        self.chain = chain
        self.blobs = BlobStore(folder / "blobs")
        self.receipts = ReceiptStore(folder / "receipts.sqlite3")
        self.sent: list[dict[str, Any]] = []
        self.is_refusing = False
        signed = [paper_receipt(number) for number in range(1, RECEIPTS + 1)]
        for number, each in enumerate(signed):
            stored = StoredReceipt(each, f"att-{number}", "Why?", "Because.", SALT, (1, number))
            self.receipts.record(stored)
        page = self.blobs.put(codec(EpochReceipts).encode(EpochReceipts(tuple(signed))))
        self.file = self.blobs.put(codec(ReceiptPages).encode(ReceiptPages((page,))))
        self.signed = signed
        attribution = chain.pallet(Attribution)
        attribution.ledgers.put((1, WHO), Ledger(epoch=1, settling=0))
        attribution.epochs.put((1, WHO, 0), self.epoch())
        for account, reader in zip(EXECUTORS, READERS, strict=True):
            record = Executor(ZERO_HASH, 0, 0, last_seen=1, reader=Hash(bytes(reader.public_key)))
            chain.pallet(Jobs).registry.put(account, record)
        self.put_job()

    def epoch(self) -> Epoch:
        return Epoch(
            state=EpochState.Settling,
            job=JOB,
            closed_at=1,
            receipts_root=ZERO_HASH,
            receipts=RECEIPTS,
            fees_planck=RECEIPTS * FEE,
            pool_planck=1,
            receipts_blob=self.file,
        )

    def put_job(self, **changes: Any) -> None:
        spec = Settle(
            model=1,
            server=WHO,
            epoch=0,
            receipts_root=ZERO_HASH,
            receipts=RECEIPTS,
            fees_planck=RECEIPTS * FEE,
            pool_planck=1,
            bound_milli=0,
            draws=DRAWS,
            text_blocks=50,
        )
        job = Job(
            owner=WHO,
            spec=spec,
            state=JobState.Assigned,
            escrow=0,
            index_escrow=0,
            executors=2,
            work=1,
            opened_at=1,
            expires_at=9,
            seed=SEED,
            slots=tuple(Slot(account, 0, 0, 1) for account in EXECUTORS[:2]),
        )
        self.chain.pallet(Jobs).jobs.put(JOB, replace(job, **changes))

    @contextmanager
    def at(self) -> Iterator[PalletViews]:
        yield PalletViews.of(self.chain.machine)

    @property
    def finalized(self) -> Any:
        return SimpleNamespace(number=1)

    def submit(self, pallet: str, name: str, **arguments: Any) -> Hash:
        if self.is_refusing:
            raise BadFormatError("refused")
        assert (pallet, name) == ("Attribution", "show_texts")
        self.sent.append(arguments)
        return ZERO_HASH

    def shower(self) -> TextShower:
        fake = cast(Any, self)
        return TextShower(fake, fake, fake, self.receipts, self.blobs)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Chain() as chain:
        node = Node(chain, tmp_path)
        yield node
        node.receipts.close()


def show(shower: TextShower, height: int = 10) -> None:
    trio.run(shower.show_due, height)


def test_the_drawn_texts_are_shown_to_each_executor_and_to_nobody_else(node: Node) -> None:
    show(node.shower())
    [sent] = node.sent
    assert (sent["job"], sent["attempt"]) == (JOB, 0)
    box = node.blobs.get(sent["blob"])
    drawn = drawn_receipts(SEED, [FEE] * RECEIPTS, DRAWS)
    for reader in READERS[:2]:
        assert sent["content"] == blob_id(open_box(box, reader))
        texts = codec(ShownTexts).decode(open_box(box, reader)).texts
        assert [text.receipt for text in texts] == [
            receipt_hash(node.signed[at].receipt) for at in drawn
        ]
        assert [text.tokens for text in texts] == [(1, at) for at in drawn]
    with pytest.raises(Exception, match="not for this reader"):
        open_box(box, READERS[2])


def test_texts_are_shown_once_and_again_where_the_chain_does_not_have_them(node: Node) -> None:
    shower = node.shower()
    for height in (10, 11, 10 + RESEND_BLOCKS - 1):
        show(shower, height)
    assert len(node.sent) == 1
    show(shower, 10 + RESEND_BLOCKS)
    assert node.sent[1] == node.sent[0]
    node.chain.pallet(Attribution).shown.put((JOB, 0), node.sent[0]["blob"])
    show(shower, 10 + 3 * RESEND_BLOCKS)
    assert len(node.sent) == 2


def test_executors_of_a_later_attempt_get_a_box_of_their_own(node: Node) -> None:
    shower = node.shower()
    show(shower)
    node.chain.pallet(Attribution).shown.put((JOB, 0), node.sent[0]["blob"])
    late = (
        Slot(EXECUTORS[0], 0, 0, 1),
        Slot(EXECUTORS[1], 0, 0, 1, SlotState.Declined),
        Slot(EXECUTORS[2], 0, 1, 5),
    )
    node.put_job(attempt=1, slots=late)
    show(shower, 12)
    assert [sent["attempt"] for sent in node.sent] == [0, 1]
    assert node.sent[0]["content"] == node.sent[1]["content"]
    assert open_box(node.blobs.get(node.sent[1]["blob"]), READERS[2])
    with pytest.raises(Exception, match="not for this reader"):
        open_box(node.blobs.get(node.sent[1]["blob"]), READERS[0])


def test_nothing_is_shown_for_a_job_that_waits_for_no_texts(node: Node) -> None:
    for changes in (
        {"state": JobState.Open, "seed": None, "slots": ()},
        {"state": JobState.Revealing},
        {"slots": tuple(Slot(who, 0, 0, 1, SlotState.Committed) for who in EXECUTORS[:2])},
    ):
        node.put_job(**changes)
        show(node.shower())
    assert node.sent == []


def test_a_text_that_is_lost_is_said_and_tried_again(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shower = node.shower()
    with monkeypatch.context() as lost:
        lost.setattr(node.receipts, "shown", lambda _: None)
        show(shower)
    assert node.sent == []
    assert "bond=at-risk" in caplog.text
    show(shower, 11)
    assert len(node.sent) == 1


def test_a_pool_that_refuses_is_asked_again_after_the_next_block(node: Node) -> None:
    shower = node.shower()
    node.is_refusing = True
    show(shower)
    node.is_refusing = False
    show(shower, 11)
    assert len(node.sent) == 1
