"""Nodes in memory for tests of the service: a provider that answers, and a world that runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import trio
from trio.testing import MockClock

from p2p.protocols.status import PROTOCOL_VERSION, Roles, Status
from p2p.protocols.transactions import topic_of
from p2p.service.service import NetworkSettings, Service
from p2p.transport.memory import MemoryNetwork, MemoryTransport
from p2p.transport.transport import PeerId, RequestError, Started, Transport, TransportSettings
from p2p.transport.wire import RequestKind
from runtime.crypto.keys import Keypair
from runtime.types.primitives import Hash

GENESIS = Hash(bytes([7]) * 32)
OTHER_GENESIS = Hash(bytes([8]) * 32)
LIMIT_SECONDS = 600.0


class Node:
    """A provider: it has a status and answers by what `reply` returns."""

    def __init__(self, genesis_hash: Hash = GENESIS) -> None:
        self.now = Status(
            version=PROTOCOL_VERSION,
            genesis_hash=genesis_hash,
            best_number=0,
            best_hash=genesis_hash,
            finalized_number=0,
            finalized_hash=genesis_hash,
            roles=Roles.FULL | Roles.VALIDATOR,
            agent="test",
        )
        self.reply: Callable[[RequestKind, bytes], Coroutine[Any, Any, bytes]] = echo

    def status(self) -> Status:
        return self.now

    def reach(self, finalized: int) -> None:
        """Have more blocks."""
        self.now = replace(self.now, best_number=finalized, finalized_number=finalized)

    async def answer(self, peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        return await self.reply(kind, body)


async def echo(kind: RequestKind, body: bytes) -> bytes:
    if body == b"refuse":
        raise RequestError("It is refused.")
    return body


class World:
    """A network in memory and the services that run on it."""

    def __init__(self, seed: int, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork(seed)
        self.nursery = nursery
        self.nodes: dict[PeerId, Node] = {}
        self._random = Random(seed)

    def transport(self, number: int) -> MemoryTransport:
        settings = TransportSettings(topics=frozenset({topic_of(GENESIS), topic_of(OTHER_GENESIS)}))
        return self.network.transport(seed_of(number), settings)

    def service(
        self,
        number: int,
        *bootnodes: Service,
        genesis_hash: Hash = GENESIS,
        make: Callable[[], Transport] | None = None,
        **settings: Any,
    ) -> Service:
        """Make the service of a node that is not started yet."""
        node = Node(genesis_hash)
        chosen = NetworkSettings(
            bootnodes=tuple(boot.addresses[0] for boot in bootnodes),
            identity=Keypair.from_seed(seed_of(number)),
            random=self._random.random,
            **settings,
        )
        service = Service(make or (lambda: self.transport(number)), node, chosen)
        self.nodes[service.peer_id] = node
        return service

    async def start(self, number: int, *bootnodes: Service, **settings: Any) -> Service:
        """Start a node that knows some bootnodes."""
        service = self.service(number, *bootnodes, **settings)
        await self.nursery.start(run_service, service)
        return service

    async def mesh(self, count: int, **settings: Any) -> list[Service]:
        """Start nodes that know the first one, and wait until all know all."""
        services = [await self.start(0, **settings)]
        for number in range(1, count):
            services.append(await self.start(number, services[0], **settings))
        for service in services:
            await until(lambda service=service: len(service.peers()) == count - 1)
        return services


async def run_service(service: Service, *, task_status: Started = trio.TASK_STATUS_IGNORED) -> None:
    await service.run(task_status=task_status)


def seed_of(number: int) -> bytes:
    return bytes([number + 1]) * 32


def names(service: Service) -> set[PeerId]:
    """Return the peers that a service shook hands with."""
    return {state.peer for state in service.peers()}


async def until(is_so: Callable[[], bool], limit_s: float = LIMIT_SECONDS) -> None:
    """Wait, in the clock's time, until something holds."""
    with trio.fail_after(limit_s):
        while not is_so():
            await trio.sleep(0.01)


@asynccontextmanager
async def world(seed: int = 1) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield World(seed, nursery)
        nursery.cancel_scope.cancel()


def play(scenario: Callable[[World], Coroutine[Any, Any, None]], seed: int = 1) -> None:
    """Run a scenario in a world whose clock jumps whenever everybody waits."""

    async def main() -> None:
        async with world(seed) as made:
            with trio.fail_after(LIMIT_SECONDS):
                await scenario(made)

    trio.run(main, clock=MockClock(autojump_threshold=0))
