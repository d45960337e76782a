"""The transport: what the network service needs of connections between authenticated peers.

Two carry it out: `libp2p_host.py` (real) and `memory.py` (deterministic, for tests). A peer is
named by its authenticated id, never by what a message says.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NewType, Protocol

PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58: the multihash of an ed25519 public key."""


class Channel(StrEnum):
    """A stream of frames that stays open to each peer, one for each purpose, by priority."""

    CONTROL = "control"
    """Status handshake and its updates, addresses, keepalive."""
    CONSENSUS = "consensus"
    """Votes, proposals, certificates: before everything else."""


class TransportError(Exception):
    """Base of what a transport reports; the message says what, why and what next."""


class PeerGoneError(TransportError):
    """The peer is not connected, or went away before it answered."""


class DialError(TransportError):
    """Nobody could be reached at the address."""


class FrameTooLargeError(TransportError):
    """The frame exceeds what the peer would accept."""


class RequestError(TransportError):
    """The peer did not answer the request: refused, too slow, or beyond its limits."""


class Handler(Protocol):
    """Who hears of peers and their messages. None of these may block or raise."""

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None: ...
    def disconnected(self, peer: PeerId) -> None: ...
    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None: ...
    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        """Take a gossip message; False when it is invalid, so that it goes no further."""
        ...

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        """Answer a request. Raises RequestError to refuse it."""
        ...


class Started(Protocol):
    """How a transport says that it accepts connections (trio's task_status)."""

    def started(self, value: None = None, /) -> None: ...


class Transport(Protocol):
    """Connections to peers: frames on channels, requests with answers, gossip on topics."""

    @property
    def peer_id(self) -> PeerId: ...
    @property
    def addresses(self) -> Sequence[str]:
        """Where this node can be dialled, as multiaddresses that end in /p2p/PEER_ID."""
        ...

    async def run(self, handler: Handler, *, task_status: Started) -> None:
        """Accept and keep connections until cancelled."""
        ...

    async def dial(self, address: str) -> PeerId:
        """Connect to a multiaddress. Raises DialError; connected() is called as well."""
        ...

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to a peer; does nothing where there is none."""
        ...

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        """Send frames in order, in one write. Raises PeerGoneError, FrameTooLargeError."""
        ...

    async def request(self, peer: PeerId, request: bytes) -> bytes:
        """Ask a peer. Raises PeerGoneError, RequestError (also after the time limit)."""
        ...

    async def publish(self, topic: str, message: bytes) -> None:
        """Give a message to the gossip mesh of a topic. Raises FrameTooLargeError."""
        ...
