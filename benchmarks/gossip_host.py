"""`python -m benchmarks.gossip_host ours|stock NUMBER`: a host for the gossip row, by itself.

It prints its address, reads the addresses of the others to dial, reports when it is connected with
all, and then follows lines: `go COUNT RATE SETTLE` publishes, and prints one JSON line with the
delays of the messages received until some seconds later and the CPU time. `stock` is libp2p
unmodified: no patch of ours, its own defaults.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Final

import trio

SIZE: Final = 200
PEERS: Final = 3
_STAMP: Final = struct.Struct(">QQ")

Publish = Callable[[bytes], Awaitable[None]]


class Delays:
    """The delays of the messages of others; each message begins with the time it was sent at."""

    def __init__(self) -> None:
        self.ms: list[float] = []

    def record_message(self, message: bytes) -> None:
        """Record the delay of a message; the clock is the machine's."""
        sent, _ = _STAMP.unpack_from(message)
        self.ms.append((time.monotonic_ns() - sent) / 1e6)


async def run_ours(number: int, delays: Delays) -> None:
    """Gossip by the node's network service: batches, patches, our settings."""
    from p2p.protocols.status import PROTOCOL_VERSION, Roles, Status
    from p2p.protocols.transactions import topic_of
    from p2p.service.service import NetworkSettings, Service
    from p2p.transport.libp2p_host import Libp2pTransport
    from p2p.transport.transport import PeerId, RequestError, TransportSettings
    from p2p.transport.wire import RequestKind
    from runtime.crypto.keys import Keypair
    from runtime.types.primitives import Hash

    genesis = Hash(bytes([7]) * 32)

    class Node:
        """A node without a chain."""

        def status(self) -> Status:
            return Status(PROTOCOL_VERSION, genesis, 0, genesis, 0, genesis, Roles.FULL, "row")

        async def answer(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            raise RequestError("There is nothing to ask for.")

    seed = bytes([number + 1]) * 32
    limits = TransportSettings(topics=frozenset({topic_of(genesis)}))
    transport = Libp2pTransport(seed, ["/ip4/127.0.0.1/tcp/0"], limits)
    async with trio.open_nursery() as nursery:
        settings = NetworkSettings(identity=Keypair.from_seed(seed))
        service = Service(lambda: transport, Node(), settings)
        await nursery.start(partial(service.run))
        print_line(service.addresses[0])
        for address in (await read_line()).split():
            await transport.dial(address)
        while len(service.peers()) < PEERS:
            await trio.sleep(0.05)

        async def listen() -> None:
            async for _, batch in service.transactions:
                for raw in batch:
                    delays.record_message(raw)

        async def publish(message: bytes) -> None:
            service.gossip(message)

        nursery.start_soon(listen)
        await publish_on_command(publish, delays)


async def run_stock(number: int, delays: Delays) -> None:
    """Gossip by the library itself, with its own defaults."""
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.custom_types import TProtocol
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.pubsub.gossipsub import GossipSub
    from libp2p.pubsub.pubsub import Pubsub
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr

    topic = "transactions"
    host = new_host(key_pair=create_new_key_pair(bytes([number + 1]) * 32))
    # The library's default is a heartbeat in two minutes, and there is no mesh before the first.
    protocols = [TProtocol(name) for name in ("/meshsub/1.2.0", "/meshsub/1.1.0")]
    router = GossipSub(protocols, degree=6, degree_low=4, degree_high=10, heartbeat_interval=1)
    pubsub = Pubsub(host, router)
    async with (
        host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]),
        background_trio_service(router),
        background_trio_service(pubsub),
        trio.open_nursery() as nursery,
    ):
        await pubsub.wait_until_ready()
        subscription = await pubsub.subscribe(topic)
        (address, *_) = host.get_addrs()
        print_line(str(address))
        for other in (await read_line()).split():
            await host.connect(info_from_p2p_addr(Multiaddr(other)))
        while len(pubsub.peers) < PEERS:
            await trio.sleep(0.05)

        async def listen() -> None:
            own = host.get_id().to_bytes()
            while True:
                message = await subscription.get()
                if message.from_id != own:
                    delays.record_message(message.data)

        nursery.start_soon(listen)
        await publish_on_command(partial(pubsub.publish, topic), delays)


async def publish_on_command(publish: Publish, delays: Delays) -> None:
    """Publish as each line of the input demands and print the delays, until the input ends."""
    random = Random(SIZE)
    print_line("connected")
    while words := (await read_line()).split():
        count, rate, settle = int(words[1]), float(words[2]), float(words[3])
        delays.ms.clear()
        cpu, began = time.process_time(), trio.current_time()
        for place in range(count):
            await trio.sleep_until(began + place / rate)
            head = _STAMP.pack(time.monotonic_ns(), random.getrandbits(64))
            await publish(head + random.randbytes(SIZE - _STAMP.size))
        await trio.sleep_until(began + count / rate + settle)
        print_line(json.dumps({"ms": delays.ms, "cpu": time.process_time() - cpu}))


async def read_line() -> str:
    """Read a line of the input; empty at its end."""
    return await trio.to_thread.run_sync(sys.stdin.readline)


def print_line(text: str) -> None:
    """Print one line without buffering."""
    print(text, flush=True)


async def main(kind: str, number: int) -> None:
    """Run until the input ends; the process ends with it."""
    delays = Delays()
    async with trio.open_nursery() as nursery:
        await {"ours": run_ours, "stock": run_stock}[kind](number, delays)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
