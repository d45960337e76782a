"""The real transport alone: restarts, break-downs, hostile frames, and an end that is one."""

from __future__ import annotations

import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import libp2p.pubsub.utils as record_module
import pytest
import trio
import trio.testing
from libp2p.stream_muxer.yamux.yamux import Yamux

from p2p.transport import compat
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.transport import (
    FRAME_BYTES_MAX,
    Channel,
    DialError,
    TransportError,
    TransportSettings,
    peer_id_of,
)
from tests.p2p.attacks.support.attacker import attacking
from tests.p2p.support.recorder import TOPIC, NodeUnderTest, Recorder, running

SETTINGS = TransportSettings(topics=frozenset({TOPIC}), dial_limit_s=3.0)
ANYWHERE = "/ip4/127.0.0.1/tcp/0"
Enter = Callable[..., Awaitable[NodeUnderTest]]


def with_nodes(scenario: Callable[[Enter], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(60):
            async with AsyncExitStack() as stack:
                await scenario(partial(start_node, stack))

    trio.run(main)


async def start_node(stack: AsyncExitStack, number: int, listen: str = ANYWHERE) -> NodeUnderTest:
    transport = Libp2pTransport(bytes([number]) * 32, [listen], SETTINGS)
    return await stack.enter_async_context(running(transport))


def has_heard(message: bytes) -> Callable[[Recorder], bool]:
    return lambda heard: message in [content for _, _, content in heard.gossip]


async def publish_until_heard(source: NodeUnderTest, target: NodeUnderTest, word: bytes) -> None:
    while not has_heard(word)(target.heard):
        await source.transport.publish(TOPIC, word)
        with trio.move_on_after(0.2):
            await target.heard.wait_until(has_heard(word))


def test_gossip_after_a_restart_is_not_taken_for_old() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        await one.meet(other)
        await publish_until_heard(one, other, b"before")
        for number in range(50):
            await one.transport.publish(TOPIC, b"%d" % number)
        await other.heard.wait_until(has_heard(b"49"))
        await one.stop()

        again = await node(1)
        await again.meet(other)
        await publish_until_heard(other, again, b"so that the mesh is there")
        # Fewer than were sent before: by counting on, none of them would get through.
        for _ in range(10):
            await again.transport.publish(TOPIC, b"after the restart")
            with trio.move_on_after(1.0):
                await other.heard.wait_until(has_heard(b"after the restart"))
                return
        raise AssertionError("what is said after a restart is not heard")

    with_nodes(scenario)


def test_a_port_is_free_as_soon_as_the_transport_has_stopped() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        await one.meet(other)
        listen = one.address.partition("/p2p/")[0]
        await one.stop()
        again = await node(1, listen)
        await other.meet(again)

    with_nodes(scenario)


def test_a_host_that_breaks_down_is_an_error_and_has_a_successor() -> None:
    async def fail() -> None:
        raise ValueError("something inside the library")

    async def break_down(transport: Libp2pTransport, heard: Recorder, address: str) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(transport.run, heard))
            await transport.dial(address)
            assert transport._swarm is not None
            transport._swarm.manager.run_task(fail)

    async def scenario(node: Enter) -> None:
        other = await node(2)
        heard, transport = Recorder(), Libp2pTransport(bytes([1]) * 32, [ANYWHERE], SETTINGS)
        with pytest.RaisesGroup(pytest.RaisesExc(TransportError, match="broke down")):
            await break_down(transport, heard, other.address)
        assert heard.order == ["connected", "disconnected"]
        await other.heard.wait_until(lambda heard: not heard.here)

        successor = await node(1, transport.addresses[0].partition("/p2p/")[0])
        await successor.meet(other)

    with_nodes(scenario)


def test_a_cancelled_send_hinders_no_later_one() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        await one.meet(other)
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                frames = [bytes(FRAME_BYTES_MAX)]
                nursery.start_soon(one.transport.send, other.peer, Channel.CONTROL, frames)
                await trio.testing.wait_all_tasks_blocked(0.002)
                nursery.cancel_scope.cancel()
        await one.transport.send(other.peer, Channel.CONTROL, [b"after"])
        await other.heard.wait_until(lambda heard: heard.frames[-1:][0][2] == b"after")
        assert one.heard.went == other.heard.went == []

    with_nodes(scenario)


def test_who_answers_under_another_name_is_not_connected() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        wrong = peer_id_of(bytes(32))
        with pytest.raises(DialError):
            await one.transport.dial(other.address.replace(other.peer, wrong))
        assert one.heard.came == []

    with_nodes(scenario)


@pytest.mark.parametrize("length", [FRAME_BYTES_MAX + 1, 2**32 - 1])
def test_a_frame_announced_too_large_ends_its_stream_alone(length: int) -> None:
    async def scenario(node: Enter) -> None:
        one = await node(1)
        async with attacking(one.address) as attacker:
            stream = await attacker.stream("/openledger/control/1")
            await stream.write(struct.pack("<I", length) + bytes(1000))
            again = await attacker.stream("/openledger/control/1")
            await again.write(struct.pack("<I", 5) + b"frame")
            await one.heard.wait_until(lambda heard: bool(heard.frames))
            assert one.heard.went == []
        assert [frame for _, _, frame in one.heard.frames] == [b"frame"]

    with_nodes(scenario)


def test_a_signed_record_is_checked_once_for_many_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = 0
    consume = record_module.consume_envelope

    def counting(content: bytes, domain: str) -> object:
        nonlocal checks
        checks += 1
        return consume(content, domain)

    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        await one.meet(other)
        await publish_until_heard(one, other, b"begin")
        for number in range(100):
            await one.transport.publish(TOPIC, b"%d" % number)
        await other.heard.wait_until(has_heard(b"99"))

    monkeypatch.setattr(record_module, "consume_envelope", counting)
    with_nodes(scenario)
    assert checks <= 4


def test_a_peer_that_left_is_not_dialled_by_the_library() -> None:
    async def scenario(node: Enter) -> None:
        nodes = [await node(number) for number in range(1, 4)]
        for one in nodes[1:]:
            await nodes[0].meet(one)
        for one in nodes[1:]:
            await nodes[0].transport.disconnect(one.peer)
        transport = nodes[0].transport
        assert isinstance(transport, Libp2pTransport)
        assert transport._swarm is not None
        await transport._swarm.auto_connector.maybe_connect()
        assert nodes[0].heard.here == []

    with_nodes(scenario)


def test_a_stop_leaves_no_thread_behind() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        await one.meet(other)

    before = caches()
    with_nodes(scenario)
    assert caches() == before


def caches() -> int:
    return sum("_background_cleanup" in thread.name for thread in threading.enumerate())


def test_a_frame_costs_one_write_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    compat.apply()
    written: list[bytes] = []
    reads: list[int | None] = []
    write, receive = Yamux._write_frame, trio.SocketStream.receive_some

    async def noted_write(connection: Yamux, frame: bytes) -> None:
        written.append(frame)
        await write(connection, frame)

    async def noted_receive(stream: trio.SocketStream, most: int | None = None) -> bytes:
        reads.append(most)
        return bytes(await receive(stream, most))

    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        await one.meet(other)
        await publish_until_heard(one, other, b"the hosts have said all they say at first")
        await one.transport.send(other.peer, Channel.CONSENSUS, [b"first"])
        await other.heard.wait_until(lambda heard: len(heard.frames) == 1)
        monkeypatch.setattr(Yamux, "_write_frame", noted_write)
        monkeypatch.setattr(trio.SocketStream, "receive_some", noted_receive)
        for number in range(100):
            await one.transport.send(other.peer, Channel.CONSENSUS, [b"%d" % number])
            await other.heard.wait_until(lambda heard, n=number: len(heard.frames) == n + 2)
        # One for each frame, and a few of gossip's heartbeat.
        assert 100 <= len(written) < 150
        assert len(reads) < 150

    with_nodes(scenario)


def test_a_long_frame_arrives_whole_with_window_updates_that_are_gathered() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        await one.meet(other)
        frame = bytes(range(256)) * (FRAME_BYTES_MAX // 256)
        for _ in range(3):
            await one.transport.send(other.peer, Channel.CONSENSUS, [frame])
        await other.heard.wait_until(lambda heard: len(heard.frames) == 3)
        assert all(content == frame for _, _, content in other.heard.frames)

    with_nodes(scenario)
