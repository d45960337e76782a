"""How the cost of a transfer grows with the number of accounts."""

from __future__ import annotations

import gc
import statistics

import trio

from benchmarks.figures import Effort, Figure, Measured
from benchmarks.ledger import Ledger, opened_ledger
from benchmarks.rows.transfers import MICROSECONDS, block_seconds

WORK = "the transfers row's path at growing numbers of accounts, against the smallest state"
GROWTH_GOAL = 1.5


def run(effort: Effort) -> Measured:
    """Measure each size on a chain of its own."""
    sizes = effort.pick((1_000, 100_000, 1_000_000), (1_000, 100_000), (50, 100))
    block, repeats = effort.pick((1_000, 5), (1_000, 3), (20, 1))
    figures: list[Figure] = []
    smallest = 0.0
    for accounts in sizes:
        with opened_ledger(accounts) as ledger:
            # What set the chain up is no part of the node; collecting it would count as its time.
            gc.collect()
            gc.freeze()
            cost = trio.run(_cost, ledger, block, repeats)
        gc.unfreeze()
        what = f"a transfer at {accounts:,} accounts"
        if not smallest:
            smallest = cost
            figures.append(Figure(what, cost, "us"))
            continue
        figures.append(
            Figure(
                what,
                cost,
                "us",
                f"at {sizes[0]:,} accounts",
                smallest,
                cost / smallest,
                GROWTH_GOAL,
                at_most=True,
            )
        )
    return Measured(tuple(figures))


async def _cost(ledger: Ledger, block: int, repeats: int) -> float:
    """Return the median microseconds of one transfer; the first block warms up."""
    samples = []
    for _ in range(repeats + 1):
        taken = await block_seconds(ledger, ledger.transfers(block))
        samples.append(sum(taken.values()) / block * MICROSECONDS)
    return statistics.median(samples[1:])
