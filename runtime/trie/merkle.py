"""Merkle trees: lists of leaves, the chunks of a blob, and sums of money, with short proofs.

Three trees share one shape: pairs are hashed from the left, a last odd node moves up unchanged.

- A *list tree* commits to bytes in order: `merkle_root`, `merkle_proof`, `verify_merkle`.
- A *blob* is a file cut in chunks of `CHUNK_SIZE`; `blob_id` names it by its chunk hashes and its
  length, so that a chunk can be checked before the rest has come.
- A *sum tree* commits to (hash, amount) pairs and to their total; a proof shows one pair and that
  the amounts on the way add up, so no receipt can be counted twice or left out of the total.

Rules that hold here: leaf, node and root are hashed under different prefixes and a root binds the
number of its leaves, so neither an inner node nor a shorter list can pose as something else.
Verifying is total: malformed proofs answer False, they never raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final, TypeVar

from runtime.codec.scale import scale, u32, u128
from runtime.crypto.hashing import blake2b_256
from runtime.types.primitives import ZERO_HASH, Hash

CHUNK_SIZE: Final = 256 * 1024
"""Bytes of every chunk of a blob but the last."""

AMOUNT_MAX: Final = (1 << 128) - 1
"""The largest amount and the largest total of a sum tree."""

COUNT_MAX: Final = (1 << 32) - 1
"""The largest number of leaves."""

_LIST: Final = (b"openledger/list/leaf", b"openledger/list/node", b"openledger/list/root")
_SUM: Final = (b"openledger/sums/leaf", b"openledger/sums/node", b"openledger/sums/root")
_CHUNK: Final = b"openledger/blob/chunk"
_BLOB: Final = b"openledger/blob/root"

Node = TypeVar("Node")


@scale
class MerkleProof:
    """The way from leaf `index` of `count` up to the root: the sibling hashes, lowest first."""

    index: u32
    count: u32
    siblings: tuple[Hash, ...]


@scale
class SumNode:
    """A node of a sum tree: its hash and the sum of the amounts below it."""

    hash: Hash
    amount: u128


@scale
class SumProof:
    """The way from leaf `index` of `count` up to the root of a sum tree."""

    index: u32
    count: u32
    siblings: tuple[SumNode, ...]


class LeafIndexError(IndexError):
    """A proof was asked for a leaf that the tree does not have."""


class AmountError(ValueError):
    """An amount, or the total, does not fit 128 bits without sign."""


class ChunkCountError(ValueError):
    """The number of chunk hashes does not fit the length of the blob."""


# ---------------------------------------------------------------------------------------- list tree


def merkle_root(leaves: Iterable[bytes]) -> Hash:
    """Return the root over the leaves in order; the empty list has a root of its own."""
    level = [_list_leaf(leaf) for leaf in leaves]
    return _list_root(len(level), _top(level, _list_node, ZERO_HASH))


def merkle_proof(leaves: Sequence[bytes], index: int) -> MerkleProof:
    """Return the proof of leaf `index`. Raises LeafIndexError."""
    level = [_list_leaf(leaf) for leaf in leaves]
    siblings = _siblings(level, index, _list_node)
    return MerkleProof(index, len(level), tuple(siblings))


def verify_merkle(root: Hash, leaf: bytes, proof: MerkleProof) -> bool:
    """Return whether `leaf` is at `proof.index` of the list with this root."""
    top = _climb(_list_leaf(leaf), proof.index, proof.count, proof.siblings, _list_node)
    return top is not None and _list_root(proof.count, top) == root


# --------------------------------------------------------------------------------------------- blob


def blob_id(data: bytes) -> Hash:
    """Return the name of a file's content."""
    return blob_id_of_chunks([chunk_hash(chunk) for chunk in chunks(data)], len(data))


def blob_id_of_chunks(chunk_hashes: Sequence[Hash], length: int) -> Hash:
    """Return the blob id from the hashes of its chunks, for who reads it chunk by chunk.

    Raises ChunkCountError when the count is not the one of a blob of `length` bytes.
    """
    if len(chunk_hashes) != chunk_count(length):
        raise ChunkCountError(
            f"A blob of {length} bytes has {chunk_count(length)} chunks, not {len(chunk_hashes)}. "
            "Check the list of hashes."
        )
    return _blob_root(length, merkle_root(chunk_hashes))


def chunks(data: bytes) -> list[bytes]:
    """Return the chunks of a blob in order; the empty blob has none."""
    return [data[start : start + CHUNK_SIZE] for start in range(0, len(data), CHUNK_SIZE)]


def chunk_count(length: int) -> int:
    """Return the number of chunks of a blob of `length` bytes."""
    return -(-length // CHUNK_SIZE)


def chunk_hash(chunk: bytes) -> Hash:
    """Return the hash of one chunk."""
    return Hash(blake2b_256(_CHUNK + chunk))


def chunk_proof(chunk_hashes: Sequence[Hash], index: int) -> MerkleProof:
    """Return the proof that chunk `index` belongs to the blob. Raises LeafIndexError."""
    return merkle_proof(chunk_hashes, index)


def verify_chunk(blob: Hash, length: int, chunk: bytes, proof: MerkleProof) -> bool:
    """Return whether `chunk` is chunk `proof.index` of the blob with this id and length."""
    if not 0 <= length < 1 << 64 or proof.count != chunk_count(length):
        return False
    is_last = proof.index == proof.count - 1
    expected = length - proof.index * CHUNK_SIZE if is_last else CHUNK_SIZE
    if len(chunk) != expected:
        return False
    top = _climb(
        _list_leaf(chunk_hash(chunk)), proof.index, proof.count, proof.siblings, _list_node
    )
    if top is None:
        return False
    return _blob_root(length, _list_root(proof.count, top)) == blob


class BlobHasher:
    """Computes a blob id from pieces of any size; holds at most one chunk."""

    __slots__ = ("_current", "_filled", "_hashes", "length")

    def __init__(self) -> None:
        self.length = 0
        self._hashes: list[Hash] = []
        self._current = blake2b(_CHUNK, digest_size=32)
        self._filled = 0

    def update(self, piece: bytes) -> None:
        """Append bytes."""
        rest = memoryview(piece)
        while rest:
            taken = rest[: CHUNK_SIZE - self._filled]
            self._current.update(taken)
            self._filled += len(taken)
            self.length += len(taken)
            rest = rest[len(taken) :]
            if self._filled == CHUNK_SIZE:
                self._hashes.append(Hash(self._current.digest()))
                self._current = blake2b(_CHUNK, digest_size=32)
                self._filled = 0

    def chunk_hashes(self) -> list[Hash]:
        """Return the hashes of the chunks so far, a started one included."""
        started = [Hash(self._current.digest())] if self._filled else []
        return self._hashes + started

    def blob_id(self) -> Hash:
        """Return the id of the bytes so far."""
        return blob_id_of_chunks(self.chunk_hashes(), self.length)


# ----------------------------------------------------------------------------------------- sum tree


def sum_root(leaves: Iterable[tuple[Hash, int]]) -> tuple[Hash, int]:
    """Return root and total of (hash, amount) leaves in order. Raises AmountError."""
    level = [_sum_leaf(leaf, amount) for leaf, amount in leaves]
    top = _top(level, _sum_node, SumNode(ZERO_HASH, 0))
    return _sum_root(len(level), top), top.amount


def sum_proof(leaves: Sequence[tuple[Hash, int]], index: int) -> SumProof:
    """Return the proof of leaf `index`. Raises LeafIndexError, AmountError."""
    level = [_sum_leaf(leaf, amount) for leaf, amount in leaves]
    siblings = _siblings(level, index, _sum_node)
    return SumProof(index, len(level), tuple(siblings))


def verify_sum(root: Hash, total: int, leaf: Hash, amount: int, proof: SumProof) -> bool:
    """Return whether (leaf, amount) is at `proof.index` of the tree with this root and total."""
    return proven_sum(leaf, amount, proof) == (root, total)


def proven_sum(leaf: Hash, amount: int, proof: SumProof) -> tuple[Hash, int] | None:
    """Return the root and total that a proof of (leaf, amount) leads to; None where it has not the
    shape of a tree, or a sum does not fit."""
    try:
        start = _sum_leaf(leaf, amount)
        top = _climb(start, proof.index, proof.count, proof.siblings, _sum_node)
    except AmountError:
        return None
    return None if top is None else (_sum_root(proof.count, top), top.amount)


# ----------------------------------------------------------------------------------- shape of trees


def _top(level: Sequence[Node], join: Callable[[Node, Node], Node], empty: Node) -> Node:
    while len(level) > 1:
        level = _next(level, join)
    return level[0] if level else empty


def _next(level: Sequence[Node], join: Callable[[Node, Node], Node]) -> list[Node]:
    pairs = [join(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def _siblings(level: Sequence[Node], index: int, join: Callable[[Node, Node], Node]) -> list[Node]:
    if not 0 <= index < len(level):
        raise LeafIndexError(
            f"There is no leaf {index} in a tree of {len(level)}. Check the index."
        )
    siblings: list[Node] = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            siblings.append(level[index ^ 1])
        level = _next(level, join)
        index //= 2
    return siblings


def _climb(
    node: Node,
    index: int,
    count: int,
    siblings: Sequence[Node],
    join: Callable[[Node, Node], Node],
) -> Node | None:
    """Return the top node above a leaf, or None when the proof has not the shape of the tree."""
    if not 0 <= index < count <= COUNT_MAX:
        return None
    remaining = list(reversed(siblings))
    while count > 1:
        if index ^ 1 < count:
            if not remaining:
                return None
            sibling = remaining.pop()
            node = join(sibling, node) if index % 2 else join(node, sibling)
        index //= 2
        count = -(-count // 2)
    return None if remaining else node


# ------------------------------------------------------------------------------------------- hashes


def _list_leaf(leaf: bytes) -> Hash:
    return Hash(blake2b_256(_LIST[0] + leaf))


def _list_node(left: Hash, right: Hash) -> Hash:
    return Hash(blake2b_256(_LIST[1] + left + right))


def _list_root(count: int, top: Hash) -> Hash:
    return Hash(blake2b_256(_LIST[2] + count.to_bytes(4, "little") + top))


def _blob_root(length: int, chunk_root: Hash) -> Hash:
    return Hash(blake2b_256(_BLOB + length.to_bytes(8, "little") + chunk_root))


def _sum_leaf(leaf: Hash, amount: int) -> SumNode:
    return SumNode(Hash(blake2b_256(_SUM[0] + leaf + _amount(amount))), amount)


def _sum_node(left: SumNode, right: SumNode) -> SumNode:
    total = left.amount + right.amount
    parts = left.hash + _amount(left.amount) + right.hash + _amount(right.amount)
    _amount(total)
    return SumNode(Hash(blake2b_256(_SUM[1] + parts)), total)


def _sum_root(count: int, top: SumNode) -> Hash:
    parts = count.to_bytes(4, "little") + top.hash + _amount(top.amount)
    return Hash(blake2b_256(_SUM[2] + parts))


def _amount(amount: int) -> bytes:
    if not 0 <= amount <= AMOUNT_MAX:
        raise AmountError(
            f"The amount {amount} does not fit 128 bits without sign. Split the list of leaves."
        )
    return amount.to_bytes(16, "little")
