"""Limits that protocols put on a peer: a token bucket, debts for vain work, what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from p2p.transport.transport import PeerId

OWED_PART_MIN: Final = 0.05
"""The part of its burst that a peer may always owe."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many tokens are refilled each second, and the most that a bucket holds."""

    each_second: float
    burst: float


class Bucket:
    """A token bucket: a message costs tokens, and is refused if there are too few."""

    __slots__ = ("_level", "_rate", "_time")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._time = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take the tokens of a message; False, and none are taken, if there are too few."""
        self._level = min(
            self._rate.burst, self._level + (now - self._time) * self._rate.each_second
        )
        self._time = now
        if cost > self._level:
            return False
        self._level -= cost
        return True


class Debts:
    """What peers owe for work that was in vain; time pays it off.

    Other than tokens, work has its cost when it is done: so a peer may owe more than its burst, and
    is refused until it owes less. A peer is known by its id, so that a new connection pays nothing.
    Ids cost nothing: so the more all peers owe together, the less each of them may.
    """

    __slots__ = ("_all", "_all_rate", "_owed", "_peers_max", "_rate")

    def __init__(self, rate: Rate, all_rate: Rate, peers_max: int) -> None:
        self._rate, self._all_rate = rate, all_rate
        self._peers_max = peers_max
        self._owed: dict[PeerId, tuple[float, float]] = {}
        """Peer -> what it owed, and when; the latest charge is last."""
        self._all = (0.0, float("-inf"))

    def __len__(self) -> int:
        return len(self._owed)

    def charge(self, peer: PeerId, cost: float, now: float) -> None:
        """Add the cost of work; the peers charged longest ago make room."""
        owed = _owed_now(self._owed.pop(peer, (0.0, now)), self._rate, now)
        self._owed[peer] = (owed + cost, now)
        self._all = (_owed_now(self._all, self._all_rate, now) + cost, now)
        if len(self._owed) > self._peers_max:
            del self._owed[next(iter(self._owed))]

    def part_owed(self, peer: PeerId, now: float) -> float:
        """Return how much a peer owes of what it may: 1 and more is too much."""
        used = _owed_now(self._all, self._all_rate, now) / self._all_rate.burst
        limit = self._rate.burst * max(OWED_PART_MIN, 1 - used)
        return _owed_now(self._owed.get(peer, (0.0, now)), self._rate, now) / limit


def _owed_now(debt: tuple[float, float], rate: Rate, now: float) -> float:
    owed, at = debt
    return max(0.0, owed - (now - at) * rate.each_second)


class Seen:
    """A bounded memory of the messages of the last `keep_s` seconds, by their hash.

    Two generations instead of a time for each entry: an entry is forgotten between `keep_s` and
    twice that after it was seen, or earlier when `entries_max` others came after it.
    """

    __slots__ = ("_entries_max", "_keep_s", "_new", "_old", "_turned")

    def __init__(self, entries_max: int, keep_s: float) -> None:
        self._entries_max = entries_max
        self._keep_s = keep_s
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._turned = float("-inf")

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def add(self, message: bytes, now: float) -> bool:
        """Remember a message; True if it was not known."""
        self._turn(now)
        digest = _digest(message)
        if digest in self._new or digest in self._old:
            return False
        self._new.add(digest)
        return True

    def forget(self, message: bytes) -> None:
        """Forget a message, because it could not be taken after all."""
        digest = _digest(message)
        self._new.discard(digest)
        self._old.discard(digest)

    def _turn(self, now: float) -> None:
        if now - self._turned >= 2 * self._keep_s:
            self._old, self._new, self._turned = set(), set(), now
        elif now - self._turned >= self._keep_s:
            # By its own period and not by `now`, or an entry would last longer where few come.
            self._old, self._new, self._turned = self._new, set(), self._turned + self._keep_s
        elif 2 * len(self._new) >= self._entries_max:
            self._old, self._new, self._turned = self._new, set(), now


def _digest(message: bytes) -> bytes:
    return blake2b(message, digest_size=16).digest()
