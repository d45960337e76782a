"""How a weight is measured: CPU time of the work, and the storage keys it reads and writes.

The time is that of this thread for one dispatch in a transaction, with decoding what is read and
encoding what is written: the first quartile of many runs, less that of an empty transaction. Reads
and writes are counted from the overlay, without the keys that every block reads and writes anyway.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.weights.case import Benchmark, Work
from benchmarks.weights.stage import CountingBackend, WeighingStage

NANOSECONDS_PER_MICROSECOND: Final = 1_000
FEW_RUNS: Final = 5
"""Runs of work that takes long, whatever the number asked for."""
LONG_MICROSECONDS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of the work costs: CPU microseconds, keys read and keys written."""

    microseconds: float
    reads: float
    writes: float

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.microseconds - other.microseconds,
            self.reads - other.reads,
            self.writes - other.writes,
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.microseconds + other.microseconds,
            self.reads + other.reads,
            self.writes + other.writes,
        )

    def times(self, factor: float) -> Usage:
        """Return the usage of a part or a multiple of the work."""
        return Usage(self.microseconds * factor, self.reads * factor, self.writes * factor)

    def scaled(self, factor: Usage) -> Usage:
        """Return the usage with each part multiplied by that of the factor."""
        return Usage(
            self.microseconds * factor.microseconds,
            self.reads * factor.reads,
            self.writes * factor.writes,
        )

    def factor_to(self, needed: Usage) -> Usage:
        """Return by how much each part must grow to cover another usage, at least 1."""

        def factor(own: float, other: float) -> float:
            return max(1.0, other / own) if own > 0 else 1.0

        return Usage(
            factor(self.microseconds, needed.microseconds),
            factor(self.reads, needed.reads),
            factor(self.writes, needed.writes),
        )

    @property
    def floored(self) -> Usage:
        """The same without what noise makes negative."""
        return Usage(max(self.microseconds, 0.0), max(self.reads, 0.0), max(self.writes, 0.0))


@dataclass(frozen=True, slots=True)
class Fit:
    """The measured weight: base + slope x component for each component.

    `worst` is the usage with all components at their most, which the line is never below.
    """

    benchmark: Benchmark
    base: Usage
    slopes: Mapping[str, Usage]
    worst: Usage


def measure(stage: WeighingStage, benchmark: Benchmark, runs: int) -> Fit:
    """Measure a benchmark at the corners of its components and fit a line to each of them.

    Components may cost more together than each for itself: an election goes through validators for
    each nominator. The slopes are raised until the line covers all of them at their most.
    """
    empty = _usage(stage, _nothing, _prepared(stage)[1], runs).microseconds

    def at(corner: Mapping[str, int]) -> Usage:
        work, state = stage.prepare(partial(benchmark.prepare, stage, **corner))
        used = _usage(stage, work, state, runs)
        return Usage(max(used.microseconds - empty, 1.0), used.reads, used.writes)

    least, *usages = map(at, benchmark.corners)
    slopes = {}
    base = least
    for (name, (low, high)), most in zip(benchmark.components.items(), usages, strict=True):
        slopes[name] = (most - least).times(1 / (high - low)).floored
        base -= slopes[name].times(low)
    base = base.floored
    worst = usages[0] if len(usages) == 1 else at(benchmark.most)
    grown = Usage(0.0, 0.0, 0.0)
    for name, high in benchmark.most.items():
        grown += slopes[name].times(high)
    factor = grown.factor_to(worst - base)
    return Fit(
        benchmark, base, {name: slope.scaled(factor) for name, slope in slopes.items()}, worst
    )


def _nothing() -> None:
    """Do nothing: the work of the empty transaction."""


def _prepared(stage: WeighingStage) -> tuple[Work, Mapping[bytes, bytes]]:
    return stage.prepare(lambda: _nothing)


def _usage(stage: WeighingStage, work: Work, state: Mapping[bytes, bytes], runs: int) -> Usage:
    """Run the work on the same state again and again; the first run warms up."""
    samples: list[float] = []
    reads = writes = 0
    backend = CountingBackend(state)
    with _quiet():
        while len(samples) <= runs:
            with stage.block(backend) as overlay:
                known = set(overlay.changes())
                before = backend.reads
                started = time.thread_time_ns()
                with stage.machine.transaction():
                    work()
                changes = overlay.changes()
                taken = (time.thread_time_ns() - started) / NANOSECONDS_PER_MICROSECOND
                reads, writes = backend.reads - before, len(set(changes) - known)
            samples.append(taken)
            if taken > LONG_MICROSECONDS and len(samples) > FEW_RUNS:
                break
    # Not the median: what makes a run slow is the rest of the machine, not the work.
    measured = sorted(samples[1:] or samples)
    return Usage(measured[len(measured) // 4], reads, writes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the garbage collector out of the measurement."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def rounded_up(microseconds: float) -> int:
    """Round up to two digits that mean something: 3, 47, 130, 2_600."""
    whole = math.ceil(microseconds)
    step: int = 10 ** max(len(str(whole)) - 2, 0)
    return -(-whole // step) * step
