"""The proposer: builds the block that this node proposes as leader of a view.

It decides when (a pace between blocks, or at once when there is work) and what (inherents, then the
pool's best). Whether the block becomes one of the chain is the network's decision, elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from node.authoring.author import CANDIDATES_MAX, timestamp_inherent, wall_clock_ms
from node.authoring.evidence_pool import EvidencePool
from node.chain.chain import Chain
from node.chain.epochs import Epochs
from node.transactions.pool import Pool
from p2p.transport.transport import Started
from runtime.codec.scale import codec
from runtime.frame.executive import ExecutedBlock, InvalidBlockError
from runtime.shared.finality import ENGINE, Claim
from runtime.types.primitives import AccountId, Hash, Header, PreRuntime

EVIDENCE_PER_BLOCK_MAX: Final = 4
"""As many as the pallet Offences takes."""

logger = logging.getLogger(__name__)
_claim = codec(Claim)


class Proposer:
    """Builds blocks for the views that this node leads.

    `secret` feeds the chain's randomness (pallets/randomness.py): the same for ever, and never
    disclosed.
    """

    def __init__(
        self,
        chain: Chain,
        epochs: Epochs,
        pool: Pool,
        block_time_ms: int,
        secret: bytes,
        evidence: EvidencePool,
        *,
        is_instant: bool,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._chain = chain
        self._epochs = epochs
        self._pool = pool
        self._block_time_ms = block_time_ms
        self._secret = secret
        self.evidence = evidence
        self._is_instant = is_instant
        self._clock_ms = clock_ms
        self._immediate_until = 0
        self._pace_changed = trio.Event()

    def propose_immediately(self, until: int) -> None:
        """Propose without pause until the chain has this height."""
        self._immediate_until = until
        self._pace_changed.set()
        self._pace_changed = trio.Event()

    async def propose(self, parent: Header, claim: Claim, author: AccountId) -> ExecutedBlock:
        """Wait for the time, then build a block on a parent. Raises ChainError."""
        await self._pace(parent)
        chain, pool = self._chain, self._pool
        calls = self._epochs.contribution(parent.hash, author, self._secret)
        now_ms = max(self._clock_ms(), self._epochs.timestamp_ms(parent.hash) + 1)
        inherents = (
            timestamp_inherent(chain.machine, now_ms),
            *map(chain.machine.extrinsics.inherent, calls),
            *self._convictions(parent.hash),
        )
        logs = (PreRuntime(ENGINE, _claim.encode(claim)),)
        candidates = pool.candidates(CANDIDATES_MAX)
        try:
            executed = await chain.build(logs, inherents, candidates, parent.hash)
        except InvalidBlockError as error:
            # What is not needed must never cost this node its turn, and the chain a leader.
            logger.error("inherents-left-out number=%d cause=%r", parent.number + 1, str(error))
            executed = await chain.build(logs, inherents[:1], candidates, parent.hash)
        for transaction, refusal in executed.refused:
            pool.refuse(transaction, refusal)
        return executed

    async def _pace(self, parent: Header) -> None:
        """Wait until it is time for the next block; never longer than the block time."""
        with trio.move_on_after(self._wait_seconds(parent)):
            while not self._is_due(parent):
                await self._wait_for_cause(parent)

    def _is_due(self, parent: Header) -> bool:
        """Return whether there is a cause to propose before the time."""
        is_immediate = parent.number < self._immediate_until
        return is_immediate or (self._is_instant and self._pool.has_ready)

    async def _wait_for_cause(self, parent: Header) -> None:
        """Wait until a transaction comes or propose_immediately is called."""
        async with trio.open_nursery() as nursery:
            for wait in (self._pace_changed.wait, self._pool.wait_changed):
                await nursery.start(partial(_cancel_after, wait, nursery.cancel_scope))
            if self._is_due(parent):  # it may have come before both were waited for
                nursery.cancel_scope.cancel()

    def _wait_seconds(self, parent: Header) -> float:
        """How long after now the block time since the parent is over."""
        left = self._epochs.timestamp_ms(parent.hash) + self._block_time_ms - self._clock_ms()
        return min(max(left, 0), self._block_time_ms) / 1_000

    def _convictions(self, parent: Hash) -> list[bytes]:
        """The inherents for evidence that is not on chain yet; what is there is forgotten."""
        machine, final = self._chain.machine, self._chain.finalized
        inherents: list[bytes] = []
        for evidence in self.evidence.all():
            if self._epochs.reportable(parent, evidence):
                call = machine.call("Offences", "convict", evidence=evidence)
                inherents.append(machine.extrinsics.inherent(call))
            # The genesis state does not know its own hash, so it knows of no signature yet.
            elif final.number and not self._epochs.reportable(final.hash, evidence):
                self.evidence.discard(evidence)
        return inherents[:EVIDENCE_PER_BLOCK_MAX]


async def _cancel_after(
    wait: Callable[[], Awaitable[None]], scope: trio.CancelScope, *, task_status: Started
) -> None:
    task_status.started()
    await wait()
    scope.cancel()
