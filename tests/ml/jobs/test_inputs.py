from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ml.jobs.inputs import InputCorruptError, InputMissingError, read_job_rows
from ml.rows.row import Row, encode_batch
from runtime.codec.scale import codec
from runtime.shared.documents import (
    BatchInput,
    RowsInput,
)
from runtime.trie.merkle import blob_id
from runtime.types.primitives import AccountId

ALICE, BOB = AccountId(b"a" * 32), AccountId(b"b" * 32)
ROW = Row("os.sep", "The character that separates the parts of a path on this system.")
COPY = Row("os.sep", "The character that separates the parts of a path on this very system.")
OTHER = Row("math.tau", "Twice pi, the circumference of a circle of radius one, as a float.")


def written(folder: Path, batches: list[tuple[AccountId, list[Row]]]) -> Path:
    inputs = []
    for number, (owner, rows) in enumerate(batches):
        blob = encode_batch(rows)
        (folder / blob_id(blob).hex()).write_bytes(blob)
        inputs.append(BatchInput(0, number, owner, blob_id(blob), len(rows)))
    (folder / "rows.scale").write_bytes(codec(RowsInput).encode(RowsInput(tuple(inputs))))
    return folder


def test_the_earliest_of_near_duplicates_is_the_one_that_counts(tmp_path: Path) -> None:
    rows = read_job_rows(written(tmp_path, [(ALICE, [ROW]), (BOB, [COPY, OTHER, ROW])]))
    assert rows.rows == (ROW, OTHER)
    assert rows.contributors == (ALICE, BOB)


def test_a_batch_with_other_content_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [(ALICE, [ROW])])
    (tmp_path / blob_id(encode_batch([ROW])).hex()).write_bytes(encode_batch([OTHER]))
    with pytest.raises(InputCorruptError, match="another content"):
        read_job_rows(tmp_path)


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    written(tmp_path, [(ALICE, [ROW])])
    name = blob_id(encode_batch([ROW])).hex()
    (tmp_path / name).unlink()
    with pytest.raises(InputMissingError, match=name):
        read_job_rows(tmp_path)


def test_a_wrong_row_count_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [(ALICE, [ROW])])
    listing = codec(RowsInput).decode((tmp_path / "rows.scale").read_bytes())
    wrong = RowsInput((replace(listing.batches[0], rows=2),))
    (tmp_path / "rows.scale").write_bytes(codec(RowsInput).encode(wrong))
    with pytest.raises(InputCorruptError, match="1 rows where the chain says 2"):
        read_job_rows(tmp_path)
