"""What a node answers to peers, its limits, and requests that nobody should send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.storage.blob_store import BlobStore
from node.sync.peer_requests import Provider
from p2p.protocols.blob_messages import BlobAnswer, BlobRequest, check_range
from p2p.protocols.status import Roles, decode_status, encode_status
from p2p.protocols.sync_messages import (
    Blocks,
    BlocksRequest,
    Epochs,
    EpochsRequest,
    StateAnswer,
    StateRequest,
    check_blocks,
)
from p2p.transport.transport import PeerId, RequestError
from p2p.transport.wire import RequestKind
from runtime.codec.scale import codec
from runtime.trie.merkle import CHUNK_SIZE
from runtime.trie.range_proof import Chunk, verify_range
from runtime.types.primitives import ZERO_HASH, Hash
from tests.node.support.certified import NoBlobs, boundaries, grow, provider
from tests.node.support.small_node import SmallNode, run, small_node

PEER = PeerId("peer")


@pytest.fixture(autouse=True)
def _epochs_that_end() -> Iterator[None]:
    with boundaries():
        yield


def on_chain(
    folder: Path,
    height: int,
    scenario: Callable[[SmallNode, Provider], Awaitable[None]],
    every: int = 1,
    **options: Any,
) -> None:
    async def whole() -> None:
        async with small_node(folder, **options) as node:
            await grow(node, height, every=every, size=300)
            await scenario(node, provider(node))

    run(whole)


async def blocks_of(serving: Provider, *request: Any) -> Blocks:
    body = codec(BlocksRequest).encode(BlocksRequest(*request))
    found: Blocks = codec(Blocks).decode(await serving.answer(PEER, RequestKind.BLOCKS, body))
    return found


def test_the_status_says_what_the_chain_has(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, _: Provider) -> None:
        node.grow(node.chain.best.hash, [b"not final"])
        status = Provider(node.chain, NoBlobs(), None, Roles.VALIDATOR, "x" * 100).status()
        assert (status.finalized_number, status.best_number) == (3, 4)
        assert status.genesis_hash == node.chain.genesis_hash
        assert decode_status(encode_status(status)) == status

    on_chain(tmp_path, 3, scenario)


@pytest.mark.parametrize("every", [1, 3, 100])
def test_every_answer_proves_itself(tmp_path: Path, every: int) -> None:
    async def scenario(node: SmallNode, serving: Provider) -> None:
        for first in range(1, 21):
            for count in (1, 2, 7, 256):
                answer = await blocks_of(serving, first, count)
                check_blocks(first, count, answer)
        assert (await blocks_of(serving, 21, 10)).blocks == ()

    on_chain(tmp_path, 20, scenario, every)


def test_blocks_that_nothing_proves_are_not_served(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, serving: Provider) -> None:
        (executed,) = node.grow(node.chain.best.hash, [b"no certificate"])
        await node.chain.finalize(executed.hash)
        assert len((await blocks_of(serving, 1, 10)).blocks) == 2
        assert (await blocks_of(serving, 3, 10)).blocks == ()

    on_chain(tmp_path, 2, scenario)


def test_an_answer_ends_where_it_is_large_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.sync.peer_requests.BLOCKS_BYTES_MAX", 1500)

    async def scenario(node: SmallNode, serving: Provider) -> None:
        answer = await blocks_of(serving, 1, 10)
        assert 0 < len(answer.blocks) < 5
        check_blocks(1, 10, answer)
        last = node.chain.best.hash
        assert 0 < len((await blocks_of(serving, 1, 10, last)).blocks) < 5

    on_chain(tmp_path, 10, scenario)


def test_a_branch_is_served_by_its_hash_whether_final_or_not(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, serving: Provider) -> None:
        branch = node.grow(node.chain.best.hash, [b"1", b"2", b"3"])
        answer = await blocks_of(serving, 3, 256, branch[2].hash)
        assert [block.header.number for block in answer.blocks] == [3, 4, 5, 6, 7]
        assert answer.blocks[-1].header == branch[2].header
        assert (await blocks_of(serving, 1, 5, ZERO_HASH)).blocks == ()
        body = await serving.answer(PEER, RequestKind.BODY, branch[0].hash)
        assert codec(tuple[bytes, ...]).decode(body) == branch[0].extrinsics
        with pytest.raises(RequestError, match="not known"):
            await serving.answer(PEER, RequestKind.BODY, ZERO_HASH)

    on_chain(tmp_path, 4, scenario)


def test_the_ends_of_epochs_are_served_as_far_as_they_are_final(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, serving: Provider) -> None:
        async def ends(*request: int) -> list[int]:
            body = codec(EpochsRequest).encode(EpochsRequest(*request))
            found = codec(Epochs).decode(await serving.answer(PEER, RequestKind.EPOCHS, body))
            return [each.header.number for each in found]

        assert serving._archive is not None
        await serving._archive.keep()
        assert await ends(0, 64) == [8, 16, 24]
        assert await ends(1, 1) == [16]
        assert await ends(3, 5) == []
        alone = Provider(node.chain, NoBlobs())
        raw = await alone.answer(
            PEER, RequestKind.EPOCHS, codec(EpochsRequest).encode(EpochsRequest(0, 1))
        )
        assert codec(Epochs).decode(raw) == ()

    on_chain(tmp_path, 30, scenario)


def test_states_of_the_kept_history_are_served_and_no_others(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, serving: Provider) -> None:
        for number, is_kept in ((1, False), (4, True), (8, True)):
            header = node.chain.header(node.chain.hash_of(number) or ZERO_HASH)
            assert header is not None
            request = StateRequest(header.hash, b"", 2000)
            body = codec(StateRequest).encode(request)
            found = codec(StateAnswer).decode(await serving.answer(PEER, RequestKind.STATE, body))
            assert (found is not None) == is_kept
            if found is not None:
                verified = verify_range(header.state_root, b"", Chunk(found.pairs, found.proof))
                assert verified.next_start is not None
        body = codec(StateRequest).encode(StateRequest(ZERO_HASH, b"", 2000))
        assert (
            codec(StateAnswer).decode(await serving.answer(PEER, RequestKind.STATE, body)) is None
        )

    on_chain(tmp_path, 8, scenario, history_blocks=4)


def test_a_blob_is_served_in_ranges_with_proofs(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, _: Provider) -> None:
        blobs = BlobStore(tmp_path / "blobs")
        blob = blobs.put(bytes(3 * CHUNK_SIZE))
        serving = provider(node, blobs)

        async def ranged(*request: Any) -> Any:
            body = codec(BlobRequest).encode(BlobRequest(*request))
            return codec(BlobAnswer).decode(await serving.answer(PEER, RequestKind.BLOB, body))

        check_range(BlobRequest(blob, 1, 32), await ranged(blob, 1, 32), 1 << 30)
        assert await ranged(Hash(bytes(32)), 0, 1) is None
        assert (await ranged(blobs.put(b""), 0, 1)).length == 0
        for wrong in ((blob, 3, 1), (blob, 0, 33), (blob, 0, 0)):
            with pytest.raises(RequestError):
                await ranged(*wrong)
        (tmp_path / "blobs" / blob.hex()).write_bytes(b"damaged")
        with pytest.raises(RequestError, match="fault"):
            await ranged(blob, 0, 1)

    on_chain(tmp_path / "node", 1, scenario)


def test_requests_that_no_peer_should_send_are_refused(tmp_path: Path) -> None:
    async def scenario(node: SmallNode, serving: Provider) -> None:
        for kind in RequestKind:
            for body in (b"", b"\xff" * 5, b"\xff" * 100):
                with pytest.raises(RequestError):
                    await serving.answer(PEER, kind, body)
        for count in (0, 257, 65_535):
            with pytest.raises(RequestError, match="1 to 256"):
                await blocks_of(serving, 1, count)
        with pytest.raises(RequestError, match="1 to 64"):
            await serving.answer(
                PEER, RequestKind.EPOCHS, codec(EpochsRequest).encode(EpochsRequest(0, 65))
            )
        assert (await blocks_of(serving, 2**64 - 1, 256)).blocks == ()

    on_chain(tmp_path, 2, scenario)
