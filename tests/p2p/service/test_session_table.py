"""Slots for peers: those of reserved peers and of validators are kept for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import trio

from p2p.protocols.status import Roles
from p2p.service.service import Service
from p2p.transport.transport import PeerId, peer_id_of
from runtime.crypto.keys import Keypair
from tests.p2p.support.cluster import World, names, play, seed_of, until

SETTLED_SECONDS = 5.0


def address(number: int) -> str:
    peer: PeerId = peer_id_of(Keypair.from_seed(seed_of(number)).account)
    return f"/memory/1/p2p/{peer}"


async def visitor(world: World, number: int, host: Service, roles: Roles, **more: Any) -> Service:
    """Start a node of these roles that dials the host, and let it try."""
    service = world.service(number, host, **more)
    world.nodes[service.peer_id].now = replace(world.nodes[service.peer_id].now, roles=roles)
    world.nursery.start_soon(lambda: service.run(task_status=trio.TASK_STATUS_IGNORED))
    await trio.sleep(SETTLED_SECONDS)
    return service


VALIDATOR = Roles.FULL | Roles.VALIDATOR


def test_a_full_node_has_the_slot_of_a_reserved_peer() -> None:
    async def scenario(world: World) -> None:
        # No reachable address: the peer has to come by itself.
        host = await world.start(0, max_peers=3, target_peers=0, reserved_peers=(address(9),))
        others = [await visitor(world, number, host, Roles.FULL) for number in (1, 2, 3)]
        assert len(names(host)) == 2
        assert host.counters.peers_refused > 0
        reserved = await visitor(world, 9, host, Roles.FULL)
        assert reserved.peer_id in names(host)
        assert len(names(host)) == 3
        assert names(host) <= {service.peer_id for service in (*others, reserved)}

    play(scenario)


def test_a_full_node_has_slots_for_validators() -> None:
    async def scenario(world: World) -> None:
        host = await world.start(0, max_peers=3, target_peers=0, validator_slots=1)
        for number in (1, 2, 3):
            await visitor(world, number, host, Roles.FULL)
        assert len(names(host)) == 2
        validator = await visitor(world, 4, host, VALIDATOR)
        assert validator.peer_id in names(host)
        assert len(names(host)) == 3
        await visitor(world, 5, host, VALIDATOR)
        assert len(names(host)) == 3, "max_peers holds for validators too"

    play(scenario)


def test_validators_use_ordinary_slots_as_well() -> None:
    async def scenario(world: World) -> None:
        host = await world.start(0, max_peers=3, target_peers=0, validator_slots=1)
        for number in (1, 2, 3):
            await visitor(world, number, host, VALIDATOR)
        assert len(names(host)) == 3

    play(scenario)


def test_a_peer_that_is_a_validator_no_more_gives_its_slot_back() -> None:
    async def scenario(world: World) -> None:
        host = await world.start(0, max_peers=2, target_peers=0, validator_slots=1)
        ordinary = await visitor(world, 1, host, Roles.FULL)
        validator = await visitor(world, 2, host, VALIDATOR)
        assert names(host) == {ordinary.peer_id, validator.peer_id}
        node = world.nodes[validator.peer_id]
        node.now = replace(node.now, roles=Roles.FULL)
        validator.announce()
        await until(lambda: names(host) == {ordinary.peer_id}, 30)

    play(scenario)


def test_dialling_leaves_kept_slots_free() -> None:
    async def scenario(world: World) -> None:
        boots = [await world.start(number, max_peers=1) for number in (1, 2, 3)]
        host = await world.start(
            0, *boots, max_peers=4, target_peers=4, validator_slots=1, reserved_peers=(address(9),)
        )
        await trio.sleep(SETTLED_SECONDS)
        assert len(names(host)) == 2

    play(scenario)
