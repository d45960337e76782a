"""The messages of blob transfer: ranges of chunks, each with its proof.

A blob's id binds its length, so the first chunk that verifies also proves the length. Requests
are planned by `blob_download.py`; node/sync/blob_chunk_server.py serves ranges to peers.
"""

from __future__ import annotations

from typing import Final

from p2p.protocols.sync_messages import WrongAnswerError
from runtime.codec.scale import scale, u16, u32, u64
from runtime.trie.merkle import (
    CHUNK_SIZE,
    MerkleProof,
    blob_id_of_chunks,
    chunk_count,
    verify_chunk,
)
from runtime.types.primitives import Hash

RANGE_BYTES_MAX: Final = 8 << 20
CHUNKS_MAX: Final = RANGE_BYTES_MAX // CHUNK_SIZE
"""Chunks of one answer."""


@scale
class BlobRequest:
    """Asks for `count` chunks of a blob from `first` on."""

    blob: Hash
    first: u32
    count: u16


@scale
class BlobRange:
    """The blob's length, and chunks with their proofs (runtime/trie/merkle.py)."""

    length: u64
    chunks: tuple[tuple[bytes, MerkleProof], ...]


BlobAnswer = BlobRange | None
"""The answer to BlobRequest; None where the peer does not have the blob."""


def check_range(request: BlobRequest, answer: BlobRange, length_max: int) -> None:
    """Check that these are chunks that were asked for. Raises WrongAnswerError."""
    length, blob = answer.length, request.blob
    if length > length_max:
        raise WrongAnswerError(f"a blob of {length} bytes is longer than {length_max}")
    if length == 0:
        if answer.chunks or blob_id_of_chunks((), 0) != blob:
            raise WrongAnswerError("the blob is not empty")
        return
    expected = min(request.count, chunk_count(length) - request.first)
    if not 0 < len(answer.chunks) <= expected:
        raise WrongAnswerError(f"{len(answer.chunks)} chunks came instead of 1 to {expected}")
    for index, (data, proof) in enumerate(answer.chunks, request.first):
        if proof.index != index or not verify_chunk(blob, length, data, proof):
            raise WrongAnswerError(f"this is not chunk {index} of blob {blob.hex()}")
