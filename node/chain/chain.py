"""The chain: blocks and states that this node knows, what is best and what is final.

Unfinalized blocks are a tree of diffs in memory; finality writes a branch to the database in one
synced batch and drops every competing one. Queries never block execution. Rules that hold here:
- Best is what `set_best` says, and nothing else moves it but finality elsewhere: consensus decides
  and not length. A solo author sets it with `extend`.
- Best is final or descends from the last final block, before, while and after a commit.
- A block is announced after it is stored; finalized is never reverted.
- A subscriber that lags loses its subscription. Listeners (`on_event`) are called at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

import trio

from genesis.spec import ChainSpec
from node.chain.broadcast import Broadcast
from node.chain.checked_signatures import CheckedSignatures, Opened
from node.chain.errors import (
    ForkTooOldError,
    KnownBlockError,
    StatePrunedError,
    UnfinalizedLimitError,
    UnknownBlockError,
    WrongChainError,
)
from node.chain.events import BestChanged, ChainEvent, FinalChanged, NewBlock
from node.chain.fork_tree import ForkTree, TreeFullError
from node.chain.import_checks import InvalidBlocks
from node.chain.transaction_checks import Checked, TransactionChecks
from node.storage.database import Database
from node.storage.errors import HeightUnknownError
from node.storage.records import BlockRecord
from pallets import compose
from runtime.codec.scale import codec
from runtime.frame.executive import ExecutedBlock, Executive, InvalidBlockError
from runtime.frame.extrinsic import Envelope, Extrinsic
from runtime.trie.backend import Backend
from runtime.types.primitives import AccountId, DigestItem, Hash, Header

UNFINALIZED_MAX: Final = 1024
"""How far any branch may be ahead of finality; all branches together: see ForkTree."""
PRUNED_EARLY_MAX: Final = 1 << 14
"""How many blocks that left the tree before finality are reported as pruned."""

logger = logging.getLogger(__name__)
_header_codec = codec(Header)


class Chain:
    """The blocks of one chain over one database."""

    def __init__(self, spec: ChainSpec, database: Database) -> None:
        self.spec = spec
        self.database = database
        self.machine = compose()
        self.executive = Executive(self.machine)
        self.on_event: list[Callable[[ChainEvent], None]] = []
        """Called with each event, before subscribers: what must never lag behind the chain."""
        self._worker = Executive(compose())
        self._executing = trio.Lock()
        self._events: Broadcast[ChainEvent] = Broadcast("chain")
        self._invalid = InvalidBlocks()
        genesis = spec.build()
        self.genesis_hash = genesis.hash
        self._checks = TransactionChecks(self.executive, genesis.hash)
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
        self._best = self._stored_header(database.head or 0)
        self._tree = ForkTree(self._best)
        self._hashes: dict[int, Hash] = {}
        """The unfinalized blocks of the best branch, by number."""
        self._left: dict[Hash, None] = {}
        """Blocks that left the tree for want of room; reported with the next final one."""
        self._finalizing: Hash | None = None

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
        return self._tree.root

    def unfinalized(self) -> tuple[Header, ...]:
        """Return the headers of all blocks that are not final, on all branches, oldest first."""
        return self._tree.headers()

    def header(self, block_hash: Hash) -> Header | None:
        """Return a known header."""
        pending = self._tree.get(block_hash)
        if pending is not None:
            return pending.header
        number = self.database.number_of(block_hash)
        return None if number is None else self._stored_header(number)

    def body(self, block_hash: Hash) -> tuple[bytes, ...] | None:
        """Return the extrinsics of a known block."""
        pending = self._tree.get(block_hash)
        if pending is not None:
            return pending.extrinsics
        number = self.database.number_of(block_hash)
        return None if number is None else self.database.body(number)

    def justification(self, block_hash: Hash) -> bytes | None:
        """Return the proof of finality of a block, where one was made."""
        number = self.database.number_of(block_hash)
        return None if number is None else self.database.justification(number)

    def hash_of(self, number: int) -> Hash | None:
        """Return the hash of the block with this number on the best chain."""
        if number > self.finalized.number:
            return self._hashes.get(number)
        block_hash = self.database.hash_at(number)
        return None if block_hash is None else Hash(block_hash)

    def hashes_at(self, number: int) -> tuple[Hash, ...]:
        """Return the hashes of all known blocks with this number, the best chain's first."""
        best = self.hash_of(number)
        first = () if best is None else (best,)
        if number <= self.finalized.number:
            return first
        others = (header.hash for header in self.unfinalized() if header.number == number)
        return (*first, *(other for other in others if other != best))

    def state(self, block_hash: Hash) -> Backend:
        """Return the state after a block; it stays the same whatever is finalized later.

        Raises UnknownBlockError or StatePrunedError.
        """
        try:
            if block_hash in self._tree:
                root_state = self.database.state_at(self.finalized.number)
                return self._tree.state(block_hash, root_state)
            number = self.database.number_of(block_hash)
            if number is None:
                raise UnknownBlockError(f"Block 0x{block_hash.hex()} is not known to this node.")
            return self.database.state_at(number)
        except HeightUnknownError as error:
            raise StatePrunedError(
                f"The state of block 0x{block_hash.hex()} is pruned here. Ask an archive node."
            ) from error

    def best_state(self) -> Backend:
        """Return the state after the best block, for one synchronous use: it moves with commits."""
        return self._tip(self._best.hash)

    @property
    def signatures(self) -> CheckedSignatures:
        """The signatures that are checked already, with the birth blocks that they cover."""
        return self._checks.signatures

    def nonce(self, account: AccountId) -> int:
        """Return an account's next nonce at the best block."""
        return self._checks.nonce(account, self._best, self.best_state)

    def birth(self, extrinsic: Extrinsic) -> Hash | None:
        """Return the birth block that an extrinsic's signature must cover on top of the best one.

        None where there is none: no signature, an address without an account, an ancient era.
        """
        return self._checks.birth(extrinsic, self._best, self.best_state)

    def check(self, extrinsic: Extrinsic) -> Checked:
        """Check an extrinsic on top of the best block. Raises TransactionRefused."""
        return self._checks.check(extrinsic, self._best, self.best_state)

    def check_envelope(self, envelope: Envelope) -> int:
        """Check what needs neither signature nor call; returns the signer's next nonce.

        Raises TransactionRefused.
        """
        return self._checks.check_envelope(envelope, self._best, self.best_state)

    async def open(
        self,
        envelopes: Sequence[Envelope],
        clock: Callable[[], float],
        limiter: trio.CapacityLimiter | None = None,
    ) -> list[Opened]:
        """Check signatures and decode calls, off the event loop; `check` does the rest."""
        return await self._checks.open(
            envelopes, self._best, self.best_state, clock=clock, limiter=limiter
        )

    def events(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[ChainEvent]]:
        """Receive all events from now on; ends early for a subscriber that lags."""
        return self._events.subscribe()

    # ------------------------------------------------------------------------------ changes

    async def build(
        self,
        logs: Sequence[DigestItem],
        inherents: Sequence[bytes],
        candidates: Sequence[Extrinsic],
        parent: Hash | None = None,
    ) -> ExecutedBlock:
        """Build a block on the best one or another, off the event loop. It is not stored yet.

        Raises UnknownBlockError, ForkTooOldError, InvalidBlockError (of the inherents).
        """
        async with self._executing:
            on = self._best if parent is None else self._parent(parent)
            backend = self._tip(on.hash)
            births = self.signatures.births
            return await trio.to_thread.run_sync(
                self._worker.build, backend, on, logs, inherents, candidates, births
            )

    async def execute(self, header: Header, extrinsics: Sequence[bytes]) -> ExecutedBlock:
        """Execute another author's block, off the event loop; one in the tree is not run again.

        Signatures that the pool has checked are not checked again. Raises InvalidBlockError (at
        once for a block that was found invalid before), BodyRefusedError (the body is not the
        header's), KnownBlockError (it is final), UnknownBlockError, ForkTooOldError.
        """
        async with self._executing:
            block_hash = header.hash
            known = self._tree.get(block_hash)
            if known is not None and known.extrinsics == tuple(extrinsics):
                return known
            if self.database.number_of(block_hash) is not None:
                raise KnownBlockError(f"Block {header.number} is final. Do not execute it again.")
            self._invalid.check(header)
            parent = self._parent(header.parent_hash)
            backend = self._tip(parent.hash)
            births = self.signatures.births
            try:
                return await trio.to_thread.run_sync(
                    self._worker.execute, backend, header, extrinsics, parent, births
                )
            except InvalidBlockError as error:
                self._invalid.note(header, error)
                raise

    def add(self, executed: ExecutedBlock) -> None:
        """Take a block into the tree and announce it; which block is best does not change.

        Raises UnknownBlockError, ForkTooOldError, UnfinalizedLimitError.
        """
        block_hash = executed.hash
        if block_hash in self._tree or self.database.number_of(block_hash) is not None:
            return
        self._parent(executed.header.parent_hash)
        if executed.header.number - self.finalized.number > UNFINALIZED_MAX:
            raise UnfinalizedLimitError(f"{UNFINALIZED_MAX} blocks await finality.")
        try:
            gone = self._tree.add(executed, self._best.hash)
        except TreeFullError as error:
            raise UnfinalizedLimitError(str(error)) from error
        self._left.pop(block_hash, None)
        self._left.update(dict.fromkeys(gone))
        while len(self._left) > PRUNED_EARLY_MAX:
            del self._left[next(iter(self._left))]
        self._publish(NewBlock(executed.header))

    def extend(self, executed: ExecutedBlock) -> None:
        """Add a block and make it best if it is longer: how a chain without consensus decides.

        Raises as `add` does.
        """
        self.add(executed)
        if executed.header.number > self._best.number:
            self.set_best(executed.hash)

    def set_best(self, block_hash: Hash) -> None:
        """Make a known block best, on whatever branch. Raises UnknownBlockError, ForkTooOldError.

        What is final below the last final block never becomes best again.
        """
        if block_hash == self._best.hash:
            return
        header = self._parent(block_hash)
        if self._finalizing is not None and not self._descends(block_hash, self._finalizing):
            raise ForkTooOldError(
                f"Block {header.number} is on another branch than the block that becomes final now."
            )
        retracted, enacted = self._tree.route(self._best.hash, block_hash)
        for _ in retracted:
            self._hashes.popitem()
        first = header.number - len(enacted) + 1
        self._hashes.update(zip(range(first, header.number + 1), enacted, strict=True))
        self._best = header
        self._publish(BestChanged(header, retracted, enacted))

    async def finalize(self, block_hash: Hash, justification: bytes | None = None) -> None:
        """Make a block and its ancestors final: one synced batch. Returns once it is on disk.

        A branch that best is not on becomes best first. The justification of a block that is final
        already is added where it is missing. Raises UnknownBlockError, DatabaseError.
        """
        async with self._executing:
            number = self.database.number_of(block_hash)
            if number is not None:
                if justification is not None and self.database.justification(number) is None:
                    await trio.to_thread.run_sync(self.database.justify, number, justification)
                return
            branch = self._tree.branch(block_hash)
            if branch is None:
                raise UnknownBlockError(
                    f"Block 0x{block_hash.hex()} does not extend the finalized chain."
                )
            records = [_record(executed) for executed in branch]
            records[-1] = replace(records[-1], justification=justification)
            # Before the commit: the head's state moves with it, and only states of this branch do.
            if not self._descends(self._best.hash, block_hash):
                self.set_best(block_hash)
            self._finalizing = block_hash
            try:
                await trio.to_thread.run_sync(self.database.commit, *records)
            finally:
                self._finalizing = None
            self._publish_final([executed.header for executed in branch])

    def _publish_final(self, branch: list[Header]) -> None:
        last = branch[-1]
        pruned = (*self._left, *self._tree.settle(last.hash))
        self._left.clear()
        for header in branch:
            del self._hashes[header.number]
        self._checks.forget_state()
        for header in branch[:-1]:
            self._publish(FinalChanged(header))
        self._publish(FinalChanged(last, pruned))

    def close(self) -> None:
        """End all subscriptions; the database is closed by its owner."""
        self._events.close()

    # ----------------------------------------------------------------------------- internal

    def _publish(self, event: ChainEvent) -> None:
        for listener in self.on_event:
            listener(event)
        self._events.publish(event)

    def _stored_header(self, number: int) -> Header:
        raw = self.database.header(number)
        assert raw is not None, f"block {number} is finalized, so its header is stored"
        return _header_codec.decode(raw)

    def _tip(self, block_hash: Hash) -> Backend:
        """The state to execute on: the fast head state under the diffs of the branch."""
        return self._tree.tip(block_hash, self.database.head_state())

    def _parent(self, block_hash: Hash) -> Header:
        """The block to build on: the finalized one, or one above it."""
        header = self.header(block_hash)
        if header is None:
            raise UnknownBlockError(f"Block 0x{block_hash.hex()} is not known to this node.")
        if header.number < self.finalized.number:
            raise ForkTooOldError(
                f"Block {header.number} is below the finalized block {self.finalized.number}, "
                "which is never reverted."
            )
        return header

    def _descends(self, block_hash: Hash, ancestor: Hash) -> bool:
        """Return whether a block of the tree is another one or descends from it."""
        branch = self._tree.branch(block_hash) or ()
        return any(executed.hash == ancestor for executed in branch)


def _record(executed: ExecutedBlock) -> BlockRecord:
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
