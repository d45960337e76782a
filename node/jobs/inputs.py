"""The files that a job reads, laid out from the chain's state and the blob store.

inputs/rows.scale               the batches of TRAIN, EVALUATE and INDEX, in order
inputs/<blob id>                each batch, adapter and moments

What SETTLE reads is laid out by node/jobs/epoch_inputs.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from nacl.public import PrivateKey

from ml.durable_file import write_durably
from ml.jobs.frames import ROWS_FILE
from node.chain.state_reader import StateReader
from node.jobs.epoch_inputs import (
    BOX_BYTES_MORE,
    EpochInputs,
    ReceiptsMissingError,
    TextsAwaitedError,
    TextsMissingError,
    TextsWithheldError,
    texts_bytes_max,
)
from node.storage.blob_errors import BlobNotFoundError, BlobTooLargeError
from node.storage.blob_store import BLOB_BYTES_MAX, BlobStore
from node.sync.blob_fetcher import BlobUnavailableError
from runtime.codec.scale import codec
from runtime.shared.documents import (
    BatchInput,
    DatanetVersion,
    Evaluate,
    Index,
    JobOutput,
    JobSpec,
    RowsInput,
    Settle,
    Train,
    Trained,
)
from runtime.types.primitives import Hash

BATCHES_PER_READ_MAX: Final = 256

_rows = codec(RowsInput)
_spec = codec(JobSpec)
_output = codec(JobOutput)


class InputsMissingError(Exception):
    """A blob or a record that the job needs is not on this node."""


class InputsAwaitedError(InputsMissingError):
    """No peer gives a blob now; one that has it may come back."""


class MissingBlobs(Protocol):
    """Who brings blobs that are not here (node/sync/blob_fetcher.py)."""

    def bring(self, blob: Hash, bytes_max: int) -> None:
        """Bring a blob of that length at most; called in a thread that trio started. Raises
        BlobUnavailableError, BlobTooLargeError."""
        ...


@dataclass(frozen=True, slots=True)
class Companion:
    """SCALE of the training job's spec and output, for the kinds that build on one."""

    train_spec: bytes = b""
    trained: bytes = b""


class Inputs:
    """Prepares inputs folders; with `missing`, blobs of other nodes come by themselves."""

    def __init__(
        self,
        reader: StateReader,
        blobs: BlobStore,
        genesis: Hash,
        missing: MissingBlobs | None = None,
    ) -> None:
        self._reader = reader
        self._blobs = blobs
        self._missing = missing
        self._epochs = EpochInputs(reader, genesis, self._read_receipts, self._copy)

    def prepare(self, spec: JobSpec, folder: Path) -> Companion:
        """Fill a folder for a job.

        Raises InputsMissingError, DamagedBlobError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(spec, Train):
            self._write_rows(spec.datanets, folder)
            return Companion()
        if isinstance(spec, Evaluate | Index):
            return self._prepare_trained(spec.train_job, spec.model, folder)
        raise AssertionError("a settlement is prepared with its texts")

    def _prepare_trained(self, train_job: int, model: int, folder: Path) -> Companion:
        train, trained = self._training(train_job, model)
        self._write_rows(train.datanets, folder)
        for blob in (trained.adapter, trained.moments):
            self._copy(blob, folder)
        return Companion(_spec.encode(train), _output.encode(trained))

    def _training(self, train_job: int, model: int) -> tuple[Train, Trained]:
        with self._reader.at() as state:
            job, record = state.jobs.jobs.get(train_job), state.models.get(model)
        known = () if record is None else record.trainings
        trained = [training.trained for training in known if training.train_job == train_job]
        if job is None or not isinstance(job.spec, Train) or not trained:
            raise InputsMissingError(f"Training job {train_job} of model {model} is not settled.")
        return job.spec, trained[0]

    def _write_rows(self, versions: tuple[DatanetVersion, ...], folder: Path) -> None:
        files = self.batches(versions)
        for batch, size_bytes in files:
            try:
                self._copy(batch.blob, folder, size_bytes)
            except BlobTooLargeError as error:
                raise InputsMissingError(
                    f"Batch {batch.batch} of datanet {batch.datanet} is not what it says: {error}"
                ) from error
        batches = tuple(batch for batch, _ in files)
        write_durably(folder / ROWS_FILE, _rows.encode(RowsInput(batches)))

    def batches(self, versions: tuple[DatanetVersion, ...]) -> tuple[tuple[BatchInput, int], ...]:
        """Return the accepted batches of published versions, in order, each with the size of its
        file in bytes."""
        return tuple(file for use in versions for file in self._batches(use))

    def _batches(self, use: DatanetVersion) -> Iterator[tuple[BatchInput, int]]:
        with self._reader.at() as state:
            version = state.datanets.get_version(use.datanet, use.version)
            if version is None:
                raise InputsMissingError(f"Datanet {use.datanet} has no version {use.version}.")
            listed = [
                info
                for start in range(0, version.batches, BATCHES_PER_READ_MAX)
                for info in state.datanets.accepted_batches(
                    use.datanet, start, BATCHES_PER_READ_MAX
                )
            ][: version.batches]
        for info in listed:
            batch = info.batch
            number, who, blob = info.number, batch.contributor, batch.blob
            yield BatchInput(use.datanet, number, who, blob, batch.rows), batch.size_bytes

    def prepare_settlement(
        self, spec: Settle, job: int, attempt: int, reader_key: PrivateKey, folder: Path
    ) -> None:
        """Fill a folder for a SETTLE job.

        Raises TextsAwaitedError, OwedFilesError, InputsMissingError, DamagedBlobError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with self._reader.at() as state:
            record = state.attribution.epochs.get((spec.model, spec.server, spec.epoch))
            texts = state.attribution.shown.get((job, attempt))
            content = state.attribution.shown_content.get(job)
        if record is None:
            raise InputsMissingError(f"Model {spec.model} has no closed epoch {spec.epoch}.")
        if texts is None or content is None:
            raise TextsAwaitedError(f"The texts of drawn receipts of job {job} are not shown yet.")
        try:
            box = self.read(texts, texts_bytes_max(spec) + BOX_BYTES_MORE)
        except InputsMissingError as error:
            raise TextsMissingError(str(error)) from error
        except BlobTooLargeError as error:
            raise TextsWithheldError(str(error)) from error
        self._epochs.write_texts(spec, box, content, reader_key, folder)
        self._epochs.write(spec, record.receipts_blob, record.closed_at, folder)

    def _read_receipts(self, blob: Hash, bytes_max: int) -> bytes:
        """Return a file of receipts. Raises ReceiptsMissingError, BlobTooLargeError."""
        try:
            return self.read(blob, bytes_max)
        except InputsMissingError as error:
            raise ReceiptsMissingError(str(error)) from error

    def read(self, blob: Hash, bytes_max: int = BLOB_BYTES_MAX) -> bytes:
        """Return a blob of that length at most, brought from a peer where it is not here.

        Raises InputsAwaitedError, InputsMissingError where there are no peers, BlobTooLargeError.
        """
        try:
            if self._missing is not None and not self._blobs.has(blob):
                self._missing.bring(blob, bytes_max)
            length = self._blobs.manifest(blob).length
            if length > bytes_max:
                raise BlobTooLargeError(f"Blob {blob.hex()} has {length} bytes, not {bytes_max}.")
            return self._blobs.get(blob)
        except BlobUnavailableError as error:
            raise InputsAwaitedError(str(error)) from error
        except BlobNotFoundError as error:
            raise InputsMissingError(str(error)) from error

    def _copy(self, blob: Hash, folder: Path, bytes_max: int = BLOB_BYTES_MAX) -> None:
        path = folder / blob.hex()
        data = self.read(blob, bytes_max)
        if not path.exists() or path.stat().st_size != len(data):
            write_durably(path, data)
