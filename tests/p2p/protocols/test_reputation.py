"""Scores, bans and their end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.protocols.reputation import BAN_SCORE, PEERS_MAX, Ban, Fault, Reputation
from p2p.transport.transport import PeerId

PEER = PeerId("peer")


def test_a_peer_without_faults_has_the_score_zero() -> None:
    assert Reputation().score(PEER, 0.0) == 0


def test_a_score_heals() -> None:
    reputation = Reputation(heal_each_second=1.0)
    reputation.note(PEER, Fault.BAD_MESSAGE, 0.0)
    assert reputation.score(PEER, 0.0) == -25
    assert reputation.score(PEER, 10.0) == -15
    assert reputation.score(PEER, 100.0) == 0


def test_a_ban_ends_with_a_clean_score() -> None:
    reputation = Reputation(ban_s=60.0)
    assert reputation.note(PEER, Fault.WRONG_CHAIN, 0.0)
    assert reputation.is_banned(PEER, 59.9)
    assert reputation.banned(59.9) == {PEER}
    assert not reputation.is_banned(PEER, 60.0)
    assert reputation.score(PEER, 60.0) == 0


def test_bans_are_listed_with_their_fault_until_they_end() -> None:
    reputation, other = Reputation(ban_s=60.0), PeerId("other")
    reputation.note(PEER, Fault.WRONG_CHAIN, 0.0)
    reputation.note(other, Fault.WRONG_VERSION, 10.0)
    reputation.note(PeerId("honest"), Fault.NO_ANSWER, 10.0)
    first = Ban(PEER, Fault.WRONG_CHAIN, 40.0)
    assert reputation.bans(20.0) == (first, Ban(other, Fault.WRONG_VERSION, 50.0))
    assert [ban.peer for ban in reputation.bans(60.0)] == [other]
    assert reputation.bans(70.0) == ()


def test_a_banned_peer_is_not_banned_again() -> None:
    reputation = Reputation(ban_s=60.0)
    assert reputation.note(PEER, Fault.WRONG_CHAIN, 0.0)
    assert not reputation.note(PEER, Fault.WRONG_CHAIN, 30.0)
    assert not reputation.is_banned(PEER, 60.0)


@given(st.lists(st.tuples(st.sampled_from(Fault), st.floats(0, 20)), max_size=40))
def test_a_peer_is_banned_exactly_when_its_score_falls_to_the_limit(
    faults: list[tuple[Fault, float]],
) -> None:
    reputation, now, score = Reputation(ban_s=1e9), 0.0, 0.0
    for fault, pause in faults:
        now += pause
        score = min(0.0, score + pause) - fault.cost
        assert reputation.note(PEER, fault, now) == (score <= BAN_SCORE)
        if score <= BAN_SCORE:
            break


def test_the_memory_is_bounded_and_keeps_bans_longest() -> None:
    reputation = Reputation(ban_s=1e9)
    reputation.note(PEER, Fault.WRONG_CHAIN, 0.0)
    for number in range(2 * PEERS_MAX):
        reputation.note(PeerId(f"peer {number}"), Fault.FLOODING, 0.0)
    assert reputation.is_banned(PEER, 0.0)
    assert reputation.score(PeerId("peer 0"), 0.0) == 0
