"""The chain: blocks and states that this node knows, what is best and what is final.

Unfinalized blocks are diffs in memory chained to their parent; finality writes them to the
database in one synced batch and drops every competing branch. Queries never block execution.
The rules: a block is announced after it is stored; finalized is never reverted; whoever lags as a
subscriber loses the subscription.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Final

import trio

from genesis.spec import ChainSpec
from node.channels import Broadcast
from node.database import BlockRecord, Database, HeightUnknownError
from pallets import compose
from runtime.backend import Backend, DiffBackend
from runtime.executive import Executed, Executive
from runtime.extrinsic import Extrinsic
from runtime.primitives import AccountId, DigestItem, Hash, Header
from runtime.scale import codec
from runtime.state import Overlay
from runtime.validity import ValidTransaction

UNFINALIZED_MAX: Final = 1024
NEXT_VALUES_MAX: Final = 1 << 16

logger = logging.getLogger(__name__)
_header_codec = codec(Header)


class ChainError(Exception):
    """Base of what the chain refuses."""


class UnknownBlockError(ChainError):
    """This node does not know the block."""


class StatePrunedError(ChainError):
    """The state of this block is pruned; ask an archive node."""


class WrongChainError(ChainError):
    """The data folder belongs to another chain."""


class ForkTooOldError(ChainError):
    """The block branches off below the finalized one."""


class UnfinalizedLimitError(ChainError):
    """Finality is too far behind; no more blocks are taken until it catches up."""


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A block was added; `is_best` when it extends the best chain."""

    header: Header
    is_best: bool


@dataclass(frozen=True, slots=True)
class Finalized:
    """A block became final; `pruned` are the blocks of branches that lost."""

    header: Header
    pruned: tuple[Hash, ...] = ()


ChainEvent = NewBlock | Finalized


@dataclass(frozen=True, slots=True)
class _Pending:
    """An unfinalized block."""

    executed: Executed
    backend: Backend


class Chain:
    """The blocks of one chain over one database."""

    def __init__(self, spec: ChainSpec, database: Database) -> None:
        self.spec = spec
        self.database = database
        self.machine = compose()
        self.executive = Executive(self.machine)
        self._worker = Executive(compose())
        self._executing = trio.Lock()
        self._events: Broadcast[ChainEvent] = Broadcast("chain")
        self._pending: dict[Hash, _Pending] = {}
        genesis = spec.build()
        self.genesis_hash = genesis.hash
        if database.head is None:
            database.commit(
                BlockRecord(
                    0,
                    genesis.hash,
                    _header_codec.encode(genesis.header),
                    (),
                    genesis.changes,
                    genesis.nodes,
                )
            )
        elif database.hash_at(0) != genesis.hash:
            raise WrongChainError(_wrong_chain(database, spec, genesis.hash))
        self._finalized = self._stored_header(database.head or 0)
        self._best = self._finalized
        self._next: Overlay | None = None
        self._next_of = self._best.hash

    # ------------------------------------------------------------------------------ queries

    @property
    def name(self) -> str:
        """The chain's name for people."""
        return self.spec.name

    @property
    def best(self) -> Header:
        """The header to build on."""
        return self._best

    @property
    def finalized(self) -> Header:
        """The last final header."""
        return self._finalized

    def header(self, block_hash: Hash) -> Header | None:
        """Return a known header."""
        pending = self._pending.get(block_hash)
        if pending is not None:
            return pending.executed.header
        number = self.database.number_of(block_hash)
        return None if number is None else self._stored_header(number)

    def body(self, block_hash: Hash) -> tuple[bytes, ...] | None:
        """Return the extrinsics of a known block."""
        pending = self._pending.get(block_hash)
        if pending is not None:
            return pending.executed.extrinsics
        number = self.database.number_of(block_hash)
        return None if number is None else self.database.body(number)

    def justification(self, block_hash: Hash) -> bytes | None:
        """Return the proof of finality of a block, where one was made."""
        number = self.database.number_of(block_hash)
        return None if number is None else self.database.justification(number)

    def hash_of(self, number: int) -> Hash | None:
        """Return the hash of the block with this number on the best chain."""
        if number <= self._finalized.number:
            found = self.database.hash_at(number)
            return None if found is None else Hash(found)
        header = self._best
        while header.number > number:
            parent = self.header(header.parent_hash)
            assert parent is not None, "the best chain reaches down to the finalized block"
            header = parent
        return header.hash if header.number == number else None

    def state(self, block_hash: Hash) -> Backend:
        """Return the state after a block; it stays the same whatever is finalized later.

        Raises UnknownBlockError or StatePrunedError.
        """
        if block_hash in self._pending:
            return self._snapshot(block_hash)
        number = self.database.number_of(block_hash)
        if number is None:
            raise UnknownBlockError(f"Block 0x{block_hash.hex()} is not known to this node.")
        try:
            return self.database.state_at(number)
        except HeightUnknownError as error:
            raise StatePrunedError(
                f"The state of block {number} is pruned here. Ask an archive node."
            ) from error

    def best_state(self) -> Backend:
        """Return the state after the best block, for one synchronous use: it moves with commits."""
        return self._tip(self._best)

    def nonce(self, account: AccountId) -> int:
        """Return an account's next nonce at the best block."""
        with self.machine.on(self._next_state()):
            return self.executive.nonce(account)

    def validate(self, extrinsic: Extrinsic) -> ValidTransaction:
        """Tell how an extrinsic fits on top of the best block. Raises TransactionRefused."""
        return self.executive.validate_on(self._next_state(), extrinsic)

    def events(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[ChainEvent]]:
        """Receive NewBlock and Finalized from now on; ends early for a subscriber that lags."""
        return self._events.subscribe()

    # ------------------------------------------------------------------------------ changes

    async def build(
        self,
        logs: Sequence[DigestItem],
        inherents: Sequence[bytes],
        candidates: Sequence[Extrinsic],
    ) -> Executed:
        """Build a block on the best one, off the event loop. It is not stored yet."""
        async with self._executing:
            parent, backend = self._best, self._tip(self._best)
            return await trio.to_thread.run_sync(
                self._worker.build, backend, parent, logs, inherents, candidates
            )

    async def execute(self, header: Header, extrinsics: Sequence[bytes]) -> Executed:
        """Execute another author's block.

        Raises InvalidBlockError, UnknownBlockError, ForkTooOldError.
        """
        async with self._executing:
            parent = self._parent(header)
            backend = self._tip(parent)
            return await trio.to_thread.run_sync(
                self._worker.execute, backend, header, extrinsics, parent
            )

    def add(self, executed: Executed) -> None:
        """Take a block into the tree and announce it; it becomes best if it is the longest.

        Raises UnknownBlockError, ForkTooOldError, UnfinalizedLimitError.
        """
        if self.header(executed.hash) is not None:
            return
        if len(self._pending) >= UNFINALIZED_MAX:
            raise UnfinalizedLimitError(f"{UNFINALIZED_MAX} blocks await finality.")
        parent = self._parent(executed.header)
        backend = DiffBackend(self._tip(parent), executed.changes, executed.nodes)
        self._pending[executed.hash] = _Pending(executed, backend)
        is_best = executed.header.number > self._best.number
        if is_best:
            self._best = executed.header
        self._events.publish(NewBlock(executed.header, is_best))

    async def finalize(self, block_hash: Hash, justification: bytes | None = None) -> None:
        """Make a block and its ancestors final: one synced batch. Returns once it is on disk."""
        async with self._executing:
            branch = self._branch(block_hash)
            records = [_record(pending.executed) for pending in branch]
            if not records:
                return
            if justification is not None:
                records[-1] = replace(records[-1], justification=justification)
            await trio.to_thread.run_sync(self.database.commit, *records)
            self._settle(branch)

    def _settle(self, branch: list[_Pending]) -> None:
        self._finalized = branch[-1].executed.header
        for pending in branch:
            del self._pending[pending.executed.hash]
        pruned = self._orphans()
        for orphan in pruned:
            del self._pending[orphan]
        if self._best.hash not in self._pending:
            left = [pending.executed.header for pending in self._pending.values()]
            self._best = max([self._finalized, *left], key=lambda header: header.number)
        self._rebase()
        for pending in branch[:-1]:
            self._events.publish(Finalized(pending.executed.header))
        self._events.publish(Finalized(self._finalized, pruned))

    def close(self) -> None:
        """End all subscriptions; the database is closed by its owner."""
        self._events.close()

    # ----------------------------------------------------------------------------- internal

    def _stored_header(self, number: int) -> Header:
        raw = self.database.header(number)
        assert raw is not None, f"block {number} is finalized, so its header is stored"
        return _header_codec.decode(raw)

    def _tip(self, header: Header) -> Backend:
        """The state to execute on: the fast head state where the parent is the finalized block."""
        if header.hash == self._finalized.hash:
            return self.database.head_state()
        return self._pending[header.hash].backend

    def _next_state(self) -> Overlay:
        """The state of the block after the best one, kept while that stays the best.

        A pool asks it of every transaction: so block and values are set up and decoded once.
        """
        state = self._next
        if state is None or self._next_of != self._best.hash or state.size > NEXT_VALUES_MAX:
            state = self.executive.begin_next(self.best_state(), self._best)
            self._next, self._next_of = state, self._best.hash
        return state

    def _parent(self, header: Header) -> Header:
        """The block to execute on: the finalized one, or one above it."""
        parent = self.header(header.parent_hash)
        if parent is None:
            raise UnknownBlockError(f"The parent of block {header.number} is not known.")
        if parent.number < self._finalized.number:
            raise ForkTooOldError(
                f"Block {header.number} branches off below the finalized block "
                f"{self._finalized.number}, which is never reverted."
            )
        return parent

    def _snapshot(self, block_hash: Hash) -> Backend:
        """An unfinalized block's state over a snapshot, which no later commit moves."""
        state: Backend = self.database.state_at(self._finalized.number)
        for pending in self._branch(block_hash):
            state = DiffBackend(state, pending.executed.changes, pending.executed.nodes)
        return state

    def _branch(self, block_hash: Hash) -> list[_Pending]:
        """The unfinalized blocks up to and including one, oldest first."""
        branch: list[_Pending] = []
        at = block_hash
        while at != self._finalized.hash:
            pending = self._pending.get(at)
            if pending is None:
                if not branch and self.database.number_of(at) is not None:
                    return []
                raise UnknownBlockError(f"Block 0x{at.hex()} does not extend the finalized chain.")
            branch.append(pending)
            at = pending.executed.header.parent_hash
        return branch[::-1]

    def _orphans(self) -> tuple[Hash, ...]:
        """Unfinalized blocks that do not descend from the finalized one."""
        alive = {self._finalized.hash}
        orphans = []
        for block_hash, pending in sorted(
            self._pending.items(), key=lambda item: item[1].executed.header.number
        ):
            if pending.executed.header.parent_hash in alive:
                alive.add(block_hash)
            else:
                orphans.append(block_hash)
        return tuple(orphans)

    def _rebase(self) -> None:
        """Chain the remaining diffs to the database again, so that finalized ones are freed."""
        ordered = sorted(self._pending.items(), key=lambda item: item[1].executed.header.number)
        for block_hash, pending in ordered:
            executed = pending.executed
            parent = self.header(executed.header.parent_hash)
            assert parent is not None, "orphans are gone"
            backend = DiffBackend(self._tip(parent), executed.changes, executed.nodes)
            self._pending[block_hash] = _Pending(executed, backend)
        self._next = None


def _record(executed: Executed) -> BlockRecord:
    header = executed.header
    return BlockRecord(
        header.number,
        executed.hash,
        _header_codec.encode(header),
        executed.extrinsics,
        executed.changes,
        executed.nodes,
        former=executed.former,
    )


def _wrong_chain(database: Database, spec: ChainSpec, wanted: Hash) -> str:
    found = database.hash_at(0) or b""
    return (
        f"This data folder holds the chain with genesis 0x{found.hex()[:16]}..., but the chain "
        f"spec {spec.id!r} has 0x{wanted.hex()[:16]}.... Name another folder with --base-path, or "
        "remove this chain with `openledger chain purge`."
    )
