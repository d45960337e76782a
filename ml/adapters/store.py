"""Keep adapter files by their content: the name is the blob id, so a wrong file cannot have it.

Writing is atomic and idempotent; reading checks the id again, because disks rot and people edit.
"""

from __future__ import annotations

from pathlib import Path

from ml.adapters.validation import ADAPTER_BYTES_MAX, AdapterTooLargeError
from ml.durable_file import write_durably
from runtime.trie.merkle import blob_id
from runtime.types.primitives import Hash


class AdapterMissingError(Exception):
    """The store has no adapter of that id."""


class AdapterCorruptError(Exception):
    """The stored bytes no longer have the id that names them."""


class AdapterStore:
    """A folder of adapters named by blob id."""

    def __init__(self, folder: Path) -> None:
        """Open the store, creating its folder."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> Hash:
        """Store a file and return its id. Raises AdapterTooLargeError."""
        if len(data) > ADAPTER_BYTES_MAX:
            raise AdapterTooLargeError(
                f"The adapter has {len(data)} bytes, over {ADAPTER_BYTES_MAX}."
            )
        name = blob_id(data)
        path = self._path(name)
        if not path.exists():
            write_durably(path, data)
        return name

    def get(self, name: Hash) -> bytes:
        """Return the bytes of an id. Raises AdapterMissingError, AdapterCorruptError."""
        path = self._path(name)
        if not path.is_file():
            raise AdapterMissingError(
                f"The adapter {name.hex()} is not stored here; fetch its blob first."
            )
        data = path.read_bytes()
        if blob_id(data) != name:
            raise AdapterCorruptError(
                f"The stored adapter {name.hex()} changed on disk; fetch it again."
            )
        return data

    def __contains__(self, name: Hash) -> bool:
        return self._path(name).is_file()

    def names(self) -> list[Hash]:
        """Return the ids of all stored adapters, sorted."""
        return sorted(Hash(bytes.fromhex(path.stem)) for path in self.folder.glob("*.safetensors"))

    def remove(self, name: Hash) -> None:
        """Forget an adapter; one that is not there is already forgotten."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: Hash) -> Path:
        return self.folder / f"{bytes(name).hex()}.safetensors"
