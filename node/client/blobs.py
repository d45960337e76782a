"""Files to and from a node by chunks: uploads resume, downloads are checked.

PUT /blobs/{id}          {"size_bytes", "chunks": [hashes]}  -> what is missing
PUT /blobs/{id}/{chunk}  the chunk's bytes
GET /blobs/{id}/data     the bytes, by range
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from node.client.errors import RequestRefusedError
from node.client.transport_http import HttpTransport, json_of, refusal_of
from runtime.trie.merkle import (
    blob_id,
    blob_id_of_chunks,
    chunk_hash,
    chunks,
)
from runtime.types.primitives import Hash

DOWNLOAD_BYTES_MAX: Final = 256 * 1024 * 1024

OnProgress = Callable[[int, int], None]
"""Receives (bytes there, bytes in all) after each chunk."""


@dataclass(frozen=True, slots=True)
class BlobState:
    """The part of a blob that a node has."""

    size_bytes: int
    missing: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        """Return whether nothing is missing."""
        return not self.missing


class Blobs:
    """The blob store of a node. Raises RequestRefusedError, UnreachableError."""

    def __init__(self, http: HttpTransport) -> None:
        self._http = http

    def state(self, blob: Hash) -> BlobState | None:
        """Return the part of a blob that the node has, None when it does not know the blob."""
        answer = self._http.request("GET", f"/blobs/{blob.hex()}")
        if answer.status_code == 404:
            return None
        return _state_of(_checked(answer))

    def upload(self, data: bytes, on_progress: OnProgress | None = None) -> Hash:
        """Send the chunks that the node does not have, and return the blob's id."""
        pieces = chunks(data)
        hashes = [chunk_hash(piece) for piece in pieces]
        blob = blob_id_of_chunks(hashes, len(data))
        manifest = {"size_bytes": len(data), "chunks": [digest.hex() for digest in hashes]}
        answer = self._http.request("PUT", f"/blobs/{blob.hex()}", json=manifest)
        missing = _state_of(_checked(answer)).missing
        there = len(data) - sum(len(pieces[index]) for index in missing)
        notify = on_progress or (lambda done, size: None)
        notify(there, len(data))
        for index in missing:
            _checked(
                self._http.request("PUT", f"/blobs/{blob.hex()}/{index}", content=pieces[index])
            )
            there += len(pieces[index])
            notify(there, len(data))
        return blob

    def download(self, blob: Hash) -> bytes:
        """Return a blob, checked against its id."""
        state = self.state(blob)
        if state is None or not state.is_complete:
            raise RequestRefusedError(
                f"The node does not have the file {blob.hex()}. Ask a node that stores it.", 404
            )
        if state.size_bytes > DOWNLOAD_BYTES_MAX:
            raise RequestRefusedError(
                f"The file {blob.hex()} has {state.size_bytes} bytes, more than the "
                f"{DOWNLOAD_BYTES_MAX} that are read at once."
            )
        data = bytearray()
        while len(data) < state.size_bytes:
            headers = {"range": f"bytes={len(data)}-"}
            answer = self._http.request("GET", f"/blobs/{blob.hex()}/data", headers=headers)
            if answer.status_code >= 400 or not answer.content:
                raise RequestRefusedError(f"The file ended early: {refusal_of(answer)}")
            data += answer.content
        if blob_id(bytes(data)) != blob:
            raise RequestRefusedError(
                f"What the node sent is not the file {blob.hex()}. Ask another node."
            )
        return bytes(data)


def _checked(answer: Any) -> Any:
    if answer.status_code >= 400:
        raise RequestRefusedError(
            f"The node refused the file: {refusal_of(answer)}", answer.status_code
        )
    return json_of(answer)


def _state_of(answer: Any) -> BlobState:
    return BlobState(int(answer["size_bytes"]), tuple(answer["missing"]))
