"""Fast sync: a recent state instead of all blocks, proven at each step, going on after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from node.storage.database import Database
from node.storage.errors import InstallError
from node.storage.records import StoredBlock
from node.sync.block_sync import Patience, Synchronizer
from node.sync.epoch_archive import EpochArchive
from node.sync.peer_requests import Provider
from node.sync.state_sync import FastLimits, FastSync, FastSyncRefusedError
from p2p.protocols.reputation import Fault
from p2p.protocols.sync_messages import Blocks, Epochs, StateAnswer, StateRange
from p2p.transport.transport import PeerId
from p2p.transport.wire import RequestKind
from runtime.codec.scale import codec
from runtime.types.primitives import Hash
from tests.node.support.certified import (
    EPOCH_BLOCKS,
    Answer,
    FakeNetwork,
    NoBlobs,
    boundaries,
    certify,
    epoch_after,
    grow,
    provider,
    refuse,
    set_after,
    set_of,
)
from tests.node.support.small_node import BOB, SmallNode, run, small_node

LIMITS = FastLimits(gain_blocks=4, wait_s=0.2, look_s=0.02, chunk_bytes=600)
_epochs, _state, _blocks = codec(Epochs), codec(StateAnswer), codec(Blocks)
Scenario = Callable[[SmallNode], object]


@pytest.fixture(autouse=True)
def _epochs_that_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("node.sync.state_sync.REST_SECONDS", 0.01)
    with boundaries():
        yield


@contextmanager
def fresh(folder: Path, ahead: SmallNode, **options: bool) -> Iterator[Database]:
    """A database that has the genesis of the chain alone."""
    with Database.open(folder, **options) as database:
        if database.head is None:
            genesis = ahead.chain.database.block(0)
            assert genesis is not None
            built = ahead.chain.spec.build()
            from node.storage.records import BlockRecord

            database.commit(
                BlockRecord(0, genesis.hash, genesis.header, (), built.changes, built.nodes)
            )
        yield database


def fast(database: Database, ahead: SmallNode, network: FakeNetwork) -> FastSync:
    return FastSync(database, ahead.chain.genesis_hash, set_of(0), EPOCH_BLOCKS, network, LIMITS)


def on_chain(folder: Path, height: int, scenario: Callable[[SmallNode], object]) -> None:
    async def whole() -> None:
        async with small_node(folder / "ahead") as ahead:
            await grow(ahead, height, size=40)
            await EpochArchive(ahead.chain, epoch_after(ahead.chain)).keep()
            await scenario(ahead)  # type: ignore[misc]

    run(whole)


def altered(ahead: SmallNode, of: RequestKind, change: Callable[[object], object]) -> Answer:
    honest = provider(ahead)
    codecs = {RequestKind.EPOCHS: _epochs, RequestKind.STATE: _state, RequestKind.BLOCKS: _blocks}

    async def answer(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        raw = await honest.answer(peer, kind, body)
        return codecs[of].encode(change(codecs[of].decode(raw))) if kind is of else raw

    return answer


@pytest.mark.parametrize("height", [5, 8, 21, 24])
def test_a_recent_state_is_installed_and_blocks_follow(tmp_path: Path, height: int) -> None:
    async def scenario(ahead: SmallNode) -> None:
        network = FakeNetwork()
        network.add("a", ahead)
        network.add("b", ahead)
        with fresh(tmp_path / "new", ahead) as database:
            assert await fast(database, ahead, network).run() == height
            assert database.head == database.oldest_state == height
            assert database.check().state_root == ahead.chain.finalized.state_root
        async with small_node(tmp_path / "new") as new:
            assert new.chain.finalized == new.chain.best == ahead.chain.finalized
            assert new.free(BOB) == ahead.free(BOB)
            assert new.chain.justification(new.chain.best.hash) is not None
            await grow(ahead, 11, size=40)
            synchronizer = Synchronizer(new.chain, network, set_after(new.chain), Patience(1, 0.01))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(synchronizer.run)
                async with new.chain.events() as events:
                    while new.chain.finalized.number < height + 11:
                        await events.receive()
                nursery.cancel_scope.cancel()
            assert new.chain.finalized == ahead.chain.finalized
            assert new.chain.database.check().blocks == 12
        assert network.blamed == []

    on_chain(tmp_path, height, scenario)


def test_a_node_that_began_fast_serves_the_next_one(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        network = FakeNetwork()
        network.add("a", ahead)
        with fresh(tmp_path / "second", ahead) as database:
            assert await fast(database, ahead, network).run() == 21
        async with small_node(tmp_path / "second") as second:
            archive = EpochArchive(second.chain, epoch_after(second.chain))
            await archive.keep()
            assert len(archive.ends(0, 10)) == 2
            network = FakeNetwork()
            network.add("b", second, answer=Provider(second.chain, NoBlobs(), archive).answer)
            network.known[PeerId("b")].claims = 21
            with fresh(tmp_path / "third", ahead) as database:
                assert await fast(database, ahead, network).run() == 21

    on_chain(tmp_path, 21, scenario)


def test_copying_goes_on_after_a_crash(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        honest = provider(ahead)
        asked = dict.fromkeys(RequestKind, 0)

        async def dying(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            asked[kind] += 1
            if asked[RequestKind.STATE] % 5 == 4:
                raise KeyboardInterrupt  # stands for kill -9: nothing is tidied up
            return await honest.answer(peer, kind, body)

        network = FakeNetwork()
        network.add("a", answer=dying, claims=21)
        crashes = 0
        while True:
            with fresh(tmp_path / "new", ahead) as database:
                try:
                    assert await fast(database, ahead, network).run() == 21
                    break
                except KeyboardInterrupt:
                    crashes += 1
                    assert database.head == 0
                    genesis = database.head_state().node(b"")
                    assert genesis == ahead.chain.spec.build().nodes[b""]
        assert crashes >= 3
        assert asked[RequestKind.EPOCHS] == asked[RequestKind.BLOCKS] == 1
        with fresh(tmp_path / "new", ahead) as database:
            assert database.check().state_root == ahead.chain.finalized.state_root

    on_chain(tmp_path, 21, scenario)


def _less(found: StateRange) -> StateRange:
    return replace(found, pairs=found.pairs[1:])


def _more(found: StateRange) -> StateRange:
    return replace(found, pairs=(*found.pairs, (found.pairs[-1][0] + b"\1", b"mine")))


def _richer(found: StateRange) -> StateRange:
    key, value = found.pairs[-1]
    return replace(found, pairs=(*found.pairs[:-1], (key, value + b"\1")))


STATE_LIES: dict[str, Callable[[StateRange], object]] = {
    "a key left out": _less,
    "a key added": _more,
    "a value changed": _richer,
    "no keys": lambda found: StateRange((), ()),
    "no proof": lambda found: replace(found, proof=()),
}


@pytest.mark.parametrize("lie", STATE_LIES, ids=STATE_LIES.keys())
def test_a_chunk_that_is_not_proven_is_not_kept(tmp_path: Path, lie: str) -> None:
    async def scenario(ahead: SmallNode) -> None:
        network = FakeNetwork()
        network.add("a", answer=altered(ahead, RequestKind.STATE, STATE_LIES[lie]), claims=22)  # type: ignore[arg-type]
        network.add("b", ahead)
        with fresh(tmp_path / "new", ahead) as database:
            sync = fast(database, ahead, network)
            assert await sync.run() == 21
            assert database.check().state_root == ahead.chain.finalized.state_root
        assert {each[:2] for each in network.blamed} == {("a", Fault.BAD_ANSWER)}

    on_chain(tmp_path, 21, scenario)


EPOCH_LIES: dict[str, Callable[[Epochs], object]] = {
    "an epoch left out": lambda ends: ends[1:],
    "another set": lambda ends: (replace(ends[0], next_set=set_of(7)), *ends[1:]),
    "another header": lambda ends: (replace(ends[0], header=ends[1].header), *ends[1:]),
    "epochs twice": lambda ends: ends * 2,
}


@pytest.mark.parametrize("lie", EPOCH_LIES, ids=EPOCH_LIES.keys())
def test_an_epoch_that_is_not_proven_is_not_followed(tmp_path: Path, lie: str) -> None:
    async def scenario(ahead: SmallNode) -> None:
        network = FakeNetwork()
        network.add("a", answer=altered(ahead, RequestKind.EPOCHS, EPOCH_LIES[lie]), claims=22)  # type: ignore[arg-type]
        network.add("b", ahead)
        with fresh(tmp_path / "new", ahead) as database:
            assert await fast(database, ahead, network).run() == 21
        assert {each[:2] for each in network.blamed} == {("a", Fault.BAD_ANSWER)}

    on_chain(tmp_path, 21, scenario)


def test_a_block_with_a_forged_certificate_is_not_chosen(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        def forged(blocks: object) -> object:
            assert isinstance(blocks, Blocks)
            block = blocks.blocks[0]
            header = replace(block.header, state_root=Hash(bytes(32)))
            proof = certify(Hash(bytes(32)), header)
            return Blocks((replace(block, header=header, justification=proof),))

        network = FakeNetwork()
        network.add("a", answer=altered(ahead, RequestKind.BLOCKS, forged), claims=21)
        network.add("b", ahead)
        with fresh(tmp_path / "new", ahead) as database:
            assert await fast(database, ahead, network).run() == 21
        assert {each[:2] for each in network.blamed} == {("a", Fault.BAD_ANSWER)}

    on_chain(tmp_path, 21, scenario)


def test_a_state_that_nobody_has_any_more_gives_way_to_a_newer_one(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        honest = provider(ahead)
        chunks = 0

        async def forgetting(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
            nonlocal chunks
            if kind is RequestKind.STATE:
                chunks += 1
                if chunks == 4:
                    await grow(ahead, 9, size=40)
                if 4 <= chunks <= 5:
                    return _state.encode(None)
            return await honest.answer(peer, kind, body)

        network = FakeNetwork()
        peer = network.add("a", ahead, answer=forgetting)
        await EpochArchive(ahead.chain, epoch_after(ahead.chain)).keep()
        with fresh(tmp_path / "new", ahead) as database:
            task = fast(database, ahead, network)

            async def keep() -> None:
                while ahead.chain.finalized.number < 30:
                    async with ahead.chain.events() as events:
                        await events.receive()
                await EpochArchive(ahead.chain, epoch_after(ahead.chain)).keep()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep)
                assert await task.run() == 30
            assert database.check().state_root == ahead.chain.finalized.state_root
        assert {name for name, _ in network.asked} == {peer}
        assert network.blamed == []

    on_chain(tmp_path, 21, scenario)


def test_fast_sync_is_skipped_where_it_gains_nothing(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        network = FakeNetwork()
        with fresh(tmp_path / "alone", ahead) as database:
            assert await fast(database, ahead, network).run() is None
        network.add("a", answer=refuse, claims=3)
        with fresh(tmp_path / "near", ahead) as database:
            assert await fast(database, ahead, network).run() is None
        assert network.asked == []
        assert await fast(ahead.chain.database, ahead, network).run() is None

    on_chain(tmp_path, 5, scenario)


def test_peers_that_give_nothing_leave_the_node_to_synchronize_by_blocks(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        network = FakeNetwork()
        network.add("a", answer=refuse, claims=10_000)
        limits = replace(LIMITS, stall_s=0.1)
        arguments = ahead.chain.genesis_hash, set_of(0), EPOCH_BLOCKS, network, limits
        with fresh(tmp_path / "new", ahead) as database:
            assert await FastSync(database, *arguments).run() is None
            assert database.head == 0

    on_chain(tmp_path, 1, scenario)


def test_an_archive_is_told_to_synchronize_by_blocks(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        with (
            fresh(tmp_path / "new", ahead, archive=True) as database,
            pytest.raises(FastSyncRefusedError, match="--sync full"),
        ):
            fast(database, ahead, FakeNetwork())

    on_chain(tmp_path, 1, scenario)


def test_only_the_whole_state_of_the_block_is_installed(tmp_path: Path) -> None:
    async def scenario(ahead: SmallNode) -> None:
        header = ahead.chain.database.header(5) or b""
        block = StoredBlock(5, ahead.chain.finalized.hash, header, (), None)
        with fresh(tmp_path / "new", ahead) as database:
            database.staging().begin(b"")
            database.staging().put(((b"key", b"value"),), {b"": b"node"}, b"")
            with pytest.raises(InstallError, match="Stage it again"):
                database.install(block)
        with pytest.raises(InstallError, match="not at genesis"):
            ahead.chain.database.install(block)

    on_chain(tmp_path, 5, scenario)
