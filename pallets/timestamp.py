"""Timestamp: the wall clock of the chain, set once in each block by its author."""

from __future__ import annotations

from pallets import weights
from runtime.codec.scale import CompactU64, u64
from runtime.frame.dispatch import Error, Inherent
from runtime.frame.pallet import Const, Pallet, call
from runtime.frame.storage import Value, default


class Timestamp(Pallet, index=2):
    """The time at which a block was authored, in milliseconds since 1970."""

    minimum_period: Const[u64] = 1
    """The least time between two blocks, in milliseconds."""

    now: Value[u64] = default(0)
    """The time of the latest block, in milliseconds since 1970-01-01 UTC."""
    did_update: Value[bool] = default(False)
    """Whether this block has set its time; cleared at its end."""

    class AlreadySet(Error, index=0):
        """The timestamp of this block is set already."""

    class TooEarly(Error, index=1):
        """The timestamp is not after the one of the parent block."""

    @call(0, weights.TIMESTAMP_SET)
    def set(self, origin: Inherent, now: CompactU64) -> None:
        """Set the current time, in milliseconds; once a block, later than the parent's."""
        if self.did_update.get():
            raise self.AlreadySet
        if now < self.now.get() + self.minimum_period:
            raise self.TooEarly
        self.now.put(now)
        self.did_update.put(True)

    def on_finalize(self) -> None:
        """Check that the block has set its time, and clear the mark for the next one."""
        assert self.did_update.get(), "a block sets its timestamp"
        self.did_update.clear()
