"""One row of a datanet in its canonical form, and its hash.

Every input format becomes a prompt and a completion. The canonical form is the only one that is
hashed, stored and trained on: Unicode NFC, "\\n" newlines, no space at a line's end, no blank line
at either end. Encoding: msgpack array of two strings [prompt, completion], shortest forms, no
trailing bytes; the decoder refuses all bytes that the encoder does not produce.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import msgpack

ROW_HASH_CONTEXT: Final = b"openledger/row"
ROW_BYTES_MAX: Final = 1 << 20
BATCH_ROWS_MAX: Final = 65_536
BATCH_BYTES_MAX: Final = 64 << 20

TRAILING_SPACE: Final = re.compile(r"[^\S\n]+(?=\n|\Z)")


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt (empty for plain text) and the completion that the model is trained to predict."""

    prompt: str
    completion: str


class RowEmptyError(Exception):
    """The completion has no visible character."""


class RowTooLargeError(Exception):
    """The canonical bytes exceed the maximum."""


class RowHasNulError(Exception):
    """A NUL character is in the text."""


class RowNotUnicodeError(Exception):
    """The text has half of a surrogate pair and so no UTF-8 encoding."""


class EncodingRefusedError(Exception):
    """The encoder does not produce these bytes."""


def canonical_row(row: Row) -> Row:
    """Return the row in canonical form.

    Raises RowEmptyError, RowHasNulError, RowNotUnicodeError, RowTooLargeError.
    """
    canonical = Row(canonical_text(row.prompt), canonical_text(row.completion))
    if not canonical.completion:
        raise RowEmptyError("The row has no text to learn; give a completion, an answer or a text.")
    if "\0" in canonical.prompt or "\0" in canonical.completion:
        raise RowHasNulError("The row contains a NUL character; remove it, the file may be binary.")
    try:
        size = len(canonical.prompt.encode()) + len(canonical.completion.encode())
    except UnicodeEncodeError as error:
        raise RowNotUnicodeError(
            "The row contains half of a surrogate pair; write the character itself in UTF-8."
        ) from error
    if size > ROW_BYTES_MAX:
        raise RowTooLargeError(
            f"The row has {size} bytes, more than {ROW_BYTES_MAX}; split the text into chunks."
        )
    return canonical


def canonical_text(text: str) -> str:
    """Return the text in NFC with plain newlines and without space at line ends or around it."""
    # NFC and not NFKC: compatibility forms carry meaning in code and mathematics.
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    return TRAILING_SPACE.sub("", text).strip()


def canonical_bytes(row: Row) -> bytes:
    """Return the one encoding of a row: msgpack [prompt, completion] of its canonical form."""
    canonical = canonical_row(row)
    return _pack([canonical.prompt, canonical.completion])


def row_hash(row: Row) -> bytes:
    """Return the 32-byte identity of a row, unique per datanet on chain."""
    data = canonical_bytes(row)
    return hashlib.blake2b(ROW_HASH_CONTEXT + data, digest_size=32).digest()


def encode_batch(rows: list[Row]) -> bytes:
    """Return one blob of many rows, in their order. Raises RowTooLargeError and the row errors."""
    if len(rows) > BATCH_ROWS_MAX:
        raise RowTooLargeError(
            f"{len(rows)} rows exceed {BATCH_ROWS_MAX} in one batch; make several batches."
        )
    canonical = [canonical_row(row) for row in rows]
    blob = _pack([[row.prompt, row.completion] for row in canonical])
    if len(blob) > BATCH_BYTES_MAX:
        raise RowTooLargeError(
            f"The batch has {len(blob)} bytes, more than {BATCH_BYTES_MAX}; make several."
        )
    return blob


def decode_batch(blob: bytes) -> list[Row]:
    """Return the rows of a blob. Raises EncodingRefusedError on bytes of another encoder."""
    value = _unpack(blob, BATCH_BYTES_MAX)
    if not isinstance(value, list) or len(value) > BATCH_ROWS_MAX:
        raise EncodingRefusedError(
            "The blob is not a list of rows; upload what encode_batch wrote."
        )
    rows = [_checked_row(item) for item in value]
    # msgpack has longer forms of the same strings; accepting them would give one batch many ids.
    if _pack([[row.prompt, row.completion] for row in rows]) != blob:
        raise EncodingRefusedError("The blob is not in its shortest form; encode the rows again.")
    return rows


def _checked_row(value: object) -> Row:
    if not (
        isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)
    ):
        raise EncodingRefusedError(
            "A row is an array of two strings; encode it with canonical_bytes."
        )
    row = Row(value[0], value[1])
    try:
        canonical = canonical_row(row)
    except (RowEmptyError, RowTooLargeError, RowHasNulError, RowNotUnicodeError) as error:
        raise EncodingRefusedError(f"The encoded row is not acceptable: {error}") from error
    if canonical != row:
        raise EncodingRefusedError(
            "The row is not in canonical form; normalise it before encoding."
        )
    return row


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _unpack(data: bytes, maximum_bytes: int) -> object:
    if len(data) > maximum_bytes:
        raise EncodingRefusedError(f"{len(data)} bytes exceed the maximum of {maximum_bytes}.")
    try:
        value: object = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_array_len=BATCH_ROWS_MAX,
            max_map_len=0,
            max_bin_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise EncodingRefusedError(f"The bytes are not a row encoding: {error}.") from error
    return value
