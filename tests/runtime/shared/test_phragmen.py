"""Sequential Phragmén against exact fractions, known elections, and its bounds."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.shared.phragmen import BadElectionError, Voter, Winner, elect
from runtime.types.primitives import AccountId

A, B, C, D = (AccountId(bytes([letter]) * 32) for letter in b"abcd")
NAMES = tuple(AccountId(bytes([letter]) * 32) for letter in b"abcdefg")


def voter(number: int, stake: int, *targets: AccountId) -> Voter:
    return Voter(AccountId(number.to_bytes(32, "big")), stake, targets)


def supports(winners: list[Winner]) -> list[tuple[AccountId, int]]:
    return [(winner.account, winner.stake) for winner in winners]


ELECTIONS = st.builds(
    lambda candidates, votes: (
        NAMES[:candidates],
        [voter(index, stake, *targets) for index, (stake, targets) in enumerate(votes)],
    ),
    st.integers(1, 7),
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 20), st.integers(0, 10**27)),
            st.lists(st.sampled_from(NAMES), unique=True, max_size=7),
        ),
        max_size=8,
    ),
)


def exact_loads(voters: list[Voter], loads: list[Fraction], who: AccountId) -> Fraction | None:
    backers = [index for index, one in enumerate(voters) if who in one.targets and one.stake]
    if not backers:
        return None
    approval = sum(voters[index].stake for index in backers)
    carried = sum((voters[index].stake * loads[index] for index in backers), Fraction(0))
    return (1 + carried) / approval


@given(ELECTIONS, st.integers(0, 7))
def test_each_seat_goes_to_the_least_load_and_supports_are_exact_shares(
    election: tuple[tuple[AccountId, ...], list[Voter]], seats: int
) -> None:
    candidates, voters = election
    winners = elect(candidates, voters, seats)
    loads = [Fraction(0)] * len(voters)
    parts: list[dict[AccountId, Fraction]] = [{} for _ in voters]
    left = set(candidates)
    for winner in winners:
        scores = {who: exact_loads(voters, loads, who) for who in left}
        least = min(score for score in scores.values() if score is not None)
        own = scores[winner.account]
        assert own is not None
        assert own <= least * (1 + Fraction(1, 2**60)), "no candidate had less load"
        ties = [who for who, score in scores.items() if score == own]
        if len({*loads}) == 1:  # before any rounding, ties are exact
            assert winner.account == min(ties)
        for index, one in enumerate(voters):
            if winner.account in one.targets and one.stake:
                parts[index][winner.account] = own - loads[index]
                loads[index] = own
        left.remove(winner.account)
    if len(winners) < seats:
        assert all(exact_loads(voters, loads, who) is None for who in left)
    found = {
        (backer, winner.account): part for winner in winners for backer, part in winner.backers
    }
    for index, one in enumerate(voters):
        given_parts = {who: found.pop((one.account, who), 0) for who in sorted(parts[index])}
        assert sum(given_parts.values()) == (one.stake if parts[index] else 0)
        for who, added in parts[index].items():
            assert abs(given_parts[who] - one.stake * added / loads[index]) < 1 + Fraction(1, 1000)
    assert not found


def test_a_known_election_gives_its_known_supports() -> None:
    # The textbook case of NPoS: three voters of 10, 20 and 30, each for two of three candidates.
    voters = [voter(1, 10, A, B), voter(2, 20, A, C), voter(3, 30, B, C)]
    assert supports(elect([A, B, C], voters, 2)) == [(C, 35), (B, 25)]


def test_a_minority_gets_its_share_of_seats() -> None:
    voters = [voter(1, 60, A, B), voter(2, 40, C)]
    assert [winner.account for winner in elect([A, B, C], voters, 2)] == [A, C]


def test_equal_loads_go_to_the_smaller_account() -> None:
    voters = [voter(1, 5, D), voter(2, 5, B), voter(3, 5, C)]
    assert [winner.account for winner in elect([D, C, B], voters, 2)] == [B, C]


def test_a_candidate_without_stake_never_wins() -> None:
    assert supports(elect([A, B], [voter(1, 3, A), voter(2, 0, B)], 2)) == [(A, 3)]
    assert elect([A, B], [], 2) == []


def test_targets_that_are_no_candidates_do_not_count() -> None:
    assert supports(elect([A], [voter(1, 7, A, B)], 2)) == [(A, 7)]


@pytest.mark.parametrize(
    ("candidates", "voters", "reason"),
    [
        ([A, A], [], "stands twice"),
        ([A], [voter(1, 1, A), voter(1, 1, A)], "votes twice"),
        ([A], [voter(1, 1, A, A)], "each once"),
        ([A], [voter(1, -1, A)], "no stake"),
        ([A], [voter(1, 1 << 128, A)], "no stake"),
        ([AccountId(n.to_bytes(32, "big")) for n in range(1025)], [], "too many"),
        ([A], [voter(n, 1, A) for n in range((1 << 14) + 1)], "too many"),
    ],
)
def test_votes_out_of_bounds_are_refused(
    candidates: list[AccountId], voters: list[Voter], reason: str
) -> None:
    with pytest.raises(BadElectionError, match=reason):
        elect(candidates, voters, 1)
