"""A composed runtime with funded accounts, for tests of pallets without blocks or a network.

`Ledger()` composes all pallets of the chain, `Ledger(pallets)` just those. Calls run as on chain,
each in a transaction; `check` runs all invariants.

    ledger.sign(ALICE, "Datanets", "publish", datanet=0)
    with pytest.raises(Datanets.NothingNew): ledger.sign(...)
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from pallets import PALLETS
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import ROOT, Call, Origin
from runtime.frame.machine import Machine
from runtime.frame.pallet import Event, Pallet
from runtime.frame.state import Overlay
from runtime.trie.backend import MemoryBackend
from runtime.types.primitives import OPEN, AccountId, Digest, Hash, RuntimeVersion, Weight

P = TypeVar("P", bound=Pallet)
E = TypeVar("E", bound=Event)

GENESIS_HASH = Hash(b"genesis".ljust(32, b"\0"))
ENDOWMENT = 1_000_000 * OPEN
BLOCK_TIME_MS = 1_000
VERSION = RuntimeVersion("test", "test", 1, 1, 1, (), 1, 1)

KEYS = {name: Keypair.from_uri(f"//{name}") for name in ("Alice", "Bob", "Charlie", "Dave", "Eve")}
ALICE, BOB, CHARLIE, DAVE, EVE = (AccountId(pair.account) for pair in KEYS.values())
NOBODY = AccountId(b"nobody".ljust(32, b"\1"))
"""An account that does not exist."""


class Ledger:
    """The composed runtime, at block 1, with ALICE to EVE endowed alike."""

    def __init__(
        self,
        pallets: Sequence[type[Pallet]] = (),
        *,
        endowed: Sequence[tuple[AccountId, int]] | None = None,
        **genesis: Any,
    ) -> None:
        """Build genesis; `genesis` overrides a pallet's default one: `Sudo=sudo.Genesis(ALICE)`."""
        self.machine = Machine(tuple(pallets) or PALLETS, VERSION)
        self._stack = ExitStack()
        self._stack.enter_context(self.machine.on(Overlay(MemoryBackend())))
        if endowed is None:
            endowed = [(who, ENDOWMENT) for who in (ALICE, BOB, CHARLIE, DAVE, EVE)]
        for name, pallet in self.machine.pallets.items():
            self._build(name, pallet, tuple(endowed), genesis)
        self.number = 0
        self.parent_hash = GENESIS_HASH
        self._begin_block()

    def _build(
        self,
        name: str,
        pallet: Pallet,
        endowed: tuple[tuple[AccountId, int], ...],
        genesis: dict[str, Any],
    ) -> None:
        build = getattr(pallet, "build_genesis", None)
        if build is None:
            return
        hint = typing.get_type_hints(build).get("genesis")
        if hint is None:
            build()
        elif name == "Balances":
            build(hint(accounts=endowed))
        else:
            build(genesis[name] if name in genesis else hint())

    def close(self) -> None:
        """Leave the machine's state."""
        self._stack.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------- calls

    def sign(self, who: AccountId, pallet: str, name: str, /, **arguments: Any) -> Weight | None:
        """Dispatch a call of a signed account in a transaction; raises what the call raises."""
        return self.dispatch(Origin.signed(who), pallet, name, **arguments)

    def root(self, pallet: str, name: str, /, **arguments: Any) -> Weight | None:
        """Dispatch a call with root origin."""
        return self.dispatch(ROOT, pallet, name, **arguments)

    def dispatch(
        self, origin: Origin, pallet: str, name: str, /, **arguments: Any
    ) -> Weight | None:
        """Dispatch a call; its encoding must read back as the same call."""
        call = self.call(pallet, name, **arguments)
        assert self.machine.call_codec.decode(self.machine.call_codec.encode(call)) == call
        assert self.machine.weight_of(call).ref_time > 0
        with self.machine.transaction():
            return self.machine.dispatch(call, origin)

    def call(self, pallet: str, name: str, /, **arguments: Any) -> Call:
        """Return a call with named arguments, which may be called `pallet` or `name` too."""
        names = [argument for argument, _ in self.machine.bound(pallet, name).spec.arguments]
        assert set(names) == set(arguments), f"{pallet}.{name} takes {names}"
        return Call(pallet, name, tuple(arguments[argument] for argument in names))

    # ------------------------------------------------------------------------------- state

    def pallet(self, kind: type[P]) -> P:
        """Return the instance of a pallet class."""
        instance = self.machine.pallets[kind.__name__]
        assert isinstance(instance, kind)
        return instance

    def events(self, kind: type[E]) -> list[E]:
        """Return the events of one kind so far."""
        return [record.event for record in self.machine.records if isinstance(record.event, kind)]

    def next_block(self, count: int = 1) -> None:
        """End the block (hooks, invariants) and begin the next one, `count` times."""
        for _ in range(count):
            for pallet in self.machine.pallets.values():
                if pallet.name == "Timestamp":
                    pallet.did_update.put(True)  # type: ignore[attr-defined]
                    pallet.now.put(self.number * BLOCK_TIME_MS)  # type: ignore[attr-defined]
            for pallet in self.machine.pallets.values():
                pallet.on_finalize()
            self.check()
            self.parent_hash = Hash(self.number.to_bytes(32, "big"))
            self._begin_block()

    def _begin_block(self) -> None:
        self.number += 1
        system = self.machine.pallets["System"]
        system.initialize(self.number, self.parent_hash, Digest(()))  # type: ignore[attr-defined]
        for pallet in self.machine.pallets.values():
            pallet.on_initialize()

    def check(self) -> None:
        """Run the invariants of every pallet, and encode and decode all that was written."""
        for pallet in self.machine.pallets.values():
            pallet.check_invariants()
        self.machine.overlay.changes()
