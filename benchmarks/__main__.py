"""`python -m benchmarks [ROW ...]`: measure the rows, all by default, and print one table.

Options: `--quick` or `--smoke` for less work, `--json FILE`, `--width COLUMNS`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.figures import CannotRunError, Effort, Measured, Outcome, Run
from benchmarks.machine import describe_machine
from benchmarks.table import print_table, to_json

TABLE_COLUMNS: Final = 140
ROWS: Final = (
    "transfers",
    "state",
    "codec",
    "rpc",
    "training",
    "receipts",
    "market",
    "consensus",
    "gossip",
    "sync",
    "cluster_transfers",
    "weights",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named rows, all by default; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write and (options.quick or options.smoke):
        parser.error("--write needs figures of full effort: leave --quick and --smoke out")
    effort = Effort.SMOKE if options.smoke else Effort.QUICK if options.quick else Effort.FULL
    machine = describe_machine()
    progress = Console(stderr=True)
    outcomes = []
    for name in options.rows or ROWS:
        progress.print(f"measuring {name} ...", highlight=False)
        outcomes.append(measure(name, effort))
    print_table(Console(width=options.width), machine, outcomes)
    if options.write:
        for path, text in (item for outcome in outcomes for item in outcome.files.items()):
            path.write_text(text, encoding="utf-8")
            progress.print(f"wrote {path}", highlight=False)
    if options.json is not None:
        options.json.write_text(to_json(machine, outcomes) + "\n", encoding="utf-8")
    return 0


def measure(name: str, effort: Effort) -> Outcome:
    """Run one row; a missing package or program becomes its reason."""
    command = f"python -m benchmarks {name}"
    if effort is not Effort.FULL:
        command += f" --{effort}"
    # A row is imported when it runs: the software compared with may be missing or heavy.
    try:
        row = importlib.import_module(f"benchmarks.rows.{name}")
    except ImportError as error:
        return Outcome(name, "", command, reason=f"A package is missing: {error}.")
    run: Run = row.run
    try:
        measured: Measured = run(effort)
    except CannotRunError as reason:
        return Outcome(name, row.WORK, command, reason=str(reason))
    return Outcome(
        name,
        work=row.WORK,
        command=command,
        figures=measured.figures,
        notes=measured.notes,
        files=measured.files,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", choices=[[], *ROWS], help=f"one of {', '.join(ROWS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--quick", action="store_true", help="less work, rougher figures")
    parser.add_argument("--smoke", action="store_true", help="least work: does every row run?")
    parser.add_argument("--write", action="store_true", help="write source files that rows measure")
    parser.add_argument("--width", type=int, default=TABLE_COLUMNS, help="columns of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
