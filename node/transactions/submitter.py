"""The node's own account: signs the extrinsics that its executor and its service send.

The key stays in this process; the executor process never sees it. Nonces count what waits in the
pool, so several submissions may be on their way at once. A transaction is born in a final block, so
that no change of the best branch makes it invalid.
"""

from __future__ import annotations

from typing import Any, Final

from node.chain.chain import Chain
from node.transactions.pool import Pool
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import DispatchClass
from runtime.frame.extrinsic import Additional, Extra
from runtime.types.era import mortal
from runtime.types.primitives import AccountId, Hash

ERA_BLOCKS: Final = 64
RESEND_BLOCKS: Final = 8
"""After so many final blocks a transaction of this node that is not final is sent again."""
FULL_BLOCKS: Final = 2
"""Blocks that did not take a waiting transaction have no room for it."""


class Submitter:
    """Signs and submits calls of one account to the local pool."""

    def __init__(self, chain: Chain, pool: Pool, pair: Keypair) -> None:
        self._chain = chain
        self._pool = pool
        self._pair = pair
        self.account = AccountId(pair.account)
        self._patient: dict[Hash, int] = {}
        """What this node has sent that is not operational, and waits, with the best block then."""
        self._urgent: set[Hash] = set()
        """What it has sent that is, and waits."""

    def sign(self, message: bytes) -> bytes:
        """Sign a document that is no extrinsic, such as a receipt."""
        return self._pair.sign(message)

    def submit(self, pallet: str, name: str, **arguments: Any) -> Hash:
        """Sign a call and put it into the pool. Raises PoolError, UnknownCallError."""
        chain, best = self._chain, self._chain.best
        machine = chain.machine
        # Where finality lags far behind, a birth in a final block would leave too little time.
        born = max(chain.finalized.number, best.number - ERA_BLOCKS // 2)
        birth = chain.hash_of(born)
        assert birth is not None, "a block of the best branch"
        version = machine.version
        additional = Additional(
            version.spec_version, version.transaction_version, chain.genesis_hash, birth
        )
        call = machine.call(pallet, name, **arguments)
        is_urgent = machine.class_of(call) is DispatchClass.Operational
        extra = Extra(mortal(ERA_BLOCKS, born), self._nonce(is_urgent), 0)
        sent = self._pool.submit(machine.extrinsics.sign(call, self._pair, extra, additional))
        if is_urgent:
            self._urgent.add(sent)
        else:
            self._patient[sent] = best.number
        return sent

    def _nonce(self, is_urgent: bool) -> int:
        """Return the next free nonce; for an operational call that of the first waiting one that is
        not. Full blocks would hold it up, and with it what has a deadline and room of its own. Who
        sent what is replaced looks for it on chain, and sends it again."""
        held_up = self._held_up() if is_urgent else None
        return self._pool.next_nonce(self.account) if held_up is None else held_up

    def rebroadcast(self, transaction: Hash) -> bool:
        """Send a waiting transaction to peers again; False where it does not wait, or has a
        deadline and waits behind one that full blocks hold up: sent anew it takes its place."""
        held_up = self._held_up() if transaction in self._urgent else None
        if held_up is not None:
            waiting = self._pool.waiting(self.account)
            if any(nonce > held_up and each == transaction for nonce, each in waiting.items()):
                return False
        return self._pool.rebroadcast(transaction)

    def _held_up(self) -> int | None:
        """Return the nonce of the first call of this node without a deadline that blocks have had
        no room for."""
        waiting = self._pool.waiting(self.account)
        still = set(waiting.values())
        self._patient = {each: at for each, at in self._patient.items() if each in still}
        self._urgent &= still
        latest = self._chain.best.number - FULL_BLOCKS
        for nonce, transaction in waiting.items():
            if self._patient.get(transaction, latest + 1) <= latest:
                return nonce
        return None
