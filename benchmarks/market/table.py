"""The table of the market: a row for each strategy, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.market.catalogue import STRATEGIES
from benchmarks.market.tally import BURNED, Tally
from benchmarks.market.terms import DRAWS

LOSERS: Final = ("askers", "contributors", "executors", "servers", "owner", BURNED)
PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class RunSize:
    """How much was run, and how long it took."""

    first_seed: int
    seeds: int
    workers: int
    seconds: float


def print_market(console: Console, tallies: Iterable[Tally], size: RunSize) -> None:
    """Print the table, what its columns mean, and the sentence of each strategy."""
    tallies = tuple(tallies)
    table = Table(box=None, header_style="bold", pad_edge=False)
    titles = ("strategy", "gain", "+-", "in all", *LOSERS, "found", "formula", "honest", "silent")
    for title in titles:
        table.add_column(title, justify="left" if title == "strategy" else "right", no_wrap=True)
    table.add_column("")
    for each in tallies:
        table.add_row(*_cells(each))
    console.print(table)
    for line in (
        f"seeds {size.first_seed} to {size.first_seed + size.seeds - 1} of every strategy, "
        f"{size.workers} workers, {size.seconds:,.0f} s",
        "gain: OPEN that the liars have more than in the honest world of the same seed, mean and "
        "standard error; in all: what they have more than at the beginning",
        "askers to burned: OPEN that the others have more, by groups; found: lies found out, of "
        f"all; formula: 1 - (1 - p)^m with the m receipts looked at, of {DRAWS} draws, or 1 - the "
        "chance of both places",
        "honest: slashes of parties that kept to the rules; silent: those for their own silence",
    ):
        console.print(line, highlight=False)
    for each in tallies:
        console.print(f"  {each.name}: {STRATEGIES[each.name].sentence}", highlight=False)


def to_json(tallies: Iterable[Tally], size: RunSize) -> str:
    """Return the same as JSON; amounts in OPEN."""
    rows = [_row(each) for each in tallies]
    run = {"first_seed": size.first_seed, "seeds": size.seeds, "seconds": size.seconds}
    return json.dumps({"run": run, "rows": rows}, indent=2)


def _row(tally: Tally) -> dict[str, Any]:
    strategy = STRATEGIES[tally.name]
    return {
        "strategy": tally.name,
        "sentence": strategy.sentence,
        "mark": strategy.mark,
        "seeds": tally.seeds,
        "gain": tally.mean(tally.gain),
        "standard_error": tally.standard_error,
        "absolute": tally.mean(tally.absolute),
        "others": {group: tally.mean(tally.others[group]) for group in LOSERS},
        "found": tally.found_share,
        "formula": tally.expected_share,
        "honest_slashes": tally.honest_slashes,
        "downtimes": tally.downtimes,
        "is_within_goal": tally.is_within_goal,
    }


def _cells(tally: Tally) -> tuple[str, ...]:
    strategy = STRATEGIES[tally.name]
    return (
        tally.name,
        _amount(tally.mean(tally.gain)),
        f"{tally.standard_error:.3f}",
        _amount(tally.mean(tally.absolute)),
        *(_amount(tally.mean(tally.others[group])) for group in LOSERS),
        _share(tally.found_share),
        _share(tally.expected_share),
        str(tally.honest_slashes),
        str(tally.downtimes),
        strategy.mark if tally.is_within_goal else f"{strategy.mark} MISSED",
    )


def _amount(open_: float) -> str:
    return "0" if open_ == 0 else f"{open_:+,.2f}" if abs(open_) >= 0.01 else f"{open_:+.1g}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{PERCENT * share:.1f} %"
