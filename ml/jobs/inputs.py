"""Read the inputs of a job from its inputs folder, each file checked against its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ml.jobs.frames import ROWS_FILE
from ml.rows.near_duplicates import cluster_rows
from ml.rows.row import EncodingRefusedError, Row, decode_batch, row_hash
from runtime.codec.scale import DecodeError, codec
from runtime.errors import OpenLedgerError
from runtime.shared.documents import BatchInput, RowsInput
from runtime.trie.merkle import blob_id, merkle_root
from runtime.types.primitives import AccountId, Hash

ROWS_FILE_BYTES_MAX: Final = 16 << 20
BLOB_BYTES_MAX: Final = 512 << 20


class InputMissingError(OpenLedgerError):
    """A file of the job is not in the inputs folder."""


class InputCorruptError(OpenLedgerError):
    """A file's content does not have the id that names it, or does not decode."""


@dataclass(frozen=True, slots=True)
class JobRows:
    """The rows of a job by number (cluster representatives), each with its contributor."""

    rows: tuple[Row, ...]
    contributors: tuple[AccountId, ...]

    @property
    def hashes(self) -> list[bytes]:
        """The row hashes in order."""
        return [row_hash(row) for row in self.rows]

    @property
    def root(self) -> Hash:
        """The Merkle root over the row hashes."""
        return merkle_root(self.hashes)


def read_job_rows(inputs: Path) -> JobRows:
    """Return the representatives of all rows, in order of datanet, batch and position.

    Raises InputMissingError, InputCorruptError.
    """
    listing = read_file(inputs / ROWS_FILE, ROWS_FILE_BYTES_MAX)
    try:
        batches = codec(RowsInput).decode(listing).batches
    except DecodeError as error:
        raise InputCorruptError(f"{ROWS_FILE} is not a list of batches: {error}.") from error
    rows: list[Row] = []
    contributors: list[AccountId] = []
    for batch in batches:
        decoded = _batch_rows(inputs, batch)
        rows += decoded
        contributors += [batch.contributor] * len(decoded)
    kept = representatives(rows)
    return JobRows(tuple(rows[i] for i in kept), tuple(contributors[i] for i in kept))


def representatives(rows: Sequence[Row]) -> tuple[int, ...]:
    """Return the positions of the earliest rows of all near-duplicate clusters."""
    return cluster_rows(rows).representatives


def _batch_rows(inputs: Path, batch: BatchInput) -> list[Row]:
    try:
        decoded = decode_batch(read_blob(inputs, batch.blob))
    except EncodingRefusedError as error:
        raise InputCorruptError(f"Batch {batch.batch} is not a batch of rows: {error}") from error
    if len(decoded) != batch.rows:
        raise InputCorruptError(
            f"Batch {batch.batch} holds {len(decoded)} rows where the chain says {batch.rows}."
        )
    return decoded


def read_blob(inputs: Path, name: Hash) -> bytes:
    """Return the content of a blob. Raises InputMissingError, InputCorruptError."""
    data = read_file(inputs / bytes(name).hex(), BLOB_BYTES_MAX)
    if blob_id(data) != name:
        raise InputCorruptError(
            f"The file {bytes(name).hex()} has another content; fetch it again."
        )
    return data


def read_file(path: Path, maximum_bytes: int) -> bytes:
    """Return a file of the inputs folder. Raises InputMissingError, InputCorruptError."""
    if not path.is_file():
        raise InputMissingError(f"The input {path.name} is missing; fetch its blob and try again.")
    if path.stat().st_size > maximum_bytes:
        raise InputCorruptError(f"The input {path.name} exceeds {maximum_bytes} bytes.")
    return path.read_bytes()
