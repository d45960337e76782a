"""openledger_network: peers and bans as the service has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import trio

from node.rpc.limits import Limits
from node.rpc.namespaces.network import NetworkNamespace
from node.rpc.session import Session
from p2p.protocols.reputation import Ban, Fault
from p2p.protocols.status import Roles
from p2p.service.service import Service
from p2p.transport.transport import PeerId
from tests.node.rpc.test_network import state


def test_peers_and_bans_are_shown_and_the_addresses_of_peers_to_this_machine_alone() -> None:
    service = SimpleNamespace(
        peer_id="me",
        addresses=["/ip4/1/p2p/me"],
        peers=lambda: [state("one", Roles.VALIDATOR, 7)],
        bans=lambda: (Ban(PeerId("bad"), Fault.WRONG_CHAIN, 12.34),),
    )
    namespace = NetworkNamespace(cast(Service, service))
    shown, strangers = trio.run(_ask, namespace, True), trio.run(_ask, namespace, False)
    assert (shown["peerId"], shown["listenAddresses"]) == ("me", ["/ip4/1/p2p/me"])
    (peer,) = shown["peers"]
    assert (peer["peerId"], peer["isValidator"], peer["bestNumber"]) == ("one", True, 7)
    assert peer["address"] == state("one", Roles.VALIDATOR, 7).address
    assert strangers["peers"] == [{**peer, "address": None}]
    assert shown["bans"] == [{"peerId": "bad", "fault": "wrong-chain", "secondsLeft": 12.3}]


async def _ask(namespace: NetworkNamespace, is_local: bool) -> dict[str, Any]:
    return cast(dict[str, Any], namespace.network(Session(Limits(), "test", is_local=is_local)))
