"""Token buckets and the memory of what was seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.protocols.limits import Bucket, Debts, Rate, Seen
from p2p.transport.transport import PeerId

steps = st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 3)), max_size=60)


@given(steps)
def test_a_bucket_never_gives_more_than_its_rate_and_burst(
    takes: list[tuple[float, float]],
) -> None:
    bucket = Bucket(Rate(each_second=2, burst=5), 0.0)
    now = paid = 0.0
    for pause, cost in takes:
        now += pause
        paid += cost if bucket.take(now, cost) else 0
        assert paid <= 5 + 2 * now + 1e-6


def test_a_bucket_fills_again() -> None:
    bucket = Bucket(Rate(each_second=1, burst=2), 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert bucket.take(1.0)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 20)), max_size=200))
def test_what_was_seen_is_known_for_its_time_and_forgotten_after_twice_that(
    sights: list[tuple[float, int]],
) -> None:
    seen, latest, now = Seen(1000, 2.0), dict[int, float](), 0.0
    for pause, number in sights:
        now += pause
        is_new = seen.add(bytes([number]), now)
        age = now - latest.get(number, float("-inf"))
        if age < 2.0:
            assert not is_new
        if age >= 4.0:
            assert is_new
        if is_new:
            latest[number] = now


def test_the_memory_is_bounded() -> None:
    seen = Seen(100, 1000.0)
    for number in range(10_000):
        seen.add(number.to_bytes(4, "little"), 0.0)
        assert len(seen) <= 100
    assert not seen.add((9_999).to_bytes(4, "little"), 0.0)


def test_what_is_forgotten_is_new_again() -> None:
    seen = Seen(100, 2.0)
    seen.add(b"vote", 0.0)
    seen.forget(b"vote")
    assert seen.add(b"vote", 0.0)


def test_a_peer_is_refused_while_it_owes_too_much_and_time_pays() -> None:
    debts = Debts(Rate(each_second=1, burst=4), Rate(each_second=100, burst=1000), peers_max=8)
    peer, other = PeerId("peer"), PeerId("other")
    debts.charge(peer, 3.0, now=10.0)
    assert debts.part_owed(peer, now=10.0) < 1
    debts.charge(peer, 5.0, now=11.0)
    assert debts.part_owed(peer, now=11.0) >= 1
    assert debts.part_owed(other, now=11.0) < 1
    assert debts.part_owed(peer, now=13.9) >= 1
    assert debts.part_owed(peer, now=14.1) < 1


def test_many_new_names_together_owe_little_more_than_one() -> None:
    debts = Debts(Rate(each_second=1, burst=4), Rate(each_second=1, burst=16), peers_max=1_000)
    work = 0.0
    for number in range(500):
        peer = PeerId(f"name {number}")
        while debts.part_owed(peer, now=0.0) < 1:
            debts.charge(peer, 0.1, now=0.0)
            work += 0.1
    assert work < 16 + 500 * 0.05 * 4 + 500 * 0.1
    assert debts.part_owed(PeerId("name 0"), now=0.1) >= 1


def test_debts_are_of_a_bounded_number_of_peers() -> None:
    debts = Debts(Rate(each_second=1, burst=1), Rate(each_second=1, burst=100), peers_max=3)
    for number in range(9):
        debts.charge(PeerId(str(number)), 2.0, now=0.0)
    assert len(debts) == 3
    assert debts.part_owed(PeerId("8"), now=0.0) >= 1
    assert debts.part_owed(PeerId("0"), now=0.0) < 1
