"""The envelope of everything between peers: strict msgpack [version, kind, body].

It defines the kinds of messages and requests and how large each may be, and decodes bytes to an
`Envelope` or one `WireDecodeError`. It does not know the content of a body: bodies are SCALE,
decoded by the reader of the kind.

Rules:
- One encoding per message: a decoder refuses what `encode` would not produce.
- Sizes are checked before anything is parsed. Numbers of kinds are never reused.
- Frames come whole from the transport, which knows their lengths; nothing here reads a stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import msgpack

from p2p.transport.transport import (
    ANSWER_BYTES_MAX,
    GOSSIP_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Channel,
)

VERSION: Final = 1
ENVELOPE_SIZE_MAX: Final = 16
"""Bytes that an envelope adds to its body, at most."""

KIB: Final = 1024
MIB: Final = 1024 * KIB


class WireDecodeError(ValueError):
    """The bytes are no envelope that a peer of this version would send; the message says why."""


class MessageKind(IntEnum):
    """The kind of a frame or a gossip message."""

    STATUS = 0
    """A peer's chain and heights: the first frame, and again when they change."""
    WELCOME = 1
    """The answer to an accepted first STATUS: from here on everything may be sent."""
    ADDRESSES = 2
    """Signed address records."""
    PING = 3
    PONG = 4
    PROPOSAL = 16
    VOTE = 17
    CERTIFICATE = 18
    CERTIFICATE_REQUEST = 19
    TRANSACTIONS = 32
    """A batch of signed extrinsics, only by gossip."""


class RequestKind(IntEnum):
    """The kind of a request."""

    BLOCKS = 64
    """Consecutive finalized blocks."""
    BODY = 65
    """The extrinsics of one block, by its hash."""
    EPOCHS = 66
    """Boundary headers with their certificates and the sets that follow."""
    STATE = 67
    """A proven range of keys."""
    BLOB = 68
    """A proven range of a blob."""


SIZE_MAX: Final[dict[MessageKind, int]] = {
    MessageKind.STATUS: 512,
    MessageKind.WELCOME: 0,
    MessageKind.ADDRESSES: 64 * KIB,
    MessageKind.PING: 8,
    MessageKind.PONG: 8,
    # The header, up to 256 KiB of body, and a certificate for each skipped view.
    MessageKind.PROPOSAL: 2 * MIB,
    MessageKind.VOTE: 256,
    # 1024 authorities of 66 bytes each.
    MessageKind.CERTIFICATE: 72 * KIB,
    MessageKind.CERTIFICATE_REQUEST: 64,
    MessageKind.TRANSACTIONS: GOSSIP_BYTES_MAX - ENVELOPE_SIZE_MAX,
}
"""The largest body of each kind of message, in bytes."""

REQUEST_SIZE_MAX: Final = REQUEST_BYTES_MAX - ENVELOPE_SIZE_MAX
"""The largest body of a request, in bytes."""

ANSWER_SIZE_MAX: Final[dict[RequestKind, int]] = {
    RequestKind.BLOCKS: 8 * MIB,
    RequestKind.BODY: 6 * MIB,
    RequestKind.EPOCHS: 4 * MIB,
    RequestKind.STATE: 4 * MIB,
    RequestKind.BLOB: ANSWER_BYTES_MAX,
}
"""The largest answer to each kind of request, in bytes. An answer has no envelope."""

CHANNELS: Final[dict[MessageKind, Channel]] = {
    MessageKind.STATUS: Channel.CONTROL,
    MessageKind.WELCOME: Channel.CONTROL,
    MessageKind.ADDRESSES: Channel.CONTROL,
    MessageKind.PING: Channel.CONTROL,
    MessageKind.PONG: Channel.CONTROL,
    MessageKind.PROPOSAL: Channel.CONSENSUS,
    MessageKind.VOTE: Channel.CONSENSUS,
    MessageKind.CERTIFICATE: Channel.CONSENSUS,
    MessageKind.CERTIFICATE_REQUEST: Channel.CONSENSUS,
}
"""The channel that each kind of frame takes, and no other."""

_LARGEST: Final = max(SIZE_MAX.values())


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message: its kind and its body."""

    kind: MessageKind
    body: bytes


@dataclass(frozen=True, slots=True)
class RequestEnvelope:
    """One request: its kind and its body."""

    kind: RequestKind
    body: bytes


def encode(kind: MessageKind | RequestKind, body: bytes) -> bytes:
    """Return the envelope's bytes. A body above its kind's maximum is a mistake of the caller."""
    limit = SIZE_MAX[kind] if isinstance(kind, MessageKind) else REQUEST_SIZE_MAX
    assert len(body) <= limit, f"{kind.name} has {len(body)} bytes, more than {limit}"
    packed: bytes = msgpack.packb([VERSION, int(kind), body], use_bin_type=True)
    return packed


def decode(data: bytes) -> Envelope:
    """Return the message that `data` is. Raises WireDecodeError."""
    number, body = _open(data, _LARGEST)
    try:
        kind = MessageKind(number)
    except ValueError as error:
        raise WireDecodeError(f"there is no message of kind {number}") from error
    if len(body) > SIZE_MAX[kind]:
        raise WireDecodeError(f"{kind.name} has {len(body)} bytes, more than {SIZE_MAX[kind]}")
    return Envelope(kind, body)


def decode_request(data: bytes) -> RequestEnvelope:
    """Return the request that `data` is. Raises WireDecodeError."""
    number, body = _open(data, REQUEST_SIZE_MAX)
    try:
        return RequestEnvelope(RequestKind(number), body)
    except ValueError as error:
        raise WireDecodeError(f"there is no request of kind {number}") from error


def _open(data: bytes, size_max: int) -> tuple[int, bytes]:
    if len(data) > size_max + ENVELOPE_SIZE_MAX:
        raise WireDecodeError(f"{len(data)} bytes are more than {size_max}")
    try:
        fields: object = msgpack.unpackb(
            data, max_array_len=3, max_bin_len=size_max, max_map_len=0, max_str_len=0, max_ext_len=0
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise WireDecodeError(f"the bytes are not an envelope: {error}"[:200]) from error
    if not isinstance(fields, list) or len(fields) != 3:
        raise WireDecodeError("an envelope is an array of three")
    version, kind, body = fields
    if type(version) is not int or type(kind) is not int or type(body) is not bytes:
        raise WireDecodeError("an envelope is a version, a kind and a body in bytes")
    if version != VERSION:
        raise WireDecodeError(f"the version is {version}, not {VERSION}")
    if msgpack.packb([version, kind, body], use_bin_type=True) != data:
        raise WireDecodeError("the bytes are a longer form of an envelope")
    return kind, body
