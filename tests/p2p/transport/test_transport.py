"""What every transport promises, tested of the one in memory and of the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.memory import MemoryNetwork
from p2p.transport.transport import (
    FRAME_BYTES_MAX,
    GOSSIP_BYTES_MAX,
    REQUEST_BYTES_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    AddressError,
    Channel,
    DialError,
    FrameTooLargeError,
    PeerGoneError,
    RequestError,
    Transport,
    TransportError,
    TransportSettings,
    peer_id_of,
)
from tests.p2p.support.recorder import PATIENCE_SECONDS, TOPIC, NodeUnderTest, running

SETTINGS = TransportSettings(
    topics=frozenset({TOPIC}), max_peers=3, request_limit_s=1.0, dial_limit_s=1.0
)
Make = Callable[[int], Transport]


class World:
    """Makes nodes of one kind, and runs scenarios under the clock that suits them."""

    def __init__(self, kind: str) -> None:
        self.is_memory = kind == "memory"
        self._network = MemoryNetwork(seed=7)
        self._stack = AsyncExitStack()

    def make(self, number: int) -> Transport:
        seed = bytes([number]) * 32
        if self.is_memory:
            return self._network.transport(seed, SETTINGS)
        return Libp2pTransport(seed, ["/ip4/127.0.0.1/tcp/0"], SETTINGS)

    async def node(self, number: int) -> NodeUnderTest:
        return await self._stack.enter_async_context(running(self.make(number)))

    async def pair(self) -> tuple[NodeUnderTest, NodeUnderTest]:
        one, other = await self.node(1), await self.node(2)
        await one.meet(other)
        return one, other

    def run(self, scenario: Callable[[], object]) -> None:
        async def main() -> None:
            with trio.fail_after(PATIENCE_SECONDS * 2):
                async with self._stack:
                    await scenario()  # type: ignore[misc]

        clock = trio.testing.MockClock(autojump_threshold=0.01) if self.is_memory else None
        trio.run(main, clock=clock)


@pytest.fixture(params=["memory", "libp2p"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    return World(request.param)


def test_both_ends_hear_of_a_connection_and_of_its_end(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        assert [(peer, is_inbound) for peer, _, is_inbound in one.heard.came] == [
            (other.peer, False)
        ]
        assert [(peer, is_inbound) for peer, _, is_inbound in other.heard.came] == [
            (one.peer, True)
        ]
        assert one.heard.came[0][1].endswith(f"/p2p/{other.peer}")

        await one.transport.disconnect(other.peer)

        await other.heard.wait_until(lambda heard: heard.went == [one.peer])
        assert one.heard.went == [other.peer]

    world.run(scenario)


def test_simultaneous_dials_are_one_stay_at_both_ends(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.node(1), await world.node(2)
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(one.transport.dial, other.address)
                nursery.start_soon(other.transport.dial, one.address)

        assert one.heard.here == [other.peer]
        assert other.heard.here == [one.peer]

        await other.transport.disconnect(one.peer)
        await one.heard.wait_until(lambda heard: heard.went == [other.peer])
        assert len(one.heard.came) == len(other.heard.came) == len(other.heard.went) == 1

    world.run(scenario)


def test_a_peer_can_leave_and_come_again(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        for stays in range(2, 4):
            await one.transport.disconnect(other.peer)
            await other.heard.wait_until(lambda heard: not heard.here)
            await other.meet(one)
            assert len(one.heard.came) == stays
        await one.transport.send(other.peer, Channel.CONTROL, [b"again"])
        await other.heard.wait_until(lambda heard: heard.frames[-1:] != [])

    world.run(scenario)


def test_frames_arrive_whole_and_in_order_on_their_channel(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        batches = [[b"%d" % number, bytes(number * 1000), b""] for number in range(30)]
        for frames in batches:
            await one.transport.send(other.peer, Channel.CONSENSUS, frames)
        await one.transport.send(other.peer, Channel.CONTROL, [bytes(FRAME_BYTES_MAX)])

        await other.heard.wait_until(lambda heard: len(heard.frames) == 91)
        sent = [frame for frames in batches for frame in frames]
        on = {channel: [] for channel in Channel}
        for peer, channel, frame in other.heard.frames:
            assert peer == one.peer
            on[channel].append(frame)
        assert on[Channel.CONSENSUS] == sent
        assert on[Channel.CONTROL] == [bytes(FRAME_BYTES_MAX)]

    world.run(scenario)


def test_both_ends_send_at_once_on_all_channels(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        async with trio.open_nursery() as nursery:
            for source, target in ((one, other), (other, one)):
                for channel in Channel:
                    for number in range(10):
                        nursery.start_soon(
                            source.transport.send, target.peer, channel, [bytes([number]) * 50_000]
                        )
        for node in (one, other):
            await node.heard.wait_until(lambda heard: len(heard.frames) == 20)

    world.run(scenario)


def test_nothing_is_sent_to_who_is_not_connected(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.node(1), await world.node(2)
        with pytest.raises(PeerGoneError):
            await one.transport.send(other.peer, Channel.CONTROL, [b"x"])
        with pytest.raises(PeerGoneError):
            await one.transport.request(other.peer, b"x")
        await one.transport.disconnect(other.peer)

    world.run(scenario)


def test_what_is_too_large_is_refused_before_it_is_sent(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        with pytest.raises(FrameTooLargeError):
            await one.transport.send(other.peer, Channel.CONTROL, [bytes(FRAME_BYTES_MAX + 1)])
        with pytest.raises(FrameTooLargeError):
            await one.transport.request(other.peer, bytes(REQUEST_BYTES_MAX + 1))
        with pytest.raises(FrameTooLargeError):
            await one.transport.publish(TOPIC, bytes(GOSSIP_BYTES_MAX + 1))
        assert await one.transport.request(other.peer, b"still here") == b"ereh llits"

    world.run(scenario)


def test_requests_are_answered_or_refused_with_the_reason(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        assert await one.transport.request(other.peer, b"abc") == b"cba"
        assert await one.transport.request(other.peer, b"") == b""
        with pytest.raises(RequestError, match="not today"):
            await one.transport.request(other.peer, b"refuse me")
        with pytest.raises(RequestError, match="failed to answer"):
            await one.transport.request(other.peer, b"raise")
        assert await other.transport.request(one.peer, b"abc") == b"cba"

    world.run(scenario)


def test_an_answer_of_eight_mebibytes_arrives(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()

        async def range_of_blob(_: bytes) -> bytes:
            return bytes(8 << 20)

        other.heard.answer_by = range_of_blob
        assert await one.transport.request(other.peer, b"range") == bytes(8 << 20)

    world.run(scenario)


def test_at_most_eight_requests_to_a_peer_are_in_flight(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        now, most = 0, 0
        go = trio.Event()

        async def count(request: bytes) -> bytes:
            nonlocal now, most
            now += 1
            most = max(most, now)
            if now == REQUESTS_IN_FLIGHT_MAX:
                go.set()
            await go.wait()
            now -= 1
            return request

        other.heard.answer_by = count
        async with trio.open_nursery() as nursery:
            for _ in range(3 * REQUESTS_IN_FLIGHT_MAX):
                nursery.start_soon(one.transport.request, other.peer, b"x")
        assert most == REQUESTS_IN_FLIGHT_MAX

    world.run(scenario)


def test_a_late_answer_is_an_error_and_hinders_no_later_request(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()

        async def never(request: bytes) -> bytes:
            if request == b"never":
                await trio.sleep_forever()
            return request

        other.heard.answer_by = never
        with pytest.raises(RequestError, match="in time"):
            await one.transport.request(other.peer, b"never")
        assert await one.transport.request(other.peer, b"now") == b"now"

    world.run(scenario)


def test_a_request_ends_when_its_peer_stops(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        asked = trio.Event()

        async def stop_instead(_: bytes) -> bytes:
            asked.set()
            await trio.sleep_forever()
            return b""

        async def ask() -> None:
            with pytest.raises(PeerGoneError):
                await one.transport.request(other.peer, b"x")

        other.heard.answer_by = stop_instead
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await asked.wait()
            await other.stop()
        await one.heard.wait_until(lambda heard: heard.went == [other.peer])

    world.run(scenario)


def test_gossip_reaches_each_node_once_through_others(world: World) -> None:
    async def scenario() -> None:
        nodes = [await world.node(number) for number in (1, 2, 3)]
        await nodes[0].meet(nodes[1])
        await nodes[1].meet(nodes[2])
        await gossip_until_heard(nodes[0], nodes[2], b"first")
        for number in range(20):
            await nodes[0].transport.publish(TOPIC, b"message %d" % number)
        for node in nodes[1:]:
            await node.heard.wait_until(lambda heard: len(numbered(heard.gossip)) == 20)
            assert len(set(numbered(node.heard.gossip))) == 20
        assert {source for source, _, _ in nodes[2].heard.gossip} == {nodes[1].peer}
        assert nodes[0].heard.gossip == []

    world.run(scenario)


@pytest.mark.parametrize("message", [b"bad", b"raise"])
def test_gossip_that_a_node_finds_invalid_goes_no_further(world: World, message: bytes) -> None:
    async def scenario() -> None:
        nodes = [await world.node(number) for number in (1, 2, 3)]
        await nodes[0].meet(nodes[1])
        await nodes[1].meet(nodes[2])
        await gossip_until_heard(nodes[0], nodes[2], b"first")
        await nodes[0].transport.publish(TOPIC, message)
        await gossip_until_heard(nodes[0], nodes[2], b"last")
        assert message in [content for _, _, content in nodes[1].heard.gossip]
        assert message not in [content for _, _, content in nodes[2].heard.gossip]

    world.run(scenario)


def test_only_topics_of_the_settings_are_published(world: World) -> None:
    async def scenario() -> None:
        one = await world.node(1)
        with pytest.raises(TransportError, match="no topic"):
            await one.transport.publish("another", b"x")

    world.run(scenario)


def test_who_cannot_be_reached_is_an_error_and_can_be_dialled_once_there(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.node(1), await world.node(2)
        address = other.address
        await other.stop()
        with pytest.raises(DialError):
            await one.transport.dial(address)
        with pytest.raises(DialError, match="own"):
            await one.transport.dial(one.address)
        with pytest.raises(AddressError):
            await one.transport.dial("next door")

        again = await world.node(2)
        await one.meet(again)

    world.run(scenario)


def test_no_more_peers_are_taken_than_the_settings_say(world: World) -> None:
    async def scenario() -> None:
        hub = await world.node(1)
        for number in range(2, 5):
            await (await world.node(number)).meet(hub)
        late = await world.node(9)
        try:
            await late.transport.dial(hub.address)
        except DialError:
            assert late.heard.here == []
        else:
            await late.heard.wait_until(lambda heard: not heard.here)
        assert len(hub.heard.here) == 3
        assert late.peer not in hub.heard.here

    world.run(scenario)


def test_every_peer_is_reported_gone_when_the_transport_stops(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        await one.stop()
        assert one.heard.went == [other.peer]
        await other.heard.wait_until(lambda heard: heard.went == [one.peer])

    world.run(scenario)


def test_a_transport_runs_once_and_its_successor_has_the_same_name(world: World) -> None:
    async def scenario() -> None:
        one, other = await world.pair()
        await one.stop()
        with pytest.raises(TransportError, match="runs once"):
            await one.transport.run(one.heard, task_status=trio.TASK_STATUS_IGNORED)
        again = await world.node(1)
        assert again.peer == one.peer
        await again.meet(other)
        assert other.heard.order.count("connected") == 2

    world.run(scenario)


def test_a_peer_is_named_after_its_key_as_everywhere_in_libp2p() -> None:
    # The key of all zero bytes, named by js-libp2p.
    key = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
    assert peer_id_of(key) == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


async def gossip_until_heard(source: NodeUnderTest, target: NodeUnderTest, message: bytes) -> None:
    """Publish until the mesh carries it: a mesh grows at the beats of its heart."""
    with trio.fail_after(PATIENCE_SECONDS):
        while message not in [content for _, _, content in target.heard.gossip]:
            await source.transport.publish(TOPIC, message)
            with trio.move_on_after(0.3):
                await target.heard.wait_until(
                    lambda heard: message in [content for _, _, content in heard.gossip]
                )


def numbered(gossip: list[tuple[str, str, bytes]]) -> list[bytes]:
    return [content for _, _, content in gossip if content.startswith(b"message")]
