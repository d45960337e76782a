"""Authorship: the author follows from the claim, and so do the turns that were missed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallets import authorship as authorship_module
from pallets.authorship import AUTHOR_ENGINE, Performance
from pallets.system import System
from runtime.codec.scale import codec
from runtime.shared.finality import ENGINE, Claim
from runtime.shared.leaders import VIEWS_MAX
from runtime.types.primitives import OPEN, AccountId, Consensus, Hash, Other, PreRuntime
from tests.pallets.support.validators import STASHES, Committee, Offences, Staking


def missed(committee: Committee, who: AccountId) -> int:
    told = committee.pallet(Offences).missed.get(who)
    assert committee.authorship.missed.get(who) == told
    return told


def test_the_leader_of_the_claimed_view_is_the_author() -> None:
    with Committee() as committee:
        assert committee.authorship.author() is None
        expected = []
        for view in (1, 2, 3):
            expected.append(committee.leader(view))
            committee.claim(view)
            assert committee.authorship.author() == expected[-1]
        assert committee.pallet(Staking).authors.get() == tuple(expected)
        assert [committee.authorship.authored.get(who) for who in expected] == [1, 1, 1]
        assert all(missed(committee, who) == 0 for who in STASHES)


def test_the_header_names_its_author_as_explorers_read_it() -> None:
    with Committee() as committee:
        for view in (1, 2):
            leader = committee.leader(view)
            committee.claim(view)
            logs = committee.pallet(System).logs()
            named = [item for item in logs if isinstance(item, Consensus)]
            assert named[0] == Consensus(AUTHOR_ENGINE, leader)


def test_a_leader_cannot_name_another_author_beside_its_claim() -> None:
    with Committee() as committee:
        claim = PreRuntime(ENGINE, codec(Claim).encode(Claim(0, 1, Hash(bytes(32)))))
        committee.end_with(claim, PreRuntime(AUTHOR_ENGINE, STASHES[0]))
        with pytest.raises(AssertionError, match="no other item"):
            committee.authorship.on_finalize()


def test_the_leaders_of_skipped_views_missed_their_turn() -> None:
    with Committee() as committee:
        silent = [committee.leader(view) for view in (1, 2, 4)]
        committee.claim(3)
        committee.claim(5)
        for who in STASHES:
            assert missed(committee, who) == silent.count(who)


def test_views_of_an_earlier_epoch_are_no_parent_of_this_one() -> None:
    with Committee(epoch_blocks=2) as committee:
        committee.claim(7)
        before = {who: missed(committee, who) for who in STASHES}
        committee.claim(1)
        assert {who: missed(committee, who) for who in STASHES} == before
        assert committee.authorship.author() == committee.leader(1)


def test_a_block_accounts_for_a_bounded_number_of_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorship_module, "MISSED_MAX", 5)
    with Committee() as committee:
        committee.claim(1_000)
        assert sum(missed(committee, who) for who in STASHES) == 5
        committee.claim(1_001)
        assert sum(missed(committee, who) for who in STASHES) == 5


@pytest.mark.parametrize(
    ("view", "epoch", "reason"),
    [
        (2, 1, "of epoch 1"),
        (1, 0, "of view 1"),
        (0, 0, "of view 0"),
        (VIEWS_MAX + 1, 0, "of view"),
    ],
)
def test_a_block_with_an_impossible_claim_is_invalid(view: int, epoch: int, reason: str) -> None:
    with Committee() as committee:
        committee.claim(1)
        committee.claim(view, epoch)
        assert committee.authorship.author() is None
        with pytest.raises(AssertionError, match=reason):
            committee.next_block()


def test_a_block_without_a_claim_has_no_author_and_misses_nobody() -> None:
    with Committee() as committee:
        committee.claim(2)
        before = {who: missed(committee, who) for who in STASHES}
        for logs in (
            (),
            (Other(b"note"),),
            (PreRuntime(b"BABE", b""),),
            (PreRuntime(ENGINE, b"short"),),
        ):
            committee.end_with(*logs)
            assert committee.authorship.author() is None
        assert {who: missed(committee, who) for who in STASHES} == before


def test_a_claim_says_nothing_on_a_chain_without_validators() -> None:
    with Committee(0) as committee:
        committee.claim(9)
        assert committee.authorship.author() is None
        committee.next_block()
        assert committee.authorship.performance() == ()


def test_authorship_works_without_staking_and_offences() -> None:
    with Committee(2, with_staking=False) as committee:
        first, second = committee.leader(1), committee.leader(2)
        committee.claim(2)
        committee.next_block()
        assert sorted(committee.authorship.performance(), key=lambda one: one.authored) == [
            Performance(first, 0, 1),
            Performance(second, 1, 0),
        ]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
)
def test_each_view_is_one_authored_block_or_one_missed_turn(
    steps: list[int], weights: list[int]
) -> None:
    given_weights = [weight * OPEN for weight in weights]
    with Committee(len(weights), weights=given_weights, epoch_blocks=100) as committee:
        view = 0
        for step in steps:
            view += step
            committee.claim(view)
        totals = committee.authorship.performance()
        assert sum(one.authored for one in totals) == len(steps)
        assert sum(one.authored + one.missed for one in totals) == view
        turns = [committee.leader(number) for number in range(1, view + 1)]
        for one in totals:
            assert one.authored + one.missed == turns.count(one.account)
