"""Settlement: exact at any size of money, and linear in the receipts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.attribution import settlement
from ml.attribution.settlement import (
    SketchLengthError,
    epoch_shares,
    largest_shares,
    shares_root,
)
from runtime.shared.documents import SHARES_PUSHED_MAX, ContributorAggregate, Share
from runtime.shared.shares import payout
from runtime.types.primitives import AccountId
from tests.ml.attribution.support.scoring import net_scores, scored

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


def numbers(phi):
    return [int(value) for value in np.frombuffer(phi, np.int8)]


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_blocks_of_rows_add_up(monkeypatch):
    monkeypatch.setattr(settlement, "BLOCK_ROWS", 3)
    sketches = [bytes([at] * SIZE) for at in range(10)]
    (entry,) = net_scores([aggregate(0, [1] + [0] * (SIZE - 1))], sketches, [10**10] * 10)
    assert (entry.score, entry.square_sum) == (45 * 10**10, 285 * 10**20)


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


def test_answers_that_are_added_page_by_page_score_as_if_they_came_at_once():
    sketches = [bytes([at, 3 * at] * (SIZE // 2)) for at in range(1, 8)]
    fees = [10**25 + at for at in range(7)]
    aggregates = [aggregate(1, [-3, 1] * (SIZE // 2)), aggregate(2, [2] * SIZE)]
    paged = scored(aggregates, [], [])
    for start in range(0, 7, 2):
        paged.add(sketches[start : start + 2], fees[start : start + 2])
    assert paged.entries() == net_scores(aggregates, sketches, fees)
    assert paged.entries() == net_scores(aggregates, sketches[::-1], fees[::-1])
    assert paged.fees_planck == sum(fees)


def test_a_sketch_of_another_index_is_refused():
    with pytest.raises(SketchLengthError):
        net_scores([aggregate(1, [1] * SIZE)], [bytes(SIZE + 1)], [1])


def test_an_epoch_without_contributors_or_answers_scores_nothing():
    assert net_scores([], [], []) == ()
    (entry,) = net_scores([aggregate(1, [1] * SIZE)], [], [])
    assert (entry.score, entry.square_sum) == (0, 0)


def test_each_index_shares_what_its_own_answers_brought():
    first = scored([aggregate(1, [1] * SIZE), aggregate(2, [3] * SIZE)], [bytes([1] * SIZE)], [30])
    second = scored(
        [aggregate(2, [5] * SIZE), aggregate(3, [-5] * SIZE)], [bytes([1] * SIZE)], [10]
    )
    shares = epoch_shares(4_000, [first, second], 0)
    one, two = (AccountId(bytes([number]) * 32) for number in (1, 2))
    assert shares == (Share(one, 750), Share(two, 2_250 + 1_000))


def test_an_index_without_positive_scores_leaves_its_part_to_the_commons():
    lonely = scored([aggregate(1, [-1] * SIZE)], [bytes([1] * SIZE)], [1])
    assert epoch_shares(1_000, [lonely], 0) == ()
    assert shares_root(())[1] == 0


@given(st.lists(st.integers(1, 10**6), max_size=200))
def test_the_largest_shares_are_in_order_and_none_beside_them_is_larger(amounts):
    shares = [Share(AccountId(at.to_bytes(32, "big")), amount) for at, amount in enumerate(amounts)]
    largest = largest_shares(shares)
    positions = [each.position for each in largest]
    assert positions == sorted(set(positions))
    assert len(largest) == min(len(shares), SHARES_PUSHED_MAX)
    assert all(shares[each.position] == each.share for each in largest)
    least = min((each.share.planck for each in largest), default=0)
    beside = [share for at, share in enumerate(shares) if at not in positions]
    assert all(share.planck <= least for share in beside)


@settings(deadline=None)
@given(AGGREGATES, WEIGHTED.filter(lambda weighted: all(weight > 0 for _, weight in weighted)))
def test_shares_are_those_of_the_payout(aggregates, weighted):
    if not weighted:
        return
    scores = scored(aggregates, [phi for phi, _ in weighted], [weight for _, weight in weighted])
    earned, _ = payout(10**20, scores.entries(), 1_000)
    shares = epoch_shares(10**20, [scores], 1_000)
    assert sorted(share.planck for share in shares) == sorted(filter(None, earned))
