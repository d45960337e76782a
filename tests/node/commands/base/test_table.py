"""Tables and lists on terminals of any width: no word is broken, and what is left out is named."""

from __future__ import annotations

import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from node.commands.base.table import (
    BORDER_CELLS,
    Column,
    layout_of,
    print_table,
    print_values,
    shortened,
)

ADDRESS = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
HASH = "0x" + "ab" * 32
URL = "http://127.0.0.1:9944/v1/chat/completions"
SENTENCE = "It was chilled for absence; see that its node runs."

WORD = st.one_of(
    st.sampled_from([ADDRESS, HASH, URL, "1,234.5"]),
    st.text(string.ascii_letters + "世界-:/", min_size=1, max_size=12),
)
TEXT = st.lists(WORD, max_size=4).map(" ".join)
ROWS = st.integers(1, 5).flatmap(
    lambda count: st.lists(st.tuples(*[TEXT] * count), min_size=1, max_size=3)
)


def columns_of(rows: list[tuple[str, ...]]) -> list[Column]:
    return [Column(f"column {at}", cells) for at, cells in enumerate(zip(*rows, strict=True))]


def printed(columns: list[Column], width: int | None) -> str:
    file = io.StringIO()
    print_table(Console(file=file, width=width or 80, highlight=False), "rows", columns, width)
    return file.getvalue()


@given(rows=ROWS, width=st.integers(10, 200))
def test_no_word_of_a_table_is_broken(rows: list[tuple[str, ...]], width: int) -> None:
    columns = columns_of(rows)
    layout, text = layout_of(columns, width), printed(columns, width)
    for column in layout.columns:
        for cell in column.cells:
            assert all(word in text for word in cell.split())
    assert layout.columns[0].label == "column 0", "the first column always stays"
    for label in layout.left_out:
        assert label in text


@given(rows=ROWS, width=st.integers(10, 200))
def test_a_table_fits_unless_a_single_column_is_wider(
    rows: list[tuple[str, ...]], width: int
) -> None:
    layout = layout_of(columns_of(rows), width)
    needed = sum(layout.widths) + BORDER_CELLS * len(layout.columns) + 1
    assert needed <= width or len(layout.columns) == 1


@given(rows=ROWS)
def test_without_a_terminal_every_row_is_one_line_and_whole(rows: list[tuple[str, ...]]) -> None:
    text = printed(columns_of(rows), None)
    body = [line for line in text.splitlines() if line.startswith("│")]
    assert len(body) == len(rows)
    for row, line in zip(rows, body, strict=True):
        assert all(cell in line for cell in row)


def test_a_hash_is_shortened_whatever_the_case_of_its_digits() -> None:
    for text in (HASH, HASH.upper().replace("X", "x")):
        assert shortened(f"at {text}.") == f"at {text[:10]}…{text[-6:]}."


def test_a_narrow_terminal_shortens_then_drops_columns_from_the_end() -> None:
    columns = columns_of([(ADDRESS, SENTENCE, URL)])
    assert layout_of(columns, 300).columns[0].cells == (ADDRESS,)
    narrower = layout_of(columns, 90)
    assert narrower.columns[0].cells == (shortened(ADDRESS),)
    assert narrower.left_out == ()
    narrow = layout_of(columns, 50)
    assert narrow.left_out == ("column 2",)
    assert "not shown for want of room: column 2" in printed(columns, 50)


@pytest.mark.parametrize("width", [None, 20, 60, 200])
def test_a_value_breaks_between_words_only(width: int | None) -> None:
    file = io.StringIO()
    values = [("address", ADDRESS), ("where", URL), ("sentence", SENTENCE)]
    print_values(Console(file=file, width=width or 80, highlight=False), values, width)
    text = file.getvalue()
    assert ADDRESS in text
    assert URL in text
    assert all(word in text for word in SENTENCE.split())
    if width is None:
        assert len(text.splitlines()) == 3


def test_a_number_stays_in_one_piece() -> None:
    column = Column("stake", ("1,234.5 OPEN",), is_number=True)
    assert column.width_min == column.width_max == len("1,234.5 OPEN")
