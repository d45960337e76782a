"""Reputation: faults lower a peer's score, time heals it, and a peer below a limit is banned.

Pure: the time goes in with each call. A peer is identified by its authenticated id only, so that a
new connection does not reset its score; a new identity does, and costs a new handshake.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from p2p.transport.transport import PeerId

BAN_SCORE: Final = -100.0
"""A peer at or below this score is banned."""
PEERS_MAX: Final = 4096


class Fault(Enum):
    """A fault of a peer, and how much it lowers the score."""

    BAD_FRAME = ("bad-frame", 35)
    """Bytes that are no message of the wire."""
    OUT_OF_TURN = ("out-of-turn", 35)
    """A message on a channel that is not its own."""
    EARLY = ("early", 10)
    """A message before the status. Cheap: a status may have been lost with a broken stream."""
    BAD_MESSAGE = ("bad-message", 25)
    """A body that cannot be decoded, or a signature that is not valid."""
    BAD_RECORD = ("bad-record", 50)
    """An address record that its peer did not sign."""
    BAD_ANSWER = ("bad-answer", 35)
    """An answer to a request that is not what was asked for."""
    NO_ANSWER = ("no-answer", 5)
    """A request that was not answered in time."""
    FLOODING = ("flooding", 1)
    """One message beyond the peer's rate."""
    WRONG_CHAIN = ("wrong-chain", 100)
    """Another genesis block."""
    WRONG_VERSION = ("wrong-version", 100)
    """Another version of the handshake."""

    def __init__(self, title: str, cost: int) -> None:
        self.title = title
        self.cost = cost


@dataclass(frozen=True, slots=True)
class Ban:
    """A peer that is banned now, by which fault, and for how long still."""

    peer: PeerId
    fault: Fault
    seconds_left: float


@dataclass(frozen=True, slots=True)
class _Record:
    score: float
    time: float
    banned_until: float
    fault: Fault
    """The latest one."""


class Reputation:
    """The scores of all peers with recent faults."""

    def __init__(self, *, heal_each_second: float = 1.0, ban_s: float = 300.0) -> None:
        self._heal_each_second = heal_each_second
        self._ban_s = ban_s
        self._records: dict[PeerId, _Record] = {}

    def score(self, peer: PeerId, now: float) -> float:
        """Return a peer's score: 0 for one without faults, lower for worse."""
        record = self._records.get(peer)
        if record is None:
            return 0.0
        return min(0.0, record.score + (now - record.time) * self._heal_each_second)

    def is_banned(self, peer: PeerId, now: float) -> bool:
        """Return whether a peer is banned now."""
        record = self._records.get(peer)
        return record is not None and now < record.banned_until

    def banned(self, now: float) -> frozenset[PeerId]:
        """Return the peers that are banned now."""
        return frozenset(
            peer for peer, record in self._records.items() if now < record.banned_until
        )

    def bans(self, now: float) -> tuple[Ban, ...]:
        """Return the bans that hold now, the one that ends first at the front."""
        bans = [
            Ban(peer, record.fault, record.banned_until - now)
            for peer, record in self._records.items()
            if now < record.banned_until
        ]
        return tuple(sorted(bans, key=lambda ban: (ban.seconds_left, ban.peer)))

    def note(self, peer: PeerId, fault: Fault, now: float) -> bool:
        """Lower a peer's score; True when that bans it now.

        A ban ends only by time; the score is then zero.
        """
        if self.is_banned(peer, now):
            return False
        score = self.score(peer, now) - fault.cost
        is_banned = score <= BAN_SCORE
        self._records.pop(peer, None)
        self._records[peer] = (
            _Record(0.0, now, now + self._ban_s, fault)
            if is_banned
            else _Record(score, now, now, fault)
        )
        if len(self._records) > PEERS_MAX:
            self._drop_oldest(now)
        return is_banned

    def _drop_oldest(self, now: float) -> None:
        """Drop the peer with the oldest fault, a banned one only if all are banned."""
        free = (peer for peer, record in self._records.items() if now >= record.banned_until)
        peer = next(free, None) or next(iter(self._records))
        del self._records[peer]
