"""Replicas: this node's share of keeping what settled jobs read and made, for its verifiers.

Rows, adapters, sketches and receipts of closed epochs are kept by the executors of a job and by
some other nodes, drawn for each job by a hash that everybody can compute. A keeper fetches from
peers what it does not have; what no peer gives now is asked for again later.

    Train    rows, adapter, moments        Index    sketches, aggregates, span shards
    Settle   the epoch's receipts, which this node then shows to their verifiers, and its shares
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from ml.attribution.epoch_files import PAGE_BYTES_MAX, pages_bytes, pages_of, receipts_of
from node.chain.chain import Chain
from node.chain.events import FinalChanged
from node.chain.state_reader import PalletViews, StateReader
from node.storage.blob_errors import BlobError, BlobTooLargeError
from node.storage.blob_store import BlobStore
from node.storage.errors import DiskLowError
from node.storage.receipt_store import ReceiptStore
from pallets.jobs.job import Job, JobState
from runtime.codec.scale import DecodeError, codec
from runtime.crypto.hashing import blake2b_256
from runtime.crypto.keys import KeyKind, verify
from runtime.shared.documents import (
    BatchInput,
    DatanetVersion,
    Index,
    Indexed,
    JobOutput,
    Settle,
    Train,
    Trained,
)
from runtime.shared.receipts import SignedReceipt, receipt_hash
from runtime.types.primitives import AccountId, Hash

KEEPERS_MORE: Final = 3
"""Keepers of a job beyond the number of its executors."""
LOOK_BLOCKS: Final = 4
JOBS_BACK_MAX: Final = 1_024
"""How far a node that starts looks back for what it should keep."""
RETRY_BLOCKS: Final = 32

logger = logging.getLogger(__name__)
_shards = codec(tuple[Hash, ...])


class RowFiles(Protocol):
    """Who knows the files of published rows."""

    def batches(
        self, versions: tuple[DatanetVersion, ...]
    ) -> tuple[tuple[BatchInput, int], ...]: ...


class Fetcher(Protocol):
    """Who brings blobs that are not here."""

    async def fetch(self, blob: Hash, bytes_max: int = ...) -> None: ...


def is_keeper(account: AccountId, job_id: int, job: Job, accounts: Sequence[AccountId]) -> bool:
    """Return whether an account is among the keepers of a job, drawn from all executors."""

    def rank(candidate: AccountId) -> bytes:
        return blake2b_256(b"openledger/keep" + job_id.to_bytes(4, "little") + candidate)

    return account in sorted(accounts, key=rank)[: job.executors + KEEPERS_MORE]


def blobs_of(output: JobOutput | None) -> tuple[Hash, ...]:
    """Return the files that a job's output names; that of the span shards lists more files."""
    if isinstance(output, Trained):
        return output.adapter, output.moments
    if isinstance(output, Indexed):
        return output.phi, output.psi, output.aggregates, output.span_shards
    return ()


class Replicas:
    """Keeps what this node's account is drawn to keep."""

    def __init__(
        self,
        chain: Chain,
        reader: StateReader,
        fetcher: Fetcher,
        rows: RowFiles,
        blobs: BlobStore,
        receipts: ReceiptStore,
        account: AccountId,
    ) -> None:
        self._chain = chain
        self._reader = reader
        self._fetcher = fetcher
        self._rows = rows
        self._blobs = blobs
        self._receipts = receipts
        self._account = account
        self._looked_at = -LOOK_BLOCKS
        self._next: int | None = None
        self._open: dict[int, int] = {}
        """Jobs to look at, each with the height from which on."""

    async def run(self) -> None:
        """Follow final blocks until cancelled."""
        while True:
            async with self._chain.events() as events:
                async for event in events:
                    if isinstance(event, FinalChanged):
                        height = event.header.number
                        if height >= self._looked_at + LOOK_BLOCKS:
                            await self.keep_up(height)

    async def keep_up(self, height: int) -> None:
        """Fetch what jobs that have settled since the last time made."""
        self._looked_at = height
        for job_id, job, made in self._due(height):
            read = self._rows.batches(job.spec.datanets) if isinstance(job.spec, Train) else ()
            blobs = [*(batch.blob for batch, _ in read), *made]
            try:
                if isinstance(job.spec, Settle):
                    await self._fetcher.fetch(made[0], pages_bytes(job.spec.receipts))
                for batch, size_bytes in read:
                    await self._fetcher.fetch(batch.blob, size_bytes)
                for blob in made:
                    await self._fetcher.fetch(blob)
                if isinstance(job.spec, Index):
                    blobs += await self._keep_listed(made[-1])
                if isinstance(job.spec, Settle):
                    await self._keep_receipts(job.spec, made[0])
            except BlobTooLargeError as error:
                logger.warning("replica-refused job=%d reason=%r", job_id, str(error))
            except (BlobError, DiskLowError) as error:
                logger.warning("replica-missing job=%d reason=%r", job_id, str(error))
                self._open[job_id] = height + RETRY_BLOCKS
            else:
                logger.info("replica-kept job=%d blobs=%d", job_id, len(blobs))

    async def _keep_listed(self, listing: Hash) -> tuple[Hash, ...]:
        """Fetch the span shards that a file lists; returns them."""
        data = await trio.to_thread.run_sync(self._blobs.get, listing)
        try:
            shards = _shards.decode(data)
        except DecodeError as error:
            logger.warning("shards-refused blob=%s reason=%r", listing.hex(), str(error))
            return ()
        for shard in shards:
            await self._fetcher.fetch(shard)
        return shards

    def _due(self, height: int) -> list[tuple[int, Job, tuple[Hash, ...]]]:
        """Return the jobs whose results are to be kept here now; forget those that are done."""
        due = []
        with self._reader.at() as state:
            end = state.jobs.next_job.get()
            first = max(0, end - JOBS_BACK_MAX) if self._next is None else self._next
            self._open.update(dict.fromkeys(range(first, end), 0))
            self._next = end
            accounts = state.jobs.executor_accounts.get()
            for job_id in [open_job for open_job, at in self._open.items() if at <= height]:
                job = state.jobs.jobs.get(job_id)
                if job is not None and not job.is_final:
                    continue
                del self._open[job_id]
                if job is None or job.state is not JobState.Settled:
                    continue
                if is_keeper(self._account, job_id, job, accounts):
                    due.append((job_id, job, _made(state, job_id, job)))
        return due

    async def _keep_receipts(self, spec: Settle, blob: Hash) -> None:
        """Fetch the pages of an epoch, and keep its receipts for those who look for one."""
        data = await trio.to_thread.run_sync(self._blobs.get, blob)
        for page in pages_of(data, spec.receipts) or ():
            await self._fetcher.fetch(page, PAGE_BYTES_MAX)
            await trio.to_thread.run_sync(self._learn, spec, page)

    def _learn(self, spec: Settle, page: Hash) -> None:
        """Keep the receipts of a page that another server signed."""
        receipts = receipts_of(self._blobs.get(page))
        if receipts is None or spec.server == self._account:
            return
        signed = [each for each in receipts.receipts if _is_of(spec, each)]
        self._receipts.learn(spec.server, spec.epoch, signed)


def _is_of(spec: Settle, signed: SignedReceipt) -> bool:
    """Return whether an epoch's server signed a receipt for its model. The chain has agreed on the
    epoch, so this is against a file of a server that was convicted."""
    receipt = signed.receipt
    return (
        signed.is_whole
        and (signed.model, receipt.server) == (spec.model, spec.server)
        and verify(KeyKind.ED25519, signed.signature, receipt_hash(receipt), spec.server)
    )


def _made(state: PalletViews, job_id: int, job: Job) -> tuple[Hash, ...]:
    """Return the files of a settled job; of an epoch the list of its pages and its shares."""
    spec = job.spec
    if not isinstance(spec, Settle):
        return blobs_of(state.jobs.output(job_id))
    epoch = state.attribution.epochs.get((spec.model, spec.server, spec.epoch))
    assert epoch is not None, "a settled epoch is stored"
    return (epoch.receipts_blob,) if epoch.shares is None else (epoch.receipts_blob, epoch.shares)
