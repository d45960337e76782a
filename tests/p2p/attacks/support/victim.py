"""A node in a process of its own, with chosen patches left out, to be attacked.

Prints its address, serves until its input ends, and exits with 1 when its host breaks down.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.yamux.yamux import Yamux

from p2p.transport import compat, libp2p_setup
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.libp2p_setup import connections_of
from p2p.transport.transport import Channel, PeerId, TransportError, TransportSettings
from tests.p2p.support.recorder import TOPIC

BURST = 300
SLOTS = 4


class Victim(Libp2pTransport):
    """A transport whose validator and one of whose stream handlers break their promises."""

    def _receive_gossip(self, source: ID, message: rpc_pb2.Message) -> bool:
        if message.data == b"raise":
            raise ValueError("a validator that raises")
        return super()._receive_gossip(source, message)

    def prepare(self) -> None:
        async def raising(_: object) -> None:
            raise ValueError("a stream handler that raises")

        assert self._host is not None
        self._host.set_stream_handler(TProtocol("/raise/1"), raising)

    def state(self) -> dict[str, int]:
        assert self._swarm is not None
        assert self._pubsub is not None
        muxed = [one.muxed_conn for one in connections_of(self._swarm)]
        return {
            "connections": len(muxed),
            "streams": sum(len(one.streams) for one in connections_of(self._swarm)),
            "buffered": sum(
                len(buffer)
                for one in muxed
                if isinstance(one, Yamux)
                for buffer in one.stream_buffers.values()
            ),
            "topics": len(self._pubsub.router.back_off),  # type: ignore[attr-defined]
        }


class Handler:
    """Answers what the tests ask."""

    def __init__(self, transport: Victim) -> None:
        self._transport = transport

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None: ...
    def disconnected(self, peer: PeerId) -> None: ...
    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None: ...
    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        return True

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        if request == b"state":
            return json.dumps(self._transport.state()).encode()
        if request == b"burst":
            for number in range(BURST):
                await self._transport.publish(TOPIC, b"message %d" % number)
        if request == b"never":
            await trio.sleep_forever()
        return request[::-1]


async def main(port: str, skip: list[str]) -> None:
    libp2p_setup.CONNECTIONS_MAX = SLOTS
    compat.apply(skip)
    settings = TransportSettings(topics=frozenset({TOPIC}), max_peers=SLOTS // 2)
    transport = Victim(bytes(32), [f"/ip4/127.0.0.1/tcp/{port}"], settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(transport.run, Handler(transport)))
        transport.prepare()
        print(transport.addresses[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(partial(main, sys.argv[1], sys.argv[2:]))
    except* TransportError as group:
        sys.exit(str(group.exceptions[0]))
