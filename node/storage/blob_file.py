"""The file of a stored blob: its bytes, then its chunk hashes, then a footer with the length.

The hashes stand behind the bytes, so a download is written in place and ends with one append. A
reader checks the hashes against the blob's id, and each chunk against its hash.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from ml.durable_file import sync_folder
from node.storage.blob_errors import StoreFullError, damaged
from node.storage.disk_space import DiskSpace
from node.storage.errors import DiskLowError
from runtime.trie.merkle import (
    CHUNK_SIZE,
    ChunkCountError,
    blob_id_of_chunks,
    chunk_count,
    chunk_hash,
)
from runtime.types.primitives import Hash

HASH_BYTES: Final = 32
_MAGIC: Final = b"olblob01"
_FOOTER_BYTES: Final = 8 + len(_MAGIC)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The length and the chunk hashes of a blob: what a downloader asks for first."""

    length: int
    chunk_hashes: tuple[Hash, ...] = field(repr=False)


def read_manifest(file: BinaryIO, blob: Hash) -> Manifest:
    """Return the manifest at the end of a blob's file; raises DamagedBlobError."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _FOOTER_BYTES, 0))
    footer = file.read(_FOOTER_BYTES)
    length = int.from_bytes(footer[:8], "big")
    hashes_bytes = chunk_count(length) * HASH_BYTES
    if footer[8:] != _MAGIC or size != length + hashes_bytes + _FOOTER_BYTES:
        raise damaged(blob, "its file has another size")
    file.seek(length)
    raw = file.read(hashes_bytes)
    hashes = tuple(Hash(raw[at : at + HASH_BYTES]) for at in range(0, len(raw), HASH_BYTES))
    if not is_manifest(blob, length, hashes):
        raise damaged(blob, "its chunk hashes do not give its id")
    return Manifest(length, hashes)


def read_chunk(file: BinaryIO, blob: Hash, manifest: Manifest, index: int) -> bytes:
    """Return one chunk of a blob's file; raises DamagedBlobError."""
    file.seek(index * CHUNK_SIZE)
    data = file.read(chunk_size(manifest.length, index))
    if chunk_hash(data) != manifest.chunk_hashes[index]:
        raise damaged(blob, f"chunk {index} does not have its hash")
    return data


def is_manifest(blob: Hash, length: int, chunk_hashes: Sequence[Hash]) -> bool:
    """Return whether a blob's id is that of a length and chunk hashes."""
    if not 0 <= length < 1 << 64:
        return False
    try:
        return blob_id_of_chunks(chunk_hashes, length) == blob
    except ChunkCountError:
        return False


def file_tail(length: int, chunk_hashes: Sequence[Hash]) -> bytes:
    """Return what follows the bytes in a blob's file."""
    return b"".join(chunk_hashes) + length.to_bytes(8, "big") + _MAGIC


def chunk_size(length: int, index: int) -> int:
    """Return the size of a chunk in bytes; the last one may be shorter."""
    return min(CHUNK_SIZE, length - index * CHUNK_SIZE)


def name_blob(draft: Path, folder: Path, blob: Hash) -> None:
    """Give a complete and synced draft its name."""
    draft.replace(folder / blob.hex())
    sync_folder(folder)


@contextmanager
def room_on_disk(folder: Path) -> Iterator[None]:
    """Raise StoreFullError where the disk has no room but its reserve, before or in the body."""
    try:
        DiskSpace(folder).check()
        yield
    except DiskLowError as error:
        raise StoreFullError(str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFullError("There is no room left on the disk. Free space.") from error
        raise
