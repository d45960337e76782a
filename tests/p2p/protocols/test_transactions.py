"""Batches of transactions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.protocols.transactions import (
    BATCH_SIZE,
    FLUSH_SECONDS,
    TRANSACTION_SIZE_MAX,
    WAITING_BYTES_MAX,
    Transactions,
    decode_batch,
    encode_batch,
    topic_of,
)
from p2p.transport.wire import MessageKind, WireDecodeError, encode
from runtime.types.primitives import Hash

batches = st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=30).map(tuple)


@given(batches)
def test_a_batch_is_read_as_it_was_written(batch: tuple[bytes, ...]) -> None:
    assert decode_batch(encode_batch(batch)) == batch


@given(st.binary(max_size=100))
def test_garbage_is_a_decode_error_or_the_one_encoding_of_a_batch(body: bytes) -> None:
    try:
        batch = decode_batch(body)
    except WireDecodeError:
        return
    assert encode_batch(batch) == body


@pytest.mark.parametrize("batch", [(), (b"",), (b"x",) * 1025], ids=len)
def test_a_batch_is_neither_empty_nor_endless(batch: tuple[bytes, ...]) -> None:
    with pytest.raises(WireDecodeError):
        decode_batch(encode_batch(batch))


@given(
    st.lists(st.integers(1, 5_000) | st.integers(BATCH_SIZE - 9, TRANSACTION_SIZE_MAX), max_size=60)
)
def test_all_that_is_put_goes_out_in_order_and_every_batch_fits_a_message(
    sizes: list[int],
) -> None:
    transactions = Transactions()
    raws = [number.to_bytes(2, "little") + bytes(size - 1) for number, size in enumerate(sizes)]
    raws = [raw for raw in raws if len(raw) <= TRANSACTION_SIZE_MAX]
    accepted = [raw for raw in raws if transactions.put(raw, 0.0)]
    found: list[bytes] = []
    while transactions.due(1.0) is not None:
        batch = transactions.take(1.0)
        encode(MessageKind.TRANSACTIONS, encode_batch(batch))
        found += batch
    assert found == accepted


def test_a_batch_is_due_after_a_while_or_when_it_is_full() -> None:
    transactions = Transactions()
    assert transactions.due(0.0) is None
    transactions.put(b"first", 1.0)
    transactions.put(b"second", 1.01)
    assert transactions.due(1.01) == 1.0 + FLUSH_SECONDS
    transactions.put(bytes(BATCH_SIZE), 1.02)
    assert transactions.due(1.02) == 1.02


def test_what_was_received_is_not_sent_and_what_was_sent_is_not_new() -> None:
    transactions = Transactions()
    assert transactions.received((b"one", b"one", b"two"), 0.0) == (b"one", b"two")
    assert transactions.put(b"one", 0.0)
    assert transactions.due(0.0) is None
    transactions.put(b"three", 0.0)
    assert transactions.received((b"three",), 0.0) == ()


def test_what_waits_is_bounded() -> None:
    transactions = Transactions()
    size = 100_000
    put = [transactions.put(bytes([number]) * size, 0.0) for number in range(60)]
    assert sum(put) == WAITING_BYTES_MAX // size


def test_the_topic_names_the_chain() -> None:
    assert topic_of(Hash(bytes(range(32)))) == "/openledger/00010203/transactions/1"
