"""The queue of consensus messages from peers to the node: each message once, peers in turn.

Sans-IO. Nothing is decoded here: a message is identified by the hash of its bytes. A peer's rate is
limited by its own bucket, and its messages wait in a queue of its own; the node is served one
message of each peer in turn, so that a flood delays only its sender.

Rules:
- A message that was taken is dropped when it comes again from any peer within two seconds. Not for
  longer: an engine repeats lost messages, and a repetition must arrive.
- A certificate request is answered for each peer, so it is identified by its bytes and its peer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from p2p.protocols.limits import Seen
from p2p.transport.transport import PeerId
from p2p.transport.wire import MessageKind

SEEN_MAX: Final = 32_768
SEEN_SECONDS: Final = 2.0
WAITING_MAX: Final = 1024
"""Messages of one peer that wait for the node."""
WAITING_BYTES_MAX: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Inbound:
    """A consensus message from a peer; `body` is SCALE of what `kind` says, not yet decoded."""

    peer: PeerId
    kind: MessageKind
    body: bytes


class ConsensusQueue:
    """The messages that wait for the node, by peer, and the hashes of recent ones."""

    def __init__(self) -> None:
        self._seen = Seen(SEEN_MAX, SEEN_SECONDS)
        self._waiting: dict[PeerId, deque[Inbound]] = {}
        self._bytes: dict[PeerId, int] = {}
        self._turns: deque[PeerId] = deque()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def is_known(self, message: Inbound, now: float) -> bool:
        """Return whether a message came before; remember it if it did not."""
        return not self._seen.add(_key(message), now)

    def put(self, message: Inbound) -> bool:
        """Queue a message; False if too much of its peer waits already."""
        queue = self._waiting.setdefault(message.peer, deque())
        size = self._bytes.get(message.peer, 0) + len(message.body)
        if len(queue) >= WAITING_MAX or size > WAITING_BYTES_MAX:
            self._seen.forget(_key(message))
            return False
        if not queue:
            self._turns.append(message.peer)
        queue.append(message)
        self._bytes[message.peer] = size
        return True

    def take(self) -> Inbound | None:
        """Return the next message: the oldest of the peer whose turn it is."""
        if not self._turns:
            return None
        peer = self._turns.popleft()
        queue = self._waiting[peer]
        message = queue.popleft()
        self._bytes[peer] -= len(message.body)
        if queue:
            self._turns.append(peer)
        else:
            del self._waiting[peer], self._bytes[peer]
        return message

    def drop(self, peer: PeerId) -> None:
        """Drop the waiting messages of a peer that was banned."""
        if self._waiting.pop(peer, None) is not None:
            del self._bytes[peer]
            self._turns.remove(peer)


def _key(message: Inbound) -> bytes:
    source = message.peer.encode() if message.kind is MessageKind.CERTIFICATE_REQUEST else b""
    return bytes((message.kind,)) + source + message.body
