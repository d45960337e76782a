"""The output of a command: one document on stdout (a table, or JSON), everything else on stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from genesis.amounts import format_amount
from node.commands.base.documents import (
    Amount,
    Planck,
    hints_of,
    is_fields,
    item_hint,
    optional_hint,
    to_json,
)
from runtime.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_MAX: Final = 1_000
_LONG: Final = re.compile(r"\b(?:0x[0-9a-f]{40,}|[1-9A-HJ-NP-Za-km-z]{46,50})\b")

Advance = Callable[[int, int], None]
"""Receives (done, in all) as the work goes on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong: its class, the sentence, and the exit code."""

    kind: str
    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class ErrorDocument:
    """What a command prints instead of its document when it fails."""

    error: Problem


class Output:
    """Where one command prints."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.exit_code = ExitCode.OK
        """How the command ends after its document: not OK where the document tells of a failure."""

    def show(self, document: Any, *, hidden: Sequence[str] = ()) -> None:
        """Print the command's document on stdout; a table leaves out the `hidden` fields."""
        if self.as_json:
            click.echo(json.dumps(to_json(document), indent=2, ensure_ascii=False))
            return
        from rich.console import Console

        _render(Console(highlight=False), document, hidden)

    def note(self, text: str) -> None:
        """Print a line on stderr."""
        click.echo(text, err=True)

    def say(self, text: str, *, newline: bool = True) -> None:
        """Print text on stdout, unless it is reserved for one JSON document."""
        if not self.as_json:
            click.echo(text, nl=newline)

    def fail(self, kind: str, sentence: str, exit_code: int) -> None:
        """Print an error: a sentence on stderr, and with --json an object on stdout."""
        click.echo(f"Error: {sentence}", err=True)
        if self.as_json:
            document = ErrorDocument(Problem(kind, sentence, exit_code))
            click.echo(json.dumps(to_json(document), indent=2, ensure_ascii=False))

    @contextmanager
    def progress(self, label: str, unit: str = "bytes") -> Iterator[Advance]:
        """Show a bar on stderr while the body works; quiet when stderr is no terminal."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _render(console: Console, document: Any, hidden: Sequence[str]) -> None:
    from rich.measure import Measurement
    from rich.table import Table

    hints = hints_of(type(document))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    lists = []
    for name, hint in hints.items():
        value, inner = getattr(document, name), item_hint(hint)
        if inner is not None and hasattr(inner, "__dataclass_fields__"):
            lists.append((name, inner, value))
        elif value is not None and value != {} and name not in hidden:
            grid.add_row(f"[bold]{label_of(name)}[/bold]", _text(value, hint))
    if grid.row_count:
        console.print(grid)
    for name, inner, rows in lists:
        if not rows:
            continue
        table = _table(label_of(name), inner, rows, is_short=False)
        wide = console.options.update(width=WIDTH_MAX)
        if Measurement.get(console, wide, table).maximum > console.width:
            table = _table(label_of(name), inner, rows, is_short=True)
        console.print(table)


def _table(title: str, document: type, rows: tuple[Any, ...], *, is_short: bool) -> Any:
    from rich.table import Table

    shorten = _shortened if is_short else str
    hints = hints_of(document)
    table = Table(title=f"{title} ({len(rows)})", title_justify="left", header_style="bold")
    for name, hint in hints.items():
        is_number = hint in (int, float, Planck)
        table.add_column(label_of(name), justify="right" if is_number else "left", overflow="fold")
    rows_max = getattr(document, "ROWS_SHOWN", len(rows))
    for row in rows[:rows_max]:
        table.add_row(*(shorten(_text(getattr(row, name), hint)) for name, hint in hints.items()))
    if len(rows) > rows_max:
        table.caption = f"and {len(rows) - rows_max} more; --json has them all"
    return table


def _shortened(text: str) -> str:
    """Cut the middle out of hashes and addresses; the whole of them is in the JSON."""
    return _LONG.sub(lambda match: f"{match[0][:10]}…{match[0][-6:]}", text)


def label_of(name: str) -> str:
    """Return a field's name as a heading; the unit of amounts stands with the value."""
    return name.removesuffix("_planck").replace("_", " ")


def _text(value: Any, hint: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    optional = optional_hint(hint)
    if optional is not None:
        return _text(value, optional)
    if hint is Planck:
        return format_amount(value)
    if is_fields(hint):
        return escape(fields_text(value))
    if hint is bool:
        return "yes" if value else "no"
    if hint is int:
        return f"{value:,}"
    if item_hint(hint) is not None:
        return escape(", ".join(map(str, value)))
    return escape(str(value))


def fields_text(fields: Mapping[str, Any]) -> str:
    """Return names and values, one in a line."""
    return "\n".join(f"{name}={_inner(value)}" for name, value in fields.items())


def _inner(value: Any) -> str:
    if isinstance(value, Amount):
        return format_amount(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
