"""The dialer: whom it dials, and what it tells an operator of those it cannot reach."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from p2p.service import dialer
from p2p.service.service import Service
from p2p.transport.memory import MemoryTransport
from p2p.transport.transport import DialError, PeerId, peer_id_of
from runtime.crypto.keys import Keypair
from tests.p2p.support.cluster import World, names, play, seed_of, until


def peer(number: int) -> PeerId:
    return peer_id_of(Keypair.from_seed(seed_of(number)).account)


def address(number: int) -> str:
    return f"/memory/1/p2p/{peer(number)}"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


async def start(world: World, number: int, transport: Any = None, **settings: Any) -> Service:
    make = None if transport is None else lambda: transport
    return await world.start(number, make=make, **settings)


class Refusing:
    """A transport whose dials fail for the reason of now; everything else is the real one's."""

    def __init__(self, inner: MemoryTransport, reason: str) -> None:
        self._inner = inner
        self.reason = reason

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def dial(self, address: str) -> PeerId:
        raise DialError(self.reason)


def test_a_configured_peer_that_cannot_be_reached_is_a_warning_once_for_each_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialer, "REMINDER_SECONDS", 100.0)

    async def scenario(world: World) -> None:
        refusing = Refusing(world.transport(0), "connection refused")
        service = await start(world, 0, refusing, reserved_peers=(address(7),))
        await trio.sleep(60)
        assert warnings(caplog) == [
            f"peer-unreachable address={address(7)} reason='connection refused'"
        ]
        assert service.counters.dials_failed > 5
        refusing.reason = "no route to host"
        await trio.sleep(60)
        assert [line.rpartition("reason=")[2] for line in warnings(caplog)] == [
            "'connection refused'",
            "'no route to host'",
        ]
        await trio.sleep(100)
        assert len(warnings(caplog)) == 3

    play(scenario)


def test_a_peer_that_nobody_named_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "p2p.service.dialer")

    async def scenario(world: World) -> None:
        refusing = Refusing(world.transport(0), "connection refused")
        service = await start(world, 0, refusing)
        service._book.add_local(peer(7), [address(7)])
        await until(lambda: service.counters.dials_failed > 2)

    play(scenario)
    assert warnings(caplog) == []
    assert "dial-failed" in caplog.text


def test_a_reserved_peer_is_dialled_when_there_are_peers_enough() -> None:
    async def scenario(world: World) -> None:
        boot = await world.start(1)
        reserved = await world.start(2)
        node = await world.start(0, boot, target_peers=1, reserved_peers=(address(2),))
        await until(lambda: names(node) == {boot.peer_id, reserved.peer_id})

    play(scenario)


def test_a_reserved_peer_that_went_is_dialled_again() -> None:
    async def scenario(world: World) -> None:
        reserved = await world.start(2)
        node = await world.start(0, target_peers=0, reserved_peers=(address(2),))
        await until(lambda: names(node) == {reserved.peer_id})
        await node._transport.disconnect(reserved.peer_id)
        await until(lambda: not names(node))
        await until(lambda: names(node) == {reserved.peer_id})

    play(scenario)


class Broken:
    """A way to find local peers that this machine does not have."""

    async def run(self, own: PeerId, addresses: object, found: object) -> None:
        raise OSError("no multicast here")


class Announcing:
    """A local network with one other node."""

    async def run(self, own: PeerId, addresses: object, found: Any) -> None:
        found(peer(1), [address(1)])


def test_a_peer_of_the_local_network_is_met() -> None:
    async def scenario(world: World) -> None:
        other = await world.start(1)
        node = await world.start(0, discovery=Announcing())
        await until(lambda: names(node) == {other.peer_id})

    play(scenario)


def test_a_machine_without_multicast_has_a_network_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(world: World) -> None:
        boot = await world.start(1)
        node = await world.start(0, boot, discovery=Broken())
        await until(lambda: names(node) == {boot.peer_id})
        assert node.counters.transport_restarts == 0

    play(scenario)
    assert "local-discovery-failed reason='OSError: no multicast here'" in caplog.text
