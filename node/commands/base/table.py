"""How tables and lists of values fit a terminal: which columns, how wide, and where lines break.

Rules that hold here:
- A line breaks between words only: an address, a hash or a URL stays in one piece, so that it can
  be copied. Where one is wider than the terminal, it runs over the edge, and the terminal folds it.
- Where columns do not fit side by side, the last ones are left out, and a line says which.
- Without a width (no terminal) nothing breaks and nothing is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

GAP: Final = "  "
BORDER_CELLS: Final = 3
"""Of a table for each column: a line and two spaces; and one line more at the end."""
WIDTH_UNLIMITED: Final = 1_000_000
_LONG: Final = re.compile(r"\b(?:0x[0-9a-fA-F]{40,}|[1-9A-HJ-NP-Za-km-z]{46,52})\b")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; a number never breaks."""

    label: str
    cells: tuple[str, ...]
    is_number: bool = False

    @property
    def width_max(self) -> int:
        """The width at which no line breaks."""
        lines = (line for text in (self.label, *self.cells) for line in text.splitlines())
        return max(map(_width, lines), default=0)

    @property
    def width_min(self) -> int:
        """The width of the longest word."""
        if self.is_number:
            return self.width_max
        words = (word for text in (self.label, *self.cells) for word in text.split())
        return max(map(_width, words), default=0)


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns that fit, their widths, and the labels of those that do not."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    left_out: tuple[str, ...] = ()


def layout_of(columns: Sequence[Column], width: int | None) -> Layout:
    """Return the columns that fit a width; hashes and addresses are shortened before any goes."""
    full = tuple(columns)
    if width is None or _needed(full) <= width:
        return Layout(full, _spread(full, width))
    kept = tuple(replace(column, cells=tuple(map(shortened, column.cells))) for column in full)
    while len(kept) > 1 and _needed(kept) > width:
        kept = kept[:-1]
    left_out = tuple(column.label for column in full[len(kept) :])
    return Layout(kept, _spread(kept, max(width, _needed(kept))), left_out)


def shortened(text: str) -> str:
    """Cut the middle out of hashes and addresses; the whole of them is in the JSON."""
    return _LONG.sub(lambda match: f"{match[0][:10]}…{match[0][-6:]}", text)


def print_table(
    console: Console, title: str, columns: Sequence[Column], width: int | None, more: int = 0
) -> None:
    """Print rows under a title; `more` is how many further rows there are."""
    from rich.table import Table
    from rich.text import Text

    layout = layout_of(columns, width)
    table = Table(header_style="bold")
    for column, cells in zip(layout.columns, layout.widths, strict=True):
        heading = Text("\n".join(broken(column.label, cells)))
        if column.is_number:
            table.add_column(heading, justify="right", width=max(1, cells), no_wrap=True)
        else:
            table.add_column(heading, width=max(1, cells), no_wrap=True)
    for row in zip(*(column.cells for column in layout.columns), strict=True):
        parts = zip(row, layout.widths, strict=True)
        table.add_row(*(Text("\n".join(broken(text, cells))) for text, cells in parts))
    console.print(Text(title, style="italic"), soft_wrap=True)
    # As wide as the table is: where one word is wider than the terminal, rich would break it.
    needed = sum(layout.widths) + BORDER_CELLS * len(layout.columns) + 1
    console.width = max(needed, console.width)
    console.print(table)
    if more:
        console.print(Text(f"and {more} more; --json has them all", style="dim"), soft_wrap=True)
    if layout.left_out:
        names = ", ".join(layout.left_out)
        note = f"not shown for want of room: {names}; a wider terminal or --json has them"
        console.print(Text(note, style="dim"), soft_wrap=True)


def print_values(console: Console, values: Sequence[tuple[str, str]], width: int | None) -> None:
    """Print names with their values, one below the other; long values break between words."""
    from rich.text import Text

    indent = max((_width(name) for name, _ in values), default=0) + len(GAP)
    room = WIDTH_UNLIMITED if width is None else max(1, width - indent)
    for name, value in values:
        lines = broken(value, room)
        text = Text(name.ljust(indent), style="bold") + Text(lines[0])
        for line in lines[1:]:
            text += Text("\n" + " " * indent + line)
        console.print(text, soft_wrap=True)


def broken(text: str, room: int) -> list[str]:
    """Return the lines of a text, broken between words where they are wider than the room.

    Of our own, because textwrap counts characters and not cells, and rich breaks wide characters.
    """
    lines = []
    for line in text.splitlines() or [""]:
        if _width(line) <= room:
            lines.append(line)
            continue
        words = line.split() or [""]
        current = words[0]
        for word in words[1:]:
            if _width(current) + 1 + _width(word) <= room:
                current = f"{current} {word}"
            else:
                lines.append(current)
                current = word
        lines.append(current)
    return lines


def _needed(columns: Sequence[Column]) -> int:
    """Return the least width of a table: no word breaks."""
    return sum(column.width_min for column in columns) + BORDER_CELLS * len(columns) + 1


def _spread(columns: Sequence[Column], width: int | None) -> tuple[int, ...]:
    """Return the widths: what all need, and the room that is left where lines would break."""
    if width is None:
        return tuple(column.width_max for column in columns)
    widths = [column.width_min for column in columns]
    room = width - _needed(columns)
    wanting = sorted(
        range(len(columns)), key=lambda at: columns[at].width_max - columns[at].width_min
    )
    for position, at in enumerate(wanting):
        share = room // (len(wanting) - position)
        grant = max(0, min(share, columns[at].width_max - widths[at]))
        widths[at] += grant
        room -= grant
    return tuple(widths)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
