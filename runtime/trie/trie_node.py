"""The encoding of one trie node, as Substrate's state versions 0 and 1 write it.

A node is its head (kind and length of the partial key), the packed partial key, and then: a leaf's
value; or a branch's child bitmap, its value if it has one, and its children. A child is written as
a length and either its 32-byte hash or, when it is shorter than that, its whole encoding.

Two small types recur. A `Cell` is a value as a node holds it: (False, compact length ++ value) or,
in state version 1, (True, blake2b hash of the value). A reference is a child as a branch holds it.
Nibbles are bytes from 0 to 15. `decode` is strict and total: it serves proofs from strangers.
"""

from binascii import hexlify, unhexlify
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from runtime.codec.scale import DecodeError, encode_compact, read_compact

HASH_BYTES: Final = 32
INLINE_VALUE_MAX: Final = 32
EMPTY_NODE: Final = b"\0"

LEAF: Final = 0x40
LEAF_HASHED: Final = 0x20
BRANCH: Final = 0x80
BRANCH_VALUE: Final = 0xC0
BRANCH_HASHED: Final = 0x10
# The bits of the head's first byte that count the partial key's nibbles.
COUNT_MASK: Final = {
    LEAF: 0x3F,
    LEAF_HASHED: 0x1F,
    BRANCH: 0x3F,
    BRANCH_VALUE: 0x3F,
    BRANCH_HASHED: 0x0F,
}
IS_LEAF: Final = (LEAF, LEAF_HASHED)

_HEX: Final = b"0123456789abcdef" + bytes(240)
_FROM_HEX: Final = bytes(
    int(chr(byte), 16) if chr(byte) in "0123456789abcdef" else 0 for byte in range(256)
)
_CHILD_HASH_LENGTH: Final = bytes([HASH_BYTES << 2])

Cell = tuple[bool, bytes]


class NodeError(ValueError):
    """The bytes are not a trie node in the form that the trie writes."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The end of one key."""

    partial: bytes
    cell: Cell


@dataclass(frozen=True, slots=True)
class Branch:
    """A fork: up to sixteen references, None where there is no child, and maybe a value."""

    partial: bytes
    cell: Cell | None
    children: list[bytes | None]


def nibbles_of(key: bytes) -> bytes:
    """Return the nibbles of a key, high half first."""
    return hexlify(key).translate(_FROM_HEX)


def pack(nibbles: bytes) -> bytes:
    """Pack nibbles two to a byte; an odd first one gets a byte of its own."""
    digits = nibbles.translate(_HEX)
    return unhexlify(b"0" + digits if len(digits) & 1 else digits)


def unpack(packed: bytes, count: int) -> bytes:
    """Return the last `count` nibbles of packed bytes."""
    nibbles = hexlify(packed).translate(_FROM_HEX)
    return nibbles[1:] if count & 1 else nibbles


def value_cell(value: bytes, version: int) -> Cell:
    """Return the cell of a value that is written under a state version."""
    if version and len(value) > INLINE_VALUE_MAX:
        return True, blake2b(value, digest_size=HASH_BYTES).digest()
    size = len(value)
    return False, (bytes((size << 2,)) if size < 64 else encode_compact(size)) + value


def encode_leaf(partial: bytes, cell: Cell) -> bytes:
    """Encode a leaf."""
    hashed, payload = cell
    return head(LEAF_HASHED if hashed else LEAF, len(partial)) + pack(partial) + payload


def encode_branch(partial: bytes, cell: Cell | None, children: list[bytes | None]) -> bytes:
    """Encode a branch with at least one child."""
    bitmap = 0
    parts = [b"", b"", b""]
    for index, reference in enumerate(children):
        if reference is None:
            continue
        bitmap |= 1 << index
        size = len(reference)
        parts.append(_CHILD_HASH_LENGTH if size == HASH_BYTES else bytes((size << 2,)))
        parts.append(reference)
    kind = BRANCH
    if cell is not None:
        kind = BRANCH_HASHED if cell[0] else BRANCH_VALUE
        parts[2] = cell[1]
    parts[0] = head(kind, len(partial)) + pack(partial)
    parts[1] = bytes((bitmap & 0xFF, bitmap >> 8))
    return b"".join(parts)


def head(kind: int, count: int) -> bytes:
    """Return the head of a node with a partial key of `count` nibbles."""
    mask = COUNT_MASK[kind]
    if count < mask:
        return bytes((kind | count,))
    rest = count - mask
    return bytes((kind | mask,)) + b"\xff" * (rest // 255) + bytes((rest % 255,))


def read_head(node: bytes) -> tuple[int, int, int]:
    """Return a node's kind, its number of partial nibbles and where the partial key starts."""
    if not node:
        raise NodeError("A trie node has no bytes.")
    first = node[0]
    if first & 0xC0:
        kind = first & 0xC0
    elif first & 0x20:
        kind = LEAF_HASHED
    elif first & 0x10:
        kind = BRANCH_HASHED
    else:
        raise NodeError("A trie node starts with an unknown head.")
    mask = COUNT_MASK[kind]
    count = first & mask
    at = 1
    if count == mask:
        while True:
            if at >= len(node):
                raise NodeError("A trie node ends inside its head.")
            more = node[at]
            count += more
            at += 1
            if more != 255:
                break
    return kind, count, at


def with_partial(node: bytes, partial: bytes) -> bytes:
    """Return the node with another partial key."""
    kind, count, at = read_head(node)
    return head(kind, len(partial)) + pack(partial) + node[at + ((count + 1) >> 1) :]


def decode(node: bytes) -> Leaf | Branch:
    """Decode a node other than the empty one; raises NodeError."""
    kind, count, at = read_head(node)
    end = at + ((count + 1) >> 1)
    packed = node[at:end]
    if end > len(node) or (count & 1 and packed[0] > 15):
        raise NodeError("A trie node ends inside its partial key, or pads it with a digit.")
    partial = unpack(packed, count)
    result: Leaf | Branch
    if kind in IS_LEAF:
        cell, at = _read_cell(node, end, kind == LEAF_HASHED)
        result = Leaf(partial, cell)
    else:
        bitmap = int.from_bytes(node[end : end + 2], "little")
        at = end + 2
        if not bitmap or at > len(node):
            raise NodeError("A branch of the trie has no children.")
        optional: Cell | None = None
        if kind != BRANCH:
            optional, at = _read_cell(node, at, kind == BRANCH_HASHED)
        children, at = _read_children(node, at, bitmap)
        result = Branch(partial, optional, children)
    if at != len(node):
        raise NodeError("A trie node is followed by further bytes.")
    return result


def _read_cell(node: bytes, at: int, hashed: bool) -> tuple[Cell, int]:
    start, size = at, HASH_BYTES
    if not hashed:
        try:
            size, at = read_compact(node, at)
        except (DecodeError, IndexError) as error:
            raise NodeError("A trie node has a malformed value length.") from error
    if size > len(node) - at:
        raise NodeError("A trie node ends inside its value.")
    return (hashed, node[start : at + size]), at + size


def cell_value(cell: Cell) -> bytes:
    """Return the value of a cell that holds the value itself."""
    hashed, payload = cell
    assert not hashed
    _, at = read_compact(payload, 0)
    return payload[at:]


def _read_children(node: bytes, at: int, bitmap: int) -> tuple[list[bytes | None], int]:
    children: list[bytes | None] = [None] * 16
    for index in range(16):
        if not bitmap >> index & 1:
            continue
        if at >= len(node) or node[at] & 3 or not 0 < node[at] >> 2 <= HASH_BYTES:
            raise NodeError("A branch of the trie has a malformed child reference.")
        size = node[at] >> 2
        at += 1
        if size > len(node) - at:
            raise NodeError("A trie node ends inside a child reference.")
        children[index] = node[at : at + size]
        at += size
    return children, at
