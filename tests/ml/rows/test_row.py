from __future__ import annotations

import msgpack
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ml.rows import row as row_module
from ml.rows.row import (
    EncodingRefusedError,
    Row,
    RowEmptyError,
    RowHasNulError,
    RowNotUnicodeError,
    RowTooLargeError,
    canonical_bytes,
    canonical_row,
    decode_batch,
    encode_batch,
    row_hash,
)

FROZEN_HASH = "062fe33bfe7afe67917c9b155ec2fdd51050dfe975f7a70fb972b7248d7bb2f4"

texts = st.text(max_size=60)


@given(texts, texts)
def test_a_canonical_row_is_its_own_canonical_row(prompt: str, completion: str) -> None:
    try:
        once = canonical_row(Row(prompt, completion))
    except (RowEmptyError, RowHasNulError):
        assume(False)
    assert canonical_row(once) == once
    assert decode_batch(encode_batch([once])) == [once]


@given(st.binary(max_size=60))
def test_random_bytes_are_a_batch_or_refused(data: bytes) -> None:
    try:
        rows = decode_batch(data)
    except EncodingRefusedError:
        return
    assert encode_batch(rows) == data


@given(st.lists(st.builds(Row, texts, st.text("abc \n", min_size=1).map("x".__add__)), max_size=5))
def test_batches_come_back_as_canonical_rows(rows: list[Row]) -> None:
    try:
        blob = encode_batch(rows)
    except RowHasNulError:
        assume(False)
    assert decode_batch(blob) == [canonical_row(row) for row in rows]


def test_the_hash_is_frozen() -> None:
    assert canonical_bytes(Row("p", "c")) == b"\x92\xa1p\xa1c"
    assert row_hash(Row("p", "c")).hex() == FROZEN_HASH


@pytest.mark.parametrize(
    "other",
    [Row("é x", "one\r\ntwo"), Row("e\u0301 x  ", "\none  \ntwo\n"), Row(" é x", "one\rtwo\t")],
)
def test_spelling_of_the_same_text_does_not_change_the_hash(other: Row) -> None:
    assert row_hash(other) == row_hash(Row("é x", "one\ntwo"))


def test_space_inside_a_line_is_part_of_the_text() -> None:
    assert row_hash(Row("", "a  b")) != row_hash(Row("", "a b"))
    assert canonical_row(Row("", "if x:\n    y")).completion == "if x:\n    y"


def test_prompt_and_completion_are_not_interchangeable() -> None:
    assert row_hash(Row("a", "b")) != row_hash(Row("b", "a"))
    assert row_hash(Row("", "ab")) != row_hash(Row("a", "b"))


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (Row("prompt", " \n "), RowEmptyError),
        (Row("a\0", "b"), RowHasNulError),
        (Row("a", "\ud800"), RowNotUnicodeError),
        (Row("a", "b" * (1 << 20)), RowTooLargeError),
    ],
)
def test_an_unusable_row_is_refused_by_name(row: Row, error: type[Exception]) -> None:
    with pytest.raises(error):
        canonical_row(row)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\xc0",
        b"\x91\x91\xa1a",
        b"\x91\x92\xa0\xa0",
        b"\x91\x92\xa0\xa2a ",
        b"\x91\x92\xd9\x01a\xa1b",
        b"\xdc\x00\x01\x92\xa1a\xa1b",
        b"\x91\x92\xa1a\xa1b\x00",
        b"\x91\x92\xa1a\xc4\x01b",
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_a_batch_that_the_encoder_never_writes_is_refused(blob: bytes) -> None:
    with pytest.raises(EncodingRefusedError):
        decode_batch(blob)


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "BATCH_ROWS_MAX", 1)
    with pytest.raises(RowTooLargeError):
        encode_batch([Row("", "a"), Row("", "b")])
    with pytest.raises(EncodingRefusedError):
        decode_batch(msgpack.packb([["", "a"], ["", "b"]]))


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_module, "BATCH_BYTES_MAX", 8)
    with pytest.raises(RowTooLargeError):
        encode_batch([Row("", "a" * 9)])
    with pytest.raises(EncodingRefusedError):
        decode_batch(msgpack.packb([["", "a" * 9]]))
