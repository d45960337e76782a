"""The files that a job reads, laid out from the chain's state and the blob store.

inputs/rows.scale               the batches of TRAIN, EVALUATE and INDEX, in order
inputs/<blob id>                each batch, adapter and moments
inputs/{receipts,aggregates}.scale             what SETTLE reads
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ml.durable_file import write_durably
from ml.jobs.frames import AGGREGATES_FILE, RECEIPTS_FILE, ROWS_FILE
from node.chain.state_reader import StateReader
from node.storage.blob_errors import BlobNotFoundError
from node.storage.blob_store import BlobStore
from node.sync.blob_fetcher import BlobUnavailableError
from runtime.codec.scale import DecodeError, codec
from runtime.crypto.keys import KeyKind, verify
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
from runtime.shared.receipts import EpochReceipts, Receipt, receipt_hash
from runtime.types.primitives import AccountId, Hash

BATCHES_PER_READ_MAX: Final = 256

_rows = codec(RowsInput)
_spec = codec(JobSpec)
_output = codec(JobOutput)
_served = codec(EpochReceipts)


class InputsMissingError(Exception):
    """A blob or a record that the job needs is not on this node."""


class InputsAwaitedError(InputsMissingError):
    """No peer gives a blob now; one that has it may come back."""


class InputsRefusedError(Exception):
    """What the job is to read is there and is not what it must be."""


class MissingBlobs(Protocol):
    """Who brings blobs that are not here (node/sync/blob_fetcher.py)."""

    def bring(self, blob: Hash) -> None:
        """Bring a blob; called in a thread that trio started. Raises BlobUnavailableError."""
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
        missing: MissingBlobs | None = None,
    ) -> None:
        self._reader = reader
        self._blobs = blobs
        self._missing = missing

    def prepare(self, spec: JobSpec, folder: Path) -> Companion:
        """Fill a folder for a job.

        Raises InputsMissingError, InputsRefusedError, DamagedBlobError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(spec, Train):
            self._write_rows(spec.datanets, folder)
            return Companion()
        if isinstance(spec, Evaluate | Index):
            return self._prepare_trained(spec.train_job, spec.model, folder)
        assert isinstance(spec, Settle), "every kind is prepared"
        self._write_settlement(spec, folder)
        return Companion()

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
        batches = tuple(batch for use in versions for batch in self._batches(use))
        for batch in batches:
            self._copy(batch.blob, folder)
        write_durably(folder / ROWS_FILE, _rows.encode(RowsInput(batches)))

    def batches(self, versions: tuple[DatanetVersion, ...]) -> tuple[BatchInput, ...]:
        """Return the accepted batches of published versions, in order."""
        return tuple(batch for use in versions for batch in self._batches(use))

    def _batches(self, use: DatanetVersion) -> Iterator[BatchInput]:
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
            yield BatchInput(use.datanet, info.number, batch.contributor, batch.blob, batch.rows)

    def _write_settlement(self, spec: Settle, folder: Path) -> None:
        with self._reader.at() as state:
            entries = state.attribution.commitments(spec.model)
            closed = state.attribution.epochs.get((spec.model, spec.epoch))
        if not entries or closed is None:
            raise InputsMissingError(
                f"Model {spec.model} has no closed epoch {spec.epoch} or no index."
            )
        try:
            served = _served.decode(self.read(closed.receipts_blob))
        except DecodeError as error:
            raise InputsRefusedError(
                f"The receipts of the epoch cannot be read: {error}"
            ) from error
        check_settlement(spec, closed.server, served)
        # Not the latest index: another may settle while executors read this one after another.
        named = max((signed.receipt.index_job for signed in served.receipts), default=-1)
        indexed = {entry.job: entry.indexed for entry in entries}.get(named)
        if indexed is None:
            raise InputsRefusedError(
                f"The receipts name the index job {named}, which does not exist."
            )
        receipts = tuple(signed.receipt for signed in served.receipts)
        write_durably(folder / RECEIPTS_FILE, codec(tuple[Receipt, ...]).encode(receipts))
        write_durably(folder / AGGREGATES_FILE, self.read(indexed.aggregates))

    def read(self, blob: Hash) -> bytes:
        """Return a blob, brought from a peer where it is not here.

        Raises InputsAwaitedError, InputsMissingError where there are no peers.
        """
        try:
            if self._missing is not None and not self._blobs.has(blob):
                self._missing.bring(blob)
            return self._blobs.get(blob)
        except BlobUnavailableError as error:
            raise InputsAwaitedError(str(error)) from error
        except BlobNotFoundError as error:
            raise InputsMissingError(str(error)) from error

    def _copy(self, blob: Hash, folder: Path) -> None:
        path = folder / blob.hex()
        data = self.read(blob)
        if not path.exists() or path.stat().st_size != len(data):
            write_durably(path, data)


def check_settlement(spec: Settle, server: AccountId, served: EpochReceipts) -> None:
    """Check that the server signed each receipt, and that none is there twice.

    Raises InputsRefusedError: nobody can close an epoch with another's answers.
    """
    last = -1
    for signed in served.receipts:
        receipt, identity = signed.receipt, receipt_hash(signed.receipt)
        if (receipt.model, receipt.epoch, receipt.server) != (spec.model, spec.epoch, server):
            raise InputsRefusedError(
                f"Receipt {identity.hex()} is of another model, epoch or server."
            )
        if not verify(KeyKind.ED25519, signed.signature, identity, server):
            raise InputsRefusedError(f"Receipt {identity.hex()} is not signed by its server.")
        if receipt.sequence <= last:
            raise InputsRefusedError(
                f"Receipt {identity.hex()} is there twice, or out of the order of its sequence."
            )
        last = receipt.sequence
