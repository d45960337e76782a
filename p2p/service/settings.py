"""The settings of the network service, and its counters."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from p2p.protocols.address_book import peer_of
from p2p.protocols.limits import Rate
from p2p.transport.transport import PeerId
from runtime.crypto.keys import Keypair

COST_SIZE: Final = 4096
"""A frame costs one token, and one more for each 4 KiB of it."""

CONSENSUS_RATE: Final = Rate(each_second=1000, burst=4000)
CONTROL_RATE: Final = Rate(each_second=20, burst=100)
ADDRESS_RATE: Final = Rate(each_second=0.5, burst=8)
GOSSIP_RATE: Final = Rate(each_second=500, burst=2000)
REQUEST_RATE: Final = Rate(each_second=50, burst=200)
INVALID_RATE: Final = Rate(each_second=0.02, burst=0.5)
"""Seconds that a node works on transactions of one neighbour which it then refuses."""
INVALID_RATE_OF_ALL: Final = Rate(each_second=0.1, burst=2.0)
CONFIGURED_PEER_PART: Final = 0.1
"""The part of such seconds that bootnodes and reserved peers are charged."""
RELAYED_OWED_MAX: Final = 0.1
"""Gossip of a neighbour that owes a greater part of what it may is taken, and not relayed."""
INVALID_PEERS_MAX: Final = 4096


class LocalDiscovery(Protocol):
    """A way to find peers on the local network (p2p/transport/multicast.py)."""

    async def run(
        self,
        own: PeerId,
        addresses: Sequence[str],
        found: Callable[[PeerId, Sequence[str]], None],
    ) -> None:
        """Announce this node, and call `found` for each other, until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How a node connects to others. The rates are for each peer."""

    bootnodes: tuple[str, ...] = ()
    """Multiaddresses that end in /p2p/ID."""
    reserved_peers: tuple[str, ...] = ()
    """Multiaddresses of peers that are always dialled, and that have their slots kept."""
    public_addresses: tuple[str, ...] = ()
    """Multiaddresses that are sent to peers before those that the node listens on."""
    discovery: LocalDiscovery | None = None
    """How peers on the local network are found; None finds none."""
    identity: Keypair | None = None
    """The ed25519 key of the peer id; without it the node's addresses are not sent to peers."""
    max_peers: int = 64
    """Further peers are refused when they connect."""
    validator_slots: int = 0
    """Slots of these that are kept for peers which say that they are validators."""
    target_peers: int = 32
    """With fewer, known peers are dialled."""
    random: Callable[[], float] = random.random
    ban_s: float = 300.0
    consensus_rate: Rate = CONSENSUS_RATE
    control_rate: Rate = CONTROL_RATE
    address_rate: Rate = ADDRESS_RATE
    gossip_rate: Rate = GOSSIP_RATE
    request_rate: Rate = REQUEST_RATE

    @property
    def reserved_ids(self) -> frozenset[PeerId]:
        """The peer ids of the reserved peers."""
        return frozenset(map(peer_of, self.reserved_peers))

    @property
    def dialled_max(self) -> int:
        """How many peers that are not reserved are dialled at most: no kept slot is used."""
        open_slots = self.max_peers - len(self.reserved_ids) - self.validator_slots
        return max(0, min(self.target_peers, open_slots))


@dataclass(slots=True)
class Counters:
    """What happened since the service was made; for metrics."""

    peers_came: int = 0
    peers_went: int = 0
    peers_refused: int = 0
    peers_banned: int = 0
    peers_silent: int = 0
    faults: int = 0
    frames_received: int = 0
    frames_sent: int = 0
    writes: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    frames_flooded: int = 0
    """Beyond a peer's rate."""
    consensus_taken: int = 0
    consensus_known: int = 0
    consensus_lost: int = 0
    """Dropped, because too many of their peer waited."""
    transactions_received: int = 0
    transactions_sent: int = 0
    transactions_lost: int = 0
    gossip_refused: int = 0
    requests_sent: int = 0
    requests_failed: int = 0
    requests_answered: int = 0
    requests_refused: int = 0
    dials: int = 0
    dials_failed: int = 0
    identity_refused: int = 0
    """Refusals because another node with this node's key is connected."""
    transport_restarts: int = 0
