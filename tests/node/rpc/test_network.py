"""The network as JSON-RPC shows it: peers with their roles, and what the node knows of itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from node.rpc.interfaces import Peer
from node.rpc.network import NetworkView
from node.sync.block_sync import Synchronizer
from p2p.protocols.status import Roles
from p2p.service.peer_session import PeerState
from p2p.service.service import Service
from p2p.transport.transport import PeerId
from runtime.types.primitives import Hash

BEST = Hash(b"b" * 32)


def state(name: str, roles: Roles, best: int) -> PeerState:
    return PeerState(
        peer=PeerId(name),
        address="/ip4/127.0.0.1/tcp/1",
        is_inbound=False,
        roles=roles,
        agent="test",
        best=best,
        best_hash=BEST,
        finalized=0,
        finalized_hash=Hash(bytes(32)),
        ping_s=None,
        score=0.0,
    )


def test_a_view_shows_peers_and_heights_as_the_service_and_the_synchronizer_have_them() -> None:
    states = [state("one", Roles.VALIDATOR, 7), state("two", Roles(0), 5)]
    service = SimpleNamespace(peer_id="me", addresses=["/ip4/1/p2p/me"], peers=lambda: states)
    synchronizer = SimpleNamespace(is_syncing=True, highest_block=7)
    view = NetworkView(cast(Service, service), cast(Synchronizer, synchronizer))
    assert view.peers() == [Peer("one", "AUTHORITY", BEST, 7), Peer("two", "FULL", BEST, 5)]
    assert view.peer_id == "me"
    assert view.listen_addresses == ("/ip4/1/p2p/me",)
    assert view.is_syncing
    assert view.highest_block == 7
    assert view.should_have_peers
