"""Read rows from JSONL, CSV and Parquet files; errors have the number of the line.

A reader never guesses: a malformed line stops the read with its number. Repeated rows are no error,
because real data has them; they are dropped and listed in the report, the earliest line stays.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml.rows.formats import FieldError, Shape, ShapeUnknownError, convert_record, detect_shape
from ml.rows.row import (
    Row,
    RowEmptyError,
    RowHasNulError,
    RowNotUnicodeError,
    RowTooLargeError,
    canonical_row,
    row_hash,
)
from runtime.errors import ExitCode, OpenLedgerError

LINE_BYTES_MAX: Final = 1 << 20
FILE_BYTES_MAX: Final = 1 << 30
ROWS_MAX: Final = 5_000_000


class FileRefusedError(OpenLedgerError):
    """The file as a whole cannot be read: unknown suffix, too large, missing extra."""

    exit_code = ExitCode.USAGE


class LineRefusedError(OpenLedgerError):
    """One line cannot become a row; `line` is its number, counted from 1."""

    exit_code = ExitCode.USAGE

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"Line {line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A line whose canonical row is that of an earlier line."""

    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class ReadReport:
    """The distinct rows of a file in order, their lines, and the dropped duplicates."""

    shape: Shape
    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    duplicates: tuple[Duplicate, ...]


def read_rows(path: Path) -> ReadReport:
    """Read a .jsonl, .csv or .parquet file. Raises FileRefusedError, LineRefusedError."""
    if not path.is_file():
        raise FileRefusedError(f"{path.name} is not a file; give a .jsonl, .csv or .parquet file.")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise FileRefusedError(f"{path.name} exceeds {FILE_BYTES_MAX} bytes; split it into parts.")
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            return collect_rows(jsonl_records(path.read_bytes()))
        case ".csv":
            return collect_rows(csv_records(path.read_bytes()))
        case ".parquet":
            return collect_rows(parquet_records(path))
        case suffix:
            raise FileRefusedError(
                f"The suffix {suffix or '(none)'} is unknown; give a .jsonl, .csv or .parquet file "
                "(for .md and .txt use the chunker)."
            )


def collect_rows(records: Iterator[tuple[int, Mapping[str, object]]]) -> ReadReport:
    """Convert numbered records of one shape to distinct canonical rows. Raises LineRefusedError."""
    shape: Shape | None = None
    rows: list[Row] = []
    lines: list[int] = []
    duplicates: list[Duplicate] = []
    first_lines: dict[bytes, int] = {}
    for line, record in records:
        try:
            shape = shape or detect_shape(record)
            row = canonical_row(convert_record(record, shape))
        except (
            ShapeUnknownError,
            FieldError,
            RowEmptyError,
            RowHasNulError,
            RowNotUnicodeError,
            RowTooLargeError,
        ) as error:
            raise LineRefusedError(line, str(error)) from error
        digest = row_hash(row)
        if digest in first_lines:
            duplicates.append(Duplicate(line, first_lines[digest]))
            continue
        if len(rows) >= ROWS_MAX:
            raise LineRefusedError(line, f"more than {ROWS_MAX} rows; split the file.")
        first_lines[digest] = line
        rows.append(row)
        lines.append(line)
    if shape is None:
        raise FileRefusedError("The file holds no row; every line is empty.")
    return ReadReport(shape, tuple(rows), tuple(lines), tuple(duplicates))


def jsonl_records(data: bytes) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield (line number, object) of JSON lines; empty lines are skipped.

    Raises LineRefusedError.
    """
    # split and not splitlines: JSON strings may hold other line separators, such as U+2028.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        text = checked_line(number, line)
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise LineRefusedError(number, f"not valid JSON ({error}).") from error
        if not isinstance(value, dict):
            raise LineRefusedError(
                number, f"a JSON object was expected, not {type(value).__name__}."
            )
        yield number, value


def csv_records(data: bytes) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield (first line number, record) of a CSV file with a header. Raises LineRefusedError."""
    for number, raw in enumerate(data.split(b"\n"), start=1):
        checked_line(number, raw)
    text = data.removeprefix(b"\xef\xbb\xbf").decode()
    # newline="" preserves the newlines inside quoted cells; strict refuses a stray quote, which csv
    # would otherwise guess about.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if not cells:
                line = reader.line_num + 1
                continue
            if header is None:
                header = cells
                if len(set(header)) != len(header):
                    raise LineRefusedError(line, "two columns have the same name.")
            elif len(cells) != len(header):
                raise LineRefusedError(
                    line, f"{len(cells)} cells where the header has {len(header)}."
                )
            else:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise LineRefusedError(line, f"not valid CSV ({error}).") from error


def parquet_records(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield (row number, record) of a Parquet file.

    Raises FileRefusedError when pyarrow is absent.
    """
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise FileRefusedError(
            "Parquet needs pyarrow, which is an extra; install openledger-node[parquet] "
            "or convert the file to JSONL."
        ) from error
    try:
        batches = parquet.ParquetFile(path).iter_batches(batch_size=1024)
        number = 0
        for batch in batches:
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except ArrowInvalid as error:
        raise FileRefusedError(f"{path.name} is not a readable Parquet file ({error}).") from error


def checked_line(number: int, line: bytes) -> str:
    """Return a line as text.

    Raises LineRefusedError on NUL bytes, more than 1 MiB, or bad UTF-8.
    """
    if len(line) > LINE_BYTES_MAX:
        raise LineRefusedError(
            number, f"{len(line)} bytes exceed {LINE_BYTES_MAX}; split the text into chunks."
        )
    if b"\0" in line:
        raise LineRefusedError(number, "a NUL byte; the file is binary or in another encoding.")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise LineRefusedError(
            number, f"not valid UTF-8 at byte {error.start}; convert it."
        ) from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
