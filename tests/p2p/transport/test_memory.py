"""The network in memory: its link conditions and partitions, and that a seed repeats a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from p2p.transport.memory import LinkConditions, MemoryNetwork
from p2p.transport.transport import Channel, DialError, RequestError, TransportSettings
from tests.p2p.support.recorder import TOPIC, NodeUnderTest, running

SETTINGS = TransportSettings(topics=frozenset({TOPIC}))
Scenario = Callable[[list[NodeUnderTest]], Awaitable[None]]


def simulate(network: MemoryNetwork, count: int, scenario: Scenario) -> None:
    """Run a scenario with so many nodes, none connected, under a clock that jumps."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            transports = [network.transport(bytes([n]) * 32, SETTINGS) for n in range(count)]
            await scenario([await stack.enter_async_context(running(one)) for one in transports])

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_message_takes_the_latency() -> None:
    async def scenario(nodes: list[NodeUnderTest]) -> None:
        await nodes[0].meet(nodes[1])
        start = trio.current_time()
        await nodes[0].transport.send(nodes[1].peer, Channel.CONTROL, [b"x"])
        await nodes[1].heard.wait_until(lambda heard: bool(heard.frames))
        assert trio.current_time() - start == pytest.approx(0.5)

    simulate(MemoryNetwork(1, LinkConditions(latency_s=(0.5, 0.5))), 2, scenario)


def run_of(seed: int) -> list[bytes]:
    """Send a hundred frames through bad conditions, and say what arrived."""
    arrived: list[bytes] = []

    async def scenario(nodes: list[NodeUnderTest]) -> None:
        await nodes[0].meet(nodes[1])
        for number in range(100):
            await nodes[0].transport.send(nodes[1].peer, Channel.CONTROL, [b"%d" % number])
        await trio.testing.wait_all_tasks_blocked()
        await nodes[0].transport.request(nodes[1].peer, b"after all that was sent before")
        arrived.extend(frame for _, _, frame in nodes[1].heard.frames)

    simulate(
        MemoryNetwork(seed, LinkConditions((0.0, 0.2), loss=0.2, duplication=0.1)), 2, scenario
    )
    return arrived


def test_a_seed_repeats_a_run() -> None:
    assert run_of(3) == run_of(3)
    assert run_of(3) != run_of(4)


def test_loss_and_duplicates_keep_the_order() -> None:
    arrived = [int(frame) for frame in run_of(5)]
    assert arrived == sorted(arrived)
    assert 60 < len(set(arrived)) < 95
    assert len(set(arrived)) < len(arrived)


def test_a_partition_is_silent_until_it_heals() -> None:
    async def scenario(nodes: list[NodeUnderTest]) -> None:
        one, other, third = nodes
        await one.meet(other)
        network.partition([one.peer], [other.peer, third.peer])
        await one.transport.send(other.peer, Channel.CONTROL, [b"lost"])
        with pytest.raises(RequestError, match="in time"):
            await one.transport.request(other.peer, b"lost")
        with pytest.raises(DialError):
            await one.transport.dial(third.address)
        assert one.heard.went == other.heard.went == []
        await other.meet(third)

        network.heal()
        await one.transport.send(other.peer, Channel.CONTROL, [b"heard"])
        await other.heard.wait_until(lambda heard: bool(heard.frames))
        assert [frame for _, _, frame in other.heard.frames] == [b"heard"]

    network = MemoryNetwork(1)
    simulate(network, 3, scenario)


def test_who_parted_behind_a_partition_comes_again() -> None:
    async def scenario(nodes: list[NodeUnderTest]) -> None:
        one, other = nodes
        await one.meet(other)
        network.partition([one.peer], [other.peer])
        await one.transport.disconnect(other.peer)
        network.heal()
        assert other.heard.went == []
        await one.transport.dial(other.address)
        await other.heard.wait_until(lambda heard: len(heard.came) == 2)
        assert other.heard.order == ["connected", "disconnected", "connected"]

    network = MemoryNetwork(1)
    simulate(network, 2, scenario)
