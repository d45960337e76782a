from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.rows.formats import Shape
from ml.rows.readers import (
    LINE_BYTES_MAX,
    Duplicate,
    FileRefusedError,
    LineRefusedError,
    collect_rows,
    jsonl_records,
    read_rows,
)
from ml.rows.row import Row

GOOD = b'{"prompt": "a", "completion": "b"}\n'


def test_json_lines_become_rows_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b'\n{"prompt": "c", "completion": "d"}')
    report = read_rows(path)
    assert report.shape is Shape.PROMPT_COMPLETION
    assert report.rows == (Row("a", "b"), Row("c", "d"))
    assert report.lines == (1, 3)


def test_a_repeated_row_is_reported_and_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + GOOD.replace(b'"b"', b'" b "') + GOOD)
    report = read_rows(path)
    assert report.rows == (Row("a", "b"),)
    assert report.duplicates == (Duplicate(2, 1), Duplicate(3, 1))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "object was expected"),
        (b'{"prompt": "a", "completion": NaN}', "not valid JSON"),
        (b'{"prompt": "a\x00", "completion": "b"}', "NUL byte"),
        (b'{"prompt": "a", "completion": "\\u0000b"}', "NUL character"),
        (b'{"prompt": "a", "completion": " "}', "no text"),
        (b'{"prompt": "a"}', "pair"),
        (b'{"prompt": "a", "completion": "\xff"}', "not valid UTF-8 at byte 31"),
        (b'{"prompt": "a", "completion": "\\ud800"}', "surrogate"),
        (b'"' + b"x" * LINE_BYTES_MAX + b'"', "exceed"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    with pytest.raises(LineRefusedError, match=reason) as refused:
        read_rows(path)
    assert refused.value.line == 3
    assert str(refused.value).startswith("Line 3: ")


def test_csv_becomes_rows_with_their_first_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('question,answer\nq1,"two\nlines"\n\nq2,a2\n')
    report = read_rows(path)
    assert report.rows == (Row("q1", "two\nlines"), Row("q2", "a2"))
    assert report.lines == (2, 5)


@pytest.mark.parametrize(
    ("text", "line"),
    [("text\na\nb,c\n", 3), ("text,text\na,b\n", 1), ('text\n"a\n', 2), ("text\na\0\n", 2)],
)
def test_bad_csv_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(LineRefusedError) as refused:
        read_rows(path)
    assert refused.value.line == line


@pytest.mark.parametrize(("name", "content"), [("rows.xml", b"<a/>"), ("rows.jsonl", b"\n\n")])
def test_a_file_that_holds_no_rows_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileRefusedError):
        read_rows(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefusedError, match="not a file"):
        read_rows(tmp_path / "none.jsonl")


def test_parquet_without_its_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(FileRefusedError, match=r"openledger-node\[parquet\]"):
        read_rows(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_random_bytes_are_rows_or_refused_with_a_line(data: bytes) -> None:
    try:
        collect_rows(jsonl_records(data))
    except (LineRefusedError, FileRefusedError):
        return
    assert any(isinstance(json.loads(line), dict) for line in data.split(b"\n") if line.strip())
