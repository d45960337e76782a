"""Keepalive: detect a peer that is silent although its connection is open.

A stopped process and a cut cable close no connection. Sans-IO:

    state      when                                  action
    ---------  ------------------------------------  ------------------------
    resting    2 s after the last answer             Ping, then waiting
    waiting    the answer comes                      resting, strikes forgotten
    waiting    4 s without an answer, first time     Ping, then waiting
    waiting    4 s without an answer, second time    Silent

A node that was itself stopped must not blame its peers: `forgive` moves all times on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PING_SECONDS: Final = 2.0
ANSWER_LIMIT_SECONDS: Final = 4.0
STRIKES_MAX: Final = 2
NONCE_SIZE: Final = 8


@dataclass(frozen=True, slots=True)
class Ping:
    """Send this to the peer."""

    nonce: bytes


@dataclass(frozen=True, slots=True)
class Silent:
    """The peer answers nothing: disconnect it."""


class Keepalive:
    """The pings to one peer."""

    def __init__(self, now: float) -> None:
        self.due = now + PING_SECONDS
        """When `step` has something to do."""
        self._sent: float | None = None
        self._count = 0
        self._strikes = 0

    def step(self, now: float) -> Ping | Silent | None:
        """Return what is to be done at this time."""
        if now < self.due:
            return None
        if self._sent is not None:
            self._strikes += 1
            if self._strikes >= STRIKES_MAX:
                return Silent()
        self._count += 1
        self._sent = now
        self.due = now + ANSWER_LIMIT_SECONDS
        return Ping(self._nonce())

    def answered(self, nonce: bytes, now: float) -> float | None:
        """Take a PONG; the seconds that it took, None when it answers nothing."""
        if self._sent is None or nonce != self._nonce():
            return None
        latency_s = now - self._sent
        self._sent = None
        self._strikes = 0
        self.due = now + PING_SECONDS
        return latency_s

    def forgive(self, seconds: float) -> None:
        """Move all times on by what this node itself stood still."""
        self.due += seconds
        if self._sent is not None:
            self._sent += seconds

    def _nonce(self) -> bytes:
        return self._count.to_bytes(NONCE_SIZE, "little")
