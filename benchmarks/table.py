"""The table as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, Outcome
from benchmarks.machine import Machine


def print_table(console: Console, machine: Machine, outcomes: Sequence[Outcome]) -> None:
    """Print machine, figures, reasons and commands."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries)
    console.print(f"{machine.date}, commit {machine.commit}", highlight=False)
    console.print(
        f"{machine.processor}, {machine.cores} cores, load {machine.load}, {machine.system}",
        highlight=False,
    )
    console.print(f"{machine.python}; {libraries}", highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("row", "what", "ours", "compared with", "theirs", "ratio", "goal", ""):
        table.add_column(title, justify="right" if title in ("ours", "theirs", "ratio") else "left")
    for outcome in outcomes:
        if outcome.reason:
            table.add_row(outcome.name, "not measured", "", "", "", "", "", "")
        for position, figure in enumerate(outcome.figures):
            table.add_row("" if position else outcome.name, *_cells(figure))
    console.print(table)
    for outcome in outcomes:
        console.print(f"\n{outcome.name}: {outcome.work}", highlight=False)
        if outcome.reason:
            console.print(f"  not measured: {outcome.reason}", highlight=False, markup=False)
        for note in outcome.notes:
            console.print(f"  {note}", highlight=False, markup=False)
        console.print(f"  $ {outcome.command}", highlight=False, markup=False)


def to_json(machine: Machine, outcomes: Sequence[Outcome]) -> str:
    """Return the same as JSON."""
    rows = [
        {
            **_without_files(outcome),
            "figures": [
                {**dataclasses.asdict(figure), "is_met": figure.is_met}
                for figure in outcome.figures
            ],
        }
        for outcome in outcomes
    ]
    return json.dumps({"machine": dataclasses.asdict(machine), "rows": rows}, indent=2)


def _without_files(outcome: Outcome) -> dict[str, Any]:
    fields = dataclasses.asdict(outcome)
    del fields["files"]  # source text, which `--write` puts where it belongs
    return fields


def _cells(figure: Figure) -> tuple[str, ...]:
    sign = "<=" if figure.at_most else ">="
    return (
        figure.what,
        f"{number(figure.ours)} {figure.unit}",
        figure.other,
        "" if figure.theirs is None else f"{number(figure.theirs)} {figure.unit}",
        "" if figure.ratio is None else f"{number(figure.ratio)}x",
        "" if figure.goal is None else f"{sign} {figure.goal:g}",
        "" if figure.is_met is None else ("met" if figure.is_met else "MISSED"),
    )


def number(value: float) -> str:
    """Return a number with three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
