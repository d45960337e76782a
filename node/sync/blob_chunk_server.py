"""The serving of blob chunks to peers: a range of chunks from the blob store, with its proofs."""

from __future__ import annotations

from node.storage.blob_errors import BlobNotFoundError
from node.storage.blob_store import BlobStore
from p2p.protocols.blob_messages import CHUNKS_MAX, BlobAnswer, BlobRange, BlobRequest
from p2p.transport.transport import RequestError
from runtime.codec.scale import codec

_blob_request = codec(BlobRequest)
_blob = codec(BlobAnswer)


class BlobChunkServer:
    """Answers requests for ranges of blobs from one store; called in a worker thread."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def answer(self, body: bytes) -> bytes:
        """Answer an encoded BlobRequest with an encoded BlobAnswer.

        Raises RequestError, DecodeError, BlobError.
        """
        request = _blob_request.decode(body)
        if not 0 < request.count <= CHUNKS_MAX:
            raise RequestError(f"Ask for 1 to {CHUNKS_MAX} chunks.")
        try:
            manifest = self._blobs.manifest(request.blob)
            total = len(manifest.chunk_hashes)
            count = min(request.count, total - request.first)
            if not total:
                return _blob.encode(BlobRange(0, ()))
            if count <= 0:
                raise RequestError(f"The blob has {total} chunks. Ask for one of them.")
            proven = self._blobs.prove(request.blob, request.first, count)
        except BlobNotFoundError:
            return _blob.encode(None)
        chunks = tuple((chunk.data, chunk.proof) for chunk in proven)
        return _blob.encode(BlobRange(manifest.length, chunks))
