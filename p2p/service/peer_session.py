"""A session: the state of one peer from its connection to its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import trio

from p2p.protocols.keepalive import Keepalive
from p2p.protocols.limits import Bucket
from p2p.protocols.status import Handshake, HandshakeStage, Roles
from p2p.service.outbox import Outbox
from p2p.service.settings import NetworkSettings
from p2p.transport.transport import Channel, PeerId
from runtime.types.primitives import Hash

REQUESTS_MAX: Final = 8
"""Requests in flight with one peer, in each direction."""


@dataclass(frozen=True, slots=True)
class PeerState:
    """The state of a peer after its handshake, for readers."""

    peer: PeerId
    address: str
    is_inbound: bool
    roles: Roles
    agent: str
    best: int
    best_hash: Hash
    finalized: int
    finalized_hash: Hash
    ping_s: float | None
    """The last ping's round trip; None before the first answer."""
    score: float


class Change(Enum):
    """The kinds of changes of a peer."""

    CAME = "came"
    WENT = "went"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class PeerChange:
    """A peer came, went, or has a new status; `state` as it is now, or was last."""

    change: Change
    state: PeerState


class PeerSession:
    """One connection of a peer: its handshake, limits, outboxes and tasks."""

    def __init__(
        self,
        peer: PeerId,
        address: str,
        *,
        is_inbound: bool,
        genesis_hash: Hash,
        settings: NetworkSettings,
        now: float,
    ) -> None:
        self.peer = peer
        self.address = address
        self.is_inbound = is_inbound
        self.handshake = Handshake(genesis_hash, now)
        self.keepalive = Keepalive(now)
        self.outboxes = {channel: Outbox() for channel in Channel}
        self.rates = {
            Channel.CONTROL: Bucket(settings.control_rate, now),
            Channel.CONSENSUS: Bucket(settings.consensus_rate, now),
        }
        self.addresses = Bucket(settings.address_rate, now)
        self.gossip = Bucket(settings.gossip_rate, now)
        self.requests = Bucket(settings.request_rate, now)
        self.slots = trio.Semaphore(REQUESTS_MAX)
        self.answers_in_flight = 0
        self.scope = trio.CancelScope()
        self.came = trio.Event()
        self.latency_s: float | None = None

    @property
    def is_accepted(self) -> bool:
        """Return whether the peer's status was accepted: what it sends is taken."""
        return self.handshake.stage is not HandshakeStage.CONNECTED

    @property
    def is_ready(self) -> bool:
        """Return whether the handshake is done on both sides: everything may be sent to it."""
        return self.handshake.stage is HandshakeStage.READY

    def state(self, score: float) -> PeerState:
        """Return the peer's state; only after its status was accepted."""
        status = self.handshake.status
        assert status is not None, "a peer has no state before its status"
        return PeerState(
            peer=self.peer,
            address=self.address,
            is_inbound=self.is_inbound,
            roles=Roles(status.roles & (Roles.FULL | Roles.VALIDATOR)),
            agent=status.agent,
            best=status.best_number,
            best_hash=status.best_hash,
            finalized=status.finalized_number,
            finalized_hash=status.finalized_hash,
            ping_s=self.latency_s,
            score=score,
        )
