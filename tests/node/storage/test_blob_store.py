import io
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.storage import blob_store as blobs
from node.storage.blob_store import (
    BlobNotFoundError,
    BlobStore,
    BlobTooLargeError,
    ChunkRefusedError,
    DamagedBlobError,
    RangeError,
    StoreFullError,
    UploadIncompleteError,
)
from runtime.trie.merkle import CHUNK_SIZE, blob_id, chunk_proof, chunks, verify_chunk
from runtime.types.primitives import Hash
from tests.conftest import REPOSITORY

DATA = bytes(range(251)) * 3_200
SIZES = [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, len(DATA)]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["bytes", "file", "pieces"])
def test_a_blob_is_read_back_whatever_form_it_came_in(
    store: BlobStore, size: int, form: str
) -> None:
    data = DATA[:size]
    pieces = [data[at : at + 77_777] for at in range(0, size, 77_777)]
    source = {"bytes": data, "file": io.BytesIO(data), "pieces": pieces}[form]
    blob = store.put(source)  # type: ignore[arg-type]
    assert blob == blob_id(data)
    assert store.get(blob) == data
    assert list(store.chunks(blob)) == chunks(data)
    assert store.manifest(blob).length == size
    assert store.ids() == [blob]
    assert BlobStore(store.folder).get(blob) == data


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_a_range_is_that_part_of_the_blob(
    tmp_path_factory: pytest.TempPathFactory, start: int, stop: int
) -> None:
    store = BlobStore(tmp_path_factory.getbasetemp() / "ranges")
    blob = store.put(DATA) if not store.has(blob_id(DATA)) else blob_id(DATA)
    start, stop = min(start, stop), max(start, stop)
    assert store.read(blob, start, stop - start) == DATA[start:stop]


@pytest.mark.parametrize("given_range", [(-1, 1), (0, len(DATA) + 1), (len(DATA), 1), (0, -1)])
def test_a_range_outside_the_blob_is_refused(
    store: BlobStore, given_range: tuple[int, int]
) -> None:
    blob = store.put(DATA)
    with pytest.raises(RangeError, match="Ask for less"):
        store.read(blob, *given_range)


@pytest.mark.parametrize("given_range", [(-1, 1), (0, 0), (0, 5), (4, 1), (0, 100)])
def test_chunks_outside_the_blob_are_not_proven(
    store: BlobStore, given_range: tuple[int, int]
) -> None:
    blob = store.put(DATA)
    with pytest.raises(RangeError, match="of 4 chunks"):
        store.prove(blob, *given_range)


def test_proven_chunks_convince_who_knows_id_and_length(store: BlobStore) -> None:
    blob = store.put(DATA)
    proven = store.prove(blob, 1, 3)
    assert [chunk.proof.index for chunk in proven] == [1, 2, 3]
    assert b"".join(chunk.data for chunk in proven) == DATA[CHUNK_SIZE:]
    assert all(verify_chunk(blob, len(DATA), chunk.data, chunk.proof) for chunk in proven)


@pytest.mark.parametrize("with_hashes", [True, False])
def test_an_upload_goes_on_after_a_restart(
    store: BlobStore, tmp_path: Path, with_hashes: bool
) -> None:
    source = BlobStore(tmp_path / "source")
    blob = source.put(DATA)
    hashes = source.manifest(blob).chunk_hashes
    parts = chunks(DATA)

    def add(upload: blobs.Upload, index: int) -> None:
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
    hashes = [blobs.chunk_hash(part) for part in parts]
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
    hashes = [blobs.chunk_hash(part) for part in parts]
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


def test_an_upload_with_another_length_begins_anew(store: BlobStore) -> None:
    blob = blob_id(DATA)
    store.upload(blob, 5)
    hashes = [blobs.chunk_hash(part) for part in chunks(DATA)]
    upload = store.upload(blob, len(DATA), hashes)
    for index, part in enumerate(chunks(DATA)):
        upload.add(index, part)
    assert upload.finish() == blob


def test_another_length_does_not_discard_checked_chunks(store: BlobStore) -> None:
    blob, parts = blob_id(DATA), chunks(DATA)
    upload = store.upload(blob, len(DATA), [blobs.chunk_hash(part) for part in parts])
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
    upload = store.upload(blob, len(DATA), [blobs.chunk_hash(part) for part in parts])
    for index, part in enumerate(parts):
        upload.add(index, part)
    with next(store.folder.glob("*.upload")).open("r+b") as file:
        file.seek(CHUNK_SIZE + 9)
        file.write(b"damage")
    with pytest.raises(UploadIncompleteError, match="the first is 1"):
        upload.finish()
    upload.add(1, parts[1])
    assert store.get(upload.finish()) == DATA


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


def test_an_unknown_blob_is_not_found(store: BlobStore) -> None:
    for action in (store.get, store.manifest, store.remove):
        with pytest.raises(BlobNotFoundError, match="Fetch it"):
            action(Hash(bytes(32)))


def test_a_removed_blob_is_gone(store: BlobStore) -> None:
    blob = store.put(DATA)
    store.remove(blob)
    assert not store.has(blob)
    assert store.used_bytes() == 0


def test_limits_are_kept_while_a_blob_comes_in(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, blob_bytes_max=1000, bytes_max=1500)
    with pytest.raises(BlobTooLargeError, match="at most 1000 bytes"):
        store.put(bytes(100) for _ in range(11))
    store.put(bytes(1000))
    with pytest.raises(StoreFullError, match="holds at most 1500"):
        store.put(b"\1" * 600)
    with pytest.raises(StoreFullError):
        store.upload(Hash(bytes(32)), 600)
    with pytest.raises(BlobTooLargeError):
        store.upload(Hash(bytes(32)), 1001)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_number_of_uploads_is_limited(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "UPLOADS_MAX", 2)
    for number in range(2):
        store.upload(Hash(bytes([number]) * 32), 10)
    with pytest.raises(StoreFullError, match="2 uploads already"):
        store.upload(Hash(bytes([9]) * 32), 10)


def test_a_draft_of_a_crash_is_cleared_away(store: BlobStore) -> None:
    (store.folder / "0123.draft").write_bytes(b"half")
    assert list(BlobStore(store.folder).folder.iterdir()) == []


def test_a_source_that_fails_leaves_nothing(store: BlobStore) -> None:
    def pieces():
        yield b"first"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        store.put(pieces())
    assert list(store.folder.iterdir()) == []


def fill_up(folder: str) -> None:
    """Put a blob above the file size limit, which stands in for a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = BlobStore(Path(folder))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    with pytest.raises(StoreFullError, match="no room left on the disk"):
        store.put(DATA)
    assert list(store.folder.iterdir()) == []
    print("refused")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; "
        "import test_blob_store as t; t.fill_up(sys.argv[1])"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(tmp_path),
        str(REPOSITORY),
        str(Path(__file__).parent),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
