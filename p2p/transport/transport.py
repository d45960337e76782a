"""The transport: what the network service needs of connections between authenticated peers.

Two carry it out: `libp2p_host.py` (real) and `memory.py` (deterministic, for tests). A peer is
named by its authenticated id, never by the content of a message.

Rules that hold for both:
- connected() and disconnected() are called exactly once for each connection of a peer, however many
  links carry it; no other call about a peer comes before the one or after the other; and when
  run() ends, every peer that is still connected is reported disconnected.
- Frames of one channel arrive in order, whole, or not at all.
- A gossip message is given to the handler at most once, and never to its publisher.
- An address that run() cannot listen on, or a host that breaks down, ends run() with a
  TransportError. A transport runs once; to start again, make a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType, Protocol, TypeVar

from base58 import b58decode, b58encode

from runtime.errors import ExitCode, OpenLedgerError

FRAME_BYTES_MAX: Final = 4 << 20
REQUEST_BYTES_MAX: Final = 64 << 10
ANSWER_BYTES_MAX: Final = (8 << 20) + (64 << 10)
"""A range of a blob of 8 MiB, and its envelope with proofs."""
GOSSIP_BYTES_MAX: Final = 256 << 10
REQUESTS_IN_FLIGHT_MAX: Final = 8
"""Requests to one peer at a time; more wait within their time limit."""

PEER_ID_LENGTH_MAX: Final = 64
_ED25519_KEY: Final = bytes.fromhex("002408011220")
"""Identity multihash of a protobuf that says: ed25519, 32 bytes."""

C = TypeVar("C")

PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58: the multihash of an ed25519 public key."""


def peer_id_of(public_key: bytes) -> PeerId:
    """Name the peer of an ed25519 public key of 32 bytes, as every libp2p does."""
    assert len(public_key) == 32, len(public_key)
    return PeerId(b58encode(_ED25519_KEY + public_key).decode())


def is_peer_id(text: str) -> bool:
    """Return whether a text is the peer id of an ed25519 key, which all nodes of ours have."""
    if len(text) > PEER_ID_LENGTH_MAX or not text.isascii():
        return False
    try:
        raw = b58decode(text)
    except ValueError:
        return False
    key = raw.removeprefix(_ED25519_KEY)
    # Compared, because decoding is lenient with spaces around the text.
    return len(key) == 32 and peer_id_of(key) == text


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """The settings of a transport."""

    topics: frozenset[str] = frozenset()
    """The only topics of gossip that are taken, passed on and published."""
    max_peers: int = 96
    request_limit_s: float = 20.0
    dial_limit_s: float = 5.0


class Channel(StrEnum):
    """A stream of frames that stays open to each peer, one for each purpose, by priority."""

    CONTROL = "control"
    """Status handshake and its updates, addresses, keepalive."""
    CONSENSUS = "consensus"
    """Votes, proposals, certificates: before everything else."""


class TransportError(OpenLedgerError):
    """Base of what a transport reports; the message says what, why and what next."""

    exit_code = ExitCode.USAGE


class PeerGoneError(TransportError):
    """The peer is not connected, or went away before it answered."""


class DialError(TransportError):
    """Nobody could be reached at the address."""


class FrameTooLargeError(TransportError):
    """The frame exceeds what the peer would accept."""


class AddressError(TransportError):
    """A text is not an address of this transport, or cannot be listened on."""


class RequestError(TransportError):
    """The peer did not answer the request: refused, too slow, or beyond its limits."""


class Handler(Protocol):
    """The receiver of peers and their messages. None of these may block or raise."""

    def connected(self, peer: PeerId, address: str, *, is_inbound: bool) -> None: ...
    def disconnected(self, peer: PeerId) -> None: ...
    def received(self, peer: PeerId, channel: Channel, frame: bytes) -> None: ...
    def gossiped(self, source: PeerId, topic: str, message: bytes) -> bool:
        """Take a gossip message; False when it is invalid, so that it goes no further.

        `source` is the neighbour that relayed it, not its author.
        """
        ...

    async def answer(self, peer: PeerId, request: bytes) -> bytes:
        """Answer a request. Raises RequestError to refuse it; its message is sent to the peer."""
        ...

    def identity_in_use(self, peer: PeerId) -> None:
        """Take a peer's refusal: another node with this node's key is connected to it."""
        ...


class Started(Protocol):
    """The signal that a transport accepts connections (trio's task_status)."""

    def started(self) -> None: ...


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
        """Connect to a multiaddress that ends in /p2p/PEER_ID; connected() is called as well.

        Does nothing where that peer is connected. Raises DialError.
        """
        ...

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to a peer; does nothing where there is none."""
        ...

    async def send(self, peer: PeerId, channel: Channel, frames: Sequence[bytes]) -> None:
        """Send frames in order, in one write. Raises PeerGoneError, FrameTooLargeError."""
        ...

    async def request(self, peer: PeerId, request: bytes) -> bytes:
        """Ask a peer. Raises PeerGoneError, FrameTooLargeError, RequestError (also when late)."""
        ...

    async def publish(self, topic: str, message: bytes) -> None:
        """Give a message to the gossip mesh of a topic. Raises FrameTooLargeError.

        Never waits for peers; a message that cannot be sent to any peer now is lost.
        """
        ...


def check_size(noun: str, content: bytes, max_bytes: int) -> None:
    """Refuse what the other end would refuse. Raises FrameTooLargeError."""
    if len(content) > max_bytes:
        raise FrameTooLargeError(
            f"The {noun} has {len(content)} bytes; a peer accepts {max_bytes}. Send it in parts."
        )


def check_topic(topic: str, settings: TransportSettings) -> None:
    """Refuse to publish on a topic that is not of the settings. Raises TransportError."""
    if topic not in settings.topics:
        raise TransportError(f"{topic} is no topic of this node. Name it in its settings.")


def connection_to(connections: Mapping[PeerId, C], peer: PeerId) -> C:
    """Return the connection to a peer. Raises PeerGoneError."""
    if peer not in connections:
        raise PeerGoneError(f"{peer} is not connected. Dial it first.")
    return connections[peer]


def gone_away(peer: PeerId) -> PeerGoneError:
    """Return the error for a peer whose connection ended before it answered."""
    return PeerGoneError(f"{peer} went away. Ask another peer.")
