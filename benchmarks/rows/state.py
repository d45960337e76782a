"""How the cost of a transfer grows with the number of accounts."""

from __future__ import annotations

from contextlib import ExitStack

import trio

from benchmarks.figures import Effort, Figure, Measured
from benchmarks.ledger import Ledger, opened_ledger
from benchmarks.rows.transfers import MICROSECONDS, block_seconds
from benchmarks.timing import Samples, frozen_setup, median_ratio, medians

WORK = "the transfers row's path at growing numbers of accounts, blocks of each chain in turns"
GROWTH_GOAL = 1.5


def run(effort: Effort) -> Measured:
    """Measure a chain of each size; the growth is taken against the smallest."""
    sizes = effort.pick((1_000, 100_000, 1_000_000), (1_000, 100_000), (50, 100))
    block, repeats = effort.pick((1_000, 9), (1_000, 3), (20, 1))
    with ExitStack() as stack:
        ledgers = {f"{size:,}": stack.enter_context(opened_ledger(size)) for size in sizes}
        stack.enter_context(frozen_setup())
        samples = trio.run(_measure, ledgers, block, repeats)
    costs = medians(samples)
    smallest, *others = costs
    figures = [Figure(f"a transfer at {smallest} accounts", costs[smallest], "us")]
    figures += [
        Figure(
            f"a transfer at {size} accounts",
            costs[size],
            "us",
            f"at {smallest} accounts",
            costs[smallest],
            1 / median_ratio(samples, size, smallest),
            GROWTH_GOAL,
            at_most=True,
        )
        for size in others
    ]
    return Measured(tuple(figures), (f"blocks of {block:,} transfers, {repeats} repeats",))


async def _measure(ledgers: dict[str, Ledger], block: int, repeats: int) -> Samples:
    """Return the microseconds of one transfer by size; the first block warms up."""
    samples: Samples = {name: [] for name in ledgers}
    for repeat in range(-1, repeats):
        for name, ledger in ledgers.items():
            taken = await block_seconds(ledger, ledger.transfers(block))
            if repeat >= 0:
                samples[name].append(taken["whole"] / block * MICROSECONDS)
    return samples
