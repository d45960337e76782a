"""A chain in memory for tests: the development genesis, an executive, and signed transfers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

from genesis.spec import GenesisState, load_spec
from pallets import compose
from runtime.crypto.keys import Keypair
from runtime.frame.executive import ExecutedBlock, Executive
from runtime.frame.extrinsic import Additional, Extra, Extrinsic
from runtime.frame.machine import Machine
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.types.era import IMMORTAL, Era
from runtime.types.primitives import OPEN, AccountId, AccountInfo, DigestItem, Hash, Header, Id

ALICE, BOB, EVE = (Keypair.from_uri(f"//{name}") for name in ("Alice", "Bob", "Eve"))
GENESIS_MS = 1_000_000


@functools.cache
def machine() -> Machine:
    """The composed runtime; composing one takes longer than most tests."""
    return compose()


@functools.cache
def dev_genesis() -> GenesisState:
    """The genesis of the development chain."""
    return load_spec("dev").build()


class Blocks:
    """Builds blocks on the development genesis and keeps the state."""

    def __init__(self, composed: Machine | None = None) -> None:
        genesis = dev_genesis()
        self.machine = composed or machine()
        self.executive = Executive(self.machine)
        self.genesis_hash = genesis.hash
        self.headers: list[Header] = [genesis.header]
        self.state = MemoryBackend()
        self.state.apply(genesis.changes, genesis.nodes)

    @property
    def best(self) -> Header:
        return self.headers[-1]

    def timestamp(self, number: int | None = None, now: int | None = None) -> bytes:
        """The inherent that every block needs."""
        height = self.best.number + 1 if number is None else number
        call = self.machine.call("Timestamp", "set", now=now or GENESIS_MS + 1_000 * height)
        return self.machine.extrinsics.inherent(call)

    def build(
        self,
        *extrinsics: bytes,
        inherents: Sequence[bytes] | None = None,
        logs: Sequence[DigestItem] = (),
    ) -> ExecutedBlock:
        """Build the next block without keeping it."""
        candidates = [self.decode(raw) for raw in extrinsics]
        given = (self.timestamp(),) if inherents is None else inherents
        return self.executive.build(self.state, self.best, logs, given, candidates)

    def keep(self, executed: ExecutedBlock) -> None:
        """Go on from a block."""
        self.state.apply(executed.changes, executed.nodes)
        self.headers.append(executed.header)

    def add(self, *extrinsics: bytes) -> ExecutedBlock:
        """Build and keep a block."""
        executed = self.build(*extrinsics)
        self.keep(executed)
        return executed

    def add_empty(self, count: int) -> None:
        for _ in itertools.repeat(None, count):
            self.add()

    def execute(self, header: Header, extrinsics: Sequence[bytes]) -> ExecutedBlock:
        """Execute somebody else's block on the best one."""
        return self.executive.execute(self.state, header, extrinsics, self.best)

    def decode(self, raw: bytes) -> Extrinsic:
        return self.machine.extrinsics.decode(raw)

    def sign(
        self,
        pallet: str,
        name: str,
        pair: Keypair = ALICE,
        *,
        nonce: int | None = None,
        tip: int = 0,
        era: Era = IMMORTAL,
        additional: Additional | None = None,
        **arguments: Any,
    ) -> bytes:
        """Sign a call."""
        number = self.nonce(pair) if nonce is None else nonce
        call = self.machine.call(pallet, name, **arguments)
        return self.machine.extrinsics.sign(
            call, pair, Extra(era, number, tip), additional or self.additional(era)
        )

    def additional(self, era: Era = IMMORTAL) -> Additional:
        """What a signature on this chain covers now."""
        version = self.machine.version
        birth = self.headers[era.birth(self.best.number)].hash if era.period else self.genesis_hash
        return Additional(
            version.spec_version, version.transaction_version, self.genesis_hash, birth
        )

    def transfer(self, pair: Keypair = ALICE, value: int = OPEN, **options: Any) -> bytes:
        """Sign a transfer to Bob."""
        dest = Id(AccountId(BOB.account))
        return self.sign("Balances", "transfer_keep_alive", pair, dest=dest, value=value, **options)

    def remark(self, size: int, pair: Keypair = ALICE, **options: Any) -> bytes:
        """Sign a remark of some bytes."""
        return self.sign("System", "remark", pair, remark=bytes(size), **options)

    def account(self, pair: Keypair) -> AccountInfo:
        with self.machine.on(Overlay(self.state)):
            system: Any = self.machine.pallets["System"]
            info: AccountInfo = system.get_account(AccountId(pair.account))
        return info

    def free(self, pair: Keypair) -> int:
        return self.account(pair).data.free

    def nonce(self, pair: Keypair) -> int:
        return self.account(pair).nonce

    def events(self) -> list[Any]:
        """The events of the best block."""
        with self.machine.on(Overlay(self.state)):
            system: Any = self.machine.pallets["System"]
            return [record.event for record in system.events.get()]


def with_root(header: Header, extrinsics_root: bytes) -> Header:
    """The same header over other extrinsics."""
    return Header(
        header.parent_hash,
        header.number,
        header.state_root,
        Hash(extrinsics_root),
        header.digest,
    )
