"""The download of final blocks: which peer is asked for which range of heights.

Pure: `BlockPlanner` takes peers, answers and the time, and returns which peer to ask for what.
node/sync/block_sync.py carries it out.

A range of blocks goes through

    WANTED    asked of a peer that has it         -> ASKED
    ASKED     answered -> ARRIVED                 failed, peer gone -> WANTED, the peer rests
    ARRIVED   imported -> forgotten               refused -> WANTED, the peer rests

Ranges are imported in order, so what comes before a refused one is proven: the fault is that of the
peer that gave it. A height is a peer's own word. It makes this node ask, and nothing else: what the
node tells of its own lag counts the peers whose last answer brought blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from p2p.protocols.sync_messages import Segment
from p2p.transport.transport import PeerId

FAILURES_BELIEVED_MAX: Final = 3
"""Failures in a row after which a peer's height is not believed while it rests."""


@dataclass(frozen=True, slots=True)
class SyncLimits:
    """The size and number of requests, and the rests of peers that fail."""

    blocks_per_request: int = 128
    ranges_ahead: int = 4
    in_flight_per_peer: int = 2
    rest_s: float = 2.0
    rest_max_s: float = 60.0


@dataclass(frozen=True, slots=True)
class AskBlocks:
    """Ask a peer for `count` blocks from `first` on."""

    peer: PeerId
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """An answer that is next to be imported."""

    ask: AskBlocks
    segments: tuple[Segment, ...] = field(repr=False)


@dataclass(slots=True)
class _Peer:
    finalized: int
    in_flight: int = 0
    failures: int = 0
    rests_until: float = 0.0
    has_delivered: bool = False
    """Whether its last answer brought blocks that are final."""


@dataclass(slots=True)
class _Range:
    first: int
    count: int
    asked: AskBlocks | None = None
    arrived: Arrived | None = None


class BlockPlanner:
    """The plan of which peer is asked for which blocks. `imported` is the height of the chain."""

    def __init__(self, imported: int, limits: SyncLimits) -> None:
        self.imported = imported
        self._limits = limits
        self._peers: dict[PeerId, _Peer] = {}
        self._ranges: list[_Range] = []

    def restart(self, imported: int) -> None:
        """Begin again above a height; the peers stay known, all requests are dropped."""
        self.imported = imported
        self._ranges = []
        for peer in self._peers.values():
            peer.in_flight = 0

    def target(self, now: float) -> int:
        """Return the highest block that a peer claims is final, or the imported height.

        A peer that claims blocks and repeatedly fails to send them is not believed while it rests.
        """
        believed = [
            peer.finalized
            for peer in self._peers.values()
            if peer.failures < FAILURES_BELIEVED_MAX or peer.rests_until <= now
        ]
        return max([self.imported, *believed])

    @property
    def delivered_height(self) -> int:
        """The highest final block of the peers that deliver, or the imported height."""
        delivering = [peer.finalized for peer in self._peers.values() if peer.has_delivered]
        return max([self.imported, *delivering])

    def note_peer(self, peer: PeerId, finalized: int) -> None:
        """Record a connected peer and the height of its last final block."""
        known = self._peers.setdefault(peer, _Peer(finalized))
        known.finalized = finalized

    def drop_peer(self, peer: PeerId) -> None:
        """Drop a peer that is gone: its requests go to others."""
        self._peers.pop(peer, None)
        for block_range in self._ranges:
            if block_range.asked is not None and block_range.asked.peer == peer:
                block_range.asked = None

    @property
    def peers(self) -> tuple[PeerId, ...]:
        """The peers that are known."""
        return tuple(self._peers)

    def requests(self, now: float) -> list[AskBlocks]:
        """Return what to ask now; each is then answered or failed."""
        self._plan_ranges(self.target(now))
        asks = []
        for block_range in self._ranges:
            if block_range.asked is not None or block_range.arrived is not None:
                continue
            chosen = self._choose(block_range.first, now)
            if chosen is None:
                continue
            peer, state = chosen
            state.in_flight += 1
            count = min(block_range.count, state.finalized - block_range.first + 1)
            block_range.asked = AskBlocks(peer, block_range.first, count)
            asks.append(block_range.asked)
        return asks

    def wake_at(self, now: float) -> float | None:
        """Return when a resting peer may be asked again, None if no peer rests."""
        return min(
            (peer.rests_until for peer in self._peers.values() if peer.rests_until > now),
            default=None,
        )

    def answered(self, ask: AskBlocks, segments: tuple[Segment, ...]) -> None:
        """Record an answer that is consistent."""
        self._release(ask)
        block_range = self._range_of(ask)
        if block_range is not None:
            block_range.asked, block_range.arrived = None, Arrived(ask, segments)

    def failed(self, ask: AskBlocks, now: float) -> None:
        """Record that no answer, an empty or a wrong one came: the peer rests, another is asked."""
        self._release(ask)
        self._rest(ask.peer, now)
        block_range = self._range_of(ask)
        if block_range is not None:
            block_range.asked = None

    def next_arrived(self) -> Arrived | None:
        """Return the answer to import now, None if it has not come."""
        for block_range in self._ranges:
            if block_range.arrived is not None and block_range.first <= self.imported + 1:
                return block_range.arrived
        return None

    def import_done(self, arrived: Arrived, imported: int) -> None:
        """Record that all blocks up to `imported` are here; the rest is requested again."""
        peer = self._peers.get(arrived.ask.peer)
        if peer is not None:
            peer.failures, peer.has_delivered = 0, True
        self.advance(imported)
        self._ranges = [
            block_range for block_range in self._ranges if block_range.arrived is not arrived
        ]

    def import_refused(self, arrived: Arrived, now: float) -> None:
        """Record that the answer proved wrong: the peer rests, another is asked."""
        self._rest(arrived.ask.peer, now)
        for block_range in self._ranges:
            if block_range.arrived is arrived:
                block_range.arrived = None

    def advance(self, imported: int) -> None:
        """Record that blocks came in another way: lower ranges are no longer wanted."""
        self.imported = max(self.imported, imported)
        remaining = []
        for block_range in self._ranges:
            last = block_range.first + block_range.count - 1
            if last > self.imported:
                remaining.append(block_range)
        self._ranges = remaining

    def _plan_ranges(self, target: int) -> None:
        """Cover the heights from above `imported` to the target with ranges, up to the limit."""
        at = self.imported + 1
        covered = sorted(self._ranges, key=lambda block_range: block_range.first)
        planned: list[_Range] = []
        while at <= target and len(planned) < self._limits.ranges_ahead:
            if covered and covered[0].first <= at:
                block_range = covered.pop(0)
                if (
                    block_range.asked is None
                    and block_range.arrived is None
                    and block_range.first < at
                ):
                    block_range = _Range(at, block_range.first + block_range.count - at)
                planned.append(block_range)
                at = max(at, block_range.first + block_range.count)
                continue
            stop = covered[0].first if covered else target + 1
            count = min(self._limits.blocks_per_request, stop - at)
            planned.append(_Range(at, count))
            at += count
        self._ranges = planned + covered

    def _choose(self, first: int, now: float) -> tuple[PeerId, _Peer] | None:
        """Return the least busy peer that has a block; of equals the least failing."""
        able = [
            (state.in_flight, state.failures, peer)
            for peer, state in self._peers.items()
            if state.finalized >= first
            and state.rests_until <= now
            and state.in_flight < self._limits.in_flight_per_peer
        ]
        if not able:
            return None
        peer = min(able)[2]
        return peer, self._peers[peer]

    def _release(self, ask: AskBlocks) -> None:
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.in_flight = max(0, peer.in_flight - 1)

    def _rest(self, name: PeerId, now: float) -> None:
        peer = self._peers.get(name)
        if peer is not None:
            peer.failures += 1
            peer.has_delivered = False
            pause = self._limits.rest_s * 2 ** min(peer.failures - 1, 10)
            peer.rests_until = now + min(pause, self._limits.rest_max_s)

    def _range_of(self, ask: AskBlocks) -> _Range | None:
        return next((block_range for block_range in self._ranges if block_range.asked is ask), None)
