"""Utility: several calls in one extrinsic.

An item runs with the origin of the batch and in a transaction of its own, so what a failed item had
written is undone. The batches differ in what follows a failure: `batch` stops and keeps what came
before, `batch_all` undoes everything, `force_batch` goes on. Calls for root and inherents are
refused item by item, since their origin is not a signed account. Interface and indices are those
of pallet_utility.
"""

from __future__ import annotations

from runtime.codec.scale import u32
from runtime.frame.dispatch import DispatchError, DispatchFailed, Failure, Origin, Signed
from runtime.frame.events import RuntimeCall
from runtime.frame.pallet import Const, Event, Pallet, call, cost
from runtime.types.primitives import AccountId, Weight

CALLS_MAX = 1_000


def batch_weight(pallet: Pallet, calls: tuple[RuntimeCall, ...]) -> Weight:
    """Return the weight of a batch: its own and that of every call in it."""
    total = cost(20)
    for item in calls:
        total = total + cost(5) + pallet._machine.weight_of(item)
    return total


class Utility(Pallet, index=1):
    """Several calls in one extrinsic: stop at a failure, undo all, or go on."""

    batched_calls_limit: Const[u32] = CALLS_MAX

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

    class TooManyCalls(Failure, index=0):
        """The batch has more calls than allowed; split it into several extrinsics."""

    @call(0, batch_weight)
    def batch(self, who: Signed, calls: tuple[RuntimeCall, ...]) -> Weight:
        """Run calls in order; stop at the first failure and keep what came before it."""
        self._check_count(calls)
        used = cost(20)
        for index, item in enumerate(calls):
            error, weight = self._run(who, item)
            used = used + weight
            if error is not None:
                self.emit(self.BatchInterrupted(index, error))
                return used
            self.emit(self.ItemCompleted())
        self.emit(self.BatchCompleted())
        return used

    @call(2, batch_weight)
    def batch_all(self, who: Signed, calls: tuple[RuntimeCall, ...]) -> Weight:
        """Run calls in order; when one fails, the whole batch fails and nothing is kept."""
        self._check_count(calls)
        used = cost(20)
        for item in calls:
            error, weight = self._run(who, item)
            used = used + weight
            if error is not None:
                raise DispatchFailed(error)
            self.emit(self.ItemCompleted())
        self.emit(self.BatchCompleted())
        return used

    @call(4, batch_weight)
    def force_batch(self, who: Signed, calls: tuple[RuntimeCall, ...]) -> Weight:
        """Run calls in order; go on past those that fail."""
        self._check_count(calls)
        used, all_succeeded = cost(20), True
        for item in calls:
            error, weight = self._run(who, item)
            used = used + weight
            if error is None:
                self.emit(self.ItemCompleted())
            else:
                all_succeeded = False
                self.emit(self.ItemFailed(error))
        self.emit(self.BatchCompleted() if all_succeeded else self.BatchCompletedWithErrors())
        return used

    def _check_count(self, calls: tuple[RuntimeCall, ...]) -> None:
        if len(calls) > self.batched_calls_limit:
            raise self.TooManyCalls

    def _run(self, who: Signed, item: RuntimeCall) -> tuple[DispatchError | None, Weight]:
        """Run one call in its own transaction: (its error or None, the weight that it used)."""
        declared = self._machine.weight_of(item)
        try:
            with self._machine.transaction():
                actual = self._machine.dispatch(item, Origin.signed(AccountId(who)))
        except (DispatchFailed, Failure) as failure:
            return failure.error, declared + cost(5)
        return None, (declared if actual is None else actual) + cost(5)
