"""Settlement: exact at any size of money, and linear in the receipts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.attribution import settlement
from ml.attribution.settlement import (
    SketchLengthError,
    net_scores,
    receipts_root,
    settle,
    weighted_sum,
)
from runtime.codec.scale import codec
from runtime.shared.documents import ContributorAggregate, JobOutput, Receipt, Settled
from runtime.types.primitives import AccountId, Hash

SIZE = 8
NUMBER = st.integers(-127, 127)
SKETCH = st.lists(NUMBER, min_size=SIZE, max_size=SIZE).map(
    lambda v: np.array(v, np.int8).tobytes()
)
WEIGHTED = st.lists(st.tuples(SKETCH, st.integers(-(1 << 128), 1 << 128)), max_size=12)
AGGREGATES = st.lists(
    st.lists(st.integers(-(10**6), 10**6), min_size=SIZE, max_size=SIZE), min_size=1, max_size=4
).map(lambda rows: [aggregate(at, row) for at, row in enumerate(rows)])


def aggregate(at, psi_sum):
    return ContributorAggregate(AccountId(bytes([at]) * 32), 1, tuple(psi_sum))


def receipt(sequence, phi, fee):
    zero = Hash(bytes(32))
    return Receipt(
        version=1,
        genesis=zero,
        model=1,
        train_job=1,
        index_job=2,
        adapter=zero,
        epoch=0,
        sequence=sequence,
        server=AccountId(zero),
        asker=AccountId(zero),
        channel=0,
        question=zero,
        answer=zero,
        tokens_in=1,
        tokens_out=1,
        fee_planck=2 * fee,
        contributor_fee_planck=fee,
        phi=phi,
        top=(),
        spans=(),
        retrieved=(),
        remainder_permille=0,
    )


def numbers(phi):
    return [int(value) for value in np.frombuffer(phi, np.int8)]


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


@given(WEIGHTED)
def test_the_weighted_sum_is_exact_for_any_money(weighted):
    sketches, weights = [phi for phi, _ in weighted], [weight for _, weight in weighted]
    expected = [sum(weight * numbers(phi)[at] for phi, weight in weighted) for at in range(SIZE)]
    assert weighted_sum(sketches, weights, SIZE) == expected


def test_blocks_of_rows_add_up(monkeypatch):
    monkeypatch.setattr(settlement, "BLOCK_ROWS", 3)
    sketches = [bytes([at] * SIZE) for at in range(10)]
    assert weighted_sum(sketches, [10**30] * 10, SIZE) == [45 * 10**30] * SIZE


@settings(deadline=None)
@given(AGGREGATES, WEIGHTED)
def test_net_scores_are_those_of_plain_integers_up_to_one_common_power_of_two(aggregates, weighted):
    sketches, weights = [phi for phi, _ in weighted], [weight for _, weight in weighted]
    entries = net_scores(aggregates, sketches, weights)
    exact = []
    for contributor in aggregates:
        parts = [weight * dot(contributor.psi_sum, numbers(phi)) for phi, weight in weighted]
        exact.append((sum(parts), sum(part * part for part in parts)))
    largest = max((square for _, square in exact), default=0)
    shift = max(0, -((127 - largest.bit_length()) // 2))
    for entry, (score, square) in zip(entries, exact, strict=True):
        assert abs(abs(entry.score) * 2**shift - abs(score)) < 2**shift
        assert 0 <= entry.square_sum * 4**shift - square < 4**shift
        assert entry.score * score >= 0
    encoding = codec(JobOutput)
    output = Settled(0, Hash(bytes(32)), 0, entries)
    assert encoding.decode(encoding.encode(output)) == output


def test_a_settlement_commits_to_receipts_and_fees():
    receipts = [receipt(at, bytes(SIZE), at) for at in range(5)]
    settled = settle(receipts, [aggregate(1, [1] * SIZE)])
    assert (settled.receipts, settled.fees_planck) == (5, 10)
    assert settled.receipts_root == receipts_root(receipts)[0]
    assert settled.receipts_root != receipts_root(receipts[::-1])[0]


def test_a_sketch_of_another_index_is_refused():
    with pytest.raises(SketchLengthError):
        settle([receipt(0, bytes(SIZE + 1), 1)], [aggregate(1, [1] * SIZE)])


def test_an_epoch_without_contributors_or_receipts_settles_to_nothing():
    assert settle([], []).entries == ()
    (entry,) = settle([], [aggregate(1, [1] * SIZE)]).entries
    assert (entry.score, entry.square_sum) == (0, 0)


def test_the_order_of_receipts_does_not_change_a_score():
    receipts = [receipt(at, bytes([at] * SIZE), 10**25 + at) for at in range(5)]
    aggregates = [aggregate(1, [-3, 1] * (SIZE // 2))]
    forward, backward = settle(receipts, aggregates), settle(receipts[::-1], aggregates)
    assert forward.entries == backward.entries
    assert dataclasses.replace(forward, receipts_root=backward.receipts_root) == backward
