"""A recording of a node's responses in a folder, to verify receipts offline.

One file for each request, named by its hash. A replay proves no more than a node does: its reader
checks hashes, signatures and proofs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node.client.errors import RequestRefusedError
from runtime.crypto.hashing import blake2b_256


class Recording:
    """Records responses into a folder, or replays them from it."""

    def __init__(self, folder: Path, *, is_replaying: bool) -> None:
        self._folder = folder
        self._is_replaying = is_replaying
        if not is_replaying:
            folder.mkdir(parents=True, exist_ok=True)

    def response(self, request: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the response to a request. Raises RequestRefusedError where none is recorded."""
        path = self._folder / blake2b_256(request.encode()).hex()
        if not self._is_replaying:
            data = fetch()
            path.write_bytes(data)
            return data
        if not path.is_file():
            raise RequestRefusedError(
                f"The folder {self._folder} does not hold the answer to {request[:80]}. "
                "Save it again while a node is there."
            )
        return path.read_bytes()
