"""What a SETTLE job reads: the pages of receipts, what the chain knows of them, the drawn texts.

Executors read the chain at different heights and must settle alike, so nothing is taken from it
that changes while an epoch is settled: the owner of a channel and the range that was redeemed in
the epoch stay, an index counts if it was recorded before the close.

Whatever the server wrote wrongly is laid out as it is: it is a fault of the result, on which
executors agree. What the server did not give is missing, and the executor reports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

from nacl.public import PrivateKey

from ml.attribution.epoch_files import (
    EPOCH_FILE,
    PAGE_BYTES_MAX,
    TEXTS_FILE,
    ChannelRange,
    EpochInput,
    IndexInput,
    pages_bytes,
    pages_of,
    receipts_of,
)
from ml.durable_file import write_durably
from node.chain.state_reader import PalletViews, StateReader
from node.keys.sealed_box import BoxUnreadableError, open_box
from node.storage.blob_errors import BlobTooLargeError
from pallets.jobs.job import FailureReason
from runtime.codec.scale import DecodeError, codec
from runtime.shared.documents import Index, Settle, Train, Trained
from runtime.shared.receipts import ShownTexts
from runtime.trie.merkle import blob_id
from runtime.types.primitives import Hash

TEXT_BYTES_MAX: Final = (2 << 20) + (64 << 10)
"""Of one drawn answer: a question comes in a request of a megabyte, and the 4,096 tokens of an
answer spell no more than another one."""
BOX_BYTES_MORE: Final = 64 << 10
"""A sealed box has the keys of its readers beside the texts."""

ReadBlob = Callable[[Hash, int], bytes]
"""Returns a blob of at most so many bytes. Raises BlobTooLargeError."""
CopyBlob = Callable[[Hash, Path], None]


class TextsAwaitedError(Exception):
    """The server has not shown the texts of the drawn receipts yet."""


class OwedFilesError(Exception):
    """A file that the server owes its executors is not to be had, or cannot be read."""

    reason: ClassVar[FailureReason]
    is_lasting: ClassVar[bool]
    """Whether waiting cannot mend it."""


class TextsWithheldError(OwedFilesError):
    """The texts that the server has shown are nothing that this executor can read."""

    reason = FailureReason.WithheldTexts
    is_lasting = True


class TextsMissingError(OwedFilesError):
    """No peer gives the texts that the server has shown."""

    reason = FailureReason.WithheldTexts
    is_lasting = False


class ReceiptsMissingError(OwedFilesError):
    """No peer gives the receipts that the server has closed an epoch with."""

    reason = FailureReason.MissingReceipts
    is_lasting = False


class EpochInputs:
    """Lays out the files of a SETTLE job."""

    def __init__(self, reader: StateReader, genesis: Hash, read: ReadBlob, copy: CopyBlob) -> None:
        self._reader = reader
        self._genesis = genesis
        self._read = read
        self._copy = copy

    def write(self, spec: Settle, receipts_blob: Hash, closed_at: int, folder: Path) -> None:
        """Lay out everything but the texts. Raises ReceiptsMissingError, and what copying a blob
        raises."""
        channels: set[int] = set()
        jobs: set[int] = set()
        pages: tuple[Hash, ...] | None = None
        try:
            pages = pages_of(self._read(receipts_blob, pages_bytes(spec.receipts)), spec.receipts)
            for page in pages or ():
                data = self._read(page, PAGE_BYTES_MAX)
                write_durably(folder / page.hex(), data)
                receipts = receipts_of(data)
                for signed in receipts.receipts if receipts is not None else ():
                    channels.add(signed.channel)
                    jobs.add(signed.receipt.index_job)
        except BlobTooLargeError:
            pages = None  # no list of pages, or no page: in either case a false declaration
        with self._reader.at() as state:
            epoch = EpochInput(
                genesis=self._genesis,
                channels=tuple(_channels(state, spec, sorted(channels))),
                indexes=tuple(_indexes(state, spec, closed_at, sorted(jobs))),
                pages=pages,
            )
        for index in epoch.indexes:
            for blob in (index.indexed.aggregates, index.adapter, index.moments):
                self._copy(blob, folder)
        write_durably(folder / EPOCH_FILE, codec(EpochInput).encode(epoch))

    def write_texts(
        self, spec: Settle, box: bytes, content: Hash, reader_key: PrivateKey, folder: Path
    ) -> None:
        """Open the texts that were shown for this executor; their hash is the same for all of them.
        Raises TextsWithheldError."""
        try:
            texts = open_box(box, reader_key)
            if len(texts) > texts_bytes_max(spec):
                raise TextsWithheldError(f"The shown texts exceed {texts_bytes_max(spec)} bytes.")
            codec(ShownTexts).decode(texts)
        except (BoxUnreadableError, DecodeError) as error:
            raise TextsWithheldError(f"The shown texts cannot be read: {error}") from error
        if blob_id(texts) != content:
            raise TextsWithheldError("The shown texts are not those that the server has named.")
        write_durably(folder / TEXTS_FILE, texts, mode=0o600)


def texts_bytes_max(spec: Settle) -> int:
    """Return how many bytes the texts of the receipts that are drawn of an epoch have at most."""
    return min(spec.draws, spec.receipts) * TEXT_BYTES_MAX


def _channels(state: PalletViews, spec: Settle, numbers: list[int]) -> Iterator[ChannelRange]:
    """Yield the channels among `numbers` to the epoch's server for its model from which something
    was redeemed in the epoch; another one may be opened while the epoch is settled."""
    for number in numbers:
        channel = state.inference.channels.get(number)
        if channel is None or (channel.server, channel.model) != (spec.server, spec.model):
            continue
        start, end = channel.redeemed_before(spec.epoch), channel.redeemed_before(spec.epoch + 1)
        if start != end:
            yield ChannelRange(number, channel.asker, start_planck=start, end_planck=end)


def _indexes(
    state: PalletViews, spec: Settle, closed_at: int, jobs: list[int]
) -> Iterator[IndexInput]:
    """Yield the indexes among `jobs` that the model had when the epoch was closed."""
    for number in jobs:
        recorded = state.attribution.indexed.get(number)
        job = state.jobs.jobs.get(number)
        if recorded is None or recorded.model != spec.model or recorded.recorded_at > closed_at:
            continue
        assert job is not None, "an index was made by its job"
        assert isinstance(job.spec, Index), "of this kind"
        assert job.seed is not None, "which has settled"
        train_job = job.spec.train_job
        train, trained = state.jobs.jobs.get(train_job), state.jobs.output(train_job)
        assert train is not None, "an index has its training"
        assert isinstance(train.spec, Train), "of this kind"
        assert isinstance(trained, Trained), "which has settled"
        yield IndexInput(
            index_job=number,
            train_job=train_job,
            base=train.spec.base,
            recipe=train.spec.recipe,
            adapter=trained.adapter,
            moments=trained.moments,
            seed=job.seed,
            indexed=recorded.indexed,
        )
