"""CPU time of pieces of work, taken in turns so that load on the machine affects all equally."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

IDLE_SECONDS: Final = 0.5
IDLE_SHARE: Final = 0.05

cpu_clock: Final = time.process_time


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of this process, all its threads, for one call."""
    gc.collect()
    started = cpu_clock()
    work()
    return cpu_clock() - started


@contextmanager
def frozen_setup() -> Iterator[None]:
    """Exclude the rest of the set-up from the measurement.

    That is the garbage collection of its objects, and the compaction that LevelDB still runs in a
    thread of its own.
    """
    while True:
        before = cpu_clock()
        time.sleep(IDLE_SECONDS)
        if cpu_clock() - before < IDLE_SHARE * IDLE_SECONDS:
            break
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


Samples = dict[str, list[float]]
"""CPU seconds by contender, one number for each turn."""


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, *, warm: bool = True
) -> Samples:
    """Return the CPU seconds of each contender; they take turns, `repeats` times.

    With `warm`, each runs once before, unmeasured.
    """
    if warm:
        for work in contenders.values():
            work()
    samples: Samples = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            samples[name].append(cpu_seconds(work))
    return samples


def medians(samples: Samples) -> dict[str, float]:
    """Return each contender's median."""
    return {name: statistics.median(values) for name, values in samples.items()}


def median_ratio(samples: Samples, ours: str, theirs: str) -> float:
    """Return how many times less CPU time ours took: the median over the turns.

    A disturbance of a turn (a busy sibling core doubles CPU time) affects both sides of it.
    """
    turns = zip(samples[ours], samples[theirs], strict=True)
    return statistics.median(other / own for own, other in turns)


def repeated(function: Callable[[], object], count: int) -> Callable[[], None]:
    """Return a function that calls another `count` times, for work too short to be timed once."""

    def work() -> None:
        for _ in range(count):
            function()

    return work
