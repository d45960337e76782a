"""A chain with many accounts in a folder of its own, and signed transfers between them.

The chain is the node's: pool, author and LevelDB. The accounts are written straight into a raw
genesis, because pallets need minutes for a million of them. Only accounts that send have keys.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genesis.spec import ChainSpec
from node.authoring.author import Author
from node.chain.chain import Chain
from node.operations.config import Sealing
from node.storage.database import Database
from node.transactions.pool import Pool
from pallets import compose
from runtime.codec.scale import codec, u128
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.frame.executive import ExecutedBlock
from runtime.frame.extrinsic import Additional, Extra
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.types.era import IMMORTAL
from runtime.types.primitives import OPEN, AccountData, AccountId, AccountInfo, Id

BALANCE_PLANCK: Final = 1_000 * OPEN
AMOUNT_PLANCK: Final = OPEN // 1_000
SENDERS_MAX: Final = 20_000
SEED: Final = 20_261_120


@dataclass(slots=True)
class Ledger:
    """A chain to run transfers on; `nonces` counts the transfers that were signed."""

    chain: Chain
    pool: Pool
    author: Author
    accounts: Sequence[AccountId]
    senders: Sequence[Keypair]
    nonces: list[int]
    random: random.Random

    def transfers(self, count: int) -> list[bytes]:
        """Sign transfers of `count` different senders, each to any other account."""
        machine = self.chain.machine
        version = machine.version
        genesis = self.chain.genesis_hash
        additional = Additional(version.spec_version, version.transaction_version, genesis, genesis)
        raws = []
        for position in self.random.sample(range(len(self.senders)), count):
            pair = self.senders[position]
            dest = pair.account
            while dest == pair.account:
                dest = self.random.choice(self.accounts)
            call = machine.call(
                "Balances", "transfer_keep_alive", dest=Id(AccountId(dest)), value=AMOUNT_PLANCK
            )
            extra = Extra(IMMORTAL, self.nonces[position], 0)
            raws.append(machine.extrinsics.sign(call, pair, extra, additional))
            self.nonces[position] += 1
        return raws

    def submit(self, raws: Sequence[bytes]) -> None:
        """Decode, verify and validate transfers, as the node does for each it receives."""
        for raw in raws:
            self.pool.submit(raw)

    async def seal(self, expected: int) -> ExecutedBlock:
        """Execute the pooled transfers, compute the roots and commit the block to disk."""
        executed = await self.author.seal()
        assert len(executed.extrinsics) == expected + 1, f"{executed.refused[:1]} were refused"
        return executed


@contextmanager
def opened_ledger(accounts: int) -> Iterator[Ledger]:
    """Make a chain with this many funded accounts in a temporary folder."""
    senders = [
        Keypair.from_seed(blake2b_256(b"sender %d" % number))
        for number in range(min(accounts, SENDERS_MAX))
    ]
    others = (
        AccountId(blake2b_256(b"account %d" % number)) for number in range(len(senders), accounts)
    )
    names = [*(AccountId(pair.account) for pair in senders), *others]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        database = Database.open(Path(folder) / "db")
        try:
            chain = Chain(_spec(names), database)
            pool = Pool(chain, clock=lambda: 0.0)
            author = Author(chain, pool, Sealing.MANUAL)
            nonces = [0] * len(senders)
            yield Ledger(
                chain=chain,
                pool=pool,
                author=author,
                accounts=names,
                senders=senders,
                nonces=nonces,
                random=random.Random(SEED),
            )
            chain.close()
        finally:
            database.close()


def _spec(accounts: Sequence[AccountId]) -> ChainSpec:
    """Return a raw chain spec: an empty genesis of every pallet, and the accounts."""
    empty = ChainSpec("Benchmark", "benchmark", "Development", pallets={})
    top = dict(empty.build().changes)
    machine = compose()
    system, balances = machine.pallets["System"], machine.pallets["Balances"]
    record = codec(AccountInfo).encode(
        AccountInfo(providers=1, data=AccountData(free=BALANCE_PLANCK))
    )
    with machine.on(Overlay(MemoryBackend())):
        key_of = system.account.key  # type: ignore[attr-defined]
        for account in accounts:
            top[key_of(account)] = record
        issuance = balances.total_issuance.prefix  # type: ignore[attr-defined]
    top[issuance] = codec(u128).encode(BALANCE_PLANCK * len(accounts))
    return ChainSpec("Benchmark", "benchmark", "Development", top=top)
