"""Checks of transactions on top of the best block: validity, birth block, nonce and signature.

A nonce that is too low is refused as Stale; one in the future is valid and waits in the pool. The
chain says which block is best; here is the state of the block after it, and what is checked there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from node.chain.checked_signatures import CheckedSignatures, Opened, Opening, open_envelopes
from runtime.frame.executive import Executive
from runtime.frame.extrinsic import Additional, Envelope, Extrinsic
from runtime.frame.state import Overlay
from runtime.frame.validity import TransactionRefused, ValidTransaction
from runtime.trie.backend import Backend
from runtime.types.primitives import AccountId, Hash, Header

NEXT_STATE_VALUES_MAX: Final = 1 << 16

StateOf = Callable[[], Backend]
"""Returns the state after the best block, for one synchronous use."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A valid extrinsic on top of the best block."""

    validity: ValidTransaction
    birth: Hash
    """The birth block that its signature covers; genesis for an immortal one."""
    nonce: int
    """The next nonce of its signer."""


class TransactionChecks:
    """Checks transactions in the block that would follow the best one."""

    def __init__(self, executive: Executive, genesis_hash: Hash) -> None:
        self.signatures = CheckedSignatures()
        self._executive = executive
        self._machine = executive.machine
        self._genesis_hash = genesis_hash
        self._next: Overlay | None = None
        self._next_of: Hash | None = None

    def nonce(self, account: AccountId, best: Header, best_state: StateOf) -> int:
        """Return an account's next nonce."""
        with self._machine.on(self._next_state(best, best_state)):
            return self._executive.nonce(account)

    def birth(self, extrinsic: Extrinsic, best: Header, best_state: StateOf) -> Hash | None:
        """Return the birth block that a signature must cover; None where there is none."""
        with self._machine.on(self._next_state(best, best_state)):
            return self._executive.birth_of(extrinsic)

    def check(self, extrinsic: Extrinsic, best: Header, best_state: StateOf) -> Checked:
        """Check an extrinsic. Raises TransactionRefused.

        A signature that was checked before, for the same birth block, is not checked again.
        """
        executive = self._executive
        with self._machine.on(self._next_state(best, best_state)):
            birth = executive.birth_of(extrinsic)
            is_verified = self.signatures.holds(extrinsic.hash, birth)
            validity = executive.validate_here(extrinsic, is_verified=is_verified)
            signed = extrinsic.signed
            assert signed is not None, "the runtime validates only signed transactions"
            assert signed.account is not None, "the runtime has resolved the signer"
            assert birth is not None, "the runtime refuses ancient birth blocks"
            nonce = executive.nonce(signed.account)
        if not is_verified:
            self.signatures.note(extrinsic.hash, birth)
        return Checked(validity, birth, nonce)

    def check_envelope(self, envelope: Envelope, best: Header, best_state: StateOf) -> int:
        """Check what needs neither signature nor call. Raises TransactionRefused.

        Returns the next nonce of its signer.
        """
        with self._machine.on(self._next_state(best, best_state)):
            return self._executive.check_envelope(envelope)

    async def open(
        self,
        envelopes: Sequence[Envelope],
        best: Header,
        best_state: StateOf,
        *,
        clock: Callable[[], float],
        limiter: trio.CapacityLimiter | None,
    ) -> list[Opened]:
        """Check signatures and decode calls in a worker thread; a wrong one decodes no call.

        Remembers which signatures hold on the best branch. `clock` counts the seconds of work.
        """
        with self._machine.on(self._next_state(best, best_state)):
            births = [self._executive.birth_of(envelope) for envelope in envelopes]
        work = [
            Opening(
                envelope,
                None
                if birth is None or self.signatures.holds(envelope.hash, birth)
                else self._additional(birth),
            )
            for envelope, birth in zip(envelopes, births, strict=True)
        ]
        codec = self._machine.extrinsics
        results = await trio.to_thread.run_sync(open_envelopes, codec, work, clock, limiter=limiter)
        for opening, opened in zip(work, results, strict=True):
            holds = not isinstance(opened.found, TransactionRefused)
            if opening.additional is not None and holds:
                self.signatures.note(opening.envelope.hash, opening.additional.birth_hash)
        return results

    def forget_state(self) -> None:
        """Forget the state of the next block: what lies under it has moved with a commit."""
        self._next = None

    def _additional(self, birth: Hash) -> Additional:
        version = self._machine.version
        return Additional(
            version.spec_version, version.transaction_version, self._genesis_hash, birth
        )

    def _next_state(self, best: Header, best_state: StateOf) -> Overlay:
        """Return the state of the block after the best one, kept while that stays the best.

        A pool asks for it with every transaction. A fresh overlay each time would set up the block
        and decode the same values again, which takes longer than the checks themselves.
        """
        state = self._next
        if state is None or self._next_of != best.hash or state.size > NEXT_STATE_VALUES_MAX:
            state = self._executive.begin_next(best_state(), best)
            self._next, self._next_of = state, best.hash
        return state
