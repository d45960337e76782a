"""Block sync between chains in memory: new nodes, late ones, and peers that lie, stall or leave."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from node.chain.chain import Chain
from node.sync import block_sync
from node.sync.block_sync import DivergedError, FetchError, Patience, Synchronizer
from p2p.protocols.block_download import SyncLimits
from p2p.protocols.reputation import Fault
from p2p.protocols.sync_messages import Blocks, BlocksRequest
from p2p.transport.transport import PeerId
from p2p.transport.wire import RequestKind
from runtime.codec.scale import codec
from runtime.types.primitives import Hash
from tests.node.storage.test_disk_space import disk_of
from tests.node.support.certified import (
    EPOCH_BLOCKS,
    Answer,
    FakeNetwork,
    certify,
    grow,
    hang,
    provider,
    refuse,
    set_after,
)
from tests.node.support.small_node import SmallNode, run, small_node

_blocks = codec(Blocks)
_request = codec(BlocksRequest)
SMALL = SyncLimits(blocks_per_request=5, ranges_ahead=3, in_flight_per_peer=2, rest_s=0.05)


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[SmallNode, SmallNode]]:
    async with small_node(folder / "ahead") as ahead, small_node(folder / "late") as late:
        yield ahead, late


@asynccontextmanager
async def syncing(
    node: SmallNode, network: FakeNetwork, patience: Patience | None = None
) -> AsyncIterator[Synchronizer]:
    synchronizer = Synchronizer(
        node.chain, network, set_after(node.chain), patience or Patience(1, 0.01), SMALL
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(synchronizer.run)
        yield synchronizer
        nursery.cancel_scope.cancel()


async def reach(chain: Chain, number: int) -> None:
    """Wait until a height is final."""
    while chain.finalized.number < number:
        async with chain.events() as events:
            if chain.finalized.number < number:
                await events.receive()


def altered(node: SmallNode, change: Callable[[Blocks], Blocks]) -> Answer:
    """Serve a node's chain, with each answer changed."""
    honest = provider(node)

    async def answer(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        blocks = _blocks.decode(await honest.answer(peer, kind, body))
        return _blocks.encode(change(blocks) if blocks.blocks else blocks)

    return answer


@pytest.mark.parametrize("every", [1, 3, 100])
def test_a_new_node_reaches_the_height_of_its_peers(tmp_path: Path, every: int) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 21, every=every)
            network = FakeNetwork()
            network.add("a", ahead)
            network.add("b", ahead)
            async with syncing(late, network):
                await reach(late.chain, 21)
            assert late.chain.finalized == late.chain.best == ahead.chain.finalized
            assert late.chain.justification(late.chain.finalized.hash) is not None
            assert {peer for peer, _ in network.asked} == {"a", "b"}
            assert network.blamed == []

    run(scenario)


def test_a_synchronized_node_can_serve_the_next_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late), small_node(tmp_path / "third") as third:
            await grow(ahead, 19, every=3)
            for server, client in ((ahead, late), (late, third)):
                network = FakeNetwork()
                network.add("server", server)
                async with syncing(client, network):
                    await reach(client.chain, 19)
            assert third.chain.finalized == ahead.chain.finalized

    run(scenario)


def test_a_node_that_falls_behind_again_catches_up_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            network = FakeNetwork()
            network.add("a", ahead)
            async with syncing(late, network) as synchronizer:
                for height in (3, 11, 12):
                    await grow(ahead, height - ahead.chain.finalized.number)
                    network.changed()
                    await reach(late.chain, height)
                    await trio.testing.wait_all_tasks_blocked()
                    assert not synchronizer.is_syncing
                assert synchronizer.highest_block == 12

    run(scenario)


def test_consensus_gets_its_time_before_blocks_are_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 3)
            network = FakeNetwork()
            network.add("a", ahead)
            async with syncing(late, network, Patience(4, 1000.0)):
                await trio.testing.wait_all_tasks_blocked()
                assert network.asked == []
                await grow(ahead, 1)
                network.changed()
                await reach(late.chain, 4)

    run(scenario)


def _other_parent(blocks: Blocks) -> Blocks:
    first = blocks.blocks[0]
    header = replace(first.header, parent_hash=Hash(bytes(32)))
    return Blocks((replace(first, header=header), *blocks.blocks[1:]), blocks.trail, blocks.proof)


def _other_body(blocks: Blocks) -> Blocks:
    last = blocks.blocks[-1]
    return replace(blocks, blocks=(*blocks.blocks[:-1], replace(last, extrinsics=(b"other",))))


def _no_proof(blocks: Blocks) -> Blocks:
    return replace(
        blocks, blocks=(*blocks.blocks[:-1], replace(blocks.blocks[-1], justification=None))
    )


def _certified_by(epoch_shift: int, kind: int) -> Callable[[Blocks], Blocks]:
    def change(blocks: Blocks) -> Blocks:
        genesis = Hash(bytes(32))
        last = blocks.blocks[-1]
        epoch = (last.header.number - 1) // EPOCH_BLOCKS + epoch_shift
        forged = certify(genesis, last.header, epoch=epoch, kind=kind)
        return replace(blocks, blocks=(*blocks.blocks[:-1], replace(last, justification=forged)))

    return change


WRONG: dict[str, Callable[[Blocks], Blocks]] = {
    "another parent": _other_parent,
    "another body": _other_body,
    "no proof": _no_proof,
    "a gap": lambda blocks: replace(blocks, blocks=blocks.blocks[1:] or blocks.blocks * 2),
    "blocks twice": lambda blocks: replace(blocks, blocks=blocks.blocks * 2),
    "a proof nobody needs": lambda blocks: replace(blocks, proof=b"\0"),
    "votes of another chain": _certified_by(0, 2),
    "votes of another epoch": _certified_by(1, 2),
    "votes that only notarize": _certified_by(0, 0),
    "a damaged certificate": lambda blocks: replace(
        blocks, blocks=(*blocks.blocks[:-1], replace(blocks.blocks[-1], justification=b"\1"))
    ),
}


@pytest.mark.parametrize("wrong", WRONG, ids=WRONG.keys())
def test_a_peer_that_serves_wrong_blocks_is_blamed_and_another_is_asked(
    tmp_path: Path, wrong: str
) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 12)
            network = FakeNetwork()
            liar = network.add("a liar", ahead, answer=altered(ahead, WRONG[wrong]))
            network.add("honest", ahead)
            async with syncing(late, network):
                await reach(late.chain, 12)
            assert late.chain.finalized == ahead.chain.finalized
            assert {peer for peer, _, _ in network.blamed} == {liar}
            assert {fault for _, fault, _ in network.blamed} == {Fault.BAD_ANSWER}

    run(scenario)


def test_blocks_that_are_not_certified_are_never_executed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 4, every=100)
            network = FakeNetwork()
            network.add("liar", ahead, answer=altered(ahead, WRONG["votes of another chain"]))
            async with syncing(late, network):
                while network.known:
                    await trio.testing.wait_all_tasks_blocked(0.05)
            assert late.chain.best.number == 0
            assert late.chain.header(ahead.chain.hash_of(1) or Hash(b"")) is None

    run(scenario)


def test_a_node_with_a_history_of_its_own_says_so_and_blames_no_peer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 12)
            await grow(late, 3, note=b"alone")
            network = FakeNetwork()
            network.add("a", ahead)
            network.add("b", ahead)
            async with syncing(late, network):
                while "history-differs" not in caplog.text:
                    await trio.testing.wait_all_tasks_blocked(0.05)
            assert network.blamed == []
            assert "openledger chain purge" in caplog.text
            assert late.chain.finalized.number == 3

    run(scenario)


def test_a_peer_with_another_history_is_blamed_once_the_blocks_of_others_follow(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late), small_node(tmp_path / "third") as third:
            await grow(ahead, 3)
            network = FakeNetwork()
            network.add("honest", ahead)
            async with syncing(late, network):
                await reach(late.chain, 3)
                await grow(third, 12, note=b"other")
                other = network.add("other", third)
                network.changed()
                while other not in dict(network.asked):
                    await trio.testing.wait_all_tasks_blocked(0.05)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert network.blamed == []
                await grow(ahead, 5)
                network.changed()
                await reach(late.chain, 8)
                network.changed()
                while not network.blamed:
                    await trio.testing.wait_all_tasks_blocked(0.05)
            assert {peer for peer, _, _ in network.blamed} == {other}

    run(scenario)


def test_bytes_that_are_no_answer_are_blamed(tmp_path: Path) -> None:
    async def garbage(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
        return b"\xff\xff"

    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 6)
            network = FakeNetwork()
            network.add("a", answer=garbage, claims=10)
            network.add("honest", ahead)
            async with syncing(late, network):
                await reach(late.chain, 6)
            assert network.blamed[0][1] is Fault.BAD_ANSWER

    run(scenario)


def test_peers_that_stall_refuse_lack_blocks_or_leave_do_not_stop_sync(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 12)
            network = FakeNetwork()

            async def leave(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
                network.drop(peer)
                return await refuse(peer, kind, body)

            async def lack(peer: PeerId, kind: RequestKind, body: bytes) -> bytes:
                return _blocks.encode(Blocks(()))

            network.add("a refuses", answer=refuse, claims=12)
            network.add("b leaves", answer=leave, claims=12)
            network.add("c lacks", answer=lack, claims=12)
            network.add("d", ahead)
            async with syncing(late, network):
                await reach(late.chain, 12)
            assert network.blamed == []

    run(scenario)


def test_a_full_disk_of_this_node_rests_no_peer_and_asks_for_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_sync, "WRITE_AGAIN_SECONDS", 0.02)

    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 12)
            network = FakeNetwork()
            network.add("a", ahead)
            with monkeypatch.context() as full:
                full.setattr(os, "statvfs", disk_of(1 << 40, 0))
                async with syncing(late, network) as synchronizer:
                    while late.chain.unfinalized() == ():
                        await trio.sleep(0.01)
                    await trio.sleep(0.2)
                    assert late.chain.finalized.number == 0
                    assert all(not peer.failures for peer in synchronizer._planner._peers.values())
                    full.undo()
                    await reach(late.chain, 12)
            assert network.blamed == []
            assert len(network.asked) == 3, "one request for each range of five blocks"

    run(scenario)


def test_a_peer_that_does_not_answer_in_time_is_blamed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 12)
            network = FakeNetwork(limit_s=0.1)
            network.add("a stalls", answer=hang, claims=12)
            network.add("b", ahead)
            async with syncing(late, network):
                await reach(late.chain, 12)
            assert ("a stalls", Fault.NO_ANSWER) in {each[:2] for each in network.blamed}

    run(scenario)


def test_a_claim_of_blocks_that_do_not_exist_harms_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 6)
            network = FakeNetwork()
            network.add("a", answer=provider(ahead).answer, claims=10**9)
            network.add("b", ahead)
            async with syncing(late, network) as synchronizer:
                await reach(late.chain, 6)
                while synchronizer.is_syncing:
                    await trio.testing.wait_all_tasks_blocked(0.05)
                assert synchronizer.highest_block == 6

    run(scenario)


def test_strangers_that_claim_blocks_never_make_a_level_node_look_behind(tmp_path: Path) -> None:
    """Health, isSyncing and the doppelganger check all follow these two properties."""

    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 6)
            network = FakeNetwork()
            network.add("honest", ahead)
            async with syncing(late, network) as synchronizer:
                await reach(late.chain, 6)
                while synchronizer.is_syncing:
                    await trio.testing.wait_all_tasks_blocked(0.05)
                for number in range(5):
                    network.add(f"stranger {number}", answer=hang, claims=10**9)
                    await trio.sleep(0.05)
                    seen = (synchronizer.is_syncing, synchronizer.highest_final)
                    assert seen == (False, 6)
                assert any(peer.startswith("stranger") for peer, _ in network.asked)

    run(scenario)


def test_a_new_node_knows_that_it_is_behind_before_the_first_block_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 6)
            network = FakeNetwork()
            network.add("slow", ahead, answer=hang)
            async with syncing(late, network) as synchronizer:
                while not synchronizer.is_syncing:
                    await trio.testing.wait_all_tasks_blocked(0.05)
                assert synchronizer.highest_final == 6

    run(scenario)


def test_a_final_block_that_executes_differently_stops_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_root(blocks: Blocks) -> Blocks:
        header = replace(blocks.blocks[0].header, state_root=Hash(bytes(32)))
        proof = certify(ahead_genesis[0], header)
        return Blocks((replace(blocks.blocks[0], header=header, justification=proof),))

    ahead_genesis: list[Hash] = []

    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            ahead_genesis.append(ahead.chain.genesis_hash)
            await grow(ahead, 1)
            network = FakeNetwork()
            network.add("a", ahead, answer=altered(ahead, wrong_root))
            with pytest.RaisesGroup(
                pytest.RaisesExc(DivergedError, match="Install the version"), flatten_subgroups=True
            ):
                async with syncing(late, network):
                    await trio.sleep_forever()

    run(scenario)


def test_a_block_is_fetched_with_the_ancestors_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.sync.block_sync.BRANCH_BLOCKS_MAX", 3)

    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            await grow(ahead, 2)
            branch = ahead.grow(ahead.chain.best.hash, [b"1", b"2", b"3", b"4", b"5"])
            network = FakeNetwork()
            liar = network.add("a liar", ahead, answer=altered(ahead, _other_body))
            peer = network.add("b", ahead)
            synchronizer = Synchronizer(late.chain, network, set_after(late.chain))
            await synchronizer.fetch(branch[4].hash, liar)
            assert late.chain.header(branch[4].hash) == branch[4].header
            assert late.chain.finalized.number == 0
            assert [each[:2] for each in network.blamed] == [(liar, Fault.BAD_ANSWER)]
            asked = len(network.asked)
            await synchronizer.fetch(branch[3].hash, peer)
            assert len(network.asked) == asked
            with pytest.raises(FetchError, match="could not be fetched"):
                await synchronizer.fetch(Hash(bytes(32)), peer)

    run(scenario)


def test_fetching_the_same_block_twice_at_once_asks_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as (ahead, late):
            branch = ahead.grow(ahead.chain.best.hash, [b"1", b"2"])
            network = FakeNetwork()
            network.add("a", ahead)
            synchronizer = Synchronizer(late.chain, network, set_after(late.chain))
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(synchronizer.fetch, branch[1].hash, None)
            assert len(network.asked) == 1

    run(scenario)
