"""Range proofs: consecutive keys of a state with their values, proven against the state root.

A state is copied in chunks. Each is the keys from a start on, in order and without a gap, and the
trie nodes on the two edges of the range: those on the way to its start and to its last key. What
lies between the edges is rebuilt from the pairs, so a key that is left out, added or changed gives
another node than the edge commits to. What comes out of a verified chunk is also the stored trie:
the nodes of disjoint chunks together are exactly the nodes of the state.

Rules that hold here:
- Paths are nibbles. A subtree lies outside the range, inside (it is rebuilt), or on an edge (it is
  opened, so its node is in the proof). An edge is a prefix of the start or of the last key.
- Without pairs a proof shows that no key lies at or above the start.
- Whatever a chunk holds, verifying returns or raises ProofError.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Final, Protocol

from runtime.crypto.hashing import blake2b_256
from runtime.trie.backend import Backend, MemoryBackend
from runtime.trie.proof import ProofError
from runtime.trie.trie import EMPTY_ROOT, KEY_BYTES_MAX, V1, update
from runtime.trie.trie_node import (
    HASH_BYTES,
    Cell,
    Leaf,
    NodeError,
    decode,
    nibbles_of,
    read_head,
    unpack,
    value_cell,
    with_partial,
)

PAIRS_MAX: Final = 65_536
"""Keys of one chunk."""
_EDGE_NODES_MAX: Final = 4 * KEY_BYTES_MAX + 2
_STEP: Final = [bytes((nibble,)) for nibble in range(16)]

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive keys with their values, and the nodes on the edges of the range, sorted."""

    pairs: tuple[Pair, ...] = field(repr=False)
    proof: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a checked chunk: its nodes by path; the next chunk's start (None: done)."""

    nodes: dict[bytes, bytes] = field(repr=False)
    next_start: bytes | None


def prove_range(backend: Backend, start: bytes, size_max: int) -> Chunk:
    """Return the keys from `start` on, about `size_max` bytes of them, but at least one.

    Raises ProofError where the state is damaged.
    """
    pairs = _read_pairs(backend, start, size_max)
    root = backend.node(b"")
    if root is None:
        return Chunk((), ())
    entries: set[bytes] = set()

    def opened(path: bytes, reference: bytes) -> bytes:
        node = backend.node(path)
        if node is None or blake2b_256(node) != reference:
            raise ProofError("The stored trie does not match its root. The state is damaged.")
        entries.add(node)
        return node

    last = nibbles_of(pairs[-1][0]) if pairs else None
    for _ in _cut(opened, blake2b_256(root), nibbles_of(start), last):
        pass
    return Chunk(tuple(pairs), tuple(sorted(entries)))


def verify_range(root: bytes, start: bytes, chunk: Chunk) -> Verified:
    """Check that the pairs are all keys from `start` to the last of them. Raises ProofError."""
    pairs = chunk.pairs
    _check_form(start, chunk)
    if root == EMPTY_ROOT:
        if pairs or chunk.proof:
            raise ProofError("The state is empty, but keys came.")
        return Verified({}, None)
    entries = {blake2b_256(node): node for node in chunk.proof}
    nodes: dict[bytes, bytes] = {}
    used: set[bytes] = set()

    def opened(path: bytes, reference: bytes) -> bytes:
        node = entries.get(reference)
        if node is None:
            raise ProofError("The proof lacks a node on the edge of the range.")
        used.add(reference)
        nodes[path] = node
        return node

    last = nibbles_of(pairs[-1][0]) if pairs else None
    ordered = _Ordered(pairs)
    counted, goes_on = 0, False
    for part in _cut(opened, root, nibbles_of(start), last):
        if isinstance(part, _Beyond):
            goes_on = True
        elif isinstance(part, _Single):
            ordered.check_single(part)
            counted += 1
        else:
            counted += ordered.rebuild(part, nodes)
    if counted != len(pairs):
        raise ProofError("Keys came that are not in the state.")
    if len(used) != len(entries) or len(entries) != len(chunk.proof):
        raise ProofError("The proof has nodes that the range does not need.")
    # No key lies between a key and the same key with a zero byte added.
    return Verified(nodes, pairs[-1][0] + b"\0" if goes_on and pairs else None)


# -------------------------------------------------------------------------------- cutting the trie


@dataclass(frozen=True, slots=True)
class _Inside:
    """A subtree that lies in the range as a whole, as its parent refers to it."""

    path: bytes
    reference: bytes


@dataclass(frozen=True, slots=True)
class _Single:
    """A key on an edge that lies in the range."""

    key: bytes
    cell: Cell


@dataclass(frozen=True, slots=True)
class _Beyond:
    """There are keys behind the range."""


class _Place(Enum):
    """The position of a subtree relative to the range."""

    BEFORE = 0
    EDGE = 1
    INSIDE = 2
    BEYOND = 3


class _Opened(Protocol):
    def __call__(self, path: bytes, reference: bytes) -> bytes: ...


def _cut(
    opened: _Opened, root: bytes, low: bytes, high: bytes | None
) -> Iterator[_Inside | _Single | _Beyond]:
    """Cut the trie along the range from `low` to `high`, both included; None is without end."""
    waiting: list[tuple[bytes, bytes]] = [(b"", root)]
    while waiting:
        path, reference = waiting.pop()
        place = _place(path, low, high)
        if place is not _Place.EDGE:
            yield from _whole(place, path, reference)
            continue
        node = opened(path, reference) if len(reference) == HASH_BYTES else reference
        try:
            decoded = decode(node)
        except NodeError as error:
            raise ProofError(f"The proof has a malformed node: {error}") from error
        base = path + decoded.partial
        cell = decoded.cell
        if not isinstance(decoded, Leaf):
            place = _place(base, low, high)
            if place is not _Place.EDGE:
                yield from _whole(place, path, _reference(node))
                continue
            for nibble in range(16):
                child = decoded.children[nibble]
                if child is not None:
                    waiting.append((base + _STEP[nibble], child))
        if cell is not None and base >= low:
            yield _Single(base, cell) if high is None or base <= high else _Beyond()


def _place(path: bytes, low: bytes, high: bytes | None) -> _Place:
    """Return where the keys under a path lie."""
    if path < low:
        return _Place.EDGE if low.startswith(path) else _Place.BEFORE
    if high is None:
        return _Place.INSIDE
    if high.startswith(path):
        return _Place.EDGE
    return _Place.INSIDE if path < high else _Place.BEYOND


def _whole(place: _Place, path: bytes, reference: bytes) -> Iterator[_Inside | _Beyond]:
    if place is _Place.INSIDE:
        yield _Inside(path, reference)
    elif place is _Place.BEYOND:
        yield _Beyond()


# --------------------------------------------------------------------------- against the pairs


class _Ordered:
    """The pairs of a chunk by the nibbles of their keys."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._paths = [nibbles_of(key) for key, _ in pairs]

    def check_single(self, part: _Single) -> None:
        """Check that a key on an edge came with its value."""
        at = bisect_left(self._paths, part.key)
        if at == len(self._paths) or self._paths[at] != part.key:
            raise ProofError("A key of the range is missing.")
        if value_cell(self._pairs[at][1], V1) != part.cell:
            raise ProofError("A value is not the one in the state.")

    def rebuild(self, part: _Inside, nodes: dict[bytes, bytes]) -> int:
        """Build a subtree from its pairs, and check that its parent refers to it."""
        path = part.path
        low = bisect_left(self._paths, path)
        # 0x10 is above every nibble: the end of what starts with the path.
        high = bisect_left(self._paths, path + b"\x10", low)
        if low == high:
            raise ProofError("Keys of the range are missing.")
        built = update(MemoryBackend(), self._pairs[low:high]).nodes
        top = built.pop(b"")
        assert top is not None, "a trie with keys has a root"
        # Built by itself, the subtree's root carries the whole way to it in its partial key.
        _, count, at = read_head(top)
        partial = unpack(top[at : at + ((count + 1) >> 1)], count)
        top = with_partial(top, partial[len(path) :])
        if _reference(top) != part.reference:
            raise ProofError(
                "The keys or values of a part of the range are not those of the state."
            )
        if len(top) >= HASH_BYTES:
            nodes[path] = top
        for name, node in built.items():
            assert node is not None, "nothing is deleted"
            nodes[name] = node
        return high - low


def _check_form(start: bytes, chunk: Chunk) -> None:
    pairs = chunk.pairs
    if len(pairs) > PAIRS_MAX or len(chunk.proof) > _EDGE_NODES_MAX:
        raise ProofError(f"A chunk has at most {PAIRS_MAX} keys and {_EDGE_NODES_MAX} nodes.")
    if any(len(key) > KEY_BYTES_MAX for key, _ in pairs) or len(start) > KEY_BYTES_MAX + 1:
        raise ProofError(f"A key has more than {KEY_BYTES_MAX} bytes.")
    if any(after[0] <= before[0] for before, after in pairwise(pairs)):
        raise ProofError("The keys of a chunk are not in order.")
    if pairs and pairs[0][0] < start:
        raise ProofError("A chunk has keys before its start.")


def _read_pairs(backend: Backend, start: bytes, size_max: int) -> list[Pair]:
    pairs: list[Pair] = []
    size = 0
    for key in _keys_from(backend, start):
        value = backend.get(key)
        if value is None:
            raise ProofError("A listed key has no value. The state is damaged.")
        size += len(key) + len(value)
        if pairs and (size > size_max or len(pairs) == PAIRS_MAX):
            break
        pairs.append((key, value))
    return pairs


def _keys_from(backend: Backend, start: bytes) -> Iterator[bytes]:
    if backend.get(start) is not None:
        yield start
    yield from backend.keys(b"", start)


def _reference(node: bytes) -> bytes:
    """Return how a parent refers to a node."""
    return node if len(node) < HASH_BYTES else blake2b_256(node)
