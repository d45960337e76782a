"""Queues of waiting transactions: candidates and evictions, against a model that sorts."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.transactions import queues
from node.transactions.entry import Entry
from node.transactions.errors import ImmediatelyDroppedError
from node.transactions.queues import Queues
from runtime.types.primitives import AccountId, Hash


class FakeExtrinsic:
    """An extrinsic that only has bytes."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


def entry(account: int, nonce: int, priority: int, arrival: int) -> Entry:
    name = bytes((account, nonce, arrival))
    return Entry(
        extrinsic=cast(Any, FakeExtrinsic(name)),
        hash=Hash(name.ljust(32, b"\0")),
        account=AccountId(bytes((account,)) * 32),
        nonce=nonce,
        priority=priority,
        arrival=arrival,
        birth=None,
        dies_at=100,
    )


slots = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4)), unique=True, min_size=1, max_size=12
)


def filled(places: list[tuple[int, int]], priorities: list[int]) -> tuple[Queues, list[Entry]]:
    waiting = Queues()
    entries = [
        entry(account, nonce, priorities[index % len(priorities)], index)
        for index, (account, nonce) in enumerate(places)
    ]
    for item in entries:
        waiting.insert(item)
    return waiting, entries


@given(slots, st.lists(st.integers(0, 3), min_size=1), st.integers(0, 12))
def test_candidates_are_the_best_paying_heads_one_after_another(
    places: list[tuple[int, int]], priorities: list[int], limit: int
) -> None:
    waiting, entries = filled(places, priorities)
    next_nonces = dict.fromkeys(range(4), 0)
    expected: list[Any] = []
    while len(expected) < limit:
        heads = [item for item in entries if item.nonce == next_nonces[item.account[0]]]
        if not heads:
            break
        best = min(heads, key=lambda item: (-item.priority, item.arrival))
        expected.append(best.extrinsic)
        next_nonces[best.account[0]] += 1
    assert waiting.candidates(limit, lambda _: 0) == expected
    assert waiting.has_ready(lambda _: 0) == any(item.nonce == 0 for item in entries)


@given(slots, st.lists(st.integers(0, 3), min_size=1), st.integers(0, 4), st.integers(1, 12))
def test_evictions_are_the_cheapest_ends_of_other_queues(
    places: list[tuple[int, int]], priorities: list[int], priority: int, limit: int
) -> None:
    waiting, entries = filled(places, priorities)
    new, left, expected = entry(0, 9, priority, 99), list(entries), []
    is_refused = False
    while len(left) + 1 > limit:
        others = [item for item in left if item.account != new.account]
        ends = [
            max((item for item in others if item.account == account), key=lambda item: item.nonce)
            for account in {item.account for item in others}
        ]
        victim = min(ends, key=lambda item: (item.priority, -item.arrival), default=None)
        if victim is None or victim.priority >= priority:
            is_refused = True
            break
        expected.append(victim)
        left.remove(victim)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "TRANSACTIONS_MAX", limit)
        if is_refused:
            with pytest.raises(ImmediatelyDroppedError, match="offer a tip"):
                waiting.evictions(new, None)
        else:
            assert waiting.evictions(new, None) == expected
    assert len(waiting) == len(entries)


def test_a_replaced_transaction_makes_room_for_its_successor() -> None:
    waiting, (only,) = filled([(1, 0)], [1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "TRANSACTIONS_MAX", 1)
        patch.setattr(queues, "PER_ACCOUNT_MAX", 1)
        assert waiting.evictions(entry(1, 0, 2, 9), only) == []
        with pytest.raises(ImmediatelyDroppedError, match="of this account"):
            waiting.evictions(entry(1, 1, 2, 9), None)


def test_a_removed_transaction_leaves_no_trace() -> None:
    waiting, (first, second) = filled([(1, 0), (1, 2)], [1])
    assert waiting.size_bytes == 6
    assert not waiting.is_ready(second, 0)
    waiting.remove(first)
    waiting.remove(second)
    assert (len(waiting), waiting.size_bytes) == (0, 0)
    assert not waiting.has_account(first.account)
