"""The view of an epoch: what the chain says of it at one final block, read together.

All that an epoch is closed with comes from one view. Channels of one block and a ledger of another
would not add up, and what a server does not declare of what is due costs it as much.

    worth its settlement -> old -> pressing -> last call -> overdue: all that is due is slashed

Times are parts of `close_blocks`, so that they fit any chain: an old epoch is closed, one that
presses is tried often and waits for nothing, and at the last call an epoch is closed with what is
here and what the bond answers for, because that costs less than not to close it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.chain.state_reader import PalletViews
from pallets.attribution.records import Epoch, EpochState, Ledger, Parameters
from pallets.jobs.job import Job
from runtime.types.primitives import AccountId, Hash

EPOCH_BLOCKS: Final = 600
"""An epoch is old after so many blocks, or sooner where the time to close it is short."""
OLD_PARTS: Final = 4
PRESSING_PARTS: Final = 4
"""An epoch presses in the last of so many parts of its time."""
LAST_CALL_PARTS: Final = 16
STOPPED_BLOCKS: Final = 3_600
"""After so many blocks an epoch that has stopped is tried again."""
RETRY_BLOCKS: Final = 16
"""After so many where it presses, and where it waits for the bond."""


@dataclass(frozen=True, slots=True)
class EpochView:
    """What the chain says of the epochs of a model and its server after a final block."""

    block: Hash
    height: int
    ledger: Ledger
    latest: Epoch | None
    """The epoch that was closed last, with number `ledger.epoch` - 1."""
    job: Job | None
    """Its settle job; None where the chain has it no more."""
    has_opened: bool
    parameters: Parameters
    bond_planck: int
    at_risk_planck: int
    duty_planck: int
    """What has to be due before the server must close an epoch: settling it costs as much."""

    @classmethod
    def read(
        cls, state: PalletViews, block: Hash, height: int, model: int, server: AccountId
    ) -> EpochView:
        """Read all of it from the state after a block."""
        attribution = state.attribution
        ledger = attribution.pool(model, server)
        latest = attribution.epoch(model, server, ledger.epoch - 1) if ledger.epoch else None
        parameters = attribution.parameters()
        return cls(
            block=block,
            height=height,
            ledger=ledger,
            latest=latest,
            job=None if latest is None else state.jobs.jobs.get(latest.job),
            has_opened=attribution.has_opened(model),
            parameters=parameters,
            bond_planck=state.inference.bond_of(server),
            at_risk_planck=attribution.at_risk.get(server),
            duty_planck=attribution.settlement_price(model, parameters.draws),
        )

    @property
    def is_failed(self) -> bool:
        """Whether the latest epoch is to be closed again before the current one."""
        return self.latest is not None and self.latest.state is EpochState.Failed

    @property
    def next_epoch(self) -> int:
        """The epoch that is closed next: a failed one before the current one."""
        return self.ledger.epoch - 1 if self.is_failed else self.ledger.next_epoch

    @property
    def is_worth_it(self) -> bool:
        """Whether the next epoch has earned what its settlement costs."""
        return self.ledger.next_planck >= self.duty_planck

    @property
    def can_close(self) -> bool:
        """Whether the chain would let an epoch be closed: what is due can be, in any case."""
        return self.has_opened or self.ledger.due_from is not None

    @property
    def overdue_from(self) -> int | None:
        """The block from which the server is slashed for what is due; None where nothing is."""
        due_from = self.ledger.due_from
        return None if due_from is None else due_from + self.parameters.close_blocks

    @property
    def is_old(self) -> bool:
        """Whether what has to be closed has waited long enough, however short this node has been
        up."""
        wait = min(EPOCH_BLOCKS, self.parameters.close_blocks // OLD_PARTS)
        return self.ledger.due_from is not None and self.height >= self.ledger.due_from + wait

    @property
    def is_pressing(self) -> bool:
        """Whether little is left of the time to close."""
        return self._is_in_last(PRESSING_PARTS)

    @property
    def is_last_call(self) -> bool:
        """Whether so little is left that closing must not wait for the operator any more."""
        return self._is_in_last(LAST_CALL_PARTS)

    @property
    def retry_blocks(self) -> int:
        """After how many blocks a stopped epoch is tried again."""
        if not self.is_pressing:
            return STOPPED_BLOCKS
        return min(RETRY_BLOCKS, self.parameters.close_blocks // LAST_CALL_PARTS)

    def _is_in_last(self, parts: int) -> bool:
        overdue_from = self.overdue_from
        left = self.parameters.close_blocks // parts
        return overdue_from is not None and self.height >= overdue_from - left
