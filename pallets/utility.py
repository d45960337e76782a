"""Utility: several calls in one extrinsic.

An item runs with the origin of the batch and in a transaction of its own, so what a failed item had
written is undone. The batches differ in what follows a failure: `batch` stops and keeps what came
before, `batch_all` undoes everything, `force_batch` goes on. Calls for root and inherents are
refused item by item, since their origin is not a signed account. Interface and indices are those
of pallet_utility.
"""

from __future__ import annotations

from typing import Final

from pallets import weights
from runtime.codec.scale import u32
from runtime.frame.dispatch import DispatchError, DispatchFailed, Error, Origin, Signed
from runtime.frame.events import RuntimeCall
from runtime.frame.pallet import Const, Event, Pallet, call
from runtime.types.primitives import Weight

CALLS_MAX: Final = 1_000
NO_WEIGHT: Final = Weight(0, 0)


def batch_weight(pallet: Pallet, calls: tuple[RuntimeCall, ...]) -> Weight:
    """Return the weight of a batch: its own and that of every call in it."""
    total = weights.utility_batch(len(calls))
    for item in calls:
        total += pallet._machine.weight_of(item)
    return total


class Utility(Pallet, index=1):
    """Several calls in one extrinsic: stop at a failure, undo all, or go on."""

    batched_calls_limit: Const[u32] = CALLS_MAX
    """The most calls that one batch may hold."""

    class BatchInterrupted(Event, index=0):
        """A batch stopped at the call with this index; the calls before it took effect."""

        index: u32
        error: DispatchError

    class BatchCompleted(Event, index=1):
        """Every call of a batch succeeded."""

    class BatchCompletedWithErrors(Event, index=2):
        """A batch ran to its end, but some of its calls failed."""

    class ItemCompleted(Event, index=3):
        """A call of a batch succeeded."""

    class ItemFailed(Event, index=4):
        """A call of a batch failed; what it had written is undone."""

        error: DispatchError

    class TooManyCalls(Error, index=0):
        """The batch has more calls than allowed; split it into several extrinsics."""

    @call(0, batch_weight)
    def batch(self, who: Signed, calls: tuple[RuntimeCall, ...]) -> Weight:
        """Run calls in order; stop at the first failure and keep what came before it."""
        self._check_count(calls)
        used = NO_WEIGHT
        for index, item in enumerate(calls):
            error, item_weight = self._run(who, item)
            used += item_weight
            if error is not None:
                self.emit(self.BatchInterrupted(index, error))
                return weights.utility_batch(index + 1) + used
            self.emit(self.ItemCompleted())
        self.emit(self.BatchCompleted())
        return weights.utility_batch(len(calls)) + used

    @call(2, batch_weight)
    def batch_all(self, who: Signed, calls: tuple[RuntimeCall, ...]) -> Weight:
        """Run calls in order; when one fails, the whole batch fails and nothing is kept."""
        self._check_count(calls)
        used = NO_WEIGHT
        for item in calls:
            error, item_weight = self._run(who, item)
            used += item_weight
            if error is not None:
                raise DispatchFailed(error)
            self.emit(self.ItemCompleted())
        self.emit(self.BatchCompleted())
        return weights.utility_batch(len(calls)) + used

    @call(4, batch_weight)
    def force_batch(self, who: Signed, calls: tuple[RuntimeCall, ...]) -> Weight:
        """Run calls in order; go on past those that fail."""
        self._check_count(calls)
        used, all_succeeded = NO_WEIGHT, True
        for item in calls:
            error, item_weight = self._run(who, item)
            used += item_weight
            if error is None:
                self.emit(self.ItemCompleted())
            else:
                all_succeeded = False
                self.emit(self.ItemFailed(error))
        self.emit(self.BatchCompleted() if all_succeeded else self.BatchCompletedWithErrors())
        return weights.utility_batch(len(calls)) + used

    def _check_count(self, calls: tuple[RuntimeCall, ...]) -> None:
        if len(calls) > self.batched_calls_limit:
            raise self.TooManyCalls

    def _run(self, who: Signed, item: RuntimeCall) -> tuple[DispatchError | None, Weight]:
        """Run one call in its own transaction: (its error or None, the weight that it used)."""
        # Before the call runs: a weight that reads the state would read what the call has written.
        declared = self._machine.weight_of(item)
        try:
            with self._machine.transaction():
                actual = self._machine.dispatch(item, Origin.signed(who))
        except (DispatchFailed, Error) as failure:
            return failure.error, declared
        return None, declared if actual is None else actual
