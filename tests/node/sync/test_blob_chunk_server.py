"""Blob chunks for peers: ranges with proofs, and requests that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.storage.blob_errors import DamagedBlobError
from node.storage.blob_store import BlobStore
from node.sync.blob_chunk_server import BlobChunkServer
from p2p.protocols.blob_messages import CHUNKS_MAX, BlobAnswer, BlobRequest, check_range
from p2p.transport.transport import RequestError
from runtime.codec.scale import DecodeError, codec
from runtime.trie.merkle import CHUNK_SIZE
from runtime.types.primitives import Hash


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def ask(blobs: BlobStore, blob: Hash, first: int, count: int) -> Any:
    request = codec(BlobRequest).encode(BlobRequest(blob, first, count))
    return codec(BlobAnswer).decode(BlobChunkServer(blobs).answer(request))


def test_a_range_proves_itself_and_ends_with_the_blob(blobs: BlobStore) -> None:
    blob = blobs.put(bytes(3 * CHUNK_SIZE))
    answer = ask(blobs, blob, 1, CHUNKS_MAX)
    assert (answer.length, len(answer.chunks)) == (3 * CHUNK_SIZE, 2)
    check_range(BlobRequest(blob, 1, CHUNKS_MAX), answer, 1 << 30)


def test_an_unknown_blob_is_answered_with_nothing_and_an_empty_one_with_its_length(
    blobs: BlobStore,
) -> None:
    assert ask(blobs, Hash(bytes(32)), 0, 1) is None
    empty = ask(blobs, blobs.put(b""), 0, 1)
    assert (empty.length, empty.chunks) == (0, ())


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, CHUNKS_MAX + 1), (3, 1)])
def test_a_range_that_no_peer_should_ask_for_is_refused(
    blobs: BlobStore, first: int, count: int
) -> None:
    blob = blobs.put(bytes(3 * CHUNK_SIZE))
    with pytest.raises(RequestError):
        ask(blobs, blob, first, count)


def test_damage_and_garbage_raise_their_errors(blobs: BlobStore) -> None:
    blob = blobs.put(b"data")
    (blobs.folder / blob.hex()).write_bytes(b"damaged")
    with pytest.raises(DamagedBlobError):
        ask(blobs, blob, 0, 1)
    with pytest.raises(DecodeError):
        BlobChunkServer(blobs).answer(b"\xff")
