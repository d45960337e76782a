"""What each strategy of lying earns in the simulated market of answers."""

from __future__ import annotations

import os
from typing import Final

from benchmarks.figures import Effort, Figure, Measured
from benchmarks.market.catalogue import STRATEGIES
from benchmarks.market.tally import tally

WORK: Final = (
    "the real pallets, receipts and settlements with simulated parties: the mean gain of each "
    "strategy of lying against the same parties being honest under the same seed"
)


def run(effort: Effort) -> Measured:
    """Run every strategy under the same seeds."""
    seeds = effort.pick(1_000, 40, 1)
    tallies = tally(range(seeds), tuple(STRATEGIES), min(seeds, os.cpu_count() or 1))
    figures = [
        Figure(
            f"{each.name} ({strategy.mark})" if strategy.mark else each.name,
            each.mean(each.gain),
            "OPEN",
            goal=None if strategy.mark else 0,
            at_most=True,
        )
        for each, strategy in ((each, STRATEGIES[each.name]) for each in tallies.values())
    ]
    slashes = sum(
        each.honest_slashes for each in tallies.values() if not STRATEGIES[each.name].mark
    )
    figures.append(Figure("slashes of honest parties", slashes, "", goal=0, at_most=True))
    notes = (
        f"{seeds:,} seeds of each strategy; python -m benchmarks.market prints who pays for it, "
        "and how often a lie is found out",
    )
    return Measured(tuple(figures), notes)
