"""Chain, pool and author over a folder, without a network: what most tests of the node drive."""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio

from genesis.spec import ChainSpec, load_spec
from node.authoring.author import Author
from node.chain.chain import Chain
from node.operations.config import Sealing
from node.storage.database import Database
from node.transactions.pool import Pool
from pallets import compose
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import Call
from runtime.frame.executive import ExecutedBlock, Executive
from runtime.frame.extrinsic import Additional, Extra, Extrinsic
from runtime.frame.machine import Machine
from runtime.frame.state import Overlay
from runtime.types.era import IMMORTAL, Era
from runtime.types.primitives import AccountId, Hash, Id, Other

ALICE, BOB, CHARLIE, DAVE, EVE = (
    Keypair.from_uri(f"//{name}") for name in ("Alice", "Bob", "Charlie", "Dave", "Eve")
)
TEST_SECONDS = 30


@functools.cache
def dev_spec() -> ChainSpec:
    """The development chain, its storage written out: quick to build again."""
    return load_spec("dev").raw()


@functools.cache
def _supply() -> Iterator[Machine]:
    return itertools.cycle((compose(), compose()))


def composed() -> Machine:
    """One of two runtimes in turn: composing takes long, and they keep no state."""
    return next(_supply())


@dataclass
class SmallNode:
    """A chain with its pool and author."""

    chain: Chain
    pool: Pool
    author: Author

    def sign(
        self,
        pair: Keypair = ALICE,
        nonce: int | None = None,
        tip: int = 0,
        *,
        value: int = 10**18,
        era: Era = IMMORTAL,
        birth: Hash | None = None,
        size: int | None = None,
    ) -> bytes:
        """Sign a transfer to Bob, or a remark of some size."""
        machine = self.chain.machine
        if size is None:
            dest = Id(AccountId(BOB.account))
            call = machine.call("Balances", "transfer_keep_alive", dest=dest, value=value)
        else:
            call = machine.call("System", "remark", remark=bytes(size))
        return self.sign_call(call, pair, nonce, tip, era=era, birth=birth)

    def sign_call(
        self,
        call: Call,
        pair: Keypair = ALICE,
        nonce: int | None = None,
        tip: int = 0,
        *,
        era: Era = IMMORTAL,
        birth: Hash | None = None,
    ) -> bytes:
        """Sign any call."""
        machine = self.chain.machine
        number = self.pool.next_nonce(AccountId(pair.account)) if nonce is None else nonce
        signed = birth
        if signed is None:
            signed = self.chain.hash_of(era.birth(self.chain.best.number))
        assert signed is not None
        version = machine.version
        additional = Additional(
            version.spec_version, version.transaction_version, self.chain.genesis_hash, signed
        )
        return machine.extrinsics.sign(call, pair, Extra(era, number, tip), additional)

    def decode(self, *raws: bytes) -> list[Extrinsic]:
        return [self.chain.machine.extrinsics.decode(raw) for raw in raws]

    def free(self, pair: Keypair, block: Hash | None = None) -> int:
        """What an account owns after a block, the best one by default."""
        state = self.chain.best_state() if block is None else self.chain.state(block)
        with self.chain.machine.on(Overlay(state)):
            system: Any = self.chain.machine.pallets["System"]
            return int(system.get_account(AccountId(pair.account)).data.free)

    def fork(self, parent: Hash, note: bytes, *extrinsics: bytes) -> ExecutedBlock:
        """Make a block on any unpruned one; `note` tells blocks of one parent apart."""
        header = self.chain.header(parent)
        assert header is not None
        stamp = self.chain.machine.call("Timestamp", "set", now=10**14 + header.number)
        inherents = (self.chain.machine.extrinsics.inherent(stamp),)
        executive = Executive(self.chain.machine)
        return executive.build(
            self.chain.state(parent), header, (Other(note),), inherents, self.decode(*extrinsics)
        )

    def grow(self, parent: Hash, notes: Sequence[bytes]) -> list[ExecutedBlock]:
        """Add a branch of empty blocks."""
        branch = []
        for note in notes:
            executed = self.fork(parent, note)
            self.chain.extend(executed)
            branch.append(executed)
            parent = executed.hash
        return branch

    def take(self, executed: ExecutedBlock) -> None:
        """Add a block, which is best if it is the longest; the pool hears of it."""
        self.chain.extend(executed)


@asynccontextmanager
async def small_node(
    folder: Path,
    sealing: Sealing = Sealing.MANUAL,
    block_time_ms: int = 1_000,
    clock_ms: Callable[[], int] | None = None,
    **options: Any,
) -> AsyncIterator[SmallNode]:
    """Open a node on a folder; closed again at the end."""
    with Database.open(folder, **options) as database, patch("node.chain.chain.compose", composed):
        chain = Chain(dev_spec(), database)
        pool = Pool(chain)
        clock = {} if clock_ms is None else {"clock_ms": clock_ms}
        author = Author(chain, pool, sealing, block_time_ms, **clock)
        try:
            yield SmallNode(chain, pool, author)
        finally:
            chain.close()


def run(scenario: Callable[[], Any]) -> None:
    """Run an async test with a limit of time."""

    async def limited() -> None:
        with trio.fail_after(TEST_SECONDS):
            await scenario()

    trio.run(limited)
