"""Clients that break, stall, lag or come in numbers never reach the node."""

from __future__ import annotations

import json
import logging
import struct
from socket import SO_LINGER, SOL_SOCKET

import trio

from node.rpc.limits import Limits
from tests.node.rpc.support.node_under_test import Client, Drive, NodeUnderTest

ROUNDS = 80
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def _frame(payload: bytes, opcode: int = 1) -> bytes:
    """A masked WebSocket frame of a client."""
    size = len(payload)
    head = bytes((0x80 | opcode,))
    head += bytes((0x80 | size,)) if size < 126 else bytes((0xFE,)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def _request(method: str, *params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n"
SUBSCRIBE = _frame(_request("chain_subscribeNewHeads"))
FOLLOW = _frame(_request("chainHead_v1_follow", True))
METADATA = _frame(_request("state_getMetadata"))

STAGES = {
    "after connecting": [b""],
    "within the headers": [b"POST / HT"],
    "before the body": [POST],
    "within the body": [POST + b'{"jsonrpc"'],
    "after a whole request": [POST + _request("system_name").ljust(50)],
    "after a broken request line": [b"\x00\xff nonsense\r\n\r\n"],
    "after a path that is no ASCII": [b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n"],
    "within the upgrade": [UPGRADE[:40]],
    "after the upgrade": [UPGRADE],
    "within a frame": [UPGRADE, SUBSCRIBE[:9]],
    "with a frame before the upgrade is answered": [UPGRADE + SUBSCRIBE],
    "after subscribing": [UPGRADE, SUBSCRIBE],
    "after following": [UPGRADE, FOLLOW],
    "while the metadata is on its way": [UPGRADE, METADATA * 4],
    "after a frame without mask": [UPGRADE, b"\x81\x02{}"],
    "after text that is no UTF-8": [UPGRADE, _frame(b"\xff\xfe\xfd")],
    "after an unknown opcode": [UPGRADE, _frame(b"", 0xB)],
    "after a close": [UPGRADE, _frame(b"\x03\xe8", 8)],
    "after data that follows a close": [UPGRADE, _frame(b"\x03\xe8", 8) + SUBSCRIBE],
}


async def _break_off(port: int, stage: list[bytes], number: int) -> None:
    """Send the pieces and close abruptly: with a reset, or every third time without."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    try:
        for position, piece in enumerate(stage):
            if position:
                await stream.receive_some(512)
            await stream.send_all(piece)
        if len(stage) > 1 and number % 2:
            await stream.receive_some(64)
    except trio.BrokenResourceError:
        return
    finally:
        if number % 3:
            stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()


def test_abrupt_ends_at_every_stage_leave_the_server_healthy(drive: Drive, scale: int) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        stages = list(STAGES.values())
        for start in range(0, ROUNDS * scale, 20):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 20):
                    for stage in stages:
                        nursery.start_soon(_break_off, node.endpoint.port, stage, number)
            await node.seal()
            assert await node.call("system_name") == "node"
        await _until_alone(node)

    drive(scenario, Limits(connections=2_000, connections_per_peer=2_000))


async def _until_alone(node: NodeUnderTest) -> None:
    """Wait until the server has forgotten every client."""
    gauge = node.metrics.rpc_connections
    while gauge._value.get():
        await trio.lowlevel.checkpoint()
        await node.seal()
    assert node.metrics.rpc_sessions._value.get() == 0
    assert len(node.chain._events) == 0, "no subscription outlives its connection"


class _Heard(logging.Handler):
    """Sets an event when a line with some words is logged."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.event = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage():
            self.event.set()


async def _wait_for(words: str, logger: str) -> None:
    heard = _Heard(words)
    logging.getLogger(logger).addHandler(heard)
    try:
        await heard.event.wait()
    finally:
        logging.getLogger(logger).removeHandler(heard)


def test_a_client_that_asks_and_never_reads_is_dropped_with_a_log_line(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", node.endpoint.port) as stream:
            await stream.send_all(UPGRADE)
            await stream.receive_some(512)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_asking, stream)
                await _wait_for("connection-dropped", "node.rpc.connections")
                nursery.cancel_scope.cancel()
        assert node.metrics.rpc_dropped._value.get() == 1
        assert await node.call("system_name") == "node"
        await _until_alone(node)

    drive(scenario, Limits(send_timeout_s=0.3))


async def _keep_asking(stream: trio.SocketStream) -> None:
    try:
        while True:
            await stream.send_all(METADATA)
    except trio.BrokenResourceError:
        return


def test_a_subscriber_that_never_reads_is_dropped_and_others_are_served(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with (
            node.connect() as other,
            await trio.open_tcp_stream("127.0.0.1", node.endpoint.port) as stream,
        ):
            heads = await other.call("chain_subscribeNewHeads")
            # Its answers fill what the system buffers, so its notifications wait.
            await stream.send_all(UPGRADE)
            await stream.receive_some(512)
            await stream.send_all(SUBSCRIBE)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_keep_asking, stream)
                nursery.start_soon(_keep_sealing, node, other, heads)
                await _wait_for("connection-dropped", "node.rpc.connections")
                nursery.cancel_scope.cancel()
            assert await other.call("system_name") == "node"

    drive(scenario, Limits(outbound_messages=4, send_timeout_s=0.3))


async def _keep_sealing(node: NodeUnderTest, other: Client, heads: str) -> None:
    while True:
        await node.seal()
        await other.event(heads)


def test_more_connections_than_allowed_are_refused(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as one, node.connect() as two:
            await one.call("system_name")
            await two.call("system_name")
            async with await trio.open_tcp_stream("127.0.0.1", node.endpoint.port) as third:
                assert (await third.receive_some(1_000)).startswith(b"HTTP/1.1 429")
            one.cut()
            while node.metrics.rpc_connections._value.get() > 1:
                await trio.lowlevel.checkpoint()
            assert await node.call("system_name") == "node"

    drive(scenario, Limits(connections_per_peer=2))


def test_a_body_that_does_not_arrive_times_out(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", node.endpoint.port) as stream:
            await stream.send_all(POST)
            assert (await stream.receive_some(1_000)).startswith(b"HTTP/1.1 408")

    drive(scenario, Limits(request_timeout_s=0.05))


def test_no_message_is_inflated(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        stream = await trio.open_tcp_stream("127.0.0.1", node.endpoint.port)
        async with stream:
            await stream.send_all(UPGRADE.removesuffix(b"\r\n") + offer)
            answer = await stream.receive_some(4_096)
            assert answer.startswith(b"HTTP/1.1 101")
            assert b"extensions" not in answer.lower()

    drive(scenario)
