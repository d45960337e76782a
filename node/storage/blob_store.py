"""Blobs on disk: files named by their content, cut into chunks that are checked one by one.

A blob's id is runtime/trie/merkle.py's Merkle root over its chunk hashes and its length. A stored
blob is one file (node/storage/blob_file.py). It is written aside, synced and renamed, so a name
either holds the whole blob or does not exist. A download of many steps is an `Upload`
(node/storage/blob_upload.py).

Rules that hold here:
- Every byte that leaves was hashed against the id on its way; damage raises DamagedBlobError.
- A chunk is checked before it is written, and all of them once more before the blob is named.
- Sizes have limits, per blob and for the folder; a folder belongs to one process.
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from ml.durable_file import sync_folder
from node.storage.blob_errors import (
    BlobTooLargeError,
    ChunkRefusedError,
    RangeError,
    StoreFullError,
    not_found,
)
from node.storage.blob_file import (
    Manifest,
    file_tail,
    is_manifest,
    name_blob,
    read_chunk,
    read_manifest,
    room_on_disk,
)
from node.storage.blob_upload import Upload, give_up_still, remove_halves, uploads_in
from node.storage.disk_space import DiskSpace
from runtime.trie.merkle import CHUNK_SIZE, BlobHasher, MerkleProof, chunk_count, chunk_proof
from runtime.types.primitives import Hash

BLOB_BYTES_MAX: Final = 1 << 30
STORE_BYTES_MAX: Final = 64 << 30
RANGE_BYTES_MAX: Final = 8 << 20
UPLOADS_MAX: Final = 256
_DRAFT: Final = ".draft"


@dataclass(frozen=True, slots=True)
class ProvenChunk:
    """One chunk with the proof that it is chunk `proof.index` of its blob."""

    data: bytes = field(repr=False)
    proof: MerkleProof


class BlobStore:
    """A folder of blobs."""

    def __init__(
        self, folder: Path, blob_bytes_max: int = BLOB_BYTES_MAX, bytes_max: int = STORE_BYTES_MAX
    ) -> None:
        self.folder = folder
        self.blob_bytes_max = blob_bytes_max
        self.bytes_max = bytes_max
        folder.mkdir(parents=True, exist_ok=True)
        # A crash interrupted these before they were acknowledged, so no caller misses them.
        for draft in folder.glob(f"*{_DRAFT}"):
            draft.unlink()
        remove_halves(folder)

    def put(self, source: bytes | BinaryIO | Iterable[bytes]) -> Hash:
        """Store bytes, a file or pieces, and return the blob id.

        Raises BlobTooLargeError, StoreFullError.
        """
        free = self.bytes_max - self.used_bytes()
        hasher, space = BlobHasher(), DiskSpace(self.folder)
        draft = self.folder / (secrets.token_hex(16) + _DRAFT)
        try:
            with room_on_disk(self.folder), draft.open("xb") as file:
                for piece in _pieces(source):
                    self._check_size(hasher.length + len(piece), free)
                    space.check()  # for each: others write meanwhile, and a blob may be large
                    hasher.update(piece)
                    file.write(piece)
                file.write(file_tail(hasher.length, hasher.chunk_hashes()))
                file.flush()
                os.fsync(file.fileno())
            blob = hasher.blob_id()
            # A blob that is here already is replaced: putting it again heals a damaged one.
            name_blob(draft, self.folder, blob)
        finally:
            draft.unlink(missing_ok=True)
        return blob

    def has(self, blob: Hash) -> bool:
        """Return whether the blob is stored completely."""
        return self._path(blob).exists()

    def ids(self) -> list[Hash]:
        """Return the ids of all complete blobs, sorted."""
        names = sorted(path.name for path in self.folder.iterdir() if len(path.name) == 64)
        return [Hash(bytes.fromhex(name)) for name in names]

    def get(self, blob: Hash) -> bytes:
        """Return the whole blob; raises BlobNotFoundError, DamagedBlobError."""
        return b"".join(self.chunks(blob))

    def chunks(self, blob: Hash) -> Iterator[bytes]:
        """Yield the chunks in order, for a blob that should not lie in memory as a whole."""
        with self._opened(blob) as (file, manifest):
            for index in range(len(manifest.chunk_hashes)):
                yield read_chunk(file, blob, manifest, index)

    def manifest(self, blob: Hash) -> Manifest:
        """Return length and chunk hashes; raises BlobNotFoundError, DamagedBlobError."""
        with self._opened(blob) as (_, manifest):
            return manifest

    def read(self, blob: Hash, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`; raises RangeError and what `get` raises."""
        with self._opened(blob) as (file, manifest):
            if start < 0 or not 0 <= size <= RANGE_BYTES_MAX or start + size > manifest.length:
                raise RangeError(
                    f"The range of {size} bytes from {start} is not in the blob of "
                    f"{manifest.length} bytes, or exceeds {RANGE_BYTES_MAX}. Ask for less."
                )
            first, stop = start // CHUNK_SIZE, chunk_count(start + size)
            data = b"".join(read_chunk(file, blob, manifest, index) for index in range(first, stop))
        offset = start - first * CHUNK_SIZE
        return data[offset : offset + size]

    def prove(self, blob: Hash, first: int, count: int = 1) -> list[ProvenChunk]:
        """Return chunks with their proofs; raises RangeError and what `get` raises.

        A receiver checks one with runtime.trie.merkle.verify_chunk against id and length.
        """
        with self._opened(blob) as (file, manifest):
            total = len(manifest.chunk_hashes)
            if first < 0 or not 0 < count <= RANGE_BYTES_MAX // CHUNK_SIZE or first + count > total:
                raise RangeError(
                    f"Chunks {first} to {first + count - 1} are not in the blob of {total} chunks, "
                    f"or exceed {RANGE_BYTES_MAX} bytes. Ask for less."
                )
            return [
                ProvenChunk(
                    read_chunk(file, blob, manifest, index),
                    chunk_proof(manifest.chunk_hashes, index),
                )
                for index in range(first, first + count)
            ]

    def remove(self, blob: Hash) -> None:
        """Delete a blob; raises BlobNotFoundError."""
        try:
            self._path(blob).unlink()
        except FileNotFoundError as error:
            raise not_found(blob) from error
        sync_folder(self.folder)

    def used_bytes(self) -> int:
        """Return what blobs and uploads take; an upload counts with its full length."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    # ----------------------------------------------------------------------------------- uploads

    def upload(self, blob: Hash, length: int, chunk_hashes: Sequence[Hash] | None = None) -> Upload:
        """Begin an upload, or go on with the one that was begun.

        With the blob's chunk hashes its chunks need no proofs. Where places or room are used up,
        uploads that stand still are given up. Raises ChunkRefusedError, BlobTooLargeError,
        StoreFullError.
        """
        if length < 0 or (chunk_hashes is not None and not is_manifest(blob, length, chunk_hashes)):
            raise ChunkRefusedError(
                f"The chunk hashes are not those of blob {blob.hex()} of {length} bytes. "
                "Ask another peer."
            )
        if Upload.exists(self.folder, blob):
            begun = Upload(self.folder, blob)
            if begun.length == length:
                if chunk_hashes is not None:
                    begun.expect(chunk_hashes)
                return begun
            # The id binds the length, so a chunk could only be accepted under the right one.
            if begun.has_chunks():
                raise ChunkRefusedError(
                    f"Blob {blob.hex()} has {begun.length} bytes, not {length}. Ask another peer."
                )
            begun.abandon()
        while len(self.uploads()) >= UPLOADS_MAX:
            if not give_up_still(self.folder):
                raise StoreFullError(f"There are {UPLOADS_MAX} uploads already. Finish some first.")
        while self.bytes_max - self.used_bytes() < length <= self.blob_bytes_max:
            if not give_up_still(self.folder):
                break
        self._check_size(length, self.bytes_max - self.used_bytes())
        return Upload.begin(self.folder, blob, length, chunk_hashes or ())

    def resume(self, blob: Hash) -> Upload | None:
        """Return the upload that was begun for a blob, or None."""
        return Upload(self.folder, blob) if Upload.exists(self.folder, blob) else None

    def uploads(self) -> list[Hash]:
        """Return the ids of the uploads that were begun and not finished, sorted."""
        return uploads_in(self.folder)

    # ------------------------------------------------------------------------------------- inside

    def _path(self, blob: Hash) -> Path:
        return self.folder / blob.hex()

    def _check_size(self, length: int, free: int) -> None:
        if length > self.blob_bytes_max:
            raise BlobTooLargeError(
                f"A blob has at most {self.blob_bytes_max} bytes here. Split the data."
            )
        if length > free:
            raise StoreFullError(
                f"The blob store holds at most {self.bytes_max} bytes and has {max(free, 0)} left. "
                "Remove blobs or raise the limit."
            )

    @contextmanager
    def _opened(self, blob: Hash) -> Iterator[tuple[BinaryIO, Manifest]]:
        """Open a blob and read its manifest, checked against the id."""
        try:
            file = self._path(blob).open("rb")
        except FileNotFoundError as error:
            raise not_found(blob) from error
        with file:
            yield file, read_manifest(file, blob)


def _pieces(source: bytes | BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, Iterable) and not hasattr(source, "read"):
        yield from source
    else:
        while piece := source.read(CHUNK_SIZE):
            yield piece
