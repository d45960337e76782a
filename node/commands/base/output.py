"""The output of a command: one document on stdout (a table, or JSON), everything else on stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from node.commands.base.foreign_text import printable, printable_json
from node.commands.base.suggestions import with_options
from runtime.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from node.commands.base.table import Column

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
        self._is_document_shown = False

    def show(self, document: Any, *, hidden: Sequence[str] = ()) -> None:
        """Print the command's document on stdout; a table leaves out the `hidden` fields."""
        self._is_document_shown = True
        if self.as_json:
            click.echo(_json_text(document))
            return
        from rich.console import Console

        console = Console(highlight=False)
        width = console.width if console.is_terminal else None
        print_document(console, document, width=width, hidden=hidden)

    def note(self, text: str) -> None:
        """Print a line on stderr; where the terminal is gone, nobody reads it."""
        with suppress(OSError):
            click.echo(printable(with_options(text)), err=True)

    def say(self, text: str, *, newline: bool = True) -> None:
        """Print text on stdout, unless it is reserved for one JSON document.

        Where the terminal is gone, nobody reads it. Raises BrokenPipeError where a reader went.
        """
        if self.as_json:
            return
        try:
            click.echo(printable(text), nl=newline)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            _give_up_stdout()

    def fail(self, kind: str, sentence: str, exit_code: int) -> None:
        """Print an error: a sentence on stderr, and with --json an object on stdout."""
        sentence = with_options(sentence)
        self.note(f"Error: {sentence}")
        self._show_problem(Problem(kind, sentence, exit_code))

    def stop(self) -> None:
        """Print that the command was stopped; with --json an object too, if there is none yet."""
        self.note("Stopped.")
        if not self._is_document_shown:
            self._show_problem(Problem("Stopped", "Stopped.", ExitCode.STOPPED))

    def _show_problem(self, problem: Problem) -> None:
        if not self.as_json:
            return
        try:
            click.echo(_json_text(ErrorDocument(problem)))
        except OSError:
            _give_up_stdout()  # the exit code still tells how the command ended

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


def _give_up_stdout() -> None:
    """Send the rest of stdout, which nobody can read, nowhere.

    Python flushes stdout once more when it ends, and would then end with a code of its own.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_document(
    console: Console, document: Any, *, width: int | None, hidden: Sequence[str] = ()
) -> None:
    """Print a document as names with values, then a table for each list; see base/table.py."""
    from node.commands.base.table import print_table, print_values

    values, lists = [], []
    for name, hint in hints_of(type(document)).items():
        value, inner = getattr(document, name), item_hint(hint)
        if inner is not None and hasattr(inner, "__dataclass_fields__"):
            lists.append((name, inner, value))
        elif value not in (None, "", {}) and name not in hidden:
            values.append((label_of(name, type(document)), _text(value, hint)))
    print_values(console, values, width)
    for name, inner, rows in lists:
        if rows:
            shown = rows[: getattr(inner, "ROWS_SHOWN", len(rows))]
            title = f"{label_of(name, type(document))} ({len(rows)})"
            more = len(rows) - len(shown)
            print_table(console, title, _columns(inner, shown), width, more)


def _json_text(document: Any) -> str:
    return printable_json(json.dumps(to_json(document), indent=2, ensure_ascii=False))


def _columns(document: type, rows: Sequence[Any]) -> list[Column]:
    from node.commands.base.table import Column

    return [
        Column(
            label=label_of(name, document),
            cells=tuple(_text(getattr(row, name), hint) for row in rows),
            is_number=(optional_hint(hint) or hint) in (int, float, Planck),
        )
        for name, hint in hints_of(document).items()
    ]


def label_of(name: str, document: type) -> str:
    """Return the heading of a document's field: of its LABELS, else the name without its unit."""
    labels: Mapping[str, str] = getattr(document, "LABELS", {})
    return labels.get(name) or name.removesuffix("_planck").replace("_", " ")


def _text(value: Any, hint: Any) -> str:
    if value is None:
        return ""
    optional = optional_hint(hint)
    if optional is not None:
        return _text(value, optional)
    if hint is Planck:
        return format_amount(value)
    if is_fields(hint):
        return printable(fields_text(value))
    if hint is bool:
        return "yes" if value else "no"
    if hint is int:
        return f"{value:,}"
    if item_hint(hint) is not None:
        return printable(", ".join(map(str, value)))
    return printable(str(value))


def fields_text(fields: Mapping[str, Any]) -> str:
    """Return names and values, one in a line."""
    return "\n".join(f"{name}={_inner(value)}" for name, value in fields.items())


def _inner(value: Any) -> str:
    if isinstance(value, Amount):
        return format_amount(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
