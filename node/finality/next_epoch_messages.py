"""Messages that came an epoch early, kept until their epoch begins.

Their signatures cannot be checked yet, so each peer has its own share: a peer that fills it loses
only its own messages. When all shares together are too much, the largest one gives way.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from p2p.service.service import Inbound
from p2p.transport.transport import PeerId

MESSAGES_MAX: Final = 256
"""Messages of one peer: more than an honest one says in the time between two epochs."""
BYTES_MAX: Final = 16 << 20
"""Bytes of all peers together."""


class NextEpochMessages:
    """The messages that wait for the next epoch, by peer."""

    def __init__(self) -> None:
        self._waiting: dict[PeerId, deque[Inbound]] = {}
        self._bytes: dict[PeerId, int] = {}

    def add_message(self, message: Inbound) -> None:
        """Keep a message; too many drop the oldest of the same peer."""
        peer = message.peer
        queue = self._waiting.setdefault(peer, deque())
        queue.append(message)
        self._bytes[peer] = self._bytes.get(peer, 0) + len(message.body)
        if len(queue) > MESSAGES_MAX:
            self._drop_oldest(peer)
        while sum(self._bytes.values()) > BYTES_MAX:
            self._drop_oldest(max(self._bytes, key=lambda peer: self._bytes[peer]))

    def take_messages(self) -> list[Inbound]:
        """Return everything, each peer's in its order."""
        messages = [message for queue in self._waiting.values() for message in queue]
        self._waiting, self._bytes = {}, {}
        return messages

    def _drop_oldest(self, peer: PeerId) -> None:
        queue = self._waiting[peer]
        self._bytes[peer] -= len(queue.popleft().body)
        if not queue:
            del self._waiting[peer], self._bytes[peer]
