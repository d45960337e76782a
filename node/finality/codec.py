"""How messages of consensus travel in envelopes: SCALE, a small body with its block."""

from __future__ import annotations

from typing import Final

from consensus.messages import CertificateRequest, Message, Proposal
from p2p.transport.wire import MessageKind
from runtime.codec.scale import Codec, codec, scale
from runtime.shared.finality import Certificate, Vote

BODY_INLINE_MAX: Final = 256 * 1024
"""Bytes of extrinsics that travel with their proposal; a larger body is pulled by its hash."""


@scale
class ProposalMessage:
    """A proposal as it travels."""

    proposal: Proposal
    body: tuple[bytes, ...] | None


_proposal = codec(ProposalMessage)
_codecs: Final[dict[MessageKind, Codec[Vote] | Codec[Certificate] | Codec[CertificateRequest]]] = {
    MessageKind.VOTE: codec(Vote),
    MessageKind.CERTIFICATE: codec(Certificate),
    MessageKind.CERTIFICATE_REQUEST: codec(CertificateRequest),
}
_kinds: Final[dict[type[Message], MessageKind]] = {
    Vote: MessageKind.VOTE,
    Certificate: MessageKind.CERTIFICATE,
    CertificateRequest: MessageKind.CERTIFICATE_REQUEST,
    Proposal: MessageKind.PROPOSAL,
}


def write_message(
    message: Message, body: tuple[bytes, ...] | None = None
) -> tuple[MessageKind, bytes]:
    """Return a message as kind and bytes; `body` is that of a proposal's block."""
    kind = _kinds[type(message)]
    if isinstance(message, Proposal):
        is_small = body is not None and sum(map(len, body)) <= BODY_INLINE_MAX
        return kind, _proposal.encode(ProposalMessage(message, body if is_small else None))
    return kind, _codecs[kind].encode(message)  # type: ignore[arg-type]


def read_message(kind: MessageKind, data: bytes) -> tuple[Message, tuple[bytes, ...] | None]:
    """Return a message and the body that came with it. Raises DecodeError."""
    if kind is MessageKind.PROPOSAL:
        found = _proposal.decode(data)
        return found.proposal, found.body
    return _codecs[kind].decode(data), None
