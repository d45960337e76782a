"""The receipt store: what was told to an asker is on disk, and nothing is counted twice."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node.storage.receipt_store import (
    PAGE_MAX,
    ReceiptStore,
    ReceiptStoreDamagedError,
    VoucherUsedError,
)
from runtime.shared.receipts import ShownText, receipt_hash
from runtime.types.primitives import AccountId, Hash
from tests.node.support.paid_answers import ANSWER, CHANNEL, MODEL, QUESTION, SALT, stored

HASH, OTHER = Hash(b"x" * 32), AccountId(b"o" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReceiptStore]:
    opened = ReceiptStore(tmp_path / "folder" / "receipts.sqlite3")
    yield opened
    opened.close()


def test_a_receipt_is_there_after_a_restart_with_all_that_may_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "receipts.sqlite3"
    first = ReceiptStore(path)
    made = stored(before=2**100)
    identity = first.record(made)
    first.close()
    second = ReceiptStore(path)
    try:
        assert second.get(identity) == made
        assert second.last(CHANNEL) == made.signed
        shown = ShownText(identity, SALT, QUESTION, ANSWER, (1, 2, 70_000))
        assert second.shown(identity) == shown
        assert second.shown(HASH) is None
        (place,) = second.ranges(MODEL)
        assert (place.before_planck, place.fee_planck) == (2**100, made.signed.receipt.fee_planck)
    finally:
        second.close()


def test_a_receipt_is_found_by_its_id_or_its_hash(store: ReceiptStore) -> None:
    identity = store.record(stored())
    assert identity == receipt_hash(stored().signed.receipt)
    for name in (f"att-{CHANNEL}-1", identity.hex(), "0x" + identity.hex()):
        assert store.find(name) == stored()
    for name in ("", "att-9", "0xzz", "00" * 32, "'; DROP TABLE receipts; --"):
        assert store.find(name) is None


def test_a_voucher_has_one_receipt_and_earlier_ones_have_none_any_more(store: ReceiptStore) -> None:
    store.record(stored(2))
    for sequence in (1, 2):
        with pytest.raises(VoucherUsedError):
            store.record(replace(stored(sequence), identity="other"))
    store.record(stored(3))
    store.record(stored(1, channel=8))
    assert [signed.channel for signed in store.last_of_channels()] == [CHANNEL, 8]
    last = store.last(CHANNEL)
    assert last is not None
    assert last.sequence == 3


def test_an_epochs_receipts_are_read_in_pages_by_channel_and_sequence(store: ReceiptStore) -> None:
    for channel, sequence in ((8, 1), (7, 2), (9, 1), (7, 5)):
        store.record(stored(sequence, channel))
    store.record(stored(1, channel=1, model=MODEL + 1))
    assert store.models() == (MODEL, MODEL + 1)
    places = list(store.ranges(MODEL))
    order = [(place.channel, place.sequence) for place in places]
    assert order == [(7, 2), (7, 5), (8, 1), (9, 1)]
    store.put_epoch(4, [place.hash for place in places[:3]])
    page = store.epoch_receipts(MODEL, 4, 1, 2)
    assert [(each.channel, each.sequence) for each in page] == order[1:3]
    (waiting,) = store.epoch_receipts(MODEL, None, 0, PAGE_MAX)
    assert waiting.channel == 9
    assert (store.epoch_of(places[0].hash), store.epoch_of(places[3].hash)) == (4, None)
    assert (store.has_epoch(MODEL, 4), store.has_epoch(MODEL, 5)) == (True, False)


def test_many_receipts_are_read_without_gap_or_repetition(store: ReceiptStore) -> None:
    count = PAGE_MAX + 10
    for sequence in range(1, count + 1):
        store.record(stored(sequence))
    assert [place.sequence for place in store.ranges(MODEL)] == list(range(1, count + 1))
    assert len(store.epoch_receipts(MODEL, None, 0, count)) == PAGE_MAX


def test_a_failed_epoch_keeps_its_receipts_and_each_job_counts_once(store: ReceiptStore) -> None:
    identity = store.record(stored())
    store.put_epoch(0, [identity])
    assert [store.fail_epoch(MODEL, 0, job) for job in (5, 5, 6)] == [1, 1, 2]
    assert [place.hash for place in store.ranges(MODEL, 0)] == [identity]
    store.forget_failures(MODEL, 0)
    assert store.fail_epoch(MODEL, 0, 7) == 1


def test_receipts_of_other_servers_are_kept_by_server_and_epoch(store: ReceiptStore) -> None:
    theirs = tuple(stored(sequence).signed for sequence in (2, 1))
    identity = receipt_hash(theirs[0].receipt)
    for _ in range(2):
        store.learn(OTHER, 6, theirs)
    assert store.learned_receipts(MODEL, OTHER, 6, 0, 9) == theirs[::-1]
    assert store.learned_receipts(MODEL, OTHER, 6, 1, 9) == theirs[:1]
    assert store.learned_receipts(MODEL, AccountId(bytes(32)), 6, 0, 9) == ()
    assert store.learned(identity) == theirs[0]
    assert store.epoch_of(identity) == 6
    assert store.learned(HASH) is None
    assert store.models() == ()


def test_the_last_verdict_of_an_asker_counts(store: ReceiptStore) -> None:
    assert store.verdict(HASH) is None
    for negative in (True, False):
        store.put_feedback(HASH, negative, b"signature")
        assert store.verdict(HASH) is negative


def test_threads_share_a_store(store: ReceiptStore) -> None:
    def write(channel: int) -> None:
        for sequence in range(1, 11):
            store.record(stored(sequence, channel))

    threads = [threading.Thread(target=write, args=(channel,)) for channel in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [signed.sequence for signed in store.last_of_channels()] == [10] * 4


def test_a_write_that_fails_leaves_a_store_that_works(store: ReceiptStore) -> None:
    store._connection.execute("PRAGMA max_page_count=20")
    large = replace(stored(), answer="x" * 200_000)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.record(large)
    store._connection.execute("PRAGMA max_page_count=1000000")
    identity = store.record(large)
    assert store.get(identity) == large


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "receipts.sqlite3"
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(ReceiptStoreDamagedError, match="Move it away"):
        ReceiptStore(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ReceiptStoreDamagedError):
        ReceiptStore(folder)


def test_a_store_of_former_rules_is_left_as_it_is_and_named(tmp_path: Path) -> None:
    path = tmp_path / "receipts.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE receipts (hash BLOB PRIMARY KEY)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ReceiptStoreDamagedError, match="under other rules"):
        ReceiptStore(path)
    assert path.read_bytes() == before
