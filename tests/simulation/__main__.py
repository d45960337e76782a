"""Runs seeds of the consensus simulator: `python -m tests.simulation --seeds 2000`.

One seed is replayed with `--seed 1234`, on a broken engine with `--mutant NAME`, forced forks with
`--simulation fork`.
"""

from __future__ import annotations

import argparse
import sys

from tests.simulation.mutants import MUTANTS
from tests.simulation.runs import SIMULATIONS, run_many, run_seeds


def main() -> int:
    """Run what the command line asks for; the exit status says whether an invariant broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds (200)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--simulation", choices=sorted(SIMULATIONS), default="chaos")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break the engine like this")
    parser.add_argument("--workers", type=int, help="processes (all cores)")
    options = parser.parse_args()
    if options.seed is not None:
        summary = run_seeds([options.seed], options.simulation, options.mutant)
    else:
        seeds = range(options.first, options.first + options.seeds)
        summary = run_many(seeds, options.simulation, options.mutant, options.workers)
    for failure in summary.failures:
        print(failure)
    print(summary)
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
