"""The status handshake: two peers exchange their chain's status before any other message.

Both send STATUS when they are connected. A peer that accepts the other's status answers WELCOME; a
peer that has the other's WELCOME may send everything. Two streams to one peer overtake each other,
so a status that was sent may not yet be read: WELCOME confirms that it was.

    state        STATUS, same chain       STATUS, other chain   WELCOME       anything else
    -----------  -----------------------  --------------------  ------------  -------------
    CONNECTED    GREETED, say WELCOME     leave                 leave         leave
    GREETED      GREETED, updated         leave                 READY         take
    READY        READY, updated           leave                 nothing       take

A transport may lose frames when a stream breaks, so a peer that sends before its status is
disconnected, to begin again with a new connection, and not banned at once. A peer that is not READY
in time is disconnected, and updates are limited by a bucket.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Final

from p2p.protocols.limits import Bucket, Rate
from p2p.protocols.reputation import Fault
from p2p.transport.wire import Envelope, MessageKind, WireDecodeError
from runtime.codec.scale import DecodeError, codec, scale, u8, u32, u64
from runtime.types.primitives import Hash

PROTOCOL_VERSION: Final = 1
AGENT_LENGTH_MAX: Final = 64
HANDSHAKE_LIMIT_SECONDS: Final = 10.0
UPDATE_RATE: Final = Rate(each_second=10, burst=40)


class Roles(IntFlag):
    """The roles of a node; the numbers are on the wire."""

    FULL = 1
    VALIDATOR = 2


@scale
class Status:
    """The status that a node sends. `roles` are Roles; `agent` is free text for logs."""

    version: u32
    genesis_hash: Hash
    best_number: u64
    best_hash: Hash
    finalized_number: u64
    finalized_hash: Hash
    roles: u8
    agent: str


class HandshakeStage(Enum):
    """How far the handshake is; see the table on top."""

    CONNECTED = "connected"
    GREETED = "greeted"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class SayWelcome:
    """Answer the peer's status with WELCOME."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything may be sent from now on."""


@dataclass(frozen=True, slots=True)
class Updated:
    """A ready peer has a new status."""


@dataclass(frozen=True, slots=True)
class Take:
    """The message is for another protocol."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """The message is a repetition without effect."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The message is wrong: a fault of the peer, and nothing of it is taken."""

    fault: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The peer is not of this chain or version: disconnect it."""

    fault: Fault
    reason: str


Action = SayWelcome | Ready | Updated | Take | Nothing | Refuse | Leave


class Handshake:
    """The handshake with one peer, from its connection on."""

    def __init__(self, genesis_hash: Hash, now: float) -> None:
        self.stage = HandshakeStage.CONNECTED
        self.status: Status | None = None
        self._genesis_hash = genesis_hash
        self._deadline = now + HANDSHAKE_LIMIT_SECONDS
        self._updates = Bucket(UPDATE_RATE, now)

    @property
    def deadline(self) -> float:
        """When a peer that is not ready is disconnected."""
        return self._deadline

    def step(self, envelope: Envelope, now: float) -> Action:
        """Return the action that a message leads to at this stage."""
        if envelope.kind is MessageKind.STATUS:
            return self._on_status(envelope.body, now)
        if self.stage is HandshakeStage.CONNECTED:
            return Leave(Fault.EARLY, f"it sent {envelope.kind.name} before its status")
        if envelope.kind is MessageKind.WELCOME:
            if self.stage is HandshakeStage.READY:
                return Nothing()
            self.stage = HandshakeStage.READY
            return Ready()
        return Take()

    def _on_status(self, body: bytes, now: float) -> Action:
        if not self._updates.take(now):
            return Refuse(Fault.FLOODING, "too many updates of its status")
        try:
            status = decode_status(body)
        except WireDecodeError as error:
            return Refuse(Fault.BAD_MESSAGE, str(error))
        if status.version != PROTOCOL_VERSION:
            version = status.version
            reason = f"it speaks version {version}, not {PROTOCOL_VERSION}"
            return Leave(Fault.WRONG_VERSION, reason)
        if status.genesis_hash != self._genesis_hash:
            return Leave(Fault.WRONG_CHAIN, f"its genesis block is 0x{status.genesis_hash.hex()}")
        self.status = status
        if self.stage is HandshakeStage.CONNECTED:
            self.stage = HandshakeStage.GREETED
            return SayWelcome()
        return Updated()


def encode_status(status: Status) -> bytes:
    """Return the body of a STATUS message."""
    assert len(status.agent) <= AGENT_LENGTH_MAX, "the agent is too long"
    return codec(Status).encode(status)


def decode_status(body: bytes) -> Status:
    """Return the status in a body. Raises WireDecodeError."""
    try:
        status = codec(Status).decode(body)
    except DecodeError as error:
        raise WireDecodeError(f"the status cannot be read: {error}"[:200]) from error
    if len(status.agent) > AGENT_LENGTH_MAX or not status.agent.isprintable():
        raise WireDecodeError(f"the agent is not a line of at most {AGENT_LENGTH_MAX} letters")
    return status
