"""openledger_network: this node among its peers: addresses, connected peers, banned ones."""

from __future__ import annotations

from node.rpc.methods import method
from node.rpc.parameters import Json
from node.rpc.session import Session
from p2p.protocols.status import Roles
from p2p.service.service import Service
from runtime.codec.hexadecimal import to_hex


class NetworkNamespace:
    """The network of a node that has one."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @method("openledger_network")
    def network(self, session: Session) -> Json:
        """Return the node's peer id and addresses, its peers, and those that are banned.

        A score is 0 for a peer without faults; -100 bans it. The addresses of peers are null for
        strangers and web pages: they would say whom to attack.
        """
        return {
            "peerId": self._service.peer_id,
            "listenAddresses": list(self._service.addresses),
            "peers": [
                {
                    "peerId": peer.peer,
                    "address": peer.address if session.is_local else None,
                    "isInbound": peer.is_inbound,
                    "isValidator": Roles.VALIDATOR in peer.roles,
                    "agent": peer.agent,
                    "bestNumber": peer.best,
                    "bestHash": to_hex(peer.best_hash),
                    "finalizedNumber": peer.finalized,
                    "finalizedHash": to_hex(peer.finalized_hash),
                    "pingSeconds": peer.ping_s,
                    "score": round(peer.score, 1),
                }
                for peer in self._service.peers()
            ],
            "bans": [
                {
                    "peerId": ban.peer,
                    "fault": ban.fault.title,
                    "secondsLeft": round(ban.seconds_left, 1),
                }
                for ban in self._service.bans()
            ],
        }
