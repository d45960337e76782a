"""The download of one blob: which peer is asked for which range of chunks.

Pure: `BlobPlanner` takes peers, answers and the time, and returns which peer to ask for what.
node/sync/blob_fetcher.py carries it out.

    a peer      ABLE, until it fails, lies or has no blob; then it rests, twice as long each time
    a chunk     missing -> asked of one peer -> here; or missing again, and asked of another

Until the length is proven by a first chunk, one range is asked at a time, and nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p.transport.transport import PeerId


@dataclass(frozen=True, slots=True)
class BlobLimits:
    """The size and number of requests, and the rests of peers that fail."""

    chunks_per_request: int = 8
    in_flight: int = 4
    rest_s: float = 1.0
    failures_max: int = 4
    """After so many failures in a row a peer is not asked for this blob again."""


@dataclass(frozen=True, slots=True)
class AskChunks:
    """Ask a peer for a range of the blob."""

    peer: PeerId
    first: int
    count: int


@dataclass(slots=True)
class _Peer:
    is_busy: bool = False
    failures: int = 0
    rests_until: float = 0.0


class BlobPlanner:
    """The download of one blob."""

    def __init__(self, limits: BlobLimits) -> None:
        self._limits = limits
        self._missing: list[int] | None = None
        self._peers: dict[PeerId, _Peer] = {}
        self._asked: dict[AskChunks, None] = {}

    @property
    def has_begun(self) -> bool:
        """Return whether the length is proven."""
        return self._missing is not None

    @property
    def is_complete(self) -> bool:
        """Return whether every chunk is here."""
        return self._missing is not None and not self._missing

    @property
    def is_hopeless(self) -> bool:
        """Return whether no peer that is here is worth asking again."""
        return not self._asked and all(
            peer.failures >= self._limits.failures_max for peer in self._peers.values()
        )

    def begin(self, missing: list[int]) -> None:
        """Begin, once the length is proven, with the chunks that are missing."""
        self._missing = sorted(missing)

    def note_peers(self, peers: tuple[PeerId, ...]) -> None:
        """Set the peers that are connected now."""
        for peer in peers:
            self._peers.setdefault(peer, _Peer())
        for peer in set(self._peers) - set(peers):
            del self._peers[peer]

    def requests(self, now: float) -> list[AskChunks]:
        """Return what to ask now; each is then answered or failed."""
        asks: list[AskChunks] = []
        while len(self._asked) < (1 if self._missing is None else self._limits.in_flight):
            wanted = self._wanted()
            peer = self._choose(now)
            if wanted is None or peer is None:
                break
            ask = AskChunks(peer, *wanted)
            self._peers[peer].is_busy = True
            self._asked[ask] = None
            asks.append(ask)
        return asks

    def wake_at(self, now: float) -> float | None:
        """Return when a resting peer may be asked again, None if no peer rests."""
        return min(
            (
                peer.rests_until
                for peer in self._peers.values()
                if peer.rests_until > now and peer.failures < self._limits.failures_max
            ),
            default=None,
        )

    def answered(self, ask: AskChunks, count: int) -> None:
        """Record that `count` chunks from the first requested one on are stored."""
        self._release(ask)
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.failures = 0
        here = range(ask.first, ask.first + count)
        self._missing = [index for index in self._missing or () if index not in here]

    def failed(self, ask: AskChunks, now: float) -> None:
        """Record that the peer has no such blob, did not answer or lied: it rests."""
        self._release(ask)
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.rests_until = now + self._limits.rest_s * 2 ** min(peer.failures, 10)
            peer.failures += 1

    def _wanted(self) -> tuple[int, int] | None:
        """Return the first run of missing chunks that no peer is asked for: first and count."""
        if self._missing is None:
            return (0, self._limits.chunks_per_request) if not self._asked else None
        asked = {index for ask in self._asked for index in range(ask.first, ask.first + ask.count)}
        free = [index for index in self._missing if index not in asked]
        if not free:
            return None
        count = 1
        while (
            count < min(self._limits.chunks_per_request, len(free))
            and free[count] == free[0] + count
        ):
            count += 1
        return free[0], count

    def _choose(self, now: float) -> PeerId | None:
        able = [
            (peer.failures, name)
            for name, peer in self._peers.items()
            if not peer.is_busy
            and peer.rests_until <= now
            and peer.failures < self._limits.failures_max
        ]
        return min(able)[1] if able else None

    def _release(self, ask: AskChunks) -> None:
        del self._asked[ask]
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.is_busy = False
