"""The chain of the simulator: all pallets composed in memory, blocks with hooks and invariants.

Every call runs in a transaction, as on chain. After every block the tokens are counted: what all
accounts have and what was burned is what genesis endowed. The hashes of blocks, and so the
randomness that executors and receipts are drawn by, come from the seed.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, TypeVar

from pallets import compose
from pallets.attribution import Attribution
from pallets.balances import Balances
from pallets.inference import Inference
from pallets.jobs import Jobs
from pallets.models import Models
from pallets.system import System
from runtime.codec.scale import Codec
from runtime.crypto.hashing import blake2b_256
from runtime.frame.dispatch import ROOT, Call, DispatchFailed, Error, Origin
from runtime.frame.machine import Machine
from runtime.frame.pallet import Event, Pallet
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import AccountId, Digest, Hash

P = TypeVar("P", bound=Pallet)
E = TypeVar("E", bound=Event)

BLOCK_TIME_MS: Final = 1_000
ITEM_BYTES: Final = 32
"""The length of the part of a key that names pallet and item."""
GENESIS_HASH: Final = Hash(b"market genesis".ljust(32, b"\0"))


@lru_cache(maxsize=1)
def machine() -> Machine:
    """Return the composed runtime of this process."""
    return compose()


class IndexedOverlay(Overlay):
    """A state in memory that finds the keys of an item without looking at all others: the
    invariants list every item after every block."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self._by_item: dict[bytes, set[bytes]] = {}

    def write(self, key: bytes, value: Any | None, codec: Codec[Any]) -> None:
        """Set the value at a key."""
        self._by_item.setdefault(key[:ITEM_BYTES], set()).add(key)
        super().write(key, value, codec)

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        """Yield the present keys with a prefix, sorted."""
        assert len(prefix) >= ITEM_BYTES, "keys are listed by item"
        written = self._by_item.get(prefix[:ITEM_BYTES], ())
        yield from (key for key in sorted(written) if key.startswith(prefix) and self._present(key))


class Chain:
    """One chain, whose blocks a seed decides."""

    def __init__(self, seed: int, endowed: Sequence[tuple[AccountId, int]], **genesis: Any) -> None:
        """Build genesis; `genesis` has the genesis values of pallets by their names."""
        self._machine = machine()
        self._endowed = tuple(endowed)
        self._genesis = genesis
        self._seed = b"market/block/%d/" % seed
        self.number = 0
        self._parent = GENESIS_HASH
        self.balances = self._machine.pallet(Balances)
        self.system = self._machine.pallet(System)
        self.models = self._machine.pallet(Models)
        self.jobs = self._machine.pallet(Jobs)
        self.attribution = self._machine.pallet(Attribution)
        self.inference = self._machine.pallet(Inference)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the machine, build genesis and begin block 1."""
        with self._machine.on(IndexedOverlay()):
            for name, pallet in self._machine.pallets.items():
                self._build(name, pallet)
            self._total = self.balances.total_issuance.get()
            self._begin_block()
            yield

    def _build(self, name: str, pallet: Pallet) -> None:
        build = getattr(pallet, "build_genesis", None)
        if build is None:
            return
        hint = typing.get_type_hints(build).get("genesis")
        if hint is None:
            build()
        elif name == "Balances":
            build(hint(accounts=self._endowed))
        else:
            build(self._genesis[name] if name in self._genesis else hint())

    # ------------------------------------------------------------------------------- calls

    def sign(self, who: AccountId, pallet: str, name: str, /, **arguments: Any) -> None:
        """Dispatch a call that an account signs; raises what the call raises."""
        self._dispatch(Origin.signed(who), pallet, name, arguments)

    def root(self, pallet: str, name: str, /, **arguments: Any) -> None:
        """Dispatch a call by root."""
        self._dispatch(ROOT, pallet, name, arguments)

    def attempt(self, who: AccountId, pallet: str, name: str, /, **arguments: Any) -> bool:
        """Dispatch a call that may be refused; returns whether it was not."""
        try:
            self.sign(who, pallet, name, **arguments)
        except (Error, DispatchFailed):
            return False
        return True

    def _dispatch(self, origin: Origin, pallet: str, name: str, arguments: dict[str, Any]) -> None:
        call: Call = self._machine.call(pallet, name, **arguments)
        with self._machine.transaction():
            self._machine.dispatch(call, origin)

    def events(self, kind: type[E]) -> list[E]:
        """Return the events of one kind so far."""
        return [record.event for record in self._machine.records if isinstance(record.event, kind)]

    # ------------------------------------------------------------------------------ blocks

    def next_block(self) -> None:
        """End the block with its hooks and all checks, and begin the next one."""
        for pallet in self._machine.pallets.values():
            if pallet.name == "Timestamp":
                pallet.did_update.put(True)  # type: ignore[attr-defined]
                pallet.now.put(self.number * BLOCK_TIME_MS)  # type: ignore[attr-defined]
        for pallet in self._machine.pallets.values():
            pallet.on_finalize()
        self.check()
        self._parent = Hash(blake2b_256(self._seed + self.number.to_bytes(4, "little")))
        self._begin_block()

    def _begin_block(self) -> None:
        self.number += 1
        self.system.initialize(self.number, self._parent, Digest(()))
        for pallet in self._machine.pallets.values():
            pallet.on_initialize()

    def check(self) -> None:
        """Check the invariants of every pallet, and that no planck was made or lost."""
        for pallet in self._machine.pallets.values():
            pallet.check_invariants()
        issued, burned = self.balances.total_issuance.get(), self.balances.burned.get()
        assert issued + burned == self._total, "issued and burned tokens are those of genesis"
        owned = sum(
            record.data.free + record.data.reserved for _, record in self.system.account.items()
        )
        assert owned == issued, "the accounts have all tokens that are issued"
