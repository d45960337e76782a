"""Keepalive, by its table."""

from __future__ import annotations

from p2p.protocols.keepalive import Keepalive, Ping, Silent


def ping_of(keepalive: Keepalive, now: float) -> bytes:
    action = keepalive.step(now)
    assert isinstance(action, Ping)
    return action.nonce


def test_a_peer_that_answers_is_pinged_every_two_seconds() -> None:
    keepalive, now = Keepalive(0.0), 0.0
    for _ in range(5):
        assert keepalive.step(now + 1.9) is None
        assert keepalive.answered(ping_of(keepalive, now + 2.0), now + 2.5) == 0.5
        now += 2.5


def test_a_peer_that_does_not_answer_twice_is_silent_after_ten_seconds() -> None:
    keepalive = Keepalive(0.0)
    ping_of(keepalive, 2.0)
    assert keepalive.step(5.9) is None
    ping_of(keepalive, 6.0)
    assert keepalive.step(9.9) is None
    assert keepalive.step(10.0) == Silent()


def test_an_answer_forgives_the_first_strike() -> None:
    keepalive = Keepalive(0.0)
    ping_of(keepalive, 2.0)
    keepalive.answered(ping_of(keepalive, 6.0), 7.0)
    ping_of(keepalive, 9.0)
    ping_of(keepalive, 13.0)
    assert keepalive.step(17.0) == Silent()


def test_an_answer_to_an_older_ping_counts_for_nothing() -> None:
    keepalive = Keepalive(0.0)
    old = ping_of(keepalive, 2.0)
    ping_of(keepalive, 6.0)
    assert keepalive.answered(old, 7.0) is None
    assert keepalive.answered(b"", 7.0) is None
    assert keepalive.step(10.0) == Silent()


def test_a_node_that_stood_still_waits_anew() -> None:
    keepalive = Keepalive(0.0)
    nonce = ping_of(keepalive, 2.0)
    keepalive.forgive(60.0)
    assert keepalive.step(62.0) is None
    assert keepalive.answered(nonce, 62.5) == 0.5
