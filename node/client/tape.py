"""A node's answers kept in a folder, so that what was asked once can be asked again offline.

One file for each question, named by its hash. Whoever replays must check what is told, as with a
node: by hashes, signatures and proofs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from node.client.errors import RequestRefusedError
from runtime.crypto.hashing import blake2b_256


class Tape:
    """Records answers into a folder, or replays them from it."""

    def __init__(self, folder: Path, *, is_replaying: bool) -> None:
        self._folder = folder
        self._is_replaying = is_replaying
        if not is_replaying:
            folder.mkdir(parents=True, exist_ok=True)

    def answer(self, question: str, ask: Callable[[], bytes]) -> bytes:
        """Return the answer to a question. Raises RequestRefusedError for one never recorded."""
        path = self._folder / blake2b_256(question.encode()).hex()
        if not self._is_replaying:
            data = ask()
            path.write_bytes(data)
            return data
        if not path.is_file():
            raise RequestRefusedError(
                f"The folder {self._folder} does not hold the answer to {question[:80]}. "
                "Save it again while a node is there."
            )
        return path.read_bytes()
