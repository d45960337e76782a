"""The state on which weights are measured: a small network in genesis, and what a case adds.

A case is prepared in one overlay, whose changes become the backend; the work runs in a fresh
overlay over it, so that everything it reads is decoded from bytes, as in a block of a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from genesis.devnet import devnet_spec
from pallets import compose
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import INHERENT, ROOT, Call, Origin
from runtime.frame.machine import Machine
from runtime.frame.pallet import Pallet
from runtime.frame.state import Overlay
from runtime.frame.storage import Map
from runtime.trie.backend import Backend, MemoryBackend
from runtime.types.primitives import (
    OPEN,
    AccountData,
    AccountId,
    AccountInfo,
    Digest,
    DigestItem,
    Hash,
)

P = TypeVar("P", bound=Pallet)
T = TypeVar("T")

VALIDATORS: Final = 16
"""Validators and executors in genesis."""
BLOCK: Final = 10_000
"""The block in which the work runs."""
BALANCE: Final = 1_000_000 * OPEN
GENESIS_HASH: Final = Hash(b"genesis".ljust(32, b"\0"))


class CountingBackend:
    """A state that counts the keys that are read from it; an overlay reads each key once."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._state = MemoryBackend(values)
        self.reads = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None where there is none."""
        self.reads += 1
        return self._state.get(key)

    def node(self, path: bytes) -> bytes | None:
        """Return no trie node: roots are not computed here."""
        return None

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys with a prefix, sorted."""
        return self._state.keys(prefix, after)


class WeighingStage:
    """A composed runtime with a state for one case at a time."""

    def __init__(self) -> None:
        self.machine: Machine = compose()
        self._genesis: Mapping[bytes, bytes] = devnet_spec(VALIDATORS).build().changes
        self.logs: tuple[DigestItem, ...] = ()
        items = [
            getattr(pallet, attribute)
            for pallet in self.machine.pallets.values()
            for attribute in pallet.item_specs
        ]
        self._maps = [item for item in items if isinstance(item, Map)]

    def prepare(self, body: Callable[[], T]) -> tuple[T, Mapping[bytes, bytes]]:
        """Run a preparation over the genesis state; returns its result and the state after it."""
        self.logs = ()
        overlay = Overlay(MemoryBackend(self._genesis))
        with self.machine.on(overlay):
            self._system.initialize(1, GENESIS_HASH, Digest(()))
            result = body()
            changes = overlay.changes()
        values = {**self._genesis, **changes}
        return result, {key: value for key, value in values.items() if value is not None}

    @contextmanager
    def block(self, backend: Backend) -> Iterator[Overlay]:
        """Begin the block in which the work runs; what every block reads is read already."""
        for item in self._maps:
            item._cache.clear()  # a block meets keys that were never hashed before
        overlay = Overlay(backend)
        with self.machine.on(overlay):
            self._system.initialize(BLOCK, Hash(bytes(32)), Digest(self.logs))
            self.machine.begin_extrinsic(0)
            yield overlay

    def pallet(self, kind: type[P]) -> P:
        """Return the instance of a pallet class."""
        return self.machine.pallet(kind)

    @property
    def _system(self) -> Any:
        return self.machine.pallets["System"]

    # ---------------------------------------------------------------------------- accounts

    def pair(self, name: str) -> Keypair:
        """Return the ed25519 key of a name."""
        return Keypair.from_seed(blake2b_256(name.encode()))

    def account(self, name: str, *, free: int = BALANCE) -> AccountId:
        """Return the funded account of a name; the pallets' records are those of a real one."""
        who = AccountId(self.pair(name).account)
        self._system.put_account(who, AccountInfo(providers=1, data=AccountData(free=free)))
        issuance: Any = self.machine.pallets["Balances"]
        issuance.total_issuance.put(issuance.total_issuance.get() + free)
        return who

    def accounts(self, name: str, count: int) -> tuple[AccountId, ...]:
        """Return funded accounts, without keys."""
        made = tuple(AccountId(blake2b_256(b"%s %d" % (name.encode(), at))) for at in range(count))
        for who in made:
            self._system.put_account(who, AccountInfo(providers=1, data=AccountData(free=BALANCE)))
        return made

    # ------------------------------------------------------------------------------- calls

    def signed(
        self, who: AccountId, pallet: str, name: str, /, **arguments: Any
    ) -> Callable[[], object]:
        """Return the dispatch of a call that an account signs."""
        return self._dispatch(Origin.signed(who), pallet, name, arguments)

    def root(self, pallet: str, name: str, /, **arguments: Any) -> Callable[[], object]:
        """Return the dispatch of a call by root."""
        return self._dispatch(ROOT, pallet, name, arguments)

    def inherent(self, pallet: str, name: str, /, **arguments: Any) -> Callable[[], object]:
        """Return the dispatch of a call that the block's author puts in."""
        return self._dispatch(INHERENT, pallet, name, arguments)

    def _dispatch(
        self, origin: Origin, pallet: str, name: str, arguments: Mapping[str, Any]
    ) -> Callable[[], object]:
        spec = self.machine.bound(pallet, name).spec
        values = tuple(arguments[argument] for argument, _ in spec.arguments)
        call = Call(pallet, name, values)

        def work() -> object:
            return self.machine.dispatch(call, origin)

        return work
