"""Peers that would fill a node's memory, hold its ports, or steer whom it dials."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct

import pytest
import trio
import trio.testing
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.exceptions import StreamError
from libp2p.network.stream.net_stream import NetStream
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

from p2p.transport.compat import STREAMS_MAX, WINDOW_BYTES_MAX, WRITE_LIMIT_SECONDS
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.libp2p_requests import REQUEST_PROTOCOL
from p2p.transport.libp2p_setup import HANG_UP_LIMIT_SECONDS
from p2p.transport.streams import join_frames
from p2p.transport.transport import (
    FRAME_BYTES_MAX,
    AddressError,
    Channel,
    PeerGoneError,
    TransportSettings,
)
from tests.p2p.attacks.support.attacker import attacking, victim
from tests.p2p.attacks.support.victim import BURST
from tests.p2p.support.recorder import TOPIC, running

FLOOD_BYTES = 8 << 20
PART_BYTES = 60_000
LINGER_NONE = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("is_patched", [True, False])
def test_a_peer_that_ignores_flow_control_is_cut_off(is_patched: bool) -> None:
    async def scenario() -> None:
        with victim(*([] if is_patched else ["enforce-windows"])) as target:
            async with attacking(target.address) as attacker:
                stream = await attacker.stream(REQUEST_PROTOCOL)
                await stream.write(join_frames([b"never"]))
                assert isinstance(stream, NetStream)
                assert isinstance(stream.muxed_stream, YamuxStream)
                muxed, number = stream.muxed_stream.conn, stream.muxed_stream.stream_id
                assert isinstance(muxed, Yamux)
                part = struct.pack("!BBHII", 0, 0, 0, number, PART_BYTES) + bytes(PART_BYTES)
                with contextlib.suppress(IOException, RawConnError):
                    for _ in range(FLOOD_BYTES // PART_BYTES):
                        await muxed._write_frame(part)
                state = await target.state()
                assert (state["buffered"] <= WINDOW_BYTES_MAX) == is_patched
                with trio.move_on_after(3 if is_patched else 1):
                    await attacker.connection.event_closed.wait()
                assert attacker.connection.is_closed == is_patched

    trio.run(scenario)


def test_a_peer_has_no_more_streams_than_it_may() -> None:
    async def scenario() -> None:
        with victim() as target:
            async with attacking(target.address) as attacker:
                with contextlib.suppress(StreamFailure, StreamError):
                    for _ in range(2 * STREAMS_MAX):
                        stream = await attacker.stream("/ipfs/ping/1.0.0")
                        await stream.write(bytes(1))
                assert (await target.state())["streams"] <= 2 * STREAMS_MAX
                assert await target.is_serving()

    trio.run(scenario)


@pytest.mark.parametrize("is_patched", [True, False])
def test_notes_on_invented_topics_are_not_kept(is_patched: bool) -> None:
    async def scenario() -> None:
        with victim(*([] if is_patched else ["ignore-unknown-topics"])) as target:
            async with attacking(target.address) as attacker:
                prune = [rpc_pb2.ControlPrune(topicID=f"topic {n}") for n in range(500)]
                graft = [rpc_pb2.ControlGraft(topicID=f"topic {n}") for n in range(500)]
                control = rpc_pb2.ControlMessage(prune=prune, graft=graft)
                await attacker.gossip(rpc_pb2.RPC(control=control))
                with trio.move_on_after(2):
                    while (await target.state())["topics"] < 500:
                        await trio.lowlevel.checkpoint()
                assert ((await target.state())["topics"] <= 1) == is_patched

    trio.run(scenario)


@pytest.mark.parametrize("is_patched", [True, False])
def test_a_burst_of_gossip_is_not_lost(is_patched: bool) -> None:
    async def scenario() -> None:
        with victim(*([] if is_patched else ["lengthen-queues"])) as target:
            settings = TransportSettings(topics=frozenset({TOPIC}))
            transport = Libp2pTransport(b"h" * 32, ["/ip4/127.0.0.1/tcp/0"], settings)
            async with running(transport) as honest:
                await honest.transport.dial(target.address)
                await wait_for_mesh(transport)
                await honest.transport.request(target.peer, b"burst")
                with trio.move_on_after(6 if is_patched else 3):
                    await honest.heard.wait_until(lambda heard: len(heard.gossip) >= BURST)
                assert (len(honest.heard.gossip) == BURST) == is_patched

    trio.run(scenario)


def test_a_port_in_use_is_an_error() -> None:
    async def scenario() -> None:
        async with running(Libp2pTransport(bytes(32), ["/ip4/127.0.0.1/tcp/0"])) as first:
            address = first.address.partition("/p2p/")[0]
            second = Libp2pTransport(b"2" * 32, [address])
            with pytest.raises(AddressError, match="Choose another port"):
                await second.run(first.heard, task_status=trio.TASK_STATUS_IGNORED)

    trio.run(scenario)


def test_without_the_patch_two_nodes_listen_on_one_port() -> None:
    with victim("refuse-shared-ports") as first:
        port = first.address.split("/")[4]
        with victim("refuse-shared-ports", port=port) as second:
            assert second.address == first.address


def test_a_node_serves_after_two_hundred_abrupt_strangers() -> None:
    beginnings = (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n", b"\xff" * 64)

    async def scenario() -> None:
        with victim() as target:
            port = int(target.address.split("/")[4])
            for number in range(200):
                with socket.create_connection(("127.0.0.1", port)) as stranger:
                    stranger.sendall(beginnings[number % len(beginnings)])
                    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            assert await target.is_serving()

    trio.run(scenario)


@pytest.mark.parametrize("protocol", [b"/plaintext/2.0.0", b"/secio/1.0.0", b"/tls/1.0.0"])
def test_nothing_but_noise_is_offered(protocol: bytes) -> None:
    async def scenario() -> None:
        async with running(Libp2pTransport(bytes(32), ["/ip4/127.0.0.1/tcp/0"])) as node:
            stream = await trio.open_tcp_stream("127.0.0.1", int(node.address.split("/")[4]))
            async with stream:
                answers = b""
                for line in (b"/multistream/1.0.0", protocol, b"/noise"):
                    await stream.send_all(bytes([len(line) + 1]) + line + b"\n")
                while answers.count(b"\n") < 3:
                    answers += await stream.receive_some()
        assert answers.split(b"\n")[:3] == [b"\x13/multistream/1.0.0", b"\x03na", b"\x07/noise"]

    trio.run(scenario)


def test_a_peer_that_stands_still_hinders_nobody_and_can_be_disconnected() -> None:
    async def scenario() -> None:
        with victim() as target:
            async with running(Libp2pTransport(b"h" * 32, ["/ip4/127.0.0.1/tcp/0"])) as honest:
                await honest.transport.dial(target.address)
                await honest.transport.send(target.peer, Channel.CONTROL, [b"x"])
                target.process.send_signal(signal.SIGSTOP)
                frames = [bytes(FRAME_BYTES_MAX)]
                with pytest.raises(PeerGoneError):
                    await honest.transport.send(target.peer, Channel.CONTROL, frames)
                with trio.fail_after(HANG_UP_LIMIT_SECONDS * 2 + WRITE_LIMIT_SECONDS):
                    await honest.transport.disconnect(target.peer)
                await honest.heard.wait_until(lambda heard: heard.went == [target.peer])
                target.process.send_signal(signal.SIGCONT)
                assert await target.is_serving()

    trio.run(scenario)


async def wait_for_mesh(transport: Libp2pTransport) -> None:
    """Wait until the one peer takes gossip at once, instead of when it asks for it."""
    pubsub = transport._pubsub
    assert pubsub is not None
    with trio.fail_after(10):
        while not pubsub.router.mesh.get(TOPIC):  # type: ignore[attr-defined]
            await trio.testing.wait_all_tasks_blocked(0.01)
