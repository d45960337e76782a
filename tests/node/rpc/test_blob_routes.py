"""Blobs over HTTP: uploads that resume, ranges, and everything that is refused."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.rpc.blob_routes import MANIFEST_BYTES_MAX, blob_routes
from node.storage.blob_store import RANGE_BYTES_MAX, BlobStore
from node.sync.blob_fetcher import BlobUnavailableError
from runtime.trie.merkle import CHUNK_SIZE, BlobHasher
from runtime.types.primitives import Hash
from tests.node.support.asgi import client_of
from tests.node.support.small_node import run

DATA = random.Random(1).randbytes(2 * CHUNK_SIZE + 1000)
Scenario = Callable[[httpx.AsyncClient, BlobStore], Awaitable[None]]


def named(data: bytes) -> tuple[str, list[str]]:
    """The blob id and the chunk hashes, in hex."""
    hasher = BlobHasher()
    hasher.update(data)
    return hasher.blob_id().hex(), [each.hex() for each in hasher.chunk_hashes()]


def chunks(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK_SIZE] for at in range(0, len(data), CHUNK_SIZE)]


def manifest(data: bytes) -> dict[str, Any]:
    return {"size_bytes": len(data), "chunks": named(data)[1]}


BLOB, HASHES = named(DATA)


def drive(folder: Path, scenario: Scenario, host: str = "127.0.0.1", **options: int) -> None:
    async def main() -> None:
        store = BlobStore(folder, **options)
        async with client_of([*blob_routes(store)], host) as client:
            await scenario(client, store)

    run(main)


def test_an_upload_goes_chunk_by_chunk_and_comes_back_whole(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        assert (await client.get(f"/blobs/{BLOB}")).status_code == 404
        begun = (await client.put(f"/blobs/{BLOB}", json=manifest(DATA))).json()
        assert begun == {"id": BLOB, "size_bytes": len(DATA), "chunks": 3, "missing": [0, 1, 2]}
        for index in (2, 0, 1):
            answer = await client.put(f"/blobs/{BLOB}/{index}", content=chunks(DATA)[index])
            assert answer.status_code == 200
        assert answer.json() == {"missing": []}
        described = (await client.get(f"/blobs/0x{BLOB}")).json()
        assert described == {**begun, "missing": []}
        answer = await client.get(f"/blobs/{BLOB}/data")
        assert (answer.status_code, answer.content) == (200, DATA)
        again = await client.put(f"/blobs/{BLOB}", json=manifest(DATA))
        assert again.json()["missing"] == []
        assert (await client.put(f"/blobs/{BLOB}/0", content=b"")).json() == {"missing": []}
        assert store.get(bytes.fromhex(BLOB)) == DATA  # type: ignore[arg-type]

    drive(tmp_path, scenario)


def test_an_upload_resumes_in_another_process(tmp_path: Path) -> None:
    async def first(client: httpx.AsyncClient, _: BlobStore) -> None:
        await client.put(f"/blobs/{BLOB}", json=manifest(DATA))
        await client.put(f"/blobs/{BLOB}/1", content=chunks(DATA)[1])

    async def second(client: httpx.AsyncClient, store: BlobStore) -> None:
        assert (await client.get(f"/blobs/{BLOB}")).json()["missing"] == [0, 2]
        begun = await client.put(f"/blobs/{BLOB}", json=manifest(DATA))
        assert begun.json()["missing"] == [0, 2]
        for index in (0, 2):
            await client.put(f"/blobs/{BLOB}/{index}", content=chunks(DATA)[index])
        assert (await client.get(f"/blobs/{BLOB}/data")).content == DATA

    drive(tmp_path, first)
    drive(tmp_path, second)


def test_an_empty_blob_is_complete_when_it_is_begun(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, _: BlobStore) -> None:
        empty, _hashes = named(b"")
        begun = await client.put(f"/blobs/{empty}", json=manifest(b""))
        assert begun.json()["missing"] == []
        answer = await client.get(f"/blobs/{empty}/data")
        assert (answer.status_code, answer.content) == (200, b"")

    drive(tmp_path, scenario)


def test_wrong_chunks_are_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        assert (await client.put(f"/blobs/{BLOB}/0", content=b"x")).status_code == 404
        await client.put(f"/blobs/{BLOB}", json=manifest(DATA))
        first = chunks(DATA)[0]
        for index, body, status in (
            (0, first[:-1], 400),
            (0, first[:-1] + b"\0", 400),
            (1, first, 400),
            (3, first, 400),
            (10**30, first, 400),
            (0, b"", 400),
            (0, first + b"\0", 413),
        ):
            answer = await client.put(f"/blobs/{BLOB}/{index}", content=body)
            assert (answer.status_code, "error" in answer.json()) == (status, True)
        assert (await client.get(f"/blobs/{BLOB}")).json()["missing"] == [0, 1, 2]
        assert store.ids() == []

    drive(tmp_path, scenario)


def test_ranges_are_served_exactly(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        store.put(DATA)
        for wanted, start, stop in (
            ("bytes=0-0", 0, 1),
            ("bytes=5-9", 5, 10),
            (f"bytes={CHUNK_SIZE - 1}-{CHUNK_SIZE}", CHUNK_SIZE - 1, CHUNK_SIZE + 1),
            (f"bytes={len(DATA) - 1}-", len(DATA) - 1, len(DATA)),
            (f"bytes=7-{10**17}", 7, len(DATA)),
        ):
            answer = await client.get(f"/blobs/{BLOB}/data", headers={"range": wanted})
            assert (answer.status_code, answer.content) == (206, DATA[start:stop])
            expected = f"bytes {start}-{stop - 1}/{len(DATA)}"
            assert answer.headers["content-range"] == expected
        for wanted in (
            f"bytes={len(DATA)}-", "bytes=-5", "bytes=9-5", "bytes=a-b", "lines=0-1", "",
            "bytes=" + "9" * 5000 + "-", "bytes=0-1,5-6", "bytes=0-1\n",
        ):  # fmt: skip
            answer = await client.get(f"/blobs/{BLOB}/data", headers={"range": wanted})
            assert answer.status_code == 416, wanted

    drive(tmp_path, scenario)


def test_a_large_blob_comes_in_parts(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        large = bytes(RANGE_BYTES_MAX + 5)
        blob = store.put(large).hex()
        answer = await client.get(f"/blobs/{blob}/data")
        assert (answer.status_code, len(answer.content)) == (206, RANGE_BYTES_MAX)
        rest = {"range": f"bytes={RANGE_BYTES_MAX}-"}
        assert (await client.get(f"/blobs/{blob}/data", headers=rest)).content == bytes(5)

    drive(tmp_path, scenario)


def test_a_damaged_blob_is_not_served(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        path = tmp_path / store.put(DATA).hex()
        raw = bytearray(path.read_bytes())
        raw[10] ^= 1
        path.write_bytes(bytes(raw))
        assert (await client.get(f"/blobs/{BLOB}/data")).status_code == 500
        path.write_bytes(b"short")
        assert (await client.get(f"/blobs/{BLOB}")).status_code == 500

    drive(tmp_path, scenario)


BAD_MANIFESTS: tuple[bytes, ...] = (
    b"", b"{", b"[]", b"5", b"null", b"\xff", b"{}", b"[" * 100_000,
    b'{"size_bytes": "1", "chunks": []}', b'{"size_bytes": true, "chunks": []}',
    b'{"size_bytes": -1, "chunks": []}', b'{"size_bytes": 1.5, "chunks": []}',
    b'{"size_bytes": 1, "chunks": 5}', b'{"size_bytes": 1, "chunks": [5]}',
    b'{"size_bytes": 1, "chunks": ["xx"]}', b'{"size_bytes": 1, "chunks": ["00"]}',
    b'{"size_bytes": 1, "chunks": []}', b'{"size_bytes": ' + b"9" * 5000 + b', "chunks": []}',
    b'{"size_bytes": ' + b"9" * 30 + b', "chunks": []}',
)  # fmt: skip


@pytest.mark.parametrize("body", BAD_MANIFESTS)
def test_a_bad_manifest_is_refused(tmp_path: Path, body: bytes) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        answer = await client.put(f"/blobs/{BLOB}", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]
        assert store.uploads() == []

    drive(tmp_path, scenario)


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        too_long = await client.put(f"/blobs/{BLOB}", content=bytes(MANIFEST_BYTES_MAX + 1))
        assert too_long.status_code == 413
        too_large = await client.put(f"/blobs/{BLOB}", json=manifest(DATA))
        assert too_large.status_code == 413
        assert store.uploads() == []

    drive(tmp_path, scenario, blob_bytes_max=1000)


def test_a_full_store_says_so(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, _: BlobStore) -> None:
        assert (await client.put(f"/blobs/{BLOB}", json=manifest(DATA))).status_code == 507

    drive(tmp_path, scenario, bytes_max=1000)


def test_uploads_are_taken_from_this_machine_alone(tmp_path: Path) -> None:
    async def scenario(client: httpx.AsyncClient, store: BlobStore) -> None:
        store.put(DATA)
        assert (await client.put(f"/blobs/{BLOB}", json=manifest(DATA))).status_code == 403
        assert (await client.put(f"/blobs/{BLOB}/0", content=b"")).status_code == 403
        assert (await client.get(f"/blobs/{BLOB}/data")).content == DATA

    drive(tmp_path, scenario, host="192.0.2.1")


@pytest.mark.parametrize("name", ["x", "0" * 63, "0" * 66, "..", "%2e%2e%2fetc", "zz" * 32])
def test_a_name_that_is_no_blob_id_is_refused(tmp_path: Path, name: str) -> None:
    async def scenario(client: httpx.AsyncClient, _: BlobStore) -> None:
        for path in (f"/blobs/{name}", f"/blobs/{name}/data"):
            assert (await client.get(path)).status_code in (400, 404)
        assert (await client.put(f"/blobs/{name}", json=manifest(DATA))).status_code in (400, 404)

    drive(tmp_path, scenario)


@settings(max_examples=40)
@given(body=st.binary(max_size=60), name=st.sampled_from([BLOB, "00" * 32]))
def test_garbage_never_breaks_the_server(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, name: str
) -> None:
    async def scenario(client: httpx.AsyncClient, _: BlobStore) -> None:
        for path in (f"/blobs/{name}", f"/blobs/{name}/0"):
            assert (await client.put(path, content=body)).status_code in (400, 404)

    drive(tmp_path_factory.mktemp("blobs"), scenario)


FOREIGN = (
    {"X-Forwarded-For": "6.6.6.6"},
    {"Via": "1.1 proxy"},
    {"Host": "evil.example:9944"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: str(*headers))
def test_a_page_or_a_proxy_on_this_machine_neither_uploads_nor_makes_a_node_fetch(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async def main() -> None:
        store = BlobStore(tmp_path)
        peer = GenerousPeer(store)
        async with client_of([*blob_routes(store, peer)]) as client:
            begun = await client.put(f"/blobs/{BLOB}", json=manifest(DATA), headers=headers)
            sent = await client.put(f"/blobs/{BLOB}/0", content=chunks(DATA)[0], headers=headers)
            assert (begun.status_code, sent.status_code) == (403, 403)
            for path in (f"/blobs/{BLOB}", f"/blobs/{BLOB}/data"):
                assert (await client.get(path, headers=headers)).status_code == 404
            assert peer.asked == []
            store.put(DATA)
            assert (await client.get(f"/blobs/{BLOB}/data", headers=headers)).content == DATA

    run(main)


class GenerousPeer:
    """A peer that has one blob."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store
        self.asked: list[bytes] = []

    async def fetch(self, blob: Hash) -> None:
        self.asked.append(blob)
        if blob.hex() != BLOB:
            raise BlobUnavailableError("no peer has it")
        self.store.put(DATA)


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("203.0.113.7", 404)])
def test_a_blob_of_peers_is_brought_for_callers_on_this_machine(
    tmp_path: Path, host: str, status: int
) -> None:
    async def main() -> None:
        store = BlobStore(tmp_path)
        peer = GenerousPeer(store)
        async with client_of([*blob_routes(store, peer)], host) as client:
            assert (await client.get(f"/blobs/{BLOB}")).status_code == status
            assert (await client.get(f"/blobs/{BLOB}/data")).status_code == status
            assert (await client.get(f"/blobs/{'00' * 32}")).status_code == 404
        assert bool(peer.asked) == (status == 200)

    run(main)
