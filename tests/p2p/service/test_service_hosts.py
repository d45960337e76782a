"""The network service over real hosts: TCP, Noise, Yamux and gossip on this machine."""

from __future__ import annotations

import logging

import pytest
import trio

from p2p.protocols.transactions import topic_of
from p2p.service.service import NetworkSettings, Service
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.transport import TransportSettings
from p2p.transport.wire import MessageKind, RequestKind
from runtime.crypto.keys import Keypair
from tests.p2p.support.cluster import GENESIS, Node, names, run_service, seed_of, until

LIMIT_SECONDS = 60.0


def service_of(number: int, *bootnodes: Service) -> Service:
    settings = TransportSettings(topics=frozenset({topic_of(GENESIS)}))
    return Service(
        lambda: Libp2pTransport(seed_of(number), ["/ip4/127.0.0.1/tcp/0"], settings),
        Node(),
        NetworkSettings(
            bootnodes=tuple(address for boot in bootnodes for address in boot.addresses),
            identity=Keypair.from_seed(seed_of(number)),
        ),
    )


def test_three_real_hosts_meet_vote_ask_gossip_part_and_meet_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            first = service_of(0)
            await nursery.start(run_service, first)
            services = [first, service_of(1, first), service_of(2, first)]
            for service in services[1:]:
                await nursery.start(run_service, service)
            await scenario(services)
            nursery.cancel_scope.cancel()

    async def scenario(services: list[Service]) -> None:
        first, second, third = services
        await until(lambda: all(len(service.peers()) == 2 for service in services), LIMIT_SECONDS)

        with trio.fail_after(LIMIT_SECONDS):
            for number in range(200):
                first.broadcast(MessageKind.VOTE, b"%d" % number)
            for other in (second, third):
                bodies = [(await other.consensus.receive()).body for _ in range(200)]
                assert bodies == [b"%d" % number for number in range(200)]

            body = bytes(60_000)
            assert await second.request(third.peer_id, RequestKind.BLOB, body) == body

            # The mesh of a topic takes a heartbeat to form, and gossip before it is lost.
            found: set[bytes] = set()
            count = 0
            while not found:
                second.gossip(b"transaction %d" % count)
                count += 1
                with trio.move_on_after(0.5):
                    found |= set((await third.transactions.receive())[1])
            assert found <= {b"transaction %d" % number for number in range(count)}

        first.block([second.peer_id])
        await until(lambda: names(first) == names(second) == {third.peer_id}, LIMIT_SECONDS)
        first.unblock()
        await until(lambda: all(len(service.peers()) == 2 for service in services), LIMIT_SECONDS)

    caplog.set_level(logging.INFO, "p2p")
    trio.run(main)
