"""The state trie: base-16 Patricia Merkle over blake2b-256, Substrate's state versions 0 and 1.

`update` takes one sorted batch of changes and the nodes that it meets on the way, and gives back
the new root and the nodes that differ. It descends once: each touched node is read, encoded and
hashed once, and a branch whose children merely changed is patched in place instead of decoded. It
stores nothing, and it trusts what it reads; proofs from strangers go through
runtime/trie/proof.py.

Rules that hold here:
- Nodes are addressed by nibble path (see runtime/trie/backend.py); the root is stored whatever
  its size.
- State version 1 stores the hash of a value longer than 32 bytes in place of the value. The version
  applies to what is written: values of untouched keys stay as they were (lazy migration).
- Keys have at most KEY_BYTES_MAX bytes, which bounds the depth of the recursion.

An example, with values of 32 bytes A, B, C at the keys 0x1234, 0x1256 and 0x2000. Below each path
stand the partial key of the node and its value or children (nibble -> path of the child):

    (root)      branch  partial -     1 -> 1, 2 -> 2
    1           branch  partial 2     3 -> 1.2.3, 5 -> 1.2.5
    1.2.3       leaf    partial 4     A           # 1, then 2 and 3 of the branch above, then 4
    1.2.5       leaf    partial 6     B
    2           leaf    partial 000   C

Writing D at 0x1256 reads the root, 1 and 1.2.5, and gives back these three: the leaf has another
value, each branch another hash of one child. The nodes 2 and 1.2.3 are neither read nor hashed.
Removing 0x1234 then leaves one child below 1, which a branch may not have: both leaves go, and 1
becomes the leaf with partial 256 and value D. The root changes as well, the node 2 does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Protocol

from runtime.codec.scale import encode_compact
from runtime.trie.trie_node import (
    BRANCH,
    BRANCH_HASHED,
    EMPTY_NODE,
    HASH_BYTES,
    IS_LEAF,
    LEAF,
    LEAF_HASHED,
    Branch,
    Cell,
    Leaf,
    decode,
    encode_branch,
    encode_leaf,
    head,
    nibbles_of,
    pack,
    read_head,
    unpack,
    value_cell,
    with_partial,
)

V0: Final = 0
V1: Final = 1
EMPTY_ROOT: Final = blake2b(EMPTY_NODE, digest_size=HASH_BYTES).digest()
KEY_BYTES_MAX: Final = 192

_STEP: Final = [bytes((nibble,)) for nibble in range(16)]
_CHILD_BYTES: Final = 1 + HASH_BYTES


class NodeReader(Protocol):
    """The source of trie nodes; every Backend is one."""

    def node(self, path: bytes) -> bytes | None:
        """Return the encoded node at a nibble path, None when there is none."""
        ...


class MissingNodeError(LookupError):
    """A node that its parent refers to is not in the store."""


class KeyTooLongError(ValueError):
    """A storage key is longer than the trie allows."""


class UnsortedChangesError(ValueError):
    """A batch is not sorted by key, or names a key twice."""


@dataclass(frozen=True, slots=True)
class TrieDiff:
    """The result of a batch: the new root, and by path each changed node (None: removed)."""

    root: bytes
    nodes: dict[bytes, bytes | None] = field(repr=False)


def update(
    reader: NodeReader, changes: Iterable[tuple[bytes, bytes | None]], version: int = V1
) -> TrieDiff:
    """Apply changes sorted by key (None deletes) to the trie that `reader` holds.

    Raises MissingNodeError, KeyTooLongError, UnsortedChangesError.
    """
    batch = _Batch(reader, changes, version)
    old = reader.node(b"")
    count = len(batch.keys)
    if old is None:
        new = batch.build_present(0, count, 0)
    else:
        new = batch.visit(old, 0, 0, count) if count else old
    if new != old:
        batch.nodes[b""] = new
    root = EMPTY_ROOT if new is None else blake2b(new, digest_size=HASH_BYTES).digest()
    return TrieDiff(root, batch.nodes)


def root_of(
    pairs: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]], version: int = V1
) -> bytes:
    """Return the root of the trie that holds exactly these pairs, given in any order."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return update(_NoNodes(), sorted(items), version).root


def ordered_root(values: Sequence[bytes]) -> bytes:
    """Return the root of a list, keyed by SCALE compact index: the extrinsics root."""
    return root_of([(encode_compact(index), value) for index, value in enumerate(values)])


class _NoNodes:
    def node(self, path: bytes) -> bytes | None:
        return None


class _Batch:
    """One batch on its way down the trie.

    A subtree is named by its depth in nibbles and by the slice low:high of the changes that meet
    there; all keys of the slice agree on the nibbles above.
    """

    __slots__ = ("cells", "keys", "nodes", "read")

    def __init__(
        self, reader: NodeReader, changes: Iterable[tuple[bytes, bytes | None]], version: int
    ) -> None:
        self.read = reader.node
        self.nodes: dict[bytes, bytes | None] = {}
        self.keys: list[bytes] = []
        self.cells: list[Cell | None] = []
        last: bytes | None = None
        for key, value in changes:
            if last is not None and key <= last:
                raise UnsortedChangesError("The changes of a trie batch are not sorted by key.")
            if len(key) > KEY_BYTES_MAX:
                raise KeyTooLongError(
                    f"A storage key of {len(key)} bytes is longer than {KEY_BYTES_MAX}. "
                    "Hash the key's long part."
                )
            last = key
            self.keys.append(nibbles_of(key))
            self.cells.append(None if value is None else value_cell(value, version))

    def visit(self, node: bytes, depth: int, low: int, high: int) -> bytes | None:
        """Return the node after its changes, None when nothing is left of it."""
        kind, count, at = read_head(node)
        if kind in IS_LEAF:
            return self._visit_leaf(node, depth, low, high)
        end = at + ((count + 1) >> 1)
        keys = self.keys
        fork = depth + count
        if count:
            partial = unpack(node[at:end], count)
            if not (
                keys[low].startswith(partial, depth) and keys[high - 1].startswith(partial, depth)
            ):
                return self._split(node, partial, depth, low, high)
        bitmap = node[end] | node[end + 1] << 8
        at = end + 2
        if kind != BRANCH:
            at = _after_cell(node, at, kind == BRANCH_HASHED)
        # A child that is not a hash is shorter than one, so the length shows whether all are
        # hashes.
        if len(keys[low]) == fork or len(node) - at != _CHILD_BYTES * bitmap.bit_count():
            return self._visit_decoded(node, depth, low, high)
        return self._visit_hashes(node, depth, fork, at, bitmap, low, high)

    def _visit_hashes(
        self, node: bytes, depth: int, fork: int, at: int, bitmap: int, low: int, high: int
    ) -> bytes | None:
        """Visit a branch whose children are all hashes; where only these change, patch them."""
        keys, nodes, read = self.keys, self.nodes, self.read
        patched = None
        odd: dict[int, tuple[bool, bytes | None]] = {}
        while low < high:
            key = keys[low]
            nibble = key[fork]
            stop = low + 1
            while stop < high and keys[stop][fork] == nibble:
                stop += 1
            if bitmap >> nibble & 1:
                path = key[: fork + 1]
                child = read(path)
                if child is None:
                    raise _missing(path)
                new = self.visit(child, fork + 1, low, stop)
                if new is None or len(new) < HASH_BYTES:
                    odd[nibble] = True, new
                elif new != child:
                    nodes[path] = new
                    if patched is None:
                        patched = bytearray(node)
                    place = at + 1 + _CHILD_BYTES * (bitmap & ((1 << nibble) - 1)).bit_count()
                    patched[place : place + HASH_BYTES] = blake2b(
                        new, digest_size=HASH_BYTES
                    ).digest()
            else:
                new = self.build_present(low, stop, fork + 1)
                if new is not None:
                    odd[nibble] = False, new
            low = stop
        after = node if patched is None else bytes(patched)
        if not odd:
            return after
        branch = decode(after)
        assert isinstance(branch, Branch)
        return self._finish(key[:depth], branch.partial, branch.cell, branch.children, odd)

    def _visit_decoded(self, node: bytes, depth: int, low: int, high: int) -> bytes | None:
        """Visit any branch whose partial key all changes share."""
        branch = decode(node)
        assert isinstance(branch, Branch)
        keys = self.keys
        fork = depth + len(branch.partial)
        above = keys[low][:depth]
        cell = branch.cell
        if len(keys[low]) == fork:
            cell = self.cells[low]
            low += 1
        changed: dict[int, tuple[bool, bytes | None]] = {}
        while low < high:
            nibble = keys[low][fork]
            stop = self._group(low, high, fork)
            child = branch.children[nibble]
            if child is None:
                new = self.build_present(low, stop, fork + 1)
                if new is not None:
                    changed[nibble] = False, new
            else:
                stored = len(child) == HASH_BYTES
                old = self._fetch(keys[low][: fork + 1]) if stored else child
                new = self.visit(old, fork + 1, low, stop)
                if new != old:
                    changed[nibble] = stored, new
            low = stop
        return self._finish(above, branch.partial, cell, branch.children, changed)

    def _visit_leaf(self, node: bytes, depth: int, low: int, high: int) -> bytes | None:
        _, count, at = read_head(node)
        end = at + ((count + 1) >> 1)
        key = self.keys[low]
        if high - low == 1 and count == len(key) - depth:
            packed = pack(key[depth:])
            if packed == node[at:end]:
                cell = self.cells[low]
                if cell is None:
                    return None
                return head(LEAF_HASHED if cell[0] else LEAF, count) + packed + cell[1]
        leaf = decode(node)
        assert isinstance(leaf, Leaf)
        own = key[:depth] + leaf.partial
        merged: dict[bytes, Cell | None] = {own: leaf.cell}
        for position in range(low, high):
            merged[self.keys[position]] = self.cells[position]
        present = sorted((name, cell) for name, cell in merged.items() if cell is not None)
        if not present:
            return None
        keys = [name for name, _ in present]
        return self._build(keys, [cell for _, cell in present], 0, len(present), depth)

    def _split(self, node: bytes, partial: bytes, depth: int, low: int, high: int) -> bytes | None:
        """Put a branch under a new fork, where the first change leaves its partial key."""
        keys = self.keys
        shared = min(_common(partial, keys[low][depth:]), _common(partial, keys[high - 1][depth:]))
        fork = depth + shared
        above = keys[low][:depth]
        cell: Cell | None = None
        if len(keys[low]) == fork:
            cell = self.cells[low]
            low += 1
        old_nibble = partial[shared]
        old = with_partial(node, partial[shared + 1 :])
        # The old branch moves to an address of its own, where nothing has been stored so far.
        changed: dict[int, tuple[bool, bytes | None]] = {old_nibble: (False, old)}
        while low < high:
            nibble = keys[low][fork]
            stop = self._group(low, high, fork)
            if nibble == old_nibble:
                changed[nibble] = False, self.visit(old, fork + 1, low, stop)
            else:
                changed[nibble] = False, self.build_present(low, stop, fork + 1)
            low = stop
        return self._finish(above, partial[:shared], cell, [None] * 16, changed)

    def _finish(
        self,
        above: bytes,
        partial: bytes,
        cell: Cell | None,
        children: list[bytes | None],
        changed: dict[int, tuple[bool, bytes | None]],
    ) -> bytes | None:
        """Encode a branch after its children changed: nibble -> (was stored, new node)."""
        base = above + partial
        for nibble, (stored, new) in changed.items():
            children[nibble] = self._place(base + _STEP[nibble], new, stored)
        present = [nibble for nibble in range(16) if children[nibble] is not None]
        if not present:
            return None if cell is None else encode_leaf(partial, cell)
        if len(present) > 1 or cell is not None:
            return encode_branch(partial, cell, children)
        # A branch with one child and no value is no fork: the child takes its place.
        nibble = present[0]
        path = base + _STEP[nibble]
        child = children[nibble]
        assert child is not None
        if len(child) == HASH_BYTES:
            stored = changed[nibble][0] if nibble in changed else True
            placed = self.nodes.get(path)
            child = self._fetch(path) if placed is None else placed
            if stored:
                self.nodes[path] = None
            else:
                del self.nodes[path]
        _, count, at = read_head(child)
        rest = unpack(child[at : at + ((count + 1) >> 1)], count)
        return with_partial(child, partial + _STEP[nibble] + rest)

    def _place(self, path: bytes, node: bytes | None, stored: bool) -> bytes | None:
        """Store a child where it is long enough, and return the reference to it."""
        if node is None or len(node) < HASH_BYTES:
            if stored:
                self.nodes[path] = None
            return node
        self.nodes[path] = node
        return blake2b(node, digest_size=HASH_BYTES).digest()

    def build_present(self, low: int, high: int, depth: int) -> bytes | None:
        """Build a new subtree of the changes that are no deletions."""
        keys, cells = self.keys, self.cells
        if high - low == 1:
            cell = cells[low]
            return None if cell is None else encode_leaf(keys[low][depth:], cell)
        present = [cell for cell in cells[low:high] if cell is not None]
        if not present:
            return None
        names = keys[low:high]
        if len(present) < len(names):
            names = [keys[at] for at in range(low, high) if cells[at] is not None]
        return self._build(names, present, 0, len(names), depth)

    def _build(
        self, keys: list[bytes], cells: list[Cell], low: int, high: int, depth: int
    ) -> bytes:
        """Build a new subtree of at least one key; returns its encoded root."""
        first = keys[low]
        if high - low == 1:
            return encode_leaf(first[depth:], cells[low])
        last = keys[high - 1]
        fork = depth
        while fork < len(first) and first[fork] == last[fork]:
            fork += 1
        cell: Cell | None = None
        if fork == len(first):
            cell = cells[low]
            low += 1
        children: list[bytes | None] = [None] * 16
        nodes = self.nodes
        below = fork + 1
        while low < high:
            nibble = keys[low][fork]
            stop = low + 1
            while stop < high and keys[stop][fork] == nibble:
                stop += 1
            child = self._build(keys, cells, low, stop, below)
            if len(child) >= HASH_BYTES:
                nodes[keys[low][:below]] = child
                child = blake2b(child, digest_size=HASH_BYTES).digest()
            children[nibble] = child
            low = stop
        return encode_branch(first[depth:fork], cell, children)

    def _group(self, low: int, high: int, fork: int) -> int:
        """Return where the run of changes with the same nibble at `fork` ends."""
        keys = self.keys
        nibble = keys[low][fork]
        stop = low + 1
        while stop < high and keys[stop][fork] == nibble:
            stop += 1
        return stop

    def _fetch(self, path: bytes) -> bytes:
        node = self.read(path)
        if node is None:
            raise _missing(path)
        return node


def _common(left: bytes, right: bytes) -> int:
    """Return how many leading nibbles two paths share."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _after_cell(node: bytes, at: int, hashed: bool) -> int:
    """Return where a branch's value ends, for values of any compact length."""
    if hashed:
        return at + HASH_BYTES
    mode = node[at] & 3
    if mode == 0:
        return at + 1 + (node[at] >> 2)
    width = 2 if mode == 1 else 4
    assert mode < 3, "no value is a gigabyte long"
    return at + width + (int.from_bytes(node[at : at + width], "little") >> 2)


def _missing(path: bytes) -> MissingNodeError:
    return MissingNodeError(
        f"The trie node at path {path.hex()} is missing from the store. The database is damaged: "
        "restore it from a backup or sync again."
    )
