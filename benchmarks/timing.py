"""CPU time of pieces of work, taken side by side so that load on the machine meets all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

cpu_clock = time.process_time


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of this process, all its threads, for one call."""
    gc.collect()
    started = cpu_clock()
    work()
    return cpu_clock() - started


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, *, warm: bool = True
) -> dict[str, float]:
    """Return the median CPU seconds of each contender; they take turns, `repeats` times.

    With `warm`, each runs once before, unmeasured.
    """
    if warm:
        for work in contenders.values():
            work()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            samples[name].append(cpu_seconds(work))
    return {name: statistics.median(values) for name, values in samples.items()}


def repeated(function: Callable[[], object], count: int) -> Callable[[], None]:
    """Return a function that calls another `count` times, for work too short to be timed alone."""

    def work() -> None:
        for _ in range(count):
            function()

    return work
