import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.storage.blob_errors import (
    BlobNotFoundError,
    BlobTooLargeError,
    RangeError,
    StoreFullError,
)
from node.storage.blob_store import BlobStore
from node.storage.disk_space import RESERVE_BYTES_MAX
from runtime.trie.merkle import CHUNK_SIZE, blob_id, chunk_hash, chunks, verify_chunk
from runtime.types.primitives import Hash
from tests.conftest import REPOSITORY
from tests.node.storage.test_disk_space import disk_of

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


def test_the_reserve_of_the_disk_takes_neither_a_blob_nor_an_upload(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = chunks(DATA)
    begun = store.upload(blob_id(DATA), len(DATA), [chunk_hash(part) for part in parts])
    before = sorted(store.folder.iterdir())
    with monkeypatch.context() as low:
        low.setattr(os, "statvfs", disk_of(1 << 40, RESERVE_BYTES_MAX - 4096))
        with pytest.raises(StoreFullError, match="kept in reserve"):
            store.put(DATA)
        with pytest.raises(StoreFullError, match="kept in reserve"):
            store.upload(Hash(bytes(32)), 600)
        with pytest.raises(StoreFullError, match="kept in reserve"):
            begun.add(0, parts[0])
    assert sorted(store.folder.iterdir()) == before


def test_a_blob_that_reaches_the_reserve_is_refused_while_it_comes_in(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"first"
        monkeypatch.setattr(os, "statvfs", disk_of(1 << 40, 0))
        yield b"second"

    with pytest.raises(StoreFullError, match="kept in reserve"):
        store.put(pieces())
    assert list(store.folder.iterdir()) == []


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
