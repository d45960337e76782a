"""Block sync: what is asked for and answered, what an answer proves, and who is asked for what.

Everything here is pure: `BlockPlanner` is told of peers, answers and the time, and says what to ask
of whom. node/sync/block_sync.py carries it out, node/sync/peer_requests.py answers.

A range of blocks goes through

    WANTED    asked of a peer that has it         -> ASKED
    ASKED     answered -> ARRIVED                 failed, peer gone -> WANTED, the peer rests
    ARRIVED   imported -> forgotten               refused -> WANTED, the peer rests

Ranges are imported in order, so what comes before a refused one is proven: the blame is the peer's
that gave it. Every answer proves itself: it ends in a block with a FINALIZE certificate, or is
followed by the headers up to one (`trail`). So nothing is executed that is not final.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from p2p.transport.transport import PeerId
from runtime.codec.scale import DecodeError, codec, scale, u16, u32, u64
from runtime.shared.finality import (
    AuthoritySet,
    BadCertificateError,
    Certificate,
    Kind,
    check_certificate,
)
from runtime.trie.trie import ordered_root
from runtime.types.primitives import Hash, Header

BLOCKS_MAX: Final = 256
"""Blocks of one answer."""
TRAIL_MAX: Final = 1024
"""Headers behind the last block of an answer: nobody leaves more blocks without finality."""
EPOCHS_MAX: Final = 64
"""Epochs of one answer."""
BELIEVED_FAILURES: Final = 3
"""Failures in a row after which a peer's height is not believed while it rests."""
STATE_BYTES_MAX: Final = 2 << 20
"""Bytes of values in one answer; a single larger value comes alone."""

# ---------------------------------------------------------------------------------- messages


@scale
class BlocksRequest:
    """Asks for finalized blocks from `first` on; or, with `last`, for the newest down to `first`.

    With `last` the answer ends in that block, final or not, and has no trail.
    """

    first: u64
    count: u16
    last: Hash | None = None


@scale
class Block:
    """A block; its justification is the SCALE of a FINALIZE certificate."""

    header: Header
    extrinsics: tuple[bytes, ...]
    justification: bytes | None = None


@scale
class Blocks:
    """Consecutive blocks; none where the peer lacks them.

    `trail` are the headers from behind the last block to the next one with a justification, which
    is then `proof`; both are empty when the last block has its own.
    """

    blocks: tuple[Block, ...]
    trail: tuple[Header, ...] = ()
    proof: bytes = b""


@scale
class EpochsRequest:
    """Asks for the ends of the epochs from `first` on."""

    first: u64
    count: u16


@scale
class EpochEnd:
    """The last header of an epoch, its FINALIZE certificate, and the set of the next epoch."""

    header: Header
    certificate: Certificate
    next_set: AuthoritySet


@scale
class StateRequest:
    """Asks for the keys from `start` on in the state after a block, about `size` bytes of them."""

    block: Hash
    start: bytes
    size: u32


@scale
class StateRange:
    """Consecutive keys with their values, and the proof (runtime/trie/range_proof.py)."""

    pairs: tuple[tuple[bytes, bytes], ...]
    proof: tuple[bytes, ...]


Epochs = tuple[EpochEnd, ...]
"""The answer to EpochsRequest; shorter than asked at the newest epoch."""
StateAnswer = StateRange | None
"""The answer to StateRequest; None where the peer no longer has that state."""

# ------------------------------------------------------------------------------------- proof


class WrongAnswerError(ValueError):
    """A peer answered what no honest peer answers; the message says what."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Blocks that one certificate proves: it is for the last header of `trail`, or of `blocks`."""

    blocks: tuple[Block, ...]
    trail: tuple[Header, ...]
    certificate: Certificate

    @property
    def certified(self) -> Header:
        """The header that the certificate is for."""
        return self.trail[-1] if self.trail else self.blocks[-1].header


def check_blocks(first: int, count: int, answer: Blocks) -> tuple[Segment, ...]:
    """Check that an answer holds together, and cut it where its certificates are.

    Whoever takes the segments still checks that the first block follows a known one, and each
    certificate with `check_final`. Raises WrongAnswerError.
    """
    blocks = answer.blocks
    if not blocks or len(blocks) > count:
        raise WrongAnswerError(f"{len(blocks)} blocks came instead of 1 to {count}")
    headers = [block.header for block in blocks]
    if headers[0].number != first:
        raise WrongAnswerError(f"the first block is {headers[0].number} instead of {first}")
    check_links([*headers, *answer.trail])
    for block in blocks:
        check_body(block.header, block.extrinsics)
    return tuple(_segments(answer))


def check_links(headers: Sequence[Header]) -> None:
    """Check that each header follows the one before. Raises WrongAnswerError."""
    for parent, header in pairwise(headers):
        if header.number != parent.number + 1 or header.parent_hash != parent.hash:
            raise WrongAnswerError(f"block {header.number} does not follow {parent.number}")


def check_body(header: Header, extrinsics: Sequence[bytes]) -> None:
    """Check that extrinsics are those of a header. Raises WrongAnswerError."""
    if ordered_root(extrinsics) != header.extrinsics_root:
        raise WrongAnswerError(f"the body of block {header.number} is of another block")


def check_final(
    genesis: Hash, authorities: AuthoritySet, header: Header, certificate: Certificate
) -> None:
    """Check that a certificate of a set makes a header final. Raises WrongAnswerError."""
    ballot = certificate.ballot
    if ballot.kind != Kind.FINALIZE or ballot.digest != header.hash:
        raise WrongAnswerError(f"the certificate of block {header.number} is for something else")
    try:
        check_certificate(genesis, authorities, certificate)
    except BadCertificateError as error:
        raise WrongAnswerError(
            f"the certificate of block {header.number} is not valid: {error}"
        ) from error


def _segments(answer: Blocks) -> Iterator[Segment]:
    start = 0
    for index, block in enumerate(answer.blocks):
        if block.justification is not None:
            certificate = read_certificate(block.justification)
            yield Segment(answer.blocks[start : index + 1], (), certificate)
            start = index + 1
    rest = answer.blocks[start:]
    if bool(rest) != bool(answer.trail) or bool(rest) != bool(answer.proof):
        raise WrongAnswerError("the last blocks are not proven, or more is proven than came")
    if rest:
        yield Segment(rest, answer.trail, read_certificate(answer.proof))


def read_certificate(justification: bytes) -> Certificate:
    """Return the certificate in a justification. Raises WrongAnswerError."""
    try:
        return codec(Certificate).decode(justification)
    except DecodeError as error:
        raise WrongAnswerError(f"a justification cannot be read: {error}") from error


# ----------------------------------------------------------------------------------- planner


@dataclass(frozen=True, slots=True)
class SyncLimits:
    """How much is asked for at once, and how long a peer that failed is not asked."""

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


@dataclass(slots=True)
class _Range:
    first: int
    count: int
    asked: AskBlocks | None = None
    arrived: Arrived | None = None


class BlockPlanner:
    """Who is asked for which blocks. `imported` is the height up to which all is here."""

    def __init__(self, imported: int, limits: SyncLimits | None = None) -> None:
        self.imported = imported
        self._limits = limits or SyncLimits()
        self._peers: dict[PeerId, _Peer] = {}
        self._ranges: list[_Range] = []

    def restart(self, imported: int) -> None:
        """Begin again above a height; what is known of the peers stays, all requests are over."""
        self.imported = imported
        self._ranges = []
        for peer in self._peers.values():
            peer.in_flight = 0

    def target(self, now: float) -> int:
        """Return the highest block that a peer says is final, or what is here.

        A peer that claims blocks and keeps failing to give them is not believed while it rests.
        """
        believed = [
            peer.finalized
            for peer in self._peers.values()
            if peer.failures < BELIEVED_FAILURES or peer.rests_until <= now
        ]
        return max([self.imported, *believed])

    def note_peer(self, peer: PeerId, finalized: int) -> None:
        """A peer is here and says which of its blocks is final."""
        known = self._peers.setdefault(peer, _Peer(finalized))
        known.finalized = finalized

    def drop_peer(self, peer: PeerId) -> None:
        """A peer is gone: what it was asked is asked of others."""
        self._peers.pop(peer, None)
        for each in self._ranges:
            if each.asked is not None and each.asked.peer == peer:
                each.asked = None

    @property
    def peers(self) -> tuple[PeerId, ...]:
        """The peers that are known."""
        return tuple(self._peers)

    def requests(self, now: float) -> list[AskBlocks]:
        """Return what to ask now; each is then answered or failed."""
        self._plan_ranges(self.target(now))
        asks = []
        for each in self._ranges:
            if each.asked is not None or each.arrived is not None:
                continue
            chosen = self._choose(each.first, now)
            if chosen is None:
                continue
            peer, state = chosen
            state.in_flight += 1
            count = min(each.count, state.finalized - each.first + 1)
            each.asked = AskBlocks(peer, each.first, count)
            asks.append(each.asked)
        return asks

    def wake_at(self, now: float) -> float | None:
        """Return when a resting peer may be asked again, None where nobody rests."""
        return min(
            (peer.rests_until for peer in self._peers.values() if peer.rests_until > now),
            default=None,
        )

    def answered(self, ask: AskBlocks, segments: tuple[Segment, ...]) -> None:
        """An answer came that holds together."""
        self._settle(ask)
        each = self._range_of(ask)
        if each is not None:
            each.asked, each.arrived = None, Arrived(ask, segments)

    def failed(self, ask: AskBlocks, now: float) -> None:
        """No answer came, an empty one, or a wrong one: the peer rests, another is asked."""
        self._settle(ask)
        self._rest(ask.peer, now)
        each = self._range_of(ask)
        if each is not None:
            each.asked = None

    def next_arrived(self) -> Arrived | None:
        """Return the answer to import now, None where it has not come."""
        for each in self._ranges:
            if each.arrived is not None and each.first <= self.imported + 1:
                return each.arrived
        return None

    def import_done(self, arrived: Arrived, imported: int) -> None:
        """All blocks up to `imported` are here; what the answer left out is asked for again."""
        peer = self._peers.get(arrived.ask.peer)
        if peer is not None:
            peer.failures = 0
        self.advance(imported)
        self._ranges = [each for each in self._ranges if each.arrived is not arrived]

    def import_refused(self, arrived: Arrived, now: float) -> None:
        """The answer proved wrong: the peer rests, another is asked."""
        self._rest(arrived.ask.peer, now)
        for each in self._ranges:
            if each.arrived is arrived:
                each.arrived = None

    def advance(self, imported: int) -> None:
        """Blocks came in another way: what lies below is no longer wanted."""
        self.imported = max(self.imported, imported)
        kept = []
        for each in self._ranges:
            last = each.first + each.count - 1
            if last > self.imported:
                kept.append(each)
        self._ranges = kept

    def _plan_ranges(self, target: int) -> None:
        """Cover the heights from above `imported` to the target with ranges, up to the limit."""
        at = self.imported + 1
        covered = sorted(self._ranges, key=lambda each: each.first)
        planned: list[_Range] = []
        while at <= target and len(planned) < self._limits.ranges_ahead:
            if covered and covered[0].first <= at:
                each = covered.pop(0)
                if each.asked is None and each.arrived is None and each.first < at:
                    each = _Range(at, each.first + each.count - at)
                planned.append(each)
                at = max(at, each.first + each.count)
                continue
            stop = covered[0].first if covered else target + 1
            count = min(self._limits.blocks_per_request, stop - at)
            planned.append(_Range(at, count))
            at += count
        self._ranges = planned + covered

    def _choose(self, first: int, now: float) -> tuple[PeerId, _Peer] | None:
        """Return the least busy peer that has a block, of equals the one that failed least."""
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

    def _settle(self, ask: AskBlocks) -> None:
        peer = self._peers.get(ask.peer)
        if peer is not None:
            peer.in_flight = max(0, peer.in_flight - 1)

    def _rest(self, name: PeerId, now: float) -> None:
        peer = self._peers.get(name)
        if peer is not None:
            peer.failures += 1
            pause = self._limits.rest_s * 2 ** min(peer.failures - 1, 10)
            peer.rests_until = now + min(pause, self._limits.rest_max_s)

    def _range_of(self, ask: AskBlocks) -> _Range | None:
        return next((each for each in self._ranges if each.asked is ask), None)
