"""Uploads: chunks in any order, over restarts; wrong, damaged and half ones."""

import os
import time
from pathlib import Path

import pytest

from node.storage import blob_store
from node.storage.blob_errors import (
    BlobNotFoundError,
    BlobTooLargeError,
    ChunkRefusedError,
    StoreFullError,
    UploadIncompleteError,
)
from node.storage.blob_store import BLOB_BYTES_MAX, BlobStore
from node.storage.blob_upload import HAVE_SUFFIX, STILL_SECONDS, Upload
from runtime.trie.merkle import CHUNK_SIZE, blob_id, chunk_hash, chunk_proof, chunks
from runtime.types.primitives import Hash

DATA = bytes(range(251)) * 3_200


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.mark.parametrize("with_hashes", [True, False])
def test_an_upload_goes_on_after_a_restart(
    store: BlobStore, tmp_path: Path, with_hashes: bool
) -> None:
    source = BlobStore(tmp_path / "source")
    blob = source.put(DATA)
    hashes = source.manifest(blob).chunk_hashes
    parts = chunks(DATA)

    def add(upload: Upload, index: int) -> None:
        upload.add(index, parts[index], None if with_hashes else chunk_proof(hashes, index))

    first = store.upload(blob, len(DATA), hashes if with_hashes else None)
    assert first.missing() == [0, 1, 2, 3]
    add(first, 3)
    add(first, 1)
    reopened = BlobStore(store.folder)
    assert (reopened.uploads(), reopened.ids(), reopened.has(blob)) == ([blob], [], False)
    second = reopened.upload(blob, len(DATA))
    assert second.missing() == [0, 2]
    with pytest.raises(UploadIncompleteError, match="2 of 4 chunks are missing, the first is 0"):
        second.finish()
    add(second, 0)
    add(second, 2)
    assert second.finish() == blob
    assert reopened.get(blob) == DATA
    assert (reopened.uploads(), reopened.ids()) == ([], [blob])
    assert len(list(store.folder.iterdir())) == 1


def test_hashes_that_come_later_free_an_upload_from_proofs(store: BlobStore) -> None:
    blob, parts = blob_id(DATA), chunks(DATA)
    hashes = [chunk_hash(part) for part in parts]
    upload = store.upload(blob, len(DATA))
    with pytest.raises(ChunkRefusedError):
        upload.add(0, parts[0])
    upload.add(0, parts[0], chunk_proof(hashes, 0))
    upload = store.upload(blob, len(DATA), hashes)
    for index in upload.missing():
        upload.add(index, parts[index])
    upload.finish()
    assert store.get(blob) == DATA


def test_a_wrong_chunk_is_refused_and_not_written(store: BlobStore) -> None:
    blob, parts = blob_id(DATA), chunks(DATA)
    hashes = [chunk_hash(part) for part in parts]
    upload = store.upload(blob, len(DATA), hashes)
    for index, chunk in [
        (0, parts[1]),
        (0, parts[0][:-1]),
        (3, parts[3] + b"\0"),
        (4, b""),
        (-1, b""),
    ]:
        with pytest.raises(ChunkRefusedError, match="Ask another peer"):
            upload.add(index, chunk)
    with pytest.raises(ChunkRefusedError):
        upload.add(0, parts[0], chunk_proof(hashes, 1))
    assert upload.missing() == [0, 1, 2, 3]
    with pytest.raises(ChunkRefusedError, match="chunk hashes"):
        store.upload(blob, len(DATA), hashes[::-1])
    with pytest.raises(ChunkRefusedError):
        store.upload(blob, len(DATA) - 1, hashes)


def test_an_upload_with_another_length_begins_again(store: BlobStore) -> None:
    blob = blob_id(DATA)
    store.upload(blob, 5)
    hashes = [chunk_hash(part) for part in chunks(DATA)]
    upload = store.upload(blob, len(DATA), hashes)
    for index, part in enumerate(chunks(DATA)):
        upload.add(index, part)
    assert upload.finish() == blob


def test_another_length_does_not_discard_checked_chunks(store: BlobStore) -> None:
    blob, parts = blob_id(DATA), chunks(DATA)
    upload = store.upload(blob, len(DATA), [chunk_hash(part) for part in parts])
    upload.add(2, parts[2])
    with pytest.raises(ChunkRefusedError, match=f"has {len(DATA)} bytes, not 5"):
        store.upload(blob, 5)
    with pytest.raises(ChunkRefusedError):
        store.upload(blob, -1)
    assert store.upload(blob, len(DATA)).missing() == [0, 1, 3]


@pytest.mark.parametrize("suffix", [".upload", ".have"])
def test_half_an_upload_is_cleared_away(store: BlobStore, suffix: str) -> None:
    store.upload(blob_id(DATA), len(DATA))
    next(store.folder.glob(f"*{suffix}")).unlink()
    assert list(BlobStore(store.folder).folder.iterdir()) == []


@pytest.mark.parametrize(("blob", "fits"), [(blob_id(b""), True), (Hash(bytes(32)), False)])
def test_an_empty_upload_is_checked_too(store: BlobStore, blob: Hash, fits: bool) -> None:
    upload = store.upload(blob, 0)
    if fits:
        assert store.get(upload.finish()) == b""
    else:
        with pytest.raises(ChunkRefusedError):
            upload.finish()


def test_an_abandoned_upload_leaves_nothing(store: BlobStore) -> None:
    store.upload(blob_id(DATA), len(DATA)).abandon()
    assert list(store.folder.iterdir()) == []


def test_an_upload_damaged_on_disk_asks_for_the_damaged_chunk_again(store: BlobStore) -> None:
    blob, parts = blob_id(DATA), chunks(DATA)
    upload = store.upload(blob, len(DATA), [chunk_hash(part) for part in parts])
    for index, part in enumerate(parts):
        upload.add(index, part)
    with next(store.folder.glob("*.upload")).open("r+b") as file:
        file.seek(CHUNK_SIZE + 9)
        file.write(b"damage")
    with pytest.raises(UploadIncompleteError, match="the first is 1"):
        upload.finish()
    upload.add(1, parts[1])
    assert store.get(upload.finish()) == DATA


def test_the_number_of_uploads_is_limited(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_store, "UPLOADS_MAX", 2)
    for number in range(2):
        store.upload(Hash(bytes([number]) * 32), 10)
    with pytest.raises(StoreFullError, match="2 uploads already"):
        store.upload(Hash(bytes([9]) * 32), 10)


def stand_still(store: BlobStore, blob: Hash, seconds: float) -> None:
    """Let the last chunk of an upload have come so long ago."""
    moved_at = time.time() - seconds
    os.utime(store.folder / (blob.hex() + HAVE_SUFFIX), (moved_at, moved_at))


def test_what_stands_still_gives_its_place_up_and_what_moves_does_not(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_store, "UPLOADS_MAX", 3)
    first, second, third, fourth, fifth = (Hash(bytes([number]) * 32) for number in range(5))
    for blob, still in ((first, STILL_SECONDS + 1), (second, STILL_SECONDS + 2), (third, 0)):
        store.upload(blob, 10)
        stand_still(store, blob, still)
    assert len(store.uploads()) == 3, "nobody wants their places"
    store.upload(fourth, 10)
    assert store.uploads() == [first, third, fourth]
    store = BlobStore(store.folder)
    store.upload(fifth, 10)
    assert store.uploads() == [third, fourth, fifth]
    with pytest.raises(StoreFullError):
        store.upload(first, 10)


def test_what_stands_still_gives_its_room_up(store: BlobStore) -> None:
    blob, parts = blob_id(DATA), chunks(DATA)
    begun = store.upload(blob, len(DATA), [chunk_hash(part) for part in parts])
    begun.add(0, parts[0])
    store.bytes_max = len(DATA) + 1_000
    other = Hash(bytes(32))
    with pytest.raises(StoreFullError):
        store.upload(other, len(DATA))
    stand_still(store, blob, STILL_SECONDS + 1)
    with pytest.raises(BlobTooLargeError):
        store.upload(other, BLOB_BYTES_MAX + 1)
    assert store.uploads() == [blob], "for nothing that cannot come anyhow"
    store.upload(other, len(DATA))
    assert store.uploads() == [other]
    with pytest.raises(BlobNotFoundError):
        begun.add(1, parts[1])
