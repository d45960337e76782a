"""The blob fetcher: brings missing blobs from its peers, chunk by proven chunk.

    await fetcher.fetch(blob)      on the event loop
    fetcher.bring(blob)            in a worker thread, such as one that prepares a job's inputs

Several peers are asked, each for another range; a chunk is written once it is proven. What has
come is kept (node/storage/blob_upload.py), so a download that a crash or a lack of peers
interrupted goes on where it was. Few downloads run at the same time, those of jobs, which have
deadlines, apart from all others; a second call for a blob on its way waits for it. One that comes
too slowly gives its turn up: a peer that serves a byte now and then would else keep it for ever.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import trio

from node.storage.blob_errors import BlobError, BlobTooLargeError, UploadIncompleteError
from node.storage.blob_store import BLOB_BYTES_MAX, BlobStore
from node.storage.blob_upload import Upload
from p2p.protocols.blob_download import AskChunks, BlobLimits, BlobPlanner
from p2p.protocols.blob_messages import BlobAnswer, BlobRange, BlobRequest, check_range
from p2p.protocols.reputation import Fault
from p2p.protocols.sync_messages import WrongAnswerError
from p2p.service.peer_network import PeerRequests
from p2p.transport.transport import TransportError
from p2p.transport.wire import RequestKind
from runtime.codec.scale import DecodeError, codec
from runtime.types.primitives import Hash

DOWNLOADS_MAX: Final = 4
"""Blobs that are downloaded at the same time for jobs, and as many for all else; more wait."""

logger = logging.getLogger(__name__)
_request = codec(BlobRequest)
_answer = codec(BlobAnswer)


class BlobUnavailableError(BlobError):
    """No peer that is connected gives the blob."""


@dataclass(frozen=True, slots=True)
class BlobPatience:
    """How long a fetch goes on while no peer gives the blob, how often it looks for peers, and how
    many bytes a second have to come from the end of the first wait on."""

    wait_s: float = 20.0
    look_s: float = 1.0
    bytes_per_s: int = 64 << 10


class BlobFetcher:
    """Downloads into one blob store. Make it on the event loop."""

    def __init__(
        self,
        blobs: BlobStore,
        network: PeerRequests,
        patience: BlobPatience | None = None,
        limits: BlobLimits | None = None,
    ) -> None:
        self._blobs = blobs
        self._network = network
        self._patience = patience or BlobPatience()
        self._limits = limits or BlobLimits()
        self._running: dict[Hash, trio.Event] = {}
        self._slots = trio.Semaphore(DOWNLOADS_MAX)
        self._job_slots = trio.Semaphore(DOWNLOADS_MAX)

    async def fetch(self, blob: Hash, bytes_max: int = BLOB_BYTES_MAX) -> None:
        """Bring a blob here, if it is not. One that is longer is refused when its first chunk has
        proven it. Raises BlobUnavailableError, BlobTooLargeError, StoreFullError."""
        await self._fetch(blob, bytes_max, self._slots)

    def bring(self, blob: Hash, bytes_max: int = BLOB_BYTES_MAX) -> None:
        """Do the same for a job, from a thread that trio started. Raises what `fetch` raises."""
        trio.from_thread.run(self._fetch, blob, bytes_max, self._job_slots)

    async def _fetch(self, blob: Hash, bytes_max: int, slots: trio.Semaphore) -> None:
        while not await trio.to_thread.run_sync(self._blobs.has, blob):
            running = self._running.get(blob)
            if running is not None:
                await running.wait()
                continue
            done = self._running[blob] = trio.Event()
            try:
                async with slots:
                    planner = BlobPlanner(self._limits)
                    download = _Download(
                        blob, bytes_max, self._blobs, self._network, self._patience
                    )
                    await download.run(planner)
            finally:
                del self._running[blob]
                done.set()


class _Download:
    """One blob on its way here."""

    def __init__(
        self,
        blob: Hash,
        bytes_max: int,
        blobs: BlobStore,
        network: PeerRequests,
        patience: BlobPatience,
    ) -> None:
        self._blob = blob
        self._bytes_max = bytes_max
        self._blobs = blobs
        self._network = network
        self._patience = patience
        self._upload: Upload | None = None
        self._come_bytes = 0
        self._writing = trio.Lock()
        self._failure: BlobError | None = None
        self._bell, self._rung = trio.open_memory_channel[None](1)

    async def run(self, planner: BlobPlanner) -> None:
        """Download. Raises BlobUnavailableError, BlobTooLargeError, StoreFullError."""
        self._planner = planner
        self._upload = await trio.to_thread.run_sync(self._blobs.resume, self._blob)
        if self._upload is not None and self._upload.has_chunks():
            planner.begin(self._upload.missing())
        while True:
            await self._bring_chunks()
            assert self._upload is not None, "a complete download has begun"
            try:
                await trio.to_thread.run_sync(self._upload.finish)
            except UploadIncompleteError:
                # A power cut damaged what had come before it: bring those chunks again.
                planner.begin(self._upload.missing())
                continue
            logger.info("blob-fetched id=%s bytes=%d", self._blob.hex(), self._upload.length)
            return

    async def _bring_chunks(self) -> None:
        """Ask until every chunk is here. Raises BlobError."""
        planner, patience = self._planner, self._patience
        began = trio.current_time()
        gives_up_at = began + patience.wait_s
        async with trio.open_nursery() as nursery:
            while not planner.is_complete:
                now = trio.current_time()
                planner.note_peers(tuple(peer.peer for peer in self._network.peers()))
                for ask in planner.requests(now):
                    nursery.start_soon(self._ask, ask)
                if not planner.is_hopeless:
                    gives_up_at = now + patience.wait_s
                elif now >= gives_up_at:
                    break
                if self._come_bytes < (now - began - patience.wait_s) * patience.bytes_per_s:
                    break
                # No peer announces a new blob, so look again after a while.
                wake_at = min(planner.wake_at(now) or float("inf"), now + patience.look_s)
                with trio.move_on_at(min(wake_at, gives_up_at)):
                    await self._rung.receive()
                if self._failure is not None:
                    break
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure
        if not planner.is_complete:
            raise BlobUnavailableError(
                f"Blob {self._blob.hex()} is not here and no connected peer gives it, or too "
                "slowly. Connect to a node that has it, or upload it."
            )

    async def _ask(self, ask: AskChunks) -> None:
        """Ask one peer for one range and keep what is proven."""
        count = 0
        request = BlobRequest(self._blob, ask.first, ask.count)
        try:
            raw = await self._network.request(ask.peer, RequestKind.BLOB, _request.encode(request))
            answer = await trio.to_thread.run_sync(self._checked, request, raw)
            if answer is not None:
                async with self._writing:
                    count = await trio.to_thread.run_sync(self._keep, ask.first, answer)
        except WrongAnswerError as error:
            self._network.penalize(ask.peer, Fault.BAD_ANSWER, str(error))
        except TransportError as error:
            logger.debug("blob-not-answered peer=%s cause=%r", ask.peer, str(error))
        except BlobError as error:
            self._failure = error
        self._record_answer(ask, count)

    def _record_answer(self, ask: AskChunks, count: int) -> None:
        planner, upload = self._planner, self._upload
        if upload is not None and (count or not upload.length):
            if not planner.has_begun:
                planner.begin(upload.missing())
            planner.answered(ask, count)
        else:
            planner.failed(ask, trio.current_time())
        try:
            self._bell.send_nowait(None)
        except trio.WouldBlock:
            return  # it rings already

    def _checked(self, request: BlobRequest, raw: bytes) -> BlobRange | None:
        try:
            answer: BlobRange | None = _answer.decode(raw)
        except DecodeError as error:
            raise WrongAnswerError(f"the blob's range cannot be read: {error}") from error
        if answer is not None:
            check_range(request, answer, BLOB_BYTES_MAX)
        return answer

    def _keep(self, first: int, answer: BlobRange) -> int:
        """Write proven chunks, and return how many. Raises BlobError."""
        if answer.length > self._bytes_max:
            raise BlobTooLargeError(
                f"Blob {self._blob.hex()} has {answer.length} bytes, and at most {self._bytes_max} "
                "are wanted."
            )
        if self._upload is None or self._upload.length != answer.length:
            self._upload = self._blobs.upload(self._blob, answer.length)
        for index, (data, proof) in enumerate(answer.chunks, first):
            self._upload.add(index, data, proof)
            self._come_bytes += len(data)
        return len(answer.chunks)
