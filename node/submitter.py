"""The node's own account: signs the extrinsics that its executor and its service send.

The key stays in this process; the executor process never sees it. Nonces count what waits in the
pool, so several submissions may be on their way at once.
"""

from __future__ import annotations

from typing import Any

from node.chain import Chain
from node.pool import Pool
from runtime.era import mortal
from runtime.extrinsic import Additional, Extra
from runtime.keys import Keypair
from runtime.primitives import AccountId, Hash

ERA_BLOCKS = 64


class Submitter:
    """Signs and submits calls of one account to the local pool."""

    def __init__(self, chain: Chain, pool: Pool, pair: Keypair) -> None:
        self._chain = chain
        self._pool = pool
        self._pair = pair
        self.account = AccountId(pair.account)

    def sign(self, message: bytes) -> bytes:
        """Sign a document that is no extrinsic, such as a receipt."""
        return self._pair.sign(message)

    def submit(self, pallet: str, name: str, **arguments: Any) -> Hash:
        """Sign a call and put it into the pool. Raises PoolError, UnknownCallError."""
        chain, best = self._chain, self._chain.best
        machine = chain.machine
        era = mortal(ERA_BLOCKS, best.number)
        birth = chain.hash_of(era.birth(best.number))
        assert birth is not None, "the era's first block is among the recent ones"
        version = machine.version
        additional = Additional(
            version.spec_version, version.transaction_version, chain.genesis_hash, birth
        )
        extra = Extra(era, self._pool.next_nonce(self.account), 0)
        call = machine.call(pallet, name, **arguments)
        return self._pool.submit(machine.extrinsics.sign(call, self._pair, extra, additional))
