"""The block tree of one epoch: which blocks are valid, and which are final.

It knows headers and hashes, no votes. A block is executed after its parent; a block on an invalid
one is invalid. The boundary that begins the epoch is its root: its header is not needed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from runtime.types.primitives import Hash, Header

WALK_MAX: Final = 4096
"""Ancestors that a walk visits before it gives up: no epoch leaves so many unfinalized."""


class BlockStatus(IntEnum):
    """The execution status of a block."""

    WAITING = 0
    EXECUTING = 1
    VALID = 2
    INVALID = 3


@dataclass(slots=True)
class Block:
    """A header and its execution status. `source` is the peer to fetch the body from."""

    header: Header
    view: int
    source: Hashable
    status: BlockStatus = BlockStatus.WAITING
    is_wanted: bool = False
    """Voted on now or certified: worth executing."""
    is_logged: bool = False
    failures: int = 0
    """Attempts to fetch and execute it that failed."""


class Blocks:
    """The tree of blocks on a root."""

    def __init__(self, root: Hash) -> None:
        self.root = root
        self._blocks: dict[Hash, Block] = {}
        self._final = root
        self._linked = root
        self._finals: dict[int, Hash] = {}

    def get(self, digest: Hash) -> Block | None:
        """Return a block; None for the root and for unknown blocks."""
        return self._blocks.get(digest)

    def add(self, header: Header, view: int, source: Hashable) -> Block:
        """Add a header, or return the block that is there."""
        return self._blocks.setdefault(header.hash, Block(header, view, source))

    def is_valid(self, digest: Hash) -> bool:
        """Return whether a block is executed and valid, as the root is."""
        block = self._blocks.get(digest)
        return digest == self.root or (block is not None and block.status == BlockStatus.VALID)

    def ready(self) -> list[Block]:
        """Mark and return the wanted blocks that can be executed now."""
        ready = []
        for digest, block in self._blocks.items():
            if block.status != BlockStatus.WAITING:
                continue
            parent = block.header.parent_hash
            above = self._blocks.get(parent)
            if above is not None and above.status == BlockStatus.INVALID:
                block.status = BlockStatus.INVALID
            elif block.is_wanted and (self.is_valid(parent) or self._final in (parent, digest)):
                block.status = BlockStatus.EXECUTING
                ready.append(block)
        return ready

    def conflicts(self, digest: Hash) -> bool:
        """Return whether a block is known to be on another branch than the final blocks."""
        for _ in range(WALK_MAX):
            block = self._blocks.get(digest)
            if digest in (self._linked, self._final) or block is None:
                return False
            settled = self._finals.get(block.header.number)
            if settled is not None:
                return settled != digest
            digest = block.header.parent_hash
        return False

    def finalize(self, digest: Hash) -> bool:
        """Make a block final; False if the headers show that it is on another branch.

        Headers on the way may still be unknown: `link` follows it when they come in.
        """
        if self.conflicts(digest):
            return False
        self._final = digest
        return self.link()

    def link(self) -> bool:
        """Follow parents from the last final block to the one before it, as far as they are known.

        Returns False if they lead past it: then it is on another branch.
        """
        path: dict[int, Hash] = {}
        digest = self._final
        for _ in range(WALK_MAX):
            if digest == self._linked:
                self._finals.update(path)
                self._linked = self._final
                break
            block = self._blocks.get(digest)
            if block is None:
                break
            if self._finals.get(block.header.number, digest) != digest:
                return False
            path[block.header.number] = digest
            digest = block.header.parent_hash
        return True

    @property
    def final(self) -> Hash:
        """The last final block."""
        return self._final

    @property
    def linked(self) -> Hash:
        """The last final block that is linked to the root by known headers."""
        return self._linked

    def trust(self, header: Header) -> None:
        """Record that the chain finalized a block, so that it is on the final branch."""
        block = self.add(header, 0, None)
        block.status = BlockStatus.VALID
        if header.hash == self._final:
            self._linked = self._final
            self._finals[header.number] = self._final

    def missing(self, digest: Hash, stop: Hash) -> Hash | None:
        """Return the first unknown block on the way down from a digest to `stop` or the root."""
        for _ in range(WALK_MAX):
            if digest in (self.root, self._linked, stop):
                return None
            block = self._blocks.get(digest)
            if block is None:
                return digest
            digest = block.header.parent_hash
        return None

    def prune(self, number: int) -> None:
        """Forget the blocks below a height; the hashes of final ones stay known."""
        for digest, block in list(self._blocks.items()):
            if block.header.number < number and digest != self._final:
                del self._blocks[digest]
