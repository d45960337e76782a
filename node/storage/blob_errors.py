"""What keeps a blob from being stored or read: one error for each cause."""

from runtime.types.primitives import Hash


class BlobError(Exception):
    """Anything that keeps a blob from being stored or read; one subclass for each cause."""


class BlobNotFoundError(BlobError):
    """There is no complete blob with this id."""


class DamagedBlobError(BlobError):
    """A stored blob is not what its id says."""


class BlobTooLargeError(BlobError):
    """A blob is longer than the store, or who reads it, allows."""


class StoreFullError(BlobError):
    """The store's limit, its number of uploads or the disk is used up."""


class RangeError(BlobError):
    """A range lies outside the blob or is too long."""


class ChunkRefusedError(BlobError):
    """A chunk or a list of chunk hashes does not belong to the blob."""


class UploadIncompleteError(BlobError):
    """An upload was finished while chunks are missing."""


def not_found(blob: Hash) -> BlobNotFoundError:
    """Return the error of a blob that is not stored completely."""
    return BlobNotFoundError(f"Blob {blob.hex()} is not stored here. Fetch it from a peer first.")


def damaged(blob: Hash, why: str) -> DamagedBlobError:
    """Return the error of a stored blob that is not what its id says."""
    return DamagedBlobError(
        f"Blob {blob.hex()} is damaged: {why}. Remove it and fetch it again from a peer."
    )
