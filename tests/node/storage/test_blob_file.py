"""The file of a blob: damage anywhere in it is found before a byte is served."""

from pathlib import Path

import pytest

from node.storage.blob_errors import DamagedBlobError
from node.storage.blob_file import Manifest, chunk_size, file_tail, is_manifest, read_manifest
from node.storage.blob_store import BlobStore
from runtime.trie.merkle import CHUNK_SIZE, blob_id, chunk_hash, chunks

DATA = bytes(range(251)) * 3_200


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_a_file_written_by_hand_has_its_manifest(tmp_path: Path) -> None:
    hashes = tuple(chunk_hash(chunk) for chunk in chunks(DATA))
    path = tmp_path / "blob"
    path.write_bytes(DATA + file_tail(len(DATA), hashes))
    with path.open("rb") as file:
        assert read_manifest(file, blob_id(DATA)) == Manifest(len(DATA), hashes)


def test_a_manifest_belongs_to_one_id_only() -> None:
    hashes = [chunk_hash(chunk) for chunk in chunks(DATA)]
    assert is_manifest(blob_id(DATA), len(DATA), hashes)
    for length, wrong in (
        (len(DATA) - 1, hashes),
        (len(DATA), hashes[::-1]),
        (len(DATA), hashes[1:]),
        (-1, hashes),
        (1 << 64, hashes),
    ):
        assert not is_manifest(blob_id(DATA), length, wrong)


@pytest.mark.parametrize(("length", "sizes"), [(1, [1]), (CHUNK_SIZE + 5, [CHUNK_SIZE, 5])])
def test_only_the_last_chunk_is_shorter(length: int, sizes: list[int]) -> None:
    assert [chunk_size(length, index) for index in range(len(sizes))] == sizes


@pytest.mark.parametrize("place", [0, CHUNK_SIZE, len(DATA) - 1, len(DATA) + 40, -1, -9])
def test_a_damaged_blob_is_never_served(store: BlobStore, place: int) -> None:
    blob = store.put(DATA)
    path = store.folder / blob.hex()
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DamagedBlobError, match="is damaged"):
        store.get(blob)
    # Putting it again heals it.
    store.put(DATA)
    assert store.get(blob) == DATA


def test_damage_names_its_chunk_and_spares_the_others(store: BlobStore) -> None:
    blob = store.put(DATA)
    path = store.folder / blob.hex()
    raw = bytearray(path.read_bytes())
    raw[2 * CHUNK_SIZE] ^= 1
    path.write_bytes(raw)
    assert store.read(blob, 0, CHUNK_SIZE) == DATA[:CHUNK_SIZE]
    with pytest.raises(DamagedBlobError, match="chunk 2"):
        store.read(blob, 2 * CHUNK_SIZE, 1)
    with pytest.raises(DamagedBlobError, match="chunk 2"):
        store.prove(blob, 2)


@pytest.mark.parametrize("size", [0, 3, 16, 100, len(DATA)])
def test_a_cut_file_is_damaged(store: BlobStore, size: int) -> None:
    blob = store.put(DATA)
    path = store.folder / blob.hex()
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedBlobError):
        store.get(blob)
