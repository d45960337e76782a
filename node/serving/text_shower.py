"""The text shower: shows the texts of drawn receipts to the executors that settle an epoch.

When executors are assigned to the settle job of an epoch of this server, the job's seed draws
receipts. Their texts go into a sealed box that only these executors can open, the box into the blob
store, and its name on chain. A server that does not do this in time loses its bond, so a box that
cannot be made or sent now is tried again after each final block, and the operator is told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.chain.state_reader import PalletViews, StateReader
from node.keys.sealed_box import seal
from node.serving.epoch_files import receipts_in
from node.storage.blob_errors import BlobError
from node.storage.blob_store import BlobStore
from node.storage.errors import DiskLowError
from node.storage.receipt_store import ReceiptStore
from node.transactions.errors import PoolError
from node.transactions.submitter import RESEND_BLOCKS, Submitter
from pallets.attribution.texts import SHOWING
from pallets.jobs.job import SlotState
from runtime.codec.scale import codec
from runtime.shared.documents import Settle
from runtime.shared.receipts import ShownTexts, drawn_receipts
from runtime.trie.merkle import blob_id
from runtime.types.primitives import Hash

logger = logging.getLogger(__name__)


class TextsMissingError(Exception):
    """A drawn receipt is not in this node's store any more."""


@dataclass(frozen=True, slots=True)
class _Showing:
    """A settle job whose executors wait for texts, and the keys with which they read."""

    job: int
    attempt: int
    spec: Settle
    receipts_blob: Hash
    seed: Hash
    readers: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class _Box:
    """A sealed box in the blob store, and the hash of what it decrypts to."""

    blob: Hash
    content: Hash


class TextShower:
    """Shows the texts of one serving account."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        submitter: Submitter,
        receipts: ReceiptStore,
        blobs: BlobStore,
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._submitter = submitter
        self._receipts = receipts
        self._blobs = blobs
        self._boxes: dict[tuple[int, int], _Box] = {}
        """The box of each job and attempt, so that it is made once."""
        self._sent_at: dict[tuple[int, int], int] = {}

    async def run(self) -> None:
        """Show what is asked for after each final block, until cancelled."""
        await self.show_due(self._chain.finalized.number)
        while True:
            async with self._chain.events() as events:
                async for event in events:
                    if isinstance(event, FinalChanged):
                        await self.show_due(event.header.number)

    async def show_due(self, height: int) -> None:
        """Show the texts that executors wait for at a final height."""
        with self._reader.at() as state:
            waiting = list(self._waiting(state))
        asked = {(showing.job, showing.attempt) for showing in waiting}
        self._boxes = {key: box for key, box in self._boxes.items() if key in asked}
        self._sent_at = {key: at for key, at in self._sent_at.items() if key in asked}
        for showing in waiting:
            key = showing.job, showing.attempt
            if height >= self._sent_at.get(key, -RESEND_BLOCKS) + RESEND_BLOCKS:
                await self._show(showing, height)

    async def _show(self, showing: _Showing, height: int) -> None:
        key = showing.job, showing.attempt
        try:
            if key not in self._boxes:
                self._boxes[key] = await trio.to_thread.run_sync(self._make_box, showing)
            self._submitter.submit(
                "Attribution",
                "show_texts",
                job=showing.job,
                attempt=showing.attempt,
                blob=self._boxes[key].blob,
                content=self._boxes[key].content,
            )
        except (TextsMissingError, BlobError, DiskLowError, OSError, PoolError) as error:
            logger.error("texts-not-shown job=%d reason=%r bond=at-risk", showing.job, str(error))
        else:
            self._sent_at[key] = height
            logger.info("texts-shown job=%d attempt=%d", showing.job, showing.attempt)

    def _waiting(self, state: PalletViews) -> Iterator[_Showing]:
        """Yield the settle jobs of this server whose executors were shown nothing yet."""
        server = self._submitter.account
        for model in self._receipts.models():
            epoch = state.attribution.ledgers.get((model, server)).settling
            if epoch is None:
                continue
            record = state.attribution.epochs.get((model, server, epoch))
            assert record is not None, "the epoch being settled is stored"
            yield from _showings(state, record.job, record.receipts_blob)

    def _make_box(self, showing: _Showing) -> _Box:
        """Seal the texts of the drawn receipts and store the box.

        Raises TextsMissingError, BlobError, DiskLowError, OSError.
        """
        spec = showing.spec
        receipts = list(receipts_in(self._blobs, showing.receipts_blob, spec.receipts))
        drawn = drawn_receipts(showing.seed, [fee for _, fee in receipts], spec.draws)
        texts = []
        for at in drawn:
            shown = self._receipts.shown(receipts[at][0])
            if shown is None:
                raise TextsMissingError(
                    f"The receipt {receipts[at][0].hex()} of epoch {spec.epoch} has no text here. "
                    "Bring the receipt store of this server back."
                )
            texts.append(shown)
        content = codec(ShownTexts).encode(ShownTexts(tuple(texts)))
        return _Box(self._blobs.put(seal(content, showing.readers)), blob_id(content))


def _showings(state: PalletViews, job_id: int, receipts_blob: Hash) -> Iterator[_Showing]:
    """Yield the attempts of a settle job whose executors wait for texts, each once."""
    job = state.jobs.jobs.get(job_id)
    assert job is not None, "a closed epoch has its job"
    assert isinstance(job.spec, Settle), "of this kind"
    if job.state not in SHOWING or job.seed is None:
        return
    waiting = [slot for slot in job.slots if slot.state is SlotState.Assigned]
    for attempt in sorted({slot.attempt for slot in waiting}):
        if (job_id, attempt) in state.attribution.shown:
            continue
        executors = [
            state.jobs.registry.get(slot.executor) for slot in waiting if slot.attempt == attempt
        ]
        readers = tuple(executor.reader for executor in executors if executor is not None)
        yield _Showing(job_id, attempt, job.spec, receipts_blob, job.seed, readers)
