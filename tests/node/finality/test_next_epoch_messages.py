"""Messages of the next epoch: each peer has its own share of the room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.finality.next_epoch_messages import BYTES_MAX, MESSAGES_MAX, NextEpochMessages
from p2p.service.service import Inbound
from p2p.transport.transport import PeerId
from p2p.transport.wire import MessageKind
from tests.node.support.seat import (
    HONEST,
    HOSTILE,
)


def message(peer: PeerId, size: int = 10) -> Inbound:
    return Inbound(peer, MessageKind.VOTE, bytes(size))


def test_a_peer_that_says_too_much_early_displaces_only_its_own_messages() -> None:
    early = NextEpochMessages()
    early.add_message(message(HONEST))
    for _ in range(MESSAGES_MAX + 50):
        early.add_message(message(HOSTILE))
    kept = early.take_messages()
    assert len(kept) == MESSAGES_MAX + 1
    assert kept[0].peer == HONEST
    assert early.take_messages() == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6 << 20)), max_size=40))
def test_early_messages_never_take_more_than_their_room(told: list[tuple[str, int]]) -> None:
    early = NextEpochMessages()
    for peer, size in told:
        early.add_message(message(PeerId(peer), size))
    kept = early.take_messages()
    assert sum(len(each.body) for each in kept) <= BYTES_MAX
