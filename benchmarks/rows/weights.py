"""The weight of each call and hook: what pallets declare beside what the work costs.

`--write` puts what was measured into pallets/weights.py. That changes fees, and so the chain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.figures import Effort, Figure, Measured
from benchmarks.timing import frozen_setup
from benchmarks.weights.cases import BENCHMARKS
from benchmarks.weights.measuring import Fit, measure
from benchmarks.weights.source import SAFETY, source_of
from benchmarks.weights.stage import WeighingStage
from pallets import weights
from runtime.frame.pallet import PICOSECONDS_PER_MICROSECOND, READ_WEIGHT, WRITE_WEIGHT
from runtime.types.primitives import Weight

WORK: Final = "each call and hook at its worst case: CPU time plus READ_WEIGHT and WRITE_WEIGHT"
PATH: Final = Path(weights.__file__)


def run(effort: Effort) -> Measured:
    """Measure every weight; a ratio above 1 says that pallets declare more than is used."""
    runs, rounds = effort.pick((60, 4), (10, 1), (1, 1))
    stage = WeighingStage()
    # Each measurement collects garbage first: without this it would go through all of the set-up.
    with frozen_setup():
        # Round after round: a burst of other work on the machine then meets one round only.
        fitted = [
            [measure(stage, benchmark, runs) for benchmark in BENCHMARKS] for _ in range(rounds)
        ]
    fits = [min(tries, key=_microseconds_at_most) for tries in zip(*fitted, strict=True)]
    notes = (
        f"declared / measured; storage at {_microseconds(READ_WEIGHT):g} us a key read and "
        f"{_microseconds(WRITE_WEIGHT):g} us a key written; --write adds a margin of {SAFETY}x",
    )
    return Measured(tuple(map(_figure, fits)), notes, {PATH: source_of(fits)})


def _microseconds_at_most(fit: Fit) -> float:
    return fit.worst.microseconds


def _figure(fit: Fit) -> Figure:
    benchmark, used = fit.benchmark, fit.worst
    size = ", ".join(f"{name} {high:,}" for name, (_, high) in benchmark.components.items())
    keys = f"{used.reads:.0f}r {used.writes:.0f}w, CPU {used.microseconds:,.0f} us"
    what = f"{benchmark.title} ({size}): {keys}" if size else f"{benchmark.title}: {keys}"
    storage = READ_WEIGHT.ref_time * used.reads + WRITE_WEIGHT.ref_time * used.writes
    measured = used.microseconds + storage / PICOSECONDS_PER_MICROSECOND
    declared = _microseconds(_declared(fit))
    return Figure(what, measured, "us", "declared", declared, declared / measured)


def _declared(fit: Fit) -> Weight:
    """Return what pallets declare with all components at their most."""
    declared = getattr(weights, fit.benchmark.weight_name)
    if isinstance(declared, Weight):
        return declared
    total: Weight = declared(**fit.benchmark.most)
    return total


def _microseconds(weight: Weight) -> float:
    return weight.ref_time / PICOSECONDS_PER_MICROSECOND
