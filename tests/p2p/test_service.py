"""The network service over a network in memory: peers meet, and messages arrive."""

from __future__ import annotations

from p2p.wire import MessageKind
from tests.p2p.cluster import World, names, play


def test_four_nodes_form_a_mesh_from_one_bootnode() -> None:
    async def scenario(world: World) -> None:
        services = await world.mesh(4)
        for service in services:
            assert names(service) == {other.peer_id for other in services if other is not service}

    play(scenario)


def test_a_vote_reaches_every_peer_once() -> None:
    async def scenario(world: World) -> None:
        first, *others = await world.mesh(4)
        first.broadcast(MessageKind.VOTE, b"yes")
        for other in others:
            inbound = await other.consensus.receive()
            assert (inbound.peer, inbound.kind, inbound.body) == (
                first.peer_id,
                MessageKind.VOTE,
                b"yes",
            )

    play(scenario)
