"""Blobs on disk: files named by their content, cut into chunks that are checked one by one.

A blob's id is runtime/trie/merkle.py's Merkle root over its chunk hashes and its length. A stored
blob is one file: the bytes, then the chunk hashes, then a footer with the length. It is written
aside, synced and renamed, so a name either holds the whole blob or does not exist. A download
that takes many steps is an `Upload`: it lies aside too, survives restarts and knows which chunks
it lacks.

Rules that hold here:
- Every byte that leaves was hashed against the id on its way; damage raises DamagedBlobError.
- A chunk is checked before it is written, and all of them once more before the blob is named.
- Sizes have limits, per blob and for the folder; a folder belongs to one process.
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from ml.durable_file import sync_folder
from runtime.trie.merkle import (
    CHUNK_SIZE,
    BlobHasher,
    ChunkCountError,
    MerkleProof,
    blob_id_of_chunks,
    chunk_count,
    chunk_hash,
    chunk_proof,
    verify_chunk,
)
from runtime.types.primitives import Hash

BLOB_BYTES_MAX: Final = 1 << 30
STORE_BYTES_MAX: Final = 64 << 30
RANGE_BYTES_MAX: Final = 8 << 20
UPLOADS_MAX: Final = 256

_HASH_BYTES: Final = 32
_MAGIC: Final = b"olblob01"
_FOOTER_BYTES: Final = 8 + len(_MAGIC)
_DRAFT: Final = ".draft"
_HAVE: Final = ".have"
_UPLOAD: Final = ".upload"
_MISSING: Final = b"\0"
_HERE: Final = b"\1"
_RECORD_BYTES: Final = 1 + _HASH_BYTES


class BlobError(Exception):
    """Anything that keeps a blob from being stored or read; one subclass for each cause."""


class BlobNotFoundError(BlobError):
    """There is no complete blob with this id."""


class DamagedBlobError(BlobError):
    """A stored blob is not what its id says."""


class BlobTooLargeError(BlobError):
    """A blob is longer than the store allows."""


class StoreFullError(BlobError):
    """The store's limit, its number of uploads or the disk is used up."""


class RangeError(BlobError):
    """A range lies outside the blob or is too long."""


class ChunkRefusedError(BlobError):
    """A chunk or a list of chunk hashes does not belong to the blob."""


class UploadIncompleteError(BlobError):
    """An upload was finished while chunks are missing."""


@dataclass(frozen=True, slots=True)
class ProvenChunk:
    """One chunk with the proof that it is chunk `proof.index` of its blob."""

    data: bytes = field(repr=False)
    proof: MerkleProof


@dataclass(frozen=True, slots=True)
class Manifest:
    """The length and the chunk hashes of a blob: what a downloader asks for first."""

    length: int
    chunk_hashes: tuple[Hash, ...] = field(repr=False)


class BlobStore:
    """A folder of blobs."""

    def __init__(
        self, folder: Path, blob_bytes_max: int = BLOB_BYTES_MAX, bytes_max: int = STORE_BYTES_MAX
    ) -> None:
        self.folder = folder
        self.blob_bytes_max = blob_bytes_max
        self.bytes_max = bytes_max
        folder.mkdir(parents=True, exist_ok=True)
        # What a crash interrupted was never acknowledged: drafts, and uploads with a half missing.
        halves = [(_UPLOAD, _HAVE), (_HAVE, _UPLOAD)]
        for draft in folder.glob(f"*{_DRAFT}"):
            draft.unlink()
        for suffix, other in halves:
            for path in folder.glob(f"*{suffix}"):
                if not path.with_suffix(other).exists():
                    path.unlink()

    def put(self, source: bytes | BinaryIO | Iterable[bytes]) -> Hash:
        """Store bytes, a file or pieces, and return the blob id.

        Raises BlobTooLargeError, StoreFullError.
        """
        free = self.bytes_max - self.used_bytes()
        hasher = BlobHasher()
        draft = self.folder / (secrets.token_hex(16) + _DRAFT)
        try:
            with _room_on_disk(), draft.open("xb") as file:
                for piece in _pieces(source):
                    self._check_size(hasher.length + len(piece), free)
                    hasher.update(piece)
                    file.write(piece)
                file.write(_tail(hasher.length, hasher.chunk_hashes()))
                file.flush()
                os.fsync(file.fileno())
            blob = hasher.blob_id()
            # A blob that is here already is replaced: putting it again heals a damaged one.
            self._name(draft, blob)
        finally:
            draft.unlink(missing_ok=True)
        return blob

    def has(self, blob: Hash) -> bool:
        """Say whether the blob is stored completely."""
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
                yield self._chunk(file, blob, manifest, index)

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
            data = b"".join(
                self._chunk(file, blob, manifest, index) for index in range(first, stop)
            )
        offset = start - first * CHUNK_SIZE
        return data[offset : offset + size]

    def prove(self, blob: Hash, first: int, count: int = 1) -> list[ProvenChunk]:
        """Return chunks with their proofs; raises RangeError and what `get` raises.

        Whoever gets one checks it with runtime.trie.merkle.verify_chunk against id and length.
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
                    self._chunk(file, blob, manifest, index),
                    chunk_proof(manifest.chunk_hashes, index),
                )
                for index in range(first, first + count)
            ]

    def remove(self, blob: Hash) -> None:
        """Delete a blob; raises BlobNotFoundError."""
        try:
            self._path(blob).unlink()
        except FileNotFoundError as error:
            raise _not_found(blob) from error
        sync_folder(self.folder)

    def used_bytes(self) -> int:
        """Return what blobs and uploads take; an upload counts with its full length."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    # ----------------------------------------------------------------------------------- uploads

    def upload(
        self, blob: Hash, length: int, chunk_hashes: Sequence[Hash] | None = None
    ) -> "Upload":
        """Begin an upload, or go on with the one that was begun.

        With the blob's chunk hashes its chunks need no proofs. Raises ChunkRefusedError,
        BlobTooLargeError, StoreFullError.
        """
        if length < 0 or (
            chunk_hashes is not None and not _is_manifest(blob, length, chunk_hashes)
        ):
            raise ChunkRefusedError(
                f"The chunk hashes are not those of blob {blob.hex()} of {length} bytes. "
                "Ask another peer."
            )
        data, have = self._upload_paths(blob)
        if data.exists() and have.exists():
            begun = Upload(self, blob, data, have)
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
        if len(self.uploads()) >= UPLOADS_MAX:
            raise StoreFullError(f"There are {UPLOADS_MAX} uploads already. Finish some first.")
        self._check_size(length, self.bytes_max - self.used_bytes())
        hashes = chunk_hashes or [Hash(bytes(_HASH_BYTES))] * chunk_count(length)
        with _room_on_disk():
            with data.open("wb") as file:
                file.truncate(length)
            have.write_bytes(length.to_bytes(8, "big") + b"".join(_MISSING + h for h in hashes))
        return Upload(self, blob, data, have)

    def resume(self, blob: Hash) -> "Upload | None":
        """Return the upload that was begun for a blob, or None."""
        data, have = self._upload_paths(blob)
        return Upload(self, blob, data, have) if data.exists() and have.exists() else None

    def uploads(self) -> list[Hash]:
        """Return the ids of the uploads that were begun and not finished, sorted."""
        names = sorted(path.name for path in self.folder.glob(f"*{_HAVE}"))
        return [Hash(bytes.fromhex(name.removesuffix(_HAVE))) for name in names]

    def _finish(self, blob: Hash, data: Path, have: Path, tail: bytes) -> None:
        with _room_on_disk(), data.open("ab") as file:
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())
        self._name(data, blob)
        have.unlink()

    # ------------------------------------------------------------------------------------- inside

    def _path(self, blob: Hash) -> Path:
        return self.folder / blob.hex()

    def _upload_paths(self, blob: Hash) -> tuple[Path, Path]:
        return self.folder / (blob.hex() + _UPLOAD), self.folder / (blob.hex() + _HAVE)

    def _name(self, draft: Path, blob: Hash) -> None:
        """Give a complete and synced draft its name."""
        draft.replace(self._path(blob))
        sync_folder(self.folder)

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
            raise _not_found(blob) from error
        with file:
            yield file, self._manifest(file, blob)

    def _manifest(self, file: BinaryIO, blob: Hash) -> Manifest:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _FOOTER_BYTES, 0))
        footer = file.read(_FOOTER_BYTES)
        length = int.from_bytes(footer[:8], "big")
        hashes_bytes = chunk_count(length) * _HASH_BYTES
        if footer[8:] != _MAGIC or size != length + hashes_bytes + _FOOTER_BYTES:
            raise _damaged(blob, "its file has another size")
        file.seek(length)
        raw = file.read(hashes_bytes)
        hashes = tuple(Hash(raw[at : at + _HASH_BYTES]) for at in range(0, len(raw), _HASH_BYTES))
        if not _is_manifest(blob, length, hashes):
            raise _damaged(blob, "its chunk hashes do not give its id")
        return Manifest(length, hashes)

    def _chunk(self, file: BinaryIO, blob: Hash, manifest: Manifest, index: int) -> bytes:
        file.seek(index * CHUNK_SIZE)
        data = file.read(_chunk_size(manifest.length, index))
        if chunk_hash(data) != manifest.chunk_hashes[index]:
            raise _damaged(blob, f"chunk {index} does not have its hash")
        return data


class Upload:
    """A blob that comes chunk by chunk, in any order. It survives the process, not the machine:

    chunks are synced when the blob is finished, and those that a power cut lost are found missing.
    """

    def __init__(self, store: BlobStore, blob: Hash, data: Path, have: Path) -> None:
        self.blob = blob
        self._store = store
        self._data, self._have = data, have
        raw = have.read_bytes()
        self.length = int.from_bytes(raw[:8], "big")
        count = chunk_count(self.length)
        if len(raw) != 8 + count * _RECORD_BYTES or data.stat().st_size < self.length:
            # Cut short by a crash while it was begun; nothing is known to be here.
            raw = raw[:8] + (_MISSING + bytes(_HASH_BYTES)) * count
            have.write_bytes(raw)
            with data.open("ab") as file:
                file.truncate(self.length)
        records = [raw[at : at + _RECORD_BYTES] for at in range(8, len(raw), _RECORD_BYTES)]
        self._here = [record[:1] == _HERE for record in records]
        self._hashes = [Hash(record[1:]) for record in records]

    def missing(self) -> list[int]:
        """Return the indices of the chunks that have not come yet."""
        return [index for index, here in enumerate(self._here) if not here]

    def has_chunks(self) -> bool:
        """Say whether a chunk has come, which proves that the length is right."""
        return any(self._here)

    def expect(self, chunk_hashes: Sequence[Hash]) -> None:
        """Take the blob's chunk hashes, so that chunks need no proofs; raises ChunkRefusedError."""
        if not _is_manifest(self.blob, self.length, chunk_hashes):
            raise ChunkRefusedError("The chunk hashes do not belong to the blob. Ask another peer.")
        self._hashes = list(chunk_hashes)
        for index in range(len(chunk_hashes)):
            self._mark(index, self._here[index])

    def add(self, index: int, chunk: bytes, proof: MerkleProof | None = None) -> None:
        """Write a chunk that its hash or its proof shows to be right; raises ChunkRefusedError."""
        if not 0 <= index < len(self._here) or not self._fits(index, chunk, proof):
            raise ChunkRefusedError(
                f"This is not chunk {index} of blob {self.blob.hex()}. Ask another peer for it."
            )
        with _room_on_disk(), self._data.open("r+b") as file:
            file.seek(index * CHUNK_SIZE)
            file.write(chunk)
        self._hashes[index] = chunk_hash(chunk)
        self._mark(index, True)

    def finish(self) -> Hash:
        """Check everything, give the blob its name and return its id.

        Raises UploadIncompleteError; chunks that turned out damaged are missing afterwards.
        """
        with self._data.open("r+b") as file:
            # A finish that a crash interrupted may have left its tail behind.
            file.truncate(self.length)
            for index, expected in enumerate(self._hashes):
                data = file.read(_chunk_size(self.length, index))
                if self._here[index] and chunk_hash(data) != expected:
                    self._mark(index, False)
        missing = self.missing()
        if missing:
            raise UploadIncompleteError(
                f"{len(missing)} of {len(self._here)} chunks are missing, the first is "
                f"{missing[0]}. Add them and finish again."
            )
        if not _is_manifest(self.blob, self.length, self._hashes):
            # Only an empty blob gets here without a checked chunk.
            raise ChunkRefusedError("The upload is not the blob that it was begun for.")
        tail = _tail(self.length, self._hashes)
        self._store._finish(self.blob, self._data, self._have, tail)
        return self.blob

    def abandon(self) -> None:
        """Delete what has come so far."""
        self._have.unlink(missing_ok=True)
        self._data.unlink(missing_ok=True)

    def _fits(self, index: int, chunk: bytes, proof: MerkleProof | None) -> bool:
        if proof is not None:
            return proof.index == index and verify_chunk(self.blob, self.length, chunk, proof)
        return chunk_hash(chunk) == self._hashes[index]

    def _mark(self, index: int, here: bool) -> None:
        self._here[index] = here
        with self._have.open("r+b") as file:
            file.seek(8 + index * _RECORD_BYTES)
            file.write((_HERE if here else _MISSING) + self._hashes[index])


def _is_manifest(blob: Hash, length: int, chunk_hashes: Sequence[Hash]) -> bool:
    if not 0 <= length < 1 << 64:
        return False
    try:
        return blob_id_of_chunks(chunk_hashes, length) == blob
    except ChunkCountError:
        return False


def _tail(length: int, chunk_hashes: Sequence[Hash]) -> bytes:
    return b"".join(chunk_hashes) + length.to_bytes(8, "big") + _MAGIC


def _chunk_size(length: int, index: int) -> int:
    return min(CHUNK_SIZE, length - index * CHUNK_SIZE)


def _pieces(source: bytes | BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, Iterable) and not hasattr(source, "read"):
        yield from source
    else:
        while piece := source.read(CHUNK_SIZE):
            yield piece


@contextmanager
def _room_on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFullError("There is no room left on the disk. Free space.") from error
        raise


def _not_found(blob: Hash) -> BlobNotFoundError:
    return BlobNotFoundError(f"Blob {blob.hex()} is not stored here. Fetch it from a peer first.")


def _damaged(blob: Hash, why: str) -> DamagedBlobError:
    return DamagedBlobError(
        f"Blob {blob.hex()} is damaged: {why}. Remove it and fetch it again from a peer."
    )
