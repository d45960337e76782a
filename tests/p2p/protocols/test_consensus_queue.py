"""Consensus messages: each once, bounded, one peer after the other."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from p2p.protocols.consensus_queue import WAITING_MAX, ConsensusQueue, Inbound
from p2p.transport.transport import PeerId
from p2p.transport.wire import MessageKind

ONE, TWO = PeerId("one"), PeerId("two")


def vote(peer: PeerId, number: int) -> Inbound:
    return Inbound(peer, MessageKind.VOTE, b"%d" % number)


def taken(votes: ConsensusQueue) -> list[Inbound]:
    found = []
    while (message := votes.take()) is not None:
        found.append(message)
    return found


def test_a_vote_is_known_from_whichever_peer_it_comes() -> None:
    votes = ConsensusQueue()
    assert not votes.is_known(vote(ONE, 1), 0.0)
    assert votes.is_known(vote(TWO, 1), 0.0)
    assert not votes.is_known(vote(ONE, 1), 10.0)


def test_an_ask_is_known_by_its_peer() -> None:
    votes = ConsensusQueue()
    assert not votes.is_known(Inbound(ONE, MessageKind.CERTIFICATE_REQUEST, b"1"), 0.0)
    assert not votes.is_known(Inbound(TWO, MessageKind.CERTIFICATE_REQUEST, b"1"), 0.0)
    assert votes.is_known(Inbound(TWO, MessageKind.CERTIFICATE_REQUEST, b"1"), 0.0)


def test_the_same_body_of_another_kind_is_another_message() -> None:
    votes = ConsensusQueue()
    assert not votes.is_known(vote(ONE, 1), 0.0)
    assert not votes.is_known(Inbound(ONE, MessageKind.CERTIFICATE, b"1"), 0.0)


def test_a_vote_that_found_no_room_may_come_again() -> None:
    votes = ConsensusQueue()
    for number in range(WAITING_MAX):
        assert not votes.is_known(vote(ONE, number), 0.0)
        assert votes.put(vote(ONE, number))
    late = vote(ONE, WAITING_MAX)
    assert not votes.is_known(late, 0.0)
    assert not votes.put(late)
    votes.take()
    assert not votes.is_known(late, 0.0)
    assert votes.put(late)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99)), max_size=200))
def test_peers_take_turns_and_each_keeps_its_order(puts: list[tuple[int, int]]) -> None:
    votes, waiting = ConsensusQueue(), Counter[PeerId]()
    messages = [vote(PeerId(str(peer)), number) for peer, number in puts]
    for message in messages:
        assert votes.put(message)
        waiting[message.peer] += 1
    found = taken(votes)
    for peer in waiting:
        own = [message for message in messages if message.peer == peer]
        assert [message for message in found if message.peer == peer] == own
    for at, message in enumerate(found[:-1]):
        # Nobody is served twice in a row while another waits.
        others = {later.peer for later in found[at + 1 :]} - {message.peer}
        assert not others or found[at + 1].peer != message.peer


def test_what_waits_of_a_banned_peer_is_dropped() -> None:
    votes = ConsensusQueue()
    votes.put(vote(ONE, 1))
    votes.put(vote(TWO, 2))
    votes.drop(ONE)
    votes.drop(ONE)
    assert taken(votes) == [vote(TWO, 2)]
    assert len(votes) == 0
