"""A node's state as a backend: the composed runtime reads a remote block as if it were local.

Storage items, runtime code and even dry runs work on it unchanged, because they read through the
same overlay as in a block. Every key is read once; scans fetch pages of keys with their values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from runtime.codec.hexadecimal import from_hex, to_hex
from runtime.types.primitives import Hash

PAGE_KEYS: Final = 512

CallMethod = Callable[[str, list[Any]], Any]


class RemoteState:
    """The state after one block of a node; a Backend without trie nodes."""

    def __init__(self, call: CallMethod, block_hash: Hash) -> None:
        self._call = call
        self._at = to_hex(block_hash)
        self._values: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, None when there is none."""
        if key not in self._values:
            text = self._call("state_getStorage", [to_hex(key), self._at])
            self._values[key] = None if text is None else from_hex(text)
        return self._values[key]

    def node(self, path: bytes) -> bytes | None:
        """Refuse: no state root is computed on a remote state."""
        raise AssertionError(f"a remote state has no trie nodes (asked for {path.hex()})")

    def keys(self, prefix: bytes, after: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys that start with `prefix`, sorted, strictly after `after`."""
        start = None if after is None else to_hex(after)
        while True:
            page = self._call("state_getKeysPaged", [to_hex(prefix), PAGE_KEYS, start, self._at])
            self.prefetch([from_hex(text) for text in page])
            for text in page:
                yield from_hex(text)
            if len(page) < PAGE_KEYS:
                return
            start = page[-1]

    def prefetch(self, keys: Sequence[bytes]) -> None:
        """Read the values of many keys in few requests."""
        missing_keys = [to_hex(key) for key in keys if key not in self._values]
        for start in range(0, len(missing_keys), PAGE_KEYS):
            page = missing_keys[start : start + PAGE_KEYS]
            for change_set in self._call("state_queryStorageAt", [page, self._at]):
                for key, value in change_set["changes"]:
                    self._values[from_hex(key)] = None if value is None else from_hex(value)
