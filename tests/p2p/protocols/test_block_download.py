"""The planner of block download in any order of events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.protocols.block_download import AskBlocks, BlockPlanner, SyncLimits
from p2p.transport.transport import PeerId

LIMITS = SyncLimits(
    blocks_per_request=4, ranges_ahead=3, in_flight_per_peer=2, rest_s=1.0, rest_max_s=8.0
)


def peer(number: int) -> PeerId:
    return PeerId(f"peer {number}")


# ----------------------------------------------------------------------------------- planner


@settings(deadline=None)
@given(st.data())
def test_all_blocks_come_in_order_whatever_goes_wrong(data: st.DataObject) -> None:
    height = data.draw(st.integers(1, 40))
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(0), height)
    now, flight, steps = 0.0, list[AskBlocks](), 0
    while planner.imported < height:
        steps += 1
        assert steps < 2_000, "no progress"
        now += 1.0
        is_calm = steps > 200
        if not is_calm:
            other = peer(data.draw(st.integers(1, 3)))
            if data.draw(st.booleans()):
                planner.note_peer(other, data.draw(st.integers(0, height)))
            else:
                planner.drop_peer(other)
                flight = [ask for ask in flight if ask.peer != other]
        flight += planner.requests(now)
        for name in {ask.peer for ask in flight}:
            assert sum(ask.peer == name for ask in flight) <= LIMITS.in_flight_per_peer
        assert all(ask.count >= 1 and ask.first + ask.count - 1 <= height for ask in flight)
        if flight:
            ask = flight.pop(0 if is_calm else data.draw(st.integers(0, len(flight) - 1)))
            if is_calm or data.draw(st.booleans()):
                planner.answered(ask, ())
            else:
                planner.failed(ask, now)
        arrived = planner.next_arrived()
        if arrived is not None:
            assert arrived.ask.first <= planner.imported + 1
            last = arrived.ask.first + arrived.ask.count - 1
            if is_calm or data.draw(st.booleans()):
                short = last if is_calm else data.draw(st.integers(arrived.ask.first, last))
                planner.import_done(arrived, short)
                assert planner.imported >= short
            else:
                planner.import_refused(arrived, now)
        if not is_calm and data.draw(st.integers(0, 9)) == 0:
            planner.advance(min(height, planner.imported + data.draw(st.integers(0, 5))))


def test_ranges_are_asked_of_several_peers_ahead_of_the_import() -> None:
    planner = BlockPlanner(10, LIMITS)
    planner.note_peer(peer(1), 100)
    planner.note_peer(peer(2), 16)
    asks = planner.requests(0.0)
    assert [(ask.first, ask.count) for ask in asks] == [(11, 4), (15, 2), (19, 4)]
    assert [ask.peer for ask in asks] == [peer(1), peer(2), peer(1)]
    assert planner.requests(0.0) == []
    planner.answered(asks[2], ())
    assert planner.next_arrived() is None
    planner.answered(asks[0], ())
    arrived = planner.next_arrived()
    assert arrived is not None
    assert arrived.ask == asks[0]


def test_what_a_short_answer_leaves_out_is_asked_for_again() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 4)
    (ask,) = planner.requests(0.0)
    planner.answered(ask, ())
    arrived = planner.next_arrived()
    assert arrived is not None
    planner.import_done(arrived, 3)
    assert [(ask.first, ask.count) for ask in planner.requests(0.0)] == [(4, 1)]


def test_a_peer_that_fails_rests_longer_each_time_and_then_is_not_believed() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 1)
    now = 0.0
    for pause in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert planner.target(now) == 1
        (ask,) = planner.requests(now)
        planner.failed(ask, now)
        assert planner.requests(now + pause - 0.1) == []
        assert planner.wake_at(now) == now + pause
        now += pause
    (ask,) = planner.requests(now)
    planner.failed(ask, now)
    assert planner.target(now) == 0


def test_what_a_peer_that_left_was_asked_is_asked_of_another() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 4)
    (first,) = planner.requests(0.0)
    planner.note_peer(peer(2), 4)
    planner.drop_peer(peer(1))
    (second,) = planner.requests(0.0)
    assert (second.peer, second.first) == (peer(2), first.first)
    planner.answered(first, ())
    assert planner.next_arrived() is None


def test_starting_again_forgets_requests_and_not_peers() -> None:
    planner = BlockPlanner(0, LIMITS)
    planner.note_peer(peer(1), 8)
    assert len(planner.requests(0.0)) == 2
    planner.restart(5)
    assert planner.peers == (peer(1),)
    assert [(ask.first, ask.count) for ask in planner.requests(0.0)] == [(6, 3)]


# ------------------------------------------------------------------------------------- proof
