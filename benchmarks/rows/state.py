"""How the cost of a transfer grows with the number of accounts.

The chains are measured one after the other, as a node has only one. Each block is gauged by the
verification of its own signatures right before, so that other load on the machine cancels out.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import Final

import trio

from benchmarks.figures import Effort, Figure, Measured
from benchmarks.ledger import Ledger, opened_ledger
from benchmarks.rows.transfers import MICROSECONDS, block_seconds, signed_messages, verify_all
from benchmarks.timing import Samples, cpu_seconds, frozen_setup, medians

WORK: Final = (
    "the transfers row's path at growing numbers of accounts, gauged by ed25519 verification"
)
GROWTH_GOAL: Final = 1.5


def run(effort: Effort) -> Measured:
    """Measure a chain of each size; the growth is taken against the smallest."""
    sizes = effort.pick((1_000, 100_000, 1_000_000), (1_000, 100_000), (50, 100))
    block, repeats = effort.pick((1_000, 9), (1_000, 3), (20, 1))
    figures: list[Figure] = []
    smallest_cost = smallest_gauged = 0.0
    for size in sizes:
        with opened_ledger(size) as ledger, frozen_setup():
            samples = trio.run(_measure, ledger, block, repeats)
        cost = medians(samples)["whole"] / block * MICROSECONDS
        gauged = statistics.median(
            whole / verify
            for whole, verify in zip(samples["whole"], samples["verify"], strict=True)
        )
        what = f"a transfer at {size:,} accounts"
        if not figures:
            smallest_cost, smallest_gauged = cost, gauged
            figures.append(Figure(what, cost, "us"))
            continue
        growth = gauged / smallest_gauged
        other = f"at {sizes[0]:,} accounts"
        figures.append(
            Figure(
                what,
                ours=cost,
                unit="us",
                other=other,
                theirs=smallest_cost,
                ratio=growth,
                goal=GROWTH_GOAL,
                at_most=True,
            )
        )
    return Measured(tuple(figures), (f"blocks of {block:,} transfers, {repeats} repeats",))


async def _measure(ledger: Ledger, block: int, repeats: int) -> Samples:
    """Return the CPU seconds of blocks and of their signatures; the first block warms up."""
    samples: Samples = {"whole": [], "verify": []}
    for repeat in range(-1, repeats):
        raws = ledger.transfers(block)
        messages = signed_messages(ledger, raws)
        verify = cpu_seconds(partial(verify_all, messages))
        taken = await block_seconds(ledger, raws)
        if repeat >= 0:
            samples["whole"].append(taken["whole"])
            samples["verify"].append(verify)
    return samples
