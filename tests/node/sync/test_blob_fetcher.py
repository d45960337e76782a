"""Blobs from peers: shared, resumed and proven downloads; peers that lie, stall, lack or leave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
import trio.testing

from node.storage.blob_errors import BlobTooLargeError, StoreFullError
from node.storage.blob_store import BlobStore
from node.sync.blob_fetcher import (
    DOWNLOADS_MAX,
    BlobFetcher,
    BlobPatience,
    BlobUnavailableError,
)
from p2p.protocols.blob_download import BlobLimits
from p2p.protocols.blob_messages import BlobAnswer, BlobRange, BlobRequest
from p2p.protocols.reputation import Fault
from p2p.transport.transport import PeerId
from p2p.transport.wire import RequestKind
from runtime.codec.scale import codec
from runtime.trie.merkle import CHUNK_SIZE, blob_id
from runtime.types.primitives import Hash
from tests.node.support.certified import Answer, FakeNetwork, hang, provider, refuse
from tests.node.support.small_node import run, small_node

DATA = b"".join(bytes([n]) * CHUNK_SIZE for n in range(9)) + b"end"
BLOB = blob_id(DATA)
QUICK = BlobPatience(0.2, 0.02)
SMALL = BlobLimits(chunks_per_request=2, in_flight=3, rest_s=0.01, failures_max=3)
_answer, _request = codec(BlobAnswer), codec(BlobRequest)


@dataclass
class Scene:
    """A peer's store, this node's store, the network, and how the peer answers."""

    theirs: BlobStore
    ours: BlobStore
    network: FakeNetwork
    honest: Answer

    def fetcher(self) -> BlobFetcher:
        return BlobFetcher(self.ours, self.network, QUICK, SMALL)

    def altered(self, change: Callable[[BlobRange], object]) -> Answer:
        async def answer(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            found = _answer.decode(await self.honest(peer, kind, body))
            return _answer.encode(change(found))

        return answer


def scene(folder: Path, scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with small_node(folder / "node") as node:
            theirs, ours = BlobStore(folder / "theirs"), BlobStore(folder / "ours")
            theirs.put(DATA)
            await scenario(Scene(theirs, ours, FakeNetwork(), provider(node, theirs).answer))

    run(whole)


def test_a_blob_comes_from_several_peers(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        for name in "abc":
            at.network.add(name, answer=at.honest)
        await at.fetcher().fetch(BLOB)
        assert at.ours.get(BLOB) == DATA
        assert {peer for peer, _ in at.network.asked} == {"a", "b", "c"}
        assert at.network.blamed == []
        asked = len(at.network.asked)
        await at.fetcher().fetch(BLOB)
        assert len(at.network.asked) == asked

    scene(tmp_path, scenario)


def test_an_empty_blob_is_a_blob(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        empty = at.theirs.put(b"")
        at.network.add("a", answer=at.honest)
        await at.fetcher().fetch(empty)
        assert at.ours.get(empty) == b""

    scene(tmp_path, scenario)


def _other_bytes(found: BlobRange) -> BlobRange:
    (data, proof), *rest = found.chunks
    return replace(found, chunks=((data[:-1] + b"?", proof), *rest))


WRONG: dict[str, Callable[[BlobRange], object]] = {
    "other bytes": _other_bytes,
    "another length": lambda found: replace(found, length=found.length + 1),
    "a huge length": lambda found: replace(found, length=1 << 50),
    "no bytes": lambda found: replace(found, chunks=()),
    "an empty blob": lambda found: BlobRange(0, ()),
    "chunks in another order": lambda found: replace(found, chunks=found.chunks[::-1] * 2),
    "the last chunk alone": lambda found: replace(found, chunks=found.chunks[1:]),
}


@pytest.mark.parametrize("wrong", WRONG, ids=WRONG.keys())
def test_a_peer_that_serves_wrong_chunks_is_blamed_and_another_is_asked(
    tmp_path: Path, wrong: str
) -> None:
    async def scenario(at: Scene) -> None:
        at.network.add("a liar", answer=at.altered(WRONG[wrong]))
        at.network.add("honest", answer=at.honest)
        await at.fetcher().fetch(BLOB)
        assert at.ours.get(BLOB) == DATA
        assert {each[:2] for each in at.network.blamed} == {("a liar", Fault.BAD_ANSWER)}

    scene(tmp_path, scenario)


def test_peers_that_refuse_lack_it_or_send_garbage_do_not_stop_a_download(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        async def garbage(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            return b"\x07"

        at.network.add("a", answer=refuse)
        at.network.add("b", answer=at.altered(lambda _: None))
        at.network.add("c", answer=garbage)
        at.network.add("d", answer=at.honest)
        await at.fetcher().fetch(BLOB)
        assert {peer for peer, _, _ in at.network.blamed} == {"c"}

    scene(tmp_path, scenario)


def test_a_peer_that_stalls_is_blamed(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        at.network.limit_s = 0.02
        at.network.add("a", answer=hang)
        with pytest.raises(BlobUnavailableError):
            await at.fetcher().fetch(BLOB)
        assert at.network.blamed[0][:2] == ("a", Fault.NO_ANSWER)

    scene(tmp_path, scenario)


def test_a_download_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        served: list[int] = []

        async def only_first(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            if _request.decode(body).first >= 6:
                return await refuse(peer, kind, body)
            return await at.honest(peer, kind, body)

        async def noted(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            served.append(_request.decode(body).first)
            return await at.honest(peer, kind, body)

        at.network.add("a", answer=only_first)
        with pytest.raises(BlobUnavailableError, match="no connected peer gives it"):
            await at.fetcher().fetch(BLOB)
        at.network.drop(PeerId("a"))
        at.ours = BlobStore(at.ours.folder)  # as after a restart
        at.network.add("b", answer=noted)
        await at.fetcher().fetch(BLOB)
        assert at.ours.get(BLOB) == DATA
        assert min(served) == 6

    scene(tmp_path, scenario)


def test_a_blob_that_is_longer_than_wanted_is_refused_at_its_first_chunks(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        at.network.add("honest", answer=at.honest)
        with pytest.raises(BlobTooLargeError):
            await at.fetcher().fetch(BLOB, len(DATA) - 1)
        assert len(at.network.asked) <= SMALL.in_flight, "no more was asked for"
        assert at.network.blamed == []
        assert not at.ours.uploads()
        await at.fetcher().fetch(BLOB, len(DATA))
        assert at.ours.get(BLOB) == DATA

    scene(tmp_path, scenario)


def test_a_blob_that_nobody_has_is_unavailable_after_a_while(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        with pytest.raises(BlobUnavailableError, match="no connected peer gives it"):
            await at.fetcher().fetch(Hash(bytes(32)))
        at.network.add("a", answer=at.honest)
        with pytest.raises(BlobUnavailableError):
            await at.fetcher().fetch(Hash(bytes(32)))
        assert at.network.blamed == []

    scene(tmp_path, scenario)


def test_a_peer_that_comes_later_is_asked_too(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        fetcher = BlobFetcher(at.ours, at.network, BlobPatience(20.0, 0.02), SMALL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetcher.fetch, BLOB)
            await trio.testing.wait_all_tasks_blocked()
            at.network.add("a", answer=at.honest)
        assert at.ours.has(BLOB)

    scene(tmp_path, scenario)


def test_who_asks_for_a_blob_on_its_way_waits_for_it(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        at.network.add("a", answer=at.honest)
        fetcher = at.fetcher()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(fetcher.fetch, BLOB)
            nursery.start_soon(trio.to_thread.run_sync, fetcher.bring, BLOB)
        assert len(at.network.asked) == 5

    scene(tmp_path, scenario)


def test_a_download_that_comes_too_slowly_gives_its_turn_up(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        async def slow(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            await trio.sleep(0.1)
            return await at.honest(peer, kind, body)

        at.network.add("a", answer=slow)
        hurried = BlobPatience(0.2, 0.02, bytes_per_s=1 << 30)
        with pytest.raises(BlobUnavailableError, match="too slowly"):
            await BlobFetcher(at.ours, at.network, hurried, SMALL).fetch(BLOB)
        assert at.ours.uploads() == [BLOB], "it goes on from there"
        await at.fetcher().fetch(BLOB)
        assert at.ours.get(BLOB) == DATA

    scene(tmp_path, scenario)


def test_downloads_of_jobs_wait_for_no_others(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        never = [Hash(bytes([n]) * 32) for n in range(DOWNLOADS_MAX + 1)]

        async def only_that(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            if _request.decode(body).blob != BLOB:
                await trio.sleep_forever()
            return await at.honest(peer, kind, body)

        for name in "abcdefgh":
            at.network.add(name, answer=only_that)
        fetcher = at.fetcher()
        async with trio.open_nursery() as nursery:
            for blob in never:
                nursery.start_soon(fetcher.fetch, blob)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(5):
                await trio.to_thread.run_sync(fetcher.bring, BLOB)
            nursery.cancel_scope.cancel()
        assert at.ours.has(BLOB)

    scene(tmp_path, scenario)


def test_a_store_that_is_full_says_so(tmp_path: Path) -> None:
    async def scenario(at: Scene) -> None:
        at.network.add("a", answer=at.honest)
        at.ours.bytes_max = 1000
        with pytest.raises(StoreFullError):
            await at.fetcher().fetch(BLOB)
        at.ours.blob_bytes_max = 1000
        with pytest.raises(BlobTooLargeError):
            await at.fetcher().fetch(BLOB)

    scene(tmp_path, scenario)
