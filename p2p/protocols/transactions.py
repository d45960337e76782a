"""Transactions: batches for gossip, each transaction once.

Sans-IO. A batch is published FLUSH_SECONDS after its first transaction, or as soon as it has
BATCH_SIZE bytes: a message of twenty transactions costs the mesh as much as a message of one. A
body is SCALE of the raw extrinsics in order.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from p2p.protocols.limits import Seen
from p2p.transport.wire import SIZE_MAX, MessageKind, WireDecodeError
from runtime.codec.scale import DecodeError, codec
from runtime.types.primitives import Hash

FLUSH_SECONDS: Final = 0.02
BATCH_SIZE: Final = 64 << 10
"""A batch of at least this many bytes is full."""
TRANSACTION_SIZE_MAX: Final = SIZE_MAX[MessageKind.TRANSACTIONS] - 16
"""The largest transaction that gossip carries; a larger one is not gossiped."""
BATCH_COUNT_MAX: Final = 1024
WAITING_BYTES_MAX: Final = 4 << 20
SEEN_MAX: Final = 65_536
SEEN_SECONDS: Final = 60.0


def topic_of(genesis_hash: Hash) -> str:
    """Return the gossip topic of a chain's transactions."""
    return f"/openledger/{genesis_hash[:4].hex()}/transactions/1"


def encode_batch(batch: tuple[bytes, ...]) -> bytes:
    """Return the body of a TRANSACTIONS message."""
    return codec(tuple[bytes, ...]).encode(batch)


def decode_batch(body: bytes) -> tuple[bytes, ...]:
    """Return the raw transactions in a body. Raises WireDecodeError."""
    try:
        batch: tuple[bytes, ...] = codec(tuple[bytes, ...]).decode(body)
    except DecodeError as error:
        raise WireDecodeError(f"the batch cannot be read: {error}"[:200]) from error
    if not 0 < len(batch) <= BATCH_COUNT_MAX or not all(batch):
        raise WireDecodeError(
            f"a batch has 1 to {BATCH_COUNT_MAX} transactions, none of them empty"
        )
    return batch


class Transactions:
    """The transactions seen recently, and those that wait for the next batch."""

    def __init__(self) -> None:
        self._seen = Seen(SEEN_MAX, SEEN_SECONDS)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._first: float | None = None

    def put(self, raw: bytes, now: float) -> bool:
        """Queue a transaction for the next batch; False if it is too large or too many wait.

        One that was sent or received lately is on its way already, and is not sent again.
        """
        if not 0 < len(raw) <= TRANSACTION_SIZE_MAX:
            return False
        if not self._seen.add(raw, now):
            return True
        if self._bytes + len(raw) > WAITING_BYTES_MAX:
            self._seen.forget(raw)
            return False
        self._waiting.append(raw)
        self._bytes += len(raw)
        if self._first is None:
            self._first = now
        return True

    def received(self, batch: tuple[bytes, ...], now: float) -> tuple[bytes, ...]:
        """Return the transactions of a batch that are new."""
        return tuple(raw for raw in batch if self._seen.add(raw, now))

    def forget(self, batch: tuple[bytes, ...]) -> None:
        """Forget transactions that the node could not take, so that they may come again."""
        for raw in batch:
            self._seen.forget(raw)

    def due(self, now: float) -> float | None:
        """Return when the next batch is due; None when nothing waits."""
        if self._first is None:
            return None
        is_full = self._bytes >= BATCH_SIZE or len(self._waiting) >= BATCH_COUNT_MAX
        return now if is_full else self._first + FLUSH_SECONDS

    def take(self, now: float) -> tuple[bytes, ...]:
        """Return the next batch; empty when nothing waits."""
        batch: list[bytes] = []
        size = 0
        while self._waiting and len(batch) < BATCH_COUNT_MAX:
            # A small batch is not topped up beyond what one message may have.
            if batch and size + len(self._waiting[0]) > BATCH_SIZE:
                break
            raw = self._waiting.popleft()
            batch.append(raw)
            size += len(raw)
        self._bytes -= size
        self._first = now if self._waiting else None
        return tuple(batch)
