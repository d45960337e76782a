"""The network service while connections, transports and providers fail."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from p2p.protocols.status import Status
from p2p.service.service import Fault, Service
from p2p.transport.memory import LinkConditions, MemoryTransport
from p2p.transport.transport import (
    Channel,
    Handler,
    PeerGoneError,
    PeerId,
    Started,
    Transport,
    TransportError,
)
from p2p.transport.wire import MessageKind, RequestKind
from tests.p2p.support.cluster import World, names, play, until


class Wrapped:
    """A transport that passes everything on; what fails is added by subclasses."""

    def __init__(self, inner: MemoryTransport) -> None:
        self.inner = inner

    @property
    def peer_id(self) -> PeerId:
        return self.inner.peer_id

    @property
    def addresses(self) -> Sequence[str]:
        return self.inner.addresses

    async def run(self, handler: Handler, *, task_status: Started) -> None:
        await self.inner.run(handler, task_status=task_status)

    async def dial(self, address: str) -> PeerId:
        return await self.inner.dial(address)

    async def disconnect(self, peer: PeerId) -> None:
        await self.inner.disconnect(peer)

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        await self.inner.send(peer, channel, frames)

    async def request(self, peer: PeerId, request: bytes) -> bytes:
        return await self.inner.request(peer, request)

    async def publish(self, topic: str, message: bytes) -> None:
        await self.inner.publish(topic, message)


class Stalling(Wrapped):
    """Writes to one peer never end."""

    stalled: PeerId | None = None
    writes = 0

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        if peer == self.stalled:
            await trio.sleep_forever()
        self.writes += 1
        await super().send(peer, channel, frames)


class Clinging(Wrapped):
    """Fails to close a connection."""

    async def disconnect(self, peer: PeerId) -> None:
        raise ZeroDivisionError


class Mortal(Wrapped):
    """Dies when it is told to."""

    def __init__(self, inner: MemoryTransport) -> None:
        super().__init__(inner)
        self.death = trio.Event()

    async def run(self, handler: Handler, *, task_status: Started) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                lambda task_status: super(Mortal, self).run(handler, task_status=task_status)
            )
            task_status.started()
            await self.death.wait()
            raise ZeroDivisionError("the host broke down")


def test_a_stalled_peer_delays_no_other_and_is_disconnected() -> None:
    async def scenario(world: World) -> None:
        transport = Stalling(world.transport(9))
        boot = await world.start(9, make=lambda: transport)
        second, third = await world.start(1, boot), await world.start(2, boot)
        await until(lambda: len(boot.peers()) == 2)
        transport.stalled = second.peer_id
        boot.broadcast(MessageKind.VOTE, b"yes")
        with trio.fail_after(0.1):
            assert (await third.consensus.receive()).body == b"yes"
        await until(lambda: second.peer_id not in names(boot), 15)
        assert third.peer_id in names(boot)

    play(scenario)


def test_a_peer_whose_outbox_is_full_is_disconnected() -> None:
    async def scenario(world: World) -> None:
        transport = Stalling(world.transport(9))
        boot = await world.start(9, make=lambda: transport)
        second = await world.start(1, boot)
        await until(lambda: len(boot.peers()) == 1)
        transport.stalled = second.peer_id
        for number in range(10_000):
            boot.broadcast(MessageKind.VOTE, b"%d" % number)
        assert not boot.peers()

    play(scenario)


def test_a_connection_that_cannot_be_closed_ends_nothing_else() -> None:
    async def scenario(world: World) -> None:
        transport = Clinging(world.transport(9))
        boot = await world.start(9, make=lambda: transport)
        second, third = await world.start(1, boot), await world.start(2, boot)
        await until(lambda: len(boot.peers()) == 2)
        boot.penalize(second.peer_id, Fault.WRONG_CHAIN, "a test")
        second.broadcast(MessageKind.VOTE, b"unheard")
        third.broadcast(MessageKind.VOTE, b"heard")
        assert (await boot.consensus.receive()).body == b"heard"
        assert names(boot) == {third.peer_id}

    play(scenario)


def test_what_waits_for_a_peer_goes_out_in_one_write() -> None:
    async def scenario(world: World) -> None:
        transport = Stalling(world.transport(9))
        boot = await world.start(9, make=lambda: transport)
        second = await world.start(1, boot)
        await until(lambda: len(second.peers()) == len(boot.peers()) == 1)
        before = transport.writes
        for number in range(20):
            boot.broadcast(MessageKind.VOTE, b"%d" % number)
        bodies = [(await second.consensus.receive()).body for _ in range(20)]
        assert bodies == [b"%d" % number for number in range(20)]
        assert transport.writes - before == 1

    play(scenario)


def test_a_silent_peer_is_dropped_and_met_again() -> None:
    async def scenario(world: World) -> None:
        services = await world.mesh(4)
        *rest, stopped = services
        world.network.partition({service.peer_id for service in rest}, {stopped.peer_id})
        began = trio.current_time()
        await until(lambda: all(len(service.peers()) == 2 for service in rest))
        assert 8 <= trio.current_time() - began <= 11
        await until(lambda: not stopped.peers())
        await trio.sleep(20)
        world.network.heal()
        await until(lambda: all(len(service.peers()) == 3 for service in services), 60)

    play(scenario)


def test_a_mesh_forms_and_nobody_is_banned_where_frames_are_lost_and_doubled() -> None:
    async def scenario(world: World) -> None:
        world.network.conditions = LinkConditions(loss=0.1, duplication=0.1)
        services = [await world.start(0)]
        for number in range(1, 5):
            services.append(await world.start(number, services[0]))
        await until(lambda: all(len(service.peers()) == 4 for service in services), 120)
        await trio.sleep(120)
        assert all(service.counters.peers_banned == 0 for service in services)

    for seed in range(5):
        play(scenario, seed)


def test_blocked_peers_are_apart_in_both_directions_until_unblocked() -> None:
    async def scenario(world: World) -> None:
        services = await world.mesh(4)
        left, right = services[:2], services[2:]
        for service in left:
            service.block({other.peer_id for other in right})
        await until(lambda: all(len(service.peers()) == 1 for service in services), 5)
        await trio.sleep(60)
        left[0].broadcast(MessageKind.VOTE, b"left")
        left[0].gossip(b"transaction")
        assert (await left[1].consensus.receive()).body == b"left"
        await trio.sleep(1)
        assert all(len(service.peers()) == 1 for service in services)
        assert all(service.counters.consensus_taken == 0 for service in right)
        assert all(service.counters.transactions_received == 0 for service in right)
        with pytest.raises(PeerGoneError):
            await right[0].request(left[0].peer_id, RequestKind.BODY, b"hash")
        for service in left:
            service.unblock()
        await until(lambda: all(len(service.peers()) == 3 for service in services), 2)

    play(scenario)


def test_latency_delays_votes_transactions_and_requests_without_adding_up() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        first.set_latency_ms(500)
        began = trio.current_time()
        for number in range(10):
            first.broadcast(MessageKind.VOTE, b"%d" % number)
            await trio.sleep(0.01)
        first.gossip(b"transaction")
        for _ in range(10):
            await second.consensus.receive()
        assert 0.5 <= trio.current_time() - began < 0.7
        await second.transactions.receive()
        assert 0.5 <= trio.current_time() - began < 0.8
        began = trio.current_time()
        await first.request(second.peer_id, RequestKind.BODY, b"hash")
        await second.request(first.peer_id, RequestKind.BODY, b"hash")
        assert 1.0 <= trio.current_time() - began < 1.1

    play(scenario)


def test_a_dead_transport_is_replaced_while_the_interface_works() -> None:
    async def scenario(world: World) -> None:
        made: list[Mortal] = []

        def make() -> Transport:
            made.append(Mortal(world.transport(9)))
            return made[-1]

        boot = await world.start(9, make=make)
        other = await world.start(1, boot)
        for lives in range(1, 4):
            await until(lambda: len(boot.peers()) == 1)
            made[-1].death.set()
            await until(lambda: not boot.peers())
            boot.broadcast(MessageKind.VOTE, b"nobody hears it")
            boot.gossip(b"transaction")
            boot.announce()
            with pytest.raises(PeerGoneError):
                await boot.request(other.peer_id, RequestKind.BODY, b"hash")
            assert boot.peer_id == made[0].peer_id
            await until(lambda lives=lives: boot.counters.transport_restarts == lives, 60)
        await until(lambda: len(boot.peers()) == 1)
        other.broadcast(MessageKind.VOTE, b"yes")
        assert (await boot.consensus.receive()).body == b"yes"

    play(scenario)


def test_a_restart_that_fails_is_tried_again() -> None:
    async def scenario(world: World) -> None:
        made: list[Mortal] = []

        def make() -> Transport:
            made.append(Mortal(world.transport(9)))
            if 2 <= len(made) <= 4:
                raise TransportError("The port is taken. Free it.")
            return made[-1]

        boot = await world.start(9, make=make)
        made[0].death.set()
        other = await world.start(1, boot)
        await until(lambda: names(boot) == {other.peer_id}, 120)

    play(scenario)


def test_a_first_start_that_fails_is_told() -> None:
    async def scenario(world: World) -> None:
        await world.start(0)
        twin = world.service(0)
        with pytest.raises(TransportError, match="runs already"):
            await twin.run(task_status=trio.TASK_STATUS_IGNORED)

    play(scenario)


def test_a_provider_without_a_status_ends_nothing() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        node = world.nodes[first.peer_id]

        def broken() -> Status:
            raise ZeroDivisionError

        node.status = broken  # type: ignore[method-assign]
        first.announce()
        await trio.sleep(1)
        third = await world.start(2, first)
        await trio.sleep(1)
        assert names(first) == {second.peer_id}
        del node.status
        await until(lambda: names(first) == {second.peer_id, third.peer_id}, 60)

    play(scenario)


def test_a_node_that_stood_still_does_not_blame_its_peers() -> None:
    from trio.testing import MockClock

    from tests.p2p.support.cluster import world

    clock = MockClock()

    async def settle(services: list[Service]) -> None:
        for _ in range(300):
            clock.jump(0.01)
            await trio.sleep(0)
            await trio.testing.wait_all_tasks_blocked()
        assert all(service.peers() for service in services)

    async def main() -> None:
        async with world() as made:
            boot = await made.start(0)
            services = [boot, await made.start(1, boot)]
            await settle(services)
            for _ in range(3):
                clock.jump(60)
                await trio.testing.wait_all_tasks_blocked()
                await settle(services)
            assert boot.counters.peers_went == 0

    trio.run(main, clock=clock)
