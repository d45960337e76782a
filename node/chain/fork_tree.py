"""The tree of unfinalized blocks over the finalized one: each a diff in memory over its parent.

It knows no best block and no database: the state under the root, and the branch that must stay when
room is needed, are arguments. Rules that hold here:
- Every block's parent is in the tree, or is its root.
- A read passes tens of layers however deep the tree is: every SPAN blocks the diffs are merged.
- Blocks and bytes have a maximum; the lowest leaf of another branch leaves for a new block.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.frame.executive import ExecutedBlock
from runtime.trie.backend import Backend, DiffBackend
from runtime.types.primitives import Hash, Header

BLOCKS_MAX: Final = 2_048
BYTES_MAX: Final = 512 * 1024 * 1024
SPAN: Final = 32

_Diff = Mapping[bytes, bytes | None]


class TreeFullError(Exception):
    """No block can leave the tree for a new one."""


@dataclass(slots=True)
class _Node:
    """A block in the tree; `span` is the merged diff of the SPAN blocks that end with it."""

    executed: ExecutedBlock
    size_bytes: int
    children: int = 0
    span: tuple[_Diff, _Diff, Hash] | None = None

    @property
    def header(self) -> Header:
        """The block's header."""
        return self.executed.header


class ForkTree:
    """Unfinalized blocks, by hash, over a root that is final."""

    def __init__(self, root: Header) -> None:
        self.root = root
        self.size_bytes = 0
        self._nodes: dict[Hash, _Node] = {}
        self._tips: dict[Hash, Backend] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, block_hash: Hash) -> bool:
        return block_hash in self._nodes

    def get(self, block_hash: Hash) -> ExecutedBlock | None:
        """Return a block of the tree; the root is none."""
        node = self._nodes.get(block_hash)
        return None if node is None else node.executed

    def headers(self) -> tuple[Header, ...]:
        """Return the headers of all blocks, parents before children."""
        return tuple(sorted((node.header for node in self._nodes.values()), key=_number))

    def branch(self, block_hash: Hash) -> list[ExecutedBlock] | None:
        """Return the blocks above the root up to and including one; None for an unknown one."""
        branch: list[ExecutedBlock] = []
        root = self.root.hash
        at = block_hash
        while at != root:
            node = self._nodes.get(at)
            if node is None:
                return None
            branch.append(node.executed)
            at = node.header.parent_hash
        return branch[::-1]

    def route(self, start: Hash, end: Hash) -> tuple[tuple[Hash, ...], tuple[Hash, ...]]:
        """Return the way between two blocks: (left, newest first; entered, oldest first)."""
        left: list[Hash] = []
        entered: list[Hash] = []
        while start != end:
            if self._height(start) >= self._height(end):
                left.append(start)
                start = self._nodes[start].header.parent_hash
            else:
                entered.append(end)
                end = self._nodes[end].header.parent_hash
        return tuple(left), tuple(reversed(entered))

    def _height(self, block_hash: Hash) -> int:
        node = self._nodes.get(block_hash)
        return self.root.number if node is None else node.header.number

    # ------------------------------------------------------------------------------ changes

    def add(self, executed: ExecutedBlock, keep: Hash) -> tuple[Hash, ...]:
        """Add a block whose parent is here; returns the blocks that left to make room for it.

        The branch up to `keep` and that of the new block stay. Raises TreeFullError.
        """
        parent = executed.header.parent_hash
        size_bytes = _size(executed)
        gone = self._make_room(size_bytes, (keep, parent))
        self._nodes[executed.hash] = _Node(executed, size_bytes)
        self.size_bytes += size_bytes
        if parent in self._nodes:
            self._nodes[parent].children += 1
        return gone

    def settle(self, block_hash: Hash) -> tuple[Hash, ...]:
        """Make a block of the tree its root; returns the blocks that do not descend from it."""
        node = self._nodes[block_hash]
        for final in self.branch(block_hash) or ():
            self._remove(final.hash)
        self.root = node.header
        self._tips.clear()
        alive = {block_hash}
        orphans: list[Hash] = []
        for header in self.headers():
            (alive.add if header.parent_hash in alive else orphans.append)(header.hash)
        for orphan in orphans:
            self._remove(orphan)
        for kept in self._nodes.values():
            if kept.header.number - SPAN < self.root.number:
                kept.span = None
        return tuple(orphans)

    def _make_room(self, size_bytes: int, kept: Collection[Hash]) -> tuple[Hash, ...]:
        if len(self._nodes) < BLOCKS_MAX and self.size_bytes + size_bytes <= BYTES_MAX:
            return ()
        protected = {executed.hash for tip in kept for executed in self.branch(tip) or ()}
        gone: list[Hash] = []
        while len(self._nodes) >= BLOCKS_MAX or self.size_bytes + size_bytes > BYTES_MAX:
            leaves = [
                node.header
                for block_hash, node in self._nodes.items()
                if not node.children and block_hash not in protected
            ]
            if not leaves:
                raise TreeFullError(
                    f"{len(self._nodes)} blocks of {self.size_bytes} bytes await finality."
                )
            gone.append(min(leaves, key=_number).hash)
            self._remove(gone[-1])
        return tuple(gone)

    def _remove(self, block_hash: Hash) -> None:
        node = self._nodes.pop(block_hash)
        self._tips.pop(block_hash, None)
        self.size_bytes -= node.size_bytes
        parent = self._nodes.get(node.header.parent_hash)
        if parent is not None:
            parent.children -= 1

    # ------------------------------------------------------------------------------- states

    def tip(self, block_hash: Hash, root_state: Backend) -> Backend:
        """Return the state after a block over the root's, which is the same at every call.

        Layers are kept and shared until the root moves.
        """
        return self._over(block_hash, root_state, self._tips)

    def state(self, block_hash: Hash, root_state: Backend) -> Backend:
        """Return the state after a block over any state of the root; nothing of it is kept."""
        return self._over(block_hash, root_state, {})

    def _over(self, block_hash: Hash, state: Backend, known: dict[Hash, Backend]) -> Backend:
        layers: list[tuple[Hash, _Diff, _Diff]] = []
        root = self.root.hash
        at = block_hash
        while at != root:
            tip = known.get(at)
            if tip is not None:
                state = tip
                break
            node = self._nodes[at]
            span = self._span(node)
            if span is None:
                layers.append((at, node.executed.changes, node.executed.nodes))
                at = node.header.parent_hash
            else:
                layers.append((at, span[0], span[1]))
                at = span[2]
        for made, changes, nodes in reversed(layers):
            state = known[made] = DiffBackend(state, changes, nodes)
        return state

    def _span(self, node: _Node) -> tuple[_Diff, _Diff, Hash] | None:
        """Return the merged diff that ends with a block, and the block under it."""
        number = node.header.number
        if number % SPAN or number - SPAN < self.root.number:
            return None
        if node.span is None:
            blocks: list[ExecutedBlock] = []
            at = node
            while True:
                blocks.append(at.executed)
                if len(blocks) == SPAN:
                    break
                at = self._nodes[at.header.parent_hash]
            changes, nodes = _merged(blocks[::-1])
            node.span = changes, nodes, at.header.parent_hash
        return node.span


def _merged(blocks: Sequence[ExecutedBlock]) -> tuple[_Diff, _Diff]:
    changes: dict[bytes, bytes | None] = {}
    nodes: dict[bytes, bytes | None] = {}
    for executed in blocks:
        changes.update(executed.changes)
        nodes.update(executed.nodes)
    return changes, nodes


def _size(executed: ExecutedBlock) -> int:
    """How many bytes a block holds in memory, without what Python adds."""
    size = sum(map(len, executed.extrinsics))
    for written in (executed.changes, executed.nodes):
        size += sum(len(key) + len(value or b"") for key, value in written.items())
    return size


def _number(header: Header) -> int:
    return header.number
