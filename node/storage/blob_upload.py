"""Uploads: blobs that arrive chunk by chunk, in any order, beside the stored ones.

An upload is two files: `<id>.upload` with the bytes, and `<id>.have`, the length and one record for
each chunk: whether it is here, and its hash. An upload survives the process but not the machine:
chunks are synced when the blob is finished, and those that a power cut lost are found missing.

One that stands still is kept until its place is wanted. Whoever begins many and never ends them
would else take all places; one that moves is never given up for another.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from node.storage.blob_errors import ChunkRefusedError, UploadIncompleteError, not_found
from node.storage.blob_file import (
    HASH_BYTES,
    chunk_size,
    file_tail,
    is_manifest,
    name_blob,
    room_on_disk,
)
from runtime.trie.merkle import CHUNK_SIZE, MerkleProof, chunk_count, chunk_hash, verify_chunk
from runtime.types.primitives import Hash

STILL_SECONDS: Final = 120.0
"""After so long without a chunk an upload stands still."""
HAVE_SUFFIX: Final = ".have"
UPLOAD_SUFFIX: Final = ".upload"
_MISSING: Final = b"\0"
_HERE: Final = b"\1"
_RECORD_BYTES: Final = 1 + HASH_BYTES


class Upload:
    """The upload of one blob; open it where `exists`, or make it with `begin`."""

    def __init__(self, folder: Path, blob: Hash) -> None:
        """Open an upload that was begun."""
        self.blob = blob
        self._folder = folder
        data, have = self._data, self._have = _paths(folder, blob)
        raw = have.read_bytes()
        self.length = int.from_bytes(raw[:8], "big")
        count = chunk_count(self.length)
        if len(raw) != 8 + count * _RECORD_BYTES or data.stat().st_size < self.length:
            # Cut short by a crash while it was begun; nothing is known to be here.
            raw = raw[:8] + (_MISSING + bytes(HASH_BYTES)) * count
            have.write_bytes(raw)
            with data.open("ab") as file:
                file.truncate(self.length)
        records = [raw[at : at + _RECORD_BYTES] for at in range(8, len(raw), _RECORD_BYTES)]
        self._here = [record[:1] == _HERE for record in records]
        self._hashes = [Hash(record[1:]) for record in records]

    @staticmethod
    def exists(folder: Path, blob: Hash) -> bool:
        """Return whether an upload of a blob was begun and not finished."""
        data, have = _paths(folder, blob)
        return data.exists() and have.exists()

    @classmethod
    def begin(cls, folder: Path, blob: Hash, length: int, chunk_hashes: Sequence[Hash]) -> Self:
        """Begin an upload. Without chunk hashes each chunk needs a proof; raises StoreFullError."""
        data, have = _paths(folder, blob)
        hashes = chunk_hashes or [Hash(bytes(HASH_BYTES))] * chunk_count(length)
        with room_on_disk(folder):
            # The whole length is claimed at once, so that uploads count against the store's limit.
            with data.open("wb") as file:
                file.truncate(length)
            have.write_bytes(length.to_bytes(8, "big") + b"".join(_MISSING + h for h in hashes))
        return cls(folder, blob)

    def missing(self) -> list[int]:
        """Return the indices of the chunks that have not come yet."""
        return [index for index, here in enumerate(self._here) if not here]

    def has_chunks(self) -> bool:
        """Return whether a chunk has come, which proves that the length is right."""
        return any(self._here)

    def expect(self, chunk_hashes: Sequence[Hash]) -> None:
        """Take the blob's chunk hashes, so that chunks need no proofs; raises ChunkRefusedError."""
        if not is_manifest(self.blob, self.length, chunk_hashes):
            raise ChunkRefusedError("The chunk hashes do not belong to the blob. Ask another peer.")
        self._hashes = list(chunk_hashes)
        for index in range(len(chunk_hashes)):
            self._mark(index, self._here[index])

    def add(self, index: int, chunk: bytes, proof: MerkleProof | None = None) -> None:
        """Write a chunk that its hash or its proof shows to be right.

        Raises ChunkRefusedError, StoreFullError, BlobNotFoundError where the upload was given up.
        """
        if not 0 <= index < len(self._here) or not self._fits(index, chunk, proof):
            raise ChunkRefusedError(
                f"This is not chunk {index} of blob {self.blob.hex()}. Ask another peer for it."
            )
        if not self.exists(self._folder, self.blob):
            raise not_found(self.blob)
        with room_on_disk(self._folder), self._data.open("r+b") as file:
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
                data = file.read(chunk_size(self.length, index))
                if self._here[index] and chunk_hash(data) != expected:
                    self._mark(index, False)
        missing = self.missing()
        if missing:
            raise UploadIncompleteError(
                f"{len(missing)} of {len(self._here)} chunks are missing, the first is "
                f"{missing[0]}. Add them and finish again."
            )
        if not is_manifest(self.blob, self.length, self._hashes):
            # Only an empty blob gets here without a checked chunk.
            raise ChunkRefusedError("The upload is not the blob that it was begun for.")
        tail = file_tail(self.length, self._hashes)
        with room_on_disk(self._folder), self._data.open("ab") as file:
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())
        name_blob(self._data, self._folder, self.blob)
        self._have.unlink()
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


def uploads_in(folder: Path) -> list[Hash]:
    """Return the ids of the uploads that were begun and not finished, sorted."""
    names = sorted(path.name for path in folder.glob(f"*{HAVE_SUFFIX}"))
    return [Hash(bytes.fromhex(name.removesuffix(HAVE_SUFFIX))) for name in names]


def give_up_still(folder: Path) -> bool:
    """Delete the upload that has stood still for longest; returns whether there was one."""
    moved_at: dict[Hash, float] = {}
    for blob in uploads_in(folder):
        try:
            moved_at[blob] = _paths(folder, blob)[1].stat().st_mtime
        except FileNotFoundError:
            continue  # finished meanwhile
    stillest = min(moved_at, key=moved_at.__getitem__, default=None)
    if stillest is None or time.time() - moved_at[stillest] < STILL_SECONDS:
        return False
    for path in _paths(folder, stillest):
        path.unlink(missing_ok=True)
    return True


def remove_halves(folder: Path) -> None:
    """Delete uploads of which a crash left one file only: none of them was acknowledged."""
    for suffix, other in ((UPLOAD_SUFFIX, HAVE_SUFFIX), (HAVE_SUFFIX, UPLOAD_SUFFIX)):
        for path in folder.glob(f"*{suffix}"):
            if not path.with_suffix(other).exists():
                path.unlink()


def _paths(folder: Path, blob: Hash) -> tuple[Path, Path]:
    return folder / (blob.hex() + UPLOAD_SUFFIX), folder / (blob.hex() + HAVE_SUFFIX)
