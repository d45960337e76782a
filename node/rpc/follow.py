"""One chainHead_v1_follow: which blocks it has reported, which are pinned, what it is sent next.

The blocks that a follower knows form one tree. Events of the chain are turned into its events so
that the tree stays whole, even when the chain was faster than the follower.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import trio

from node.chain.events import BestChanged, ChainEvent, FinalChanged, NewBlock
from node.rpc.interfaces import ChainView
from node.rpc.json_values import runtime_form
from node.rpc.limits import Limits
from node.rpc.parameters import Json
from node.rpc.session import Session
from runtime.codec.hexadecimal import to_hex
from runtime.types.primitives import Hash, Header, RuntimeVersion

INITIAL_FINALIZED_BLOCKS_MAX: Final = 16
"""How many final blocks `initialized` lists."""


class PinLimitError(Exception):
    """A follower keeps too many blocks pinned."""


@dataclass(eq=False, slots=True)
class Operation:
    """A running body, call or storage operation; `cost` counts against the follow's limit."""

    id: str
    cost: int
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    resume: trio.Event | None = None
    """Set while the operation waits for a continue."""


class Follow:
    """The state of one follow; its methods return the events to send, in order."""

    def __init__(
        self, session: Session, chain: ChainView, limits: Limits, *, with_runtime: bool
    ) -> None:
        self.session = session
        self.with_runtime = with_runtime
        self.pinned: dict[Hash, Header] = {}
        self.operations: dict[str, Operation] = {}
        self._chain = chain
        self._limits = limits
        self._reported: set[Hash] = set()
        """Blocks of newBlock events that are neither final nor pruned yet."""
        self._finalized: Header = chain.finalized
        self._pinned_final: set[Hash] = set()
        self._best: Hash | None = None
        self._numbers = itertools.count()

    # ----------------------------------------------------------------------------- the head

    def start(self, runtime: RuntimeVersion) -> Iterator[dict[str, Json]]:
        """Return the first events, of where the chain is now."""
        chain = self._chain
        self._finalized = chain.finalized
        recent = [self._finalized]
        while len(recent) < INITIAL_FINALIZED_BLOCKS_MAX and recent[-1].number:
            parent = chain.header(recent[-1].parent_hash)
            if parent is None:
                break
            recent.append(parent)
        hashes = []
        for header in reversed(recent):
            block_hash = header.hash
            hashes.append(to_hex(block_hash))
            self.pinned[block_hash] = header
            self._pinned_final.add(block_hash)
        event: dict[str, Json] = {"event": "initialized", "finalizedBlockHashes": hashes}
        if self.with_runtime:
            event["finalizedBlockRuntime"] = runtime_form(runtime)
        yield event
        for header in chain.unfinalized():
            yield from self._report(header)
        yield from self._move_best(chain.best)

    def events_of(self, event: ChainEvent) -> Iterator[dict[str, Json]]:
        """Return what a chain event means to this follower. Raises PinLimitError."""
        if isinstance(event, NewBlock):
            yield from self._report(event.header)
        elif isinstance(event, BestChanged):
            yield from self._report(event.header)
            yield from self._move_best(event.header)
        else:
            yield from self._finalize(event)

    def _report(self, header: Header) -> Iterator[dict[str, Json]]:
        """Report a block and its ancestors that are not reported yet."""
        branch: list[tuple[Hash, Header]] = []
        at: Header | None = header
        while at is not None and at.number > self._finalized.number:
            block_hash = at.hash
            if block_hash in self._reported:
                break
            branch.append((block_hash, at))
            at = self._chain.header(at.parent_hash)
        if not branch or not self._has_parent(branch[-1][1]):
            return
        for block_hash, block in reversed(branch):
            if len(self.pinned) >= self._limits.pinned_blocks:
                raise PinLimitError(f"{len(self.pinned)} blocks are pinned")
            self._reported.add(block_hash)
            self.pinned[block_hash] = block
            event: dict[str, Json] = {
                "event": "newBlock",
                "blockHash": to_hex(block_hash),
                "parentBlockHash": to_hex(block.parent_hash),
            }
            if self.with_runtime:
                # A node runs one runtime version and stops before the block of the next.
                event["newRuntime"] = None
            yield event

    def _has_parent(self, header: Header) -> bool:
        parent = header.parent_hash
        return parent in self._reported or parent == self._finalized.hash

    def _move_best(self, header: Header) -> Iterator[dict[str, Json]]:
        block_hash = header.hash
        is_known = block_hash in self._reported or block_hash == self._finalized.hash
        if is_known and block_hash != self._best:
            self._best = block_hash
            yield {"event": "bestBlockChanged", "bestBlockHash": to_hex(block_hash)}

    def _finalize(self, event: FinalChanged) -> Iterator[dict[str, Json]]:
        if event.header.number <= self._finalized.number:
            return
        yield from self._report(event.header)
        branch = list(self._down_to_finalized(event.header))
        final = {header.hash for header in branch}
        last = event.header.hash
        pruned = [
            block_hash
            for block_hash in event.pruned
            if block_hash in self._reported and block_hash not in final
        ]
        lives_on = self._reported - final
        lives_on.difference_update(pruned)
        if self._best != last and self._best not in lives_on:
            yield from self._move_best(event.header)
        self._finalized = event.header
        self._reported = lives_on
        self._pinned_final |= final & self.pinned.keys()
        if len(self._pinned_final) > self._limits.pinned_finalized_blocks:
            raise PinLimitError(f"{len(self._pinned_final)} final blocks are pinned")
        yield {
            "event": "finalized",
            "finalizedBlockHashes": [to_hex(header.hash) for header in reversed(branch)],
            "prunedBlockHashes": [to_hex(block_hash) for block_hash in pruned],
        }

    def _down_to_finalized(self, header: Header) -> Iterator[Header]:
        at: Header | None = header
        while at is not None and at.number > self._finalized.number:
            yield at
            at = self._chain.header(at.parent_hash)

    # -------------------------------------------------------------------- pins and operations

    def unpin(self, block_hash: Hash) -> None:
        """Forget a pinned block."""
        del self.pinned[block_hash]
        self._pinned_final.discard(block_hash)

    def room(self) -> int:
        """How many more operations may run."""
        used = sum(operation.cost for operation in self.operations.values())
        return self._limits.operations_per_follow - used

    def begin(self, cost: int) -> Operation:
        """Register an operation."""
        operation = Operation(str(next(self._numbers)), cost)
        self.operations[operation.id] = operation
        return operation
