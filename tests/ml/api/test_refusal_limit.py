"""Refused requests fill an address's bucket, and time empties it."""

from hypothesis import given
from hypothesis import strategies as st

from ml.api.refusal_limit import (
    ADDRESSES_MAX,
    REFUSALS_MAX,
    REFUSALS_PER_SECOND,
    RefusalLimit,
)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def filled(address, times=REFUSALS_MAX):
    clock = Clock()
    limit = RefusalLimit(clock)
    for _ in range(times):
        limit.add(address)
    return limit, clock


def test_an_address_waits_only_when_its_bucket_is_full():
    limit, clock = filled("192.0.2.1", REFUSALS_MAX - 1)
    assert limit.seconds_to_wait("192.0.2.1") == 0
    limit.add("192.0.2.1")
    assert limit.seconds_to_wait("192.0.2.1") == 1 / REFUSALS_PER_SECOND
    clock.now += 1 / REFUSALS_PER_SECOND
    assert limit.seconds_to_wait("192.0.2.1") == 0


def test_other_addresses_do_not_wait():
    limit, _ = filled("192.0.2.1")
    assert limit.seconds_to_wait("192.0.2.2") == 0


def test_the_addresses_of_one_ipv6_network_share_a_bucket():
    limit, _ = filled("2001:db8:1:2::3")
    assert limit.seconds_to_wait("2001:db8:1:2:ffff::1") > 0
    assert limit.seconds_to_wait("2001:db8:1:3::3") == 0
    assert limit.seconds_to_wait("not an address") == 0


def test_the_memory_of_addresses_is_bounded():
    limit, _ = filled("first")
    for number in range(ADDRESSES_MAX):
        limit.add(f"address {number}")
    assert limit.seconds_to_wait("first") == 0, "the longest silent one is forgotten"


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=200))
def test_no_address_is_refused_more_often_than_the_rate_allows(steps):
    clock = Clock()
    limit = RefusalLimit(clock)
    began, refused = clock.now, 0
    for is_refused, pause in steps:
        clock.now += pause
        if is_refused and not limit.seconds_to_wait("192.0.2.1"):
            limit.add("192.0.2.1")
            refused += 1
    assert refused <= REFUSALS_MAX + (clock.now - began) * REFUSALS_PER_SECOND + 1e-6
