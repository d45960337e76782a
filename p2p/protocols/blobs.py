"""Blobs between peers: ranges of chunks with proofs, and who is asked for which.

Pure: `BlobPlanner` is told of peers, answers and time, and says what to ask of whom.
node/sync/blob_fetcher.py carries it out, node/sync/peer_requests.py answers.

    a peer      ABLE, until it lacks the blob, fails or lies; then it rests, twice as long each time
    a chunk     missing -> asked of one peer -> here; or missing again, and asked of another

A blob's id binds its length, so the first chunk that verifies also proves the length: until then
one range is asked at a time, and nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2p.protocols.sync import WrongAnswerError
from p2p.transport.transport import PeerId
from runtime.codec.scale import scale, u16, u32, u64
from runtime.trie.merkle import (
    CHUNK_SIZE,
    MerkleProof,
    blob_id_of_chunks,
    chunk_count,
    verify_chunk,
)
from runtime.types.primitives import Hash

RANGE_BYTES_MAX: Final = 8 << 20
CHUNKS_MAX: Final = RANGE_BYTES_MAX // CHUNK_SIZE
"""Chunks of one answer."""


@scale
class BlobRequest:
    """Asks for `count` chunks of a blob from `first` on."""

    blob: Hash
    first: u32
    count: u16


@scale
class BlobRange:
    """The blob's length, and chunks with their proofs (runtime/trie/merkle.py)."""

    length: u64
    chunks: tuple[tuple[bytes, MerkleProof], ...]


BlobAnswer = BlobRange | None
"""The answer to BlobRequest; None where the peer does not have the blob."""


def check_range(request: BlobRequest, answer: BlobRange, length_max: int) -> None:
    """Check that these are chunks that were asked for. Raises WrongAnswerError."""
    length, blob = answer.length, request.blob
    if length > length_max:
        raise WrongAnswerError(f"a blob of {length} bytes is longer than {length_max}")
    if length == 0:
        if answer.chunks or blob_id_of_chunks((), 0) != blob:
            raise WrongAnswerError("the blob is not empty")
        return
    expected = min(request.count, chunk_count(length) - request.first)
    if not 0 < len(answer.chunks) <= expected:
        raise WrongAnswerError(f"{len(answer.chunks)} chunks came instead of 1 to {expected}")
    for index, (data, proof) in enumerate(answer.chunks, request.first):
        if proof.index != index or not verify_chunk(blob, length, data, proof):
            raise WrongAnswerError(f"this is not chunk {index} of blob {blob.hex()}")


@dataclass(frozen=True, slots=True)
class BlobLimits:
    """How much is asked for at once, and how patient a download is."""

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

    def __init__(self, limits: BlobLimits | None = None) -> None:
        self._limits = limits or BlobLimits()
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
        """The length is proven: these chunks are missing."""
        self._missing = sorted(missing)

    def note_peers(self, peers: tuple[PeerId, ...]) -> None:
        """These peers are here, and no others."""
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
        """Return when a resting peer may be asked again, None where nobody rests."""
        return min(
            (
                peer.rests_until
                for peer in self._peers.values()
                if peer.rests_until > now and peer.failures < self._limits.failures_max
            ),
            default=None,
        )

    def answered(self, ask: AskChunks, count: int) -> None:
        """So many chunks from the first asked one on are here."""
        self._settle(ask)
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.failures = 0
        here = range(ask.first, ask.first + count)
        self._missing = [index for index in self._missing or () if index not in here]

    def failed(self, ask: AskChunks, now: float) -> None:
        """The peer lacks the blob, did not answer or lied: it rests, another is asked."""
        self._settle(ask)
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.rests_until = now + self._limits.rest_s * 2 ** min(peer.failures, 10)
            peer.failures += 1

    def _wanted(self) -> tuple[int, int] | None:
        """Return the first run of missing chunks that nobody is asked for: first and count."""
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

    def _settle(self, ask: AskChunks) -> None:
        del self._asked[ask]
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.is_busy = False
