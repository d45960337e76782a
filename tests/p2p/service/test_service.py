"""The network service over a network in memory: peers meet, and messages arrive."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

import pytest
import trio

from p2p.protocols.transactions import TRANSACTION_SIZE_MAX
from p2p.service.service import Change, Service
from p2p.transport.transport import PeerGoneError, PeerId, RequestError
from p2p.transport.wire import MessageKind, RequestKind
from tests.p2p.support.cluster import World, names, play, until

Scenario = Callable[[World], Coroutine[object, object, None]]


async def transactions_of(service: Service, count: int) -> list[bytes]:
    """Wait for so many transactions, in the order they came."""
    found: list[bytes] = []
    with trio.fail_after(60):
        while len(found) < count:
            found += (await service.transactions.receive())[1]
    return found


def is_quiet(service: Service) -> bool:
    try:
        service.consensus.receive_nowait()
    except trio.WouldBlock:
        return True
    return False


def test_four_nodes_form_a_mesh_from_one_bootnode() -> None:
    async def scenario(world: World) -> None:
        services = await world.mesh(4)
        for service in services:
            assert names(service) == {other.peer_id for other in services if other is not service}

    play(scenario)


def test_nodes_that_start_together_meet_within_seconds() -> None:
    async def scenario(world: World) -> None:
        await world.mesh(8)
        assert trio.current_time() < 5

    play(scenario)


def test_a_vote_reaches_every_peer_but_the_one_left_out() -> None:
    async def scenario(world: World) -> None:
        first, second, *others = await world.mesh(4)
        first.broadcast(MessageKind.VOTE, b"yes", besides=second.peer_id)
        for other in others:
            inbound = await other.consensus.receive()
            assert (inbound.peer, inbound.kind, inbound.body) == (
                first.peer_id,
                MessageKind.VOTE,
                b"yes",
            )
        await trio.sleep(1)
        assert is_quiet(second)

    play(scenario)


def test_a_vote_that_every_peer_relays_is_taken_once() -> None:
    async def scenario(world: World) -> None:
        services = await world.mesh(4)
        for service in services:
            service.broadcast(MessageKind.VOTE, b"yes")
        await trio.sleep(1)
        assert is_quiet(services[0])
        assert services[0].counters.consensus_known == 3

    play(scenario)


def test_an_engine_may_repeat_a_vote_after_a_while() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        for _ in range(2):
            first.broadcast(MessageKind.VOTE, b"yes")
            assert (await second.consensus.receive()).body == b"yes"
            await trio.sleep(5)

    play(scenario)


def test_the_same_ask_of_two_peers_is_taken_from_both() -> None:
    async def scenario(world: World) -> None:
        first, second, third = await world.mesh(3)
        second.send(first.peer_id, MessageKind.CERTIFICATE_REQUEST, b"views")
        third.send(first.peer_id, MessageKind.CERTIFICATE_REQUEST, b"views")
        asked = {(await first.consensus.receive()).peer for _ in range(2)}
        assert asked == {second.peer_id, third.peer_id}

    play(scenario)


def test_what_is_sent_to_an_absent_peer_is_nothing() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        first.send(PeerId("nobody"), MessageKind.VOTE, b"yes")
        first.broadcast(MessageKind.VOTE, b"yes")

    play(scenario)


def test_peers_hear_of_a_new_status() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        async with second.changes() as changes:
            world.nodes[first.peer_id].reach(41)
            first.announce()
            world.nodes[first.peer_id].reach(42)
            first.announce()
            change = await changes.receive()
        assert change.change is Change.STATUS
        assert change.state.finalized == second.peers()[0].finalized == 42

    play(scenario)


def test_who_watches_hears_of_peers_that_come_and_go() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        async with first.changes() as changes, trio.open_nursery() as nursery:
            second = world.service(1, first)
            await nursery.start(lambda task_status: second.run(task_status=task_status))
            assert (await changes.receive()).change is Change.CAME
            nursery.cancel_scope.cancel()
        async with first.changes() as changes:
            await until(lambda: not first.peers())
            assert first.counters.peers_went == 1

    play(scenario)


def test_the_round_trip_to_a_peer_is_measured() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        await until(lambda: first.peers()[0].ping_s is not None)
        second.set_latency_ms(300)
        await until(lambda: (first.peers()[0].ping_s or 0) >= 0.3)

    play(scenario)


def test_a_request_is_answered() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        assert await first.request(second.peer_id, RequestKind.BODY, b"hash") == b"hash"

    play(scenario)


def test_a_refused_request_says_so() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        with pytest.raises(RequestError):
            await first.request(second.peer_id, RequestKind.BODY, b"refuse")

    play(scenario)


def test_nobody_absent_can_be_asked() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        with pytest.raises(PeerGoneError):
            await first.request(PeerId("nobody"), RequestKind.BODY, b"hash")

    play(scenario)


def test_a_node_whose_answer_fails_goes_on() -> None:
    async def broken(kind: RequestKind, body: bytes) -> bytes:
        raise ZeroDivisionError

    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        answer, world.nodes[second.peer_id].reply = world.nodes[second.peer_id].reply, broken
        with pytest.raises(RequestError):
            await first.request(second.peer_id, RequestKind.BODY, b"hash")
        world.nodes[second.peer_id].reply = answer
        assert await first.request(second.peer_id, RequestKind.BODY, b"hash") == b"hash"

    play(scenario)


def test_a_request_that_is_never_answered_ends() -> None:
    async def never(kind: RequestKind, body: bytes) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        world.nodes[second.peer_id].reply = never
        with trio.fail_after(20), pytest.raises(RequestError):
            await first.request(second.peer_id, RequestKind.BODY, b"hash")
        assert first.peers()[0].score < 0

    play(scenario)


def test_at_most_eight_requests_to_a_peer_are_in_flight() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        running = most = 0

        async def slow(kind: RequestKind, body: bytes) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(0.1)
            running -= 1
            return body

        world.nodes[second.peer_id].reply = slow
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(
                    first.request, second.peer_id, RequestKind.BLOCKS, bytes([number])
                )
        assert most == 8

    play(scenario)


def test_transactions_reach_all_nodes_once_and_in_batches() -> None:
    async def scenario(world: World) -> None:
        first, *others = await world.mesh(4)
        raws = [f"transaction {number}".encode() for number in range(100)]
        for raw in raws:
            first.gossip(raw)
        for other in others:
            assert await transactions_of(other, len(raws)) == raws
            for raw in raws:
                other.gossip(raw)
        await trio.sleep(1)
        assert first.counters.transactions_received == 0
        assert all(other.counters.transactions_sent == 0 for other in others)

    play(scenario)


def test_a_lone_transaction_goes_out_within_fifty_milliseconds() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        began = trio.current_time()
        first.gossip(b"transaction")
        await transactions_of(second, 1)
        assert trio.current_time() - began < 0.05

    play(scenario)


def test_a_transaction_too_large_for_gossip_stays(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        first.gossip(bytes(TRANSACTION_SIZE_MAX + 1))
        first.gossip(bytes(TRANSACTION_SIZE_MAX))
        assert len((await transactions_of(second, 1))[0]) == TRANSACTION_SIZE_MAX
        assert first.counters.transactions_lost == 1

    play(scenario)


def test_a_full_node_refuses_more_peers() -> None:
    async def scenario(world: World) -> None:
        boot = await world.start(0, max_peers=2)
        for number in range(1, 6):
            await world.start(number, boot)
        await trio.sleep(60)
        assert len(boot.peers()) == 2

    play(scenario)


def test_a_node_that_restarts_is_met_again() -> None:
    async def scenario(world: World) -> None:
        services = await world.mesh(3)
        async with trio.open_nursery() as nursery:
            fourth = world.service(3, services[0])
            await nursery.start(lambda task_status: fourth.run(task_status=task_status))
            await until(lambda: len(fourth.peers()) == 3)
            nursery.cancel_scope.cancel()
        await until(lambda: all(len(service.peers()) == 2 for service in services))
        again = await world.start(3, services[0])
        await until(lambda: len(again.peers()) == 3, 30)

    play(scenario)
