"""Drawing executors: proportional, without replacement, within one profile, in integers."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pallets.jobs.assignment import FRACTION_BITS, Candidate, draw, negative_log2, ordered
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import AccountId, Hash

PROFILE, OTHER = Hash(b"p" * 32), Hash(b"q" * 32)
DRAWS = 3_000


def candidate(number: int, weight: int = 1, profile: Hash = PROFILE) -> Candidate:
    return Candidate(AccountId(bytes((number,)) * 32), number, profile, weight)


def seed(number: int) -> Hash:
    return Hash(blake2b_256(b"draw" + number.to_bytes(4, "little")))


@given(st.integers(1, 2**64))
def test_the_logarithm_is_that_of_the_mathematics_library(ticket: int) -> None:
    exact = 64 - math.log2(ticket)
    assert abs(negative_log2(ticket) / 2**FRACTION_BITS - exact) < 3e-6


@given(st.integers(1, 2**64 - 1))
def test_the_logarithm_is_monotone(ticket: int) -> None:
    assert negative_log2(ticket) >= negative_log2(ticket + 1)


def test_the_logarithm_of_powers_of_two_is_exact() -> None:
    for exponent in range(65):
        assert negative_log2(1 << exponent) == (64 - exponent) << FRACTION_BITS


def test_the_first_draw_is_proportional_to_weight() -> None:
    candidates = [candidate(1, 10**20), candidate(2, 2 * 10**20), candidate(3, 5 * 10**20)]
    first = Counter(ordered(candidates, seed(number))[0].registration for number in range(DRAWS))
    for number, share in ((1, 1 / 8), (2, 2 / 8), (3, 5 / 8)):
        tolerance = 4 * math.sqrt(DRAWS * share * (1 - share))
        assert abs(first[number] - DRAWS * share) < tolerance


def test_the_second_draw_is_proportional_among_the_rest() -> None:
    weights = {1: 1, 2: 2, 3: 5}
    candidates = [candidate(number, weight) for number, weight in weights.items()]
    pairs = Counter(
        tuple(one.registration for one in ordered(candidates, seed(number))[:2])
        for number in range(DRAWS)
    )
    for (first, second), count in pairs.items():
        share = weights[first] / 8 * weights[second] / (8 - weights[first])
        assert abs(count - DRAWS * share) < 4 * math.sqrt(DRAWS * share * (1 - share))
    assert len(pairs) == 6


@given(st.lists(st.integers(1, 10**30), min_size=1, max_size=12), st.integers(0, 2**31))
def test_nobody_is_drawn_twice_and_nobody_is_lost(weights: list[int], number: int) -> None:
    candidates = [candidate(at, weight) for at, weight in enumerate(weights)]
    drawn = ordered(candidates, seed(number))
    assert sorted(one.registration for one in drawn) == list(range(len(weights)))


@given(st.permutations(list(range(6))), st.integers(0, 1000))
def test_the_order_of_candidates_does_not_matter(order: list[int], number: int) -> None:
    candidates = [candidate(at, 1 + at) for at in range(6)]
    shuffled = [candidates[at] for at in order]
    assert ordered(shuffled, seed(number)) == ordered(candidates, seed(number))


@given(st.integers(0, 200))
def test_more_weight_never_moves_a_candidate_back(number: int) -> None:
    light = [candidate(at, 10) for at in range(5)]
    heavy = [candidate(0, 1000), *light[1:]]
    place = [one.registration for one in ordered(light, seed(number))].index(0)
    assert [one.registration for one in ordered(heavy, seed(number))].index(0) <= place


def test_a_new_registration_draws_anew() -> None:
    others = [candidate(at) for at in range(1, 9)]
    places = set()
    for registration in range(40):
        again = Candidate(AccountId(b"x" * 32), registration, PROFILE, 1)
        places.add(ordered([*others, again], seed(0)).index(again))
    assert len(places) > 3


def test_all_drawn_executors_share_a_profile() -> None:
    mixed = [candidate(at, 1, PROFILE if at % 2 else OTHER) for at in range(8)]
    profiles = set()
    for number in range(40):
        drawn = draw(mixed, 3, 3, seed(number))
        assert len(drawn) == 3
        assert len({one.profile for one in drawn}) == 1
        profiles.add(drawn[0].profile)
    assert profiles == {PROFILE, OTHER}


def test_a_profile_with_too_few_executors_is_not_drawn_from() -> None:
    mixed = [candidate(1, 10**9, OTHER), candidate(2), candidate(3)]
    assert {one.registration for one in draw(mixed, 2, 2, seed(1))} == {2, 3}


def test_nobody_is_drawn_where_no_profile_is_large_enough() -> None:
    assert draw([candidate(1), candidate(2, 1, OTHER)], 2, 2, seed(1)) == ()


def test_fewer_are_drawn_where_fewer_do() -> None:
    assert len(draw([candidate(1), candidate(2)], 3, 1, seed(1))) == 2
