"""`python -m benchmarks.market`: run the strategies over many seeds and print one table.

Options: `--seeds N` (1,000), `--first N`, `--workers N` (all cores), `--strategy NAME` (all; may be
given several times), `--json FILE`, `--width COLUMNS`. Ends with 1 where a rule of the chain broke
or a row without a mark missed its goal.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.market.catalogue import STRATEGIES
from benchmarks.market.outcome import MarketBrokenError
from benchmarks.market.table import RunSize, print_market, to_json
from benchmarks.market.tally import tally

SEEDS: Final = 1_000
TABLE_COLUMNS: Final = 172


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the market; return the exit code."""
    options = _parser().parse_args(arguments)
    names = tuple(options.strategy or STRATEGIES)
    seeds = range(options.first, options.first + options.seeds)
    started = time.monotonic()
    try:
        tallies = tally(seeds, names, min(options.workers, options.seeds))
    except MarketBrokenError as error:
        Console(stderr=True).print(str(error), highlight=False, markup=False)
        return 1
    size = RunSize(options.first, options.seeds, options.workers, time.monotonic() - started)
    print_market(Console(width=options.width), tallies.values(), size)
    if options.json is not None:
        options.json.write_text(to_json(tallies.values(), size) + "\n", encoding="utf-8")
    return 0 if all(each.is_within_goal for each in tallies.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.market", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="how many seeds")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes"
    )
    parser.add_argument(
        "--strategy",
        action="append",
        choices=tuple(STRATEGIES),
        metavar="NAME",
        help="only this strategy; may be given several times",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--width", type=int, default=TABLE_COLUMNS, help="columns of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
