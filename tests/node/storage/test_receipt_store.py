"""The receipt store: what was told to an asker is on disk, and nothing is counted twice."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.storage.receipt_store import (
    ChannelRecord,
    ReceiptStore,
    ReceiptStoreDamagedError,
    StoredReceipt,
)
from runtime.shared.receipts import EpochReceipts, Receipt, SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId, Hash

WHO, HASH = AccountId(b"w" * 32), Hash(b"h" * 32)


def stored(sequence: int, model: int = 1, epoch: int = 0) -> StoredReceipt:
    receipt = Receipt(
        1, HASH, model, 2, 3, HASH, epoch, sequence, WHO, WHO, 7, HASH, HASH, 8, 9, 10, 11,
        b"phi", (), (), (), 12,
    )  # fmt: skip
    return StoredReceipt(
        SignedReceipt(receipt, bytes(64)), f"att-{model}-{sequence}", "question?", "answer."
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReceiptStore]:
    opened = ReceiptStore(tmp_path / "folder" / "receipts.sqlite3")
    yield opened
    opened.close()


def test_a_receipt_and_what_it_spent_are_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "receipts.sqlite3"
    first = ReceiptStore(path)
    record = ChannelRecord(7, 2**127, 2**100, b"signature")
    identity = first.record(stored(0), record)
    first.close()
    second = ReceiptStore(path)
    try:
        assert second.get(identity) == stored(0)
        assert second.channel(7) == record
        assert second.channels() == (record,)
        assert second.next_sequence(1) == 1
    finally:
        second.close()


def test_a_receipt_is_found_by_its_id_or_its_hash(store: ReceiptStore) -> None:
    identity = store.record(stored(0), None)
    assert identity == receipt_hash(stored(0).signed.receipt)
    for name in ("att-1-0", identity.hex(), "0x" + identity.hex()):
        assert store.find(name) == stored(0)
    for name in ("", "att-9", "0xzz", "00" * 32, "'; DROP TABLE receipts; --"):
        assert store.find(name) is None


def test_a_sequence_number_is_used_once_and_nothing_is_spent_for_the_second(
    store: ReceiptStore,
) -> None:
    store.record(stored(0), None)
    with pytest.raises(sqlite3.IntegrityError):
        store.record(replace(stored(0), identity="other"), ChannelRecord(7, 9, 9, b""))
    assert store.channel(7) is None
    store.record(stored(1), ChannelRecord(7, 9, 9, b""))
    assert store.next_sequence(1) == 2
    assert store.next_sequence(2) == 0


def test_epochs_have_their_receipts_in_order_and_the_verdicts_on_them(store: ReceiptStore) -> None:
    for sequence, epoch in ((1, 0), (0, 0), (2, 1)):
        store.record(stored(sequence, epoch=epoch), None)
    store.record(stored(0, model=2), None)
    assert store.served() == ((1, 0), (1, 1), (2, 0))
    judged = receipt_hash(stored(1).signed.receipt)
    store.put_feedback(judged, True, b"signature")
    assert [signed.receipt.sequence for signed in store.epoch(1, 0).receipts] == [0, 1]
    assert store.feedback(1, 0) == {judged: True}
    store.put_feedback(judged, False, b"signature")
    assert store.feedback(1, 0) == {judged: False}
    assert store.feedback(1, 1) == {}
    assert store.epoch(1, 5) == EpochReceipts(())


def test_receipts_of_other_servers_are_listed_where_there_are_no_own(store: ReceiptStore) -> None:
    theirs = tuple(stored(sequence).signed for sequence in (1, 0))
    identity = receipt_hash(theirs[0].receipt)
    for _ in range(2):
        store.learn(theirs)
    assert store.listed(1, 0) == theirs[::-1]
    assert store.learned(identity) == theirs[0]
    assert store.learned(HASH) is None
    assert store.receipts(1, 0) == ()
    assert store.served() == ()
    own = stored(5)
    store.record(own, None)
    assert store.listed(1, 0) == (own.signed,)


def test_a_sealed_epoch_is_closed_for_good(store: ReceiptStore) -> None:
    assert store.open_epoch(1) == 0
    store.seal(1, 0)
    assert store.open_epoch(1) == 1
    store.seal(1, 4)
    assert (store.open_epoch(1), store.open_epoch(2)) == (5, 0)


def test_threads_share_a_store(store: ReceiptStore) -> None:
    def write(model: int) -> None:
        for sequence in range(10):
            store.record(stored(sequence, model), None)

    threads = [threading.Thread(target=write, args=(model,)) for model in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.next_sequence(model) for model in range(4)] == [10] * 4


def test_a_write_that_fails_leaves_a_store_that_works(store: ReceiptStore, tmp_path: Path) -> None:
    store._connection.execute("PRAGMA max_page_count=20")
    large = replace(stored(0), answer="x" * 200_000)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.record(large, None)
    store._connection.execute("PRAGMA max_page_count=1000000")
    store.record(large, None)
    assert store.next_sequence(1) == 1


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "receipts.sqlite3"
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(ReceiptStoreDamagedError, match="Move it away"):
        ReceiptStore(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ReceiptStoreDamagedError):
        ReceiptStore(folder)
