"""Blobs over HTTP: begin or resume an upload, send chunks, download with ranges.

    PUT /blobs/{id}           {"size_bytes": n, "chunks": [hashes]} -> what is missing
    PUT /blobs/{id}/{chunk}   the chunk's bytes; the last one completes the blob
    GET /blobs/{id}           {"id", "size_bytes", "chunks", "missing"}
    GET /blobs/{id}/data      the bytes, `Range: bytes=a-b` supported

Uploads are taken from programs on this machine only, not from pages or through proxies. Every byte
is checked against the id, either way. A blob that is not here is brought from peers first, for the
same callers.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final, Protocol

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.rpc.callers import is_program_here
from node.storage.blob_errors import (
    BlobError,
    BlobNotFoundError,
    BlobTooLargeError,
    ChunkRefusedError,
    RangeError,
    StoreFullError,
)
from node.storage.blob_store import RANGE_BYTES_MAX, BlobStore
from node.storage.blob_upload import Upload
from node.sync.blob_fetcher import BlobUnavailableError
from runtime.codec.hexadecimal import from_hex
from runtime.trie.merkle import CHUNK_SIZE
from runtime.types.primitives import Hash

MANIFEST_BYTES_MAX: Final = 1 << 20
_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_STATUS: Final[dict[type[BlobError], int]] = {
    BlobNotFoundError: 404,
    BlobTooLargeError: 413,
    StoreFullError: 507,
    ChunkRefusedError: 400,
    RangeError: 416,
}

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class BlobRequestError(Exception):
    """A request about blobs is malformed or not allowed; carries the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Peers(Protocol):
    """Who brings blobs that are not here (node/sync/blob_fetcher.py)."""

    async def fetch(self, blob: Hash, /) -> None:
        """Bring a blob. Raises BlobUnavailableError."""
        ...


def blob_routes(store: BlobStore, peers: Peers | None = None) -> list[Route]:
    """Return the routes over a store; without peers, only what is stored here is found."""
    uploads = _Uploads(store, peers)
    return [
        Route("/blobs/{blob}", _guarded(uploads.describe), methods=["GET"]),
        Route("/blobs/{blob}", _guarded(uploads.begin), methods=["PUT"]),
        Route("/blobs/{blob}/data", _guarded(uploads.download), methods=["GET"]),
        Route("/blobs/{blob}/{chunk:int}", _guarded(uploads.add), methods=["PUT"]),
    ]


def _guarded(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BlobRequestError as error:
            return JSONResponse({"error": str(error)}, error.status)
        except BlobError as error:
            return JSONResponse({"error": str(error)}, _STATUS.get(type(error), 500))
        except ClientDisconnect:
            return Response(status_code=400)

    return answer


class _Uploads:
    """The handlers; one lock, since an upload's files belong to one request at a time."""

    def __init__(self, store: BlobStore, peers: Peers | None) -> None:
        self._store = store
        self._peers = peers
        self._lock = trio.Lock()

    async def describe(self, request: Request) -> Response:
        blob = _blob_id(request)
        await self._bring(request, blob)
        if self._store.has(blob):
            manifest = await trio.to_thread.run_sync(self._store.manifest, blob)
            return _state(blob, manifest.length, len(manifest.chunk_hashes), [])
        async with self._lock:
            upload = self._open(blob)
        if upload is None:
            raise BlobRequestError(404, f"Blob {blob.hex()} is not stored here.")
        missing = upload.missing()
        return _state(blob, upload.length, -(-upload.length // CHUNK_SIZE), missing)

    async def begin(self, request: Request) -> Response:
        _check_local(request)
        blob = _blob_id(request)
        length, hashes = _manifest(await _body(request, MANIFEST_BYTES_MAX))
        async with self._lock:
            if self._store.has(blob):
                return _state(blob, length, len(hashes), [])
            upload = await trio.to_thread.run_sync(self._store.upload, blob, length, hashes)
            missing = upload.missing()
            if not missing:
                await trio.to_thread.run_sync(upload.finish)
            return _state(blob, length, len(hashes), missing)

    async def add(self, request: Request) -> Response:
        _check_local(request)
        blob, index = _blob_id(request), int(request.path_params["chunk"])
        chunk = await _body(request, CHUNK_SIZE)
        async with self._lock:
            if self._store.has(blob):
                return JSONResponse({"missing": []})
            upload = self._open(blob)
            if upload is None:
                raise BlobRequestError(404, "Begin the upload first: PUT /blobs/{id}.")
            await trio.to_thread.run_sync(upload.add, index, chunk)
            missing = upload.missing()
            if not missing:
                await trio.to_thread.run_sync(upload.finish)
            return JSONResponse({"missing": missing})

    async def download(self, request: Request) -> Response:
        blob = _blob_id(request)
        await self._bring(request, blob)
        manifest = await trio.to_thread.run_sync(self._store.manifest, blob)
        start, stop, status = 0, manifest.length, 200
        wanted = request.headers.get("range")
        if wanted is not None:
            match = _RANGE.fullmatch(wanted)
            if match is None or int(match[1]) >= manifest.length:
                raise BlobRequestError(416, "The range is not in the blob.")
            start = int(match[1])
            stop = min(int(match[2]) + 1 if match[2] else manifest.length, manifest.length)
            status = 206
        if stop - start > RANGE_BYTES_MAX:
            stop, status = start + RANGE_BYTES_MAX, 206
        data = await trio.to_thread.run_sync(self._store.read, blob, start, stop - start)
        headers = {"accept-ranges": "bytes"}
        if status == 206:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{manifest.length}"
        return Response(data, status, headers, "application/octet-stream")

    async def _bring(self, request: Request, blob: Hash) -> None:
        """Fetch a blob from peers, unless it or a part of it is here; strangers cannot ask for it.

        Where no peer has it, the answer is the one of a blob that is not here.
        """
        if self._peers is None or not _is_local(request) or self._store.has(blob):
            return
        if self._open(blob) is None:
            try:
                await self._peers.fetch(blob)
            except BlobUnavailableError as error:
                logger.info("blob-not-brought blob=%s cause=%r", blob.hex(), str(error))

    def _open(self, blob: Hash) -> Upload | None:
        return self._store.resume(blob)


def _blob_id(request: Request) -> Hash:
    try:
        blob = from_hex(request.path_params["blob"])
    except ValueError:
        blob = b""
    if len(blob) != 32:
        raise BlobRequestError(400, "A blob id is 64 hex digits.")
    return Hash(blob)


def _is_local(request: Request) -> bool:
    return request.client is not None and is_program_here(request.client.host, request.headers)


def _check_local(request: Request) -> None:
    if not _is_local(request):
        raise BlobRequestError(403, "Uploads are taken from programs on this machine only.")


async def _body(request: Request, size_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            size += len(part)
            if size > size_max:
                raise BlobRequestError(413, f"The body has more than {size_max} bytes.")
            parts.append(part)
    return b"".join(parts)


def _manifest(body: bytes) -> tuple[int, list[Hash]]:
    try:
        data = json.loads(body)
        length, chunks = data["size_bytes"], data["chunks"]
        hashes = [Hash(from_hex(chunk)) for chunk in chunks]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BlobRequestError(
            400, 'The body is JSON: {"size_bytes": number, "chunks": [hex hashes]}.'
        ) from error
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise BlobRequestError(400, "size_bytes is a whole number.")
    if any(len(chunk_hash) != 32 for chunk_hash in hashes):
        raise BlobRequestError(400, "A chunk hash is 64 hex digits.")
    return length, hashes


def _state(blob: Hash, length: int, chunks: int, missing: list[int]) -> Response:
    return JSONResponse(
        {"id": blob.hex(), "size_bytes": length, "chunks": chunks, "missing": missing}
    )
