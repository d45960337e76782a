"""The queues of waiting transactions: each account's by nonce, and an index of all by hash.

They know no chain: a caller passes an account's next nonce at the best block. Count and bytes are
bounded; a transaction that pays more evicts the cheapest ones from the ends of other queues, since
an eviction from the middle would strand what follows it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from node.transactions.entry import Entry
from node.transactions.errors import ImmediatelyDroppedError
from runtime.frame.extrinsic import Extrinsic
from runtime.types.primitives import AccountId, Hash

TRANSACTIONS_MAX: Final = 16_384
BYTES_MAX: Final = 40 * 1024 * 1024
PER_ACCOUNT_MAX: Final = 2_048

NextNonce = Callable[[AccountId], int]
"""Returns the nonce that an account's next included transaction must have."""


class Queues:
    """Waiting transactions, by hash, and by account and nonce."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._by_hash: dict[Hash, Entry] = {}
        self._by_account: dict[AccountId, dict[int, Entry]] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def __contains__(self, transaction: Hash) -> bool:
        return transaction in self._by_hash

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_hash.values())

    def get(self, transaction: Hash) -> Entry | None:
        """Return a waiting transaction by its hash."""
        return self._by_hash.get(transaction)

    def of(self, account: AccountId) -> Mapping[int, Entry]:
        """Return an account's waiting transactions by nonce."""
        return self._by_account.get(account, {})

    def has_account(self, account: AccountId) -> bool:
        """Return whether any transaction of the account waits."""
        return account in self._by_account

    def insert(self, entry: Entry) -> None:
        """Add a transaction whose account and nonce are free."""
        self._by_hash[entry.hash] = entry
        self._by_account.setdefault(entry.account, {})[entry.nonce] = entry
        self.size_bytes += len(entry.extrinsic.raw)

    def remove(self, entry: Entry) -> None:
        """Remove a waiting transaction."""
        del self._by_hash[entry.hash]
        queue = self._by_account[entry.account]
        del queue[entry.nonce]
        if not queue:
            del self._by_account[entry.account]
        self.size_bytes -= len(entry.extrinsic.raw)

    def evictions(self, entry: Entry, replaced: Entry | None) -> list[Entry]:
        """Return the cheapest transactions that must leave so that one more fits.

        `replaced` is the transaction of the same account and nonce, which leaves in any case.
        Raises ImmediatelyDroppedError where the new transaction does not pay more than they do.
        """
        if replaced is None and len(self.of(entry.account)) >= PER_ACCOUNT_MAX:
            raise ImmediatelyDroppedError(f"{PER_ACCOUNT_MAX} transactions of this account wait")
        count = len(self) + (replaced is None)
        size_bytes = self.size_bytes + len(entry.extrinsic.raw)
        size_bytes -= 0 if replaced is None else len(replaced.extrinsic.raw)
        if count <= TRANSACTIONS_MAX and size_bytes <= BYTES_MAX:
            return []
        tails = [
            _eviction_key(queue[max(queue)])
            for account, queue in self._by_account.items()
            if account != entry.account
        ]
        heapq.heapify(tails)
        remaining_nonces: dict[AccountId, list[int]] = {}
        evicted: list[Entry] = []
        while count > TRANSACTIONS_MAX or size_bytes > BYTES_MAX:
            if not tails or tails[0][0] >= entry.priority:
                raise ImmediatelyDroppedError("the pool is full; offer a tip or try again later")
            victim = heapq.heappop(tails)[2]
            evicted.append(victim)
            count, size_bytes = count - 1, size_bytes - len(victim.extrinsic.raw)
            queue = self._by_account[victim.account]
            nonces = remaining_nonces.setdefault(victim.account, sorted(queue))
            nonces.pop()
            if nonces:
                heapq.heappush(tails, _eviction_key(queue[nonces[-1]]))
        return evicted

    def candidates(self, limit: int, next_nonce: NextNonce) -> list[Extrinsic]:
        """Return ready transactions for a block: by priority, each account's by nonce."""
        heads: list[tuple[int, int, int, Entry]] = []
        for account, queue in self._by_account.items():
            entry = queue.get(next_nonce(account))
            if entry is not None:
                heapq.heappush(heads, _inclusion_key(entry))
        chosen: list[Extrinsic] = []
        while heads and len(chosen) < limit:
            entry = heapq.heappop(heads)[3]
            chosen.append(entry.extrinsic)
            follower = self._by_account[entry.account].get(entry.nonce + 1)
            if follower is not None:
                heapq.heappush(heads, _inclusion_key(follower))
        return chosen

    def has_ready(self, next_nonce: NextNonce) -> bool:
        """Return whether a block could include any transaction."""
        return any(next_nonce(account) in queue for account, queue in self._by_account.items())

    def is_ready(self, entry: Entry, next_nonce: int) -> bool:
        """Return whether every nonce before this transaction's is used or waits here."""
        queue = self._by_account[entry.account]
        return all(nonce in queue for nonce in range(next_nonce, entry.nonce))


def _eviction_key(entry: Entry) -> tuple[int, int, Entry]:
    """The order of eviction: the cheapest first, the newest of them first."""
    return entry.priority, -entry.arrival, entry


def _inclusion_key(entry: Entry) -> tuple[int, int, int, Entry]:
    """The order of inclusion: the best paying first, the oldest of them first."""
    return -entry.priority, entry.arrival, entry.nonce, entry
