"""openledger_network: peers and bans as the service has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from node.rpc.namespaces.network import NetworkNamespace
from p2p.protocols.reputation import Ban, Fault
from p2p.protocols.status import Roles
from p2p.service.service import Service
from p2p.transport.transport import PeerId
from tests.node.rpc.test_network import state


def test_peers_and_bans_are_shown_with_what_an_operator_asks_for() -> None:
    service = SimpleNamespace(
        peer_id="me",
        addresses=["/ip4/1/p2p/me"],
        peers=lambda: [state("one", Roles.VALIDATOR, 7)],
        bans=lambda: (Ban(PeerId("bad"), Fault.WRONG_CHAIN, 12.34),),
    )
    shown = cast(dict[str, Any], NetworkNamespace(cast(Service, service)).network())
    assert (shown["peerId"], shown["listenAddresses"]) == ("me", ["/ip4/1/p2p/me"])
    (peer,) = shown["peers"]
    assert (peer["peerId"], peer["isValidator"], peer["bestNumber"]) == ("one", True, 7)
    assert shown["bans"] == [{"peerId": "bad", "fault": "wrong-chain", "secondsLeft": 12.3}]
