"""The network as JSON-RPC shows it: peers, addresses, and how far this node is behind."""

from __future__ import annotations

from collections.abc import Sequence

from node.rpc.interfaces import Peer
from node.sync.block_sync import Synchronizer
from p2p.protocols.status import Roles
from p2p.service.service import Service


class NetworkView:
    """A node's network, for the namespaces that show it."""

    def __init__(self, service: Service, synchronizer: Synchronizer) -> None:
        self._service = service
        self._synchronizer = synchronizer

    @property
    def peer_id(self) -> str:
        """The node's own identity among peers."""
        return self._service.peer_id

    @property
    def listen_addresses(self) -> Sequence[str]:
        """Where the node can be dialled."""
        return tuple(self._service.addresses)

    @property
    def is_syncing(self) -> bool:
        """Return whether blocks are being caught up with."""
        return self._synchronizer.is_syncing

    @property
    def highest_block(self) -> int | None:
        """The highest final block that any peer has announced."""
        return self._synchronizer.highest_block

    @property
    def should_have_peers(self) -> bool:
        """A node of a network should."""
        return True

    def peers(self) -> Sequence[Peer]:
        """The connected nodes."""
        return [
            Peer(
                peer.peer,
                "AUTHORITY" if Roles.VALIDATOR & peer.roles else "FULL",
                peer.best_hash,
                peer.best,
            )
            for peer in self._service.peers()
        ]
