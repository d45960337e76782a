"""Two competing branches, driven by hand through every subscription and question."""

from __future__ import annotations

from typing import Any

from node.rpc.json_values import header_form
from runtime.crypto.hashing import twox_128
from runtime.frame.executive import ExecutedBlock
from runtime.types.primitives import Hash, Other
from tests.node.rpc.support.node_under_test import BOB, Client, Drive, NodeUnderTest

NOW = "0x" + (twox_128(b"Timestamp") + twox_128(b"Now")).hex()


async def branch(
    node: NodeUnderTest, parent: Hash, note: bytes, *bodies: tuple[bytes, ...]
) -> list[ExecutedBlock]:
    """Build a branch, one block for each body, without adding it."""
    chain, made = node.chain, []
    for body in bodies:
        header = chain.header(parent)
        assert header is not None
        stamp = chain.machine.call("Timestamp", "set", now=10**14 + header.number)
        inherents = (chain.machine.extrinsics.inherent(stamp),)
        candidates = [chain.machine.extrinsics.decode(raw) for raw in body]
        made.append(await chain.build((Other(note),), inherents, candidates, parent))
        chain.add(made[-1])
        parent = made[-1].hash
    return made


def shown(block: ExecutedBlock | Hash) -> str:
    return "0x" + (block.hash if isinstance(block, ExecutedBlock) else block).hex()


async def heard(client: Client, name: str, count: int) -> list[Any]:
    return [await client.event(name) for _ in range(count)]


def test_heads_are_told_by_what_is_new_best_and_final(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        chain = node.chain
        genesis = chain.best
        async with node.connect() as client:
            every = await client.call("chain_subscribeAllHeads")
            best = await client.call("chain_subscribeNewHeads")
            final = await client.call("chain_subscribeFinalizedHeads")
            for name in (every, best, final):
                assert await client.event(name) == header_form(genesis)
            (left,) = await branch(node, genesis.hash, b"left", ())
            chain.set_best(left.hash)
            right = await branch(node, genesis.hash, b"right", (), ())
            chain.set_best(right[1].hash)
            await chain.finalize(right[1].hash)
            forms = [header_form(each.header) for each in (left, *right)]
            assert await heard(client, every, 3) == forms
            assert await heard(client, best, 2) == [forms[0], forms[2]]
            assert await heard(client, final, 2) == forms[1:]

    drive(scenario)


def test_a_follower_hears_of_both_branches_of_the_change_and_of_what_is_pruned(
    drive: Drive,
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        chain = node.chain
        genesis = chain.genesis_hash
        async with node.connect() as client:
            name = await client.call("chainHead_v1_follow", False)
            assert (await client.event(name))["finalizedBlockHashes"] == [shown(genesis)]
            assert (await client.event(name))["bestBlockHash"] == shown(genesis)
            left = await branch(node, genesis, b"left", (), ())
            chain.set_best(left[1].hash)
            (right,) = await branch(node, genesis, b"right", ())
            await chain.finalize(right.hash)
            parents = [shown(genesis), shown(left[0]), shown(genesis)]
            added = [
                {
                    "event": "newBlock",
                    "blockHash": shown(block),
                    "parentBlockHash": parent,
                }
                for block, parent in zip((*left, right), parents, strict=True)
            ]
            best = [
                {"event": "bestBlockChanged", "bestBlockHash": shown(block)}
                for block in (left[1], right)
            ]
            final = {
                "event": "finalized",
                "finalizedBlockHashes": [shown(right)],
                "prunedBlockHashes": [shown(block) for block in left],
            }
            expected = [*added[:2], best[0], added[2], best[1], final]
            assert await heard(client, name, 6) == expected
            # A pruned block stays pinned; its body is gone from the node.
            header = await client.call("chainHead_v1_header", name, shown(left[0]))
            assert header is not None
            started = await client.call("chainHead_v1_body", name, shown(left[0]))
            told = await client.event(name)
            assert told == {
                "event": "operationInaccessible",
                "operationId": started["operationId"],
            }
            hashes = [*(shown(block) for block in (*left, right)), shown(genesis)]
            assert await client.call("chainHead_v1_unpin", name, hashes) is None

    drive(scenario)


def test_who_follows_later_is_told_all_forks_before_the_best_block(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        chain = node.chain
        genesis = chain.genesis_hash
        left = await branch(node, genesis, b"left", (), ())
        right = await branch(node, genesis, b"right", (), (), ())
        chain.set_best(left[1].hash)
        async with node.connect() as client:
            name = await client.call("chainHead_v1_follow", False)
            assert (await client.event(name))["event"] == "initialized"
            told = await heard(client, name, 6)
            assert [each["event"] for each in told] == ["newBlock"] * 5 + ["bestBlockChanged"]
            blocks = [each["blockHash"] for each in told[:5]]
            assert set(blocks) == {shown(block) for block in (*left, *right)}
            assert told[5]["bestBlockHash"] == shown(left[1])
            await chain.finalize(left[0].hash)
            assert await client.event(name) == {
                "event": "finalized",
                "finalizedBlockHashes": [shown(left[0])],
                "prunedBlockHashes": [shown(block) for block in right],
            }

    drive(scenario)


def test_watchers_hear_that_a_transaction_left_its_block_and_came_into_another(
    drive: Drive,
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        chain = node.chain
        genesis = chain.genesis_hash
        old, new = node.transfer(), node.transfer(BOB)
        async with node.connect() as client:
            name = await client.call("author_submitAndWatchExtrinsic", old.hex())
            newer = await client.call("transactionWatch_v1_submitAndWatch", new.hex())
            assert await client.event(name) == "ready"
            assert await client.event(newer) == {"event": "validated"}
            (left,) = await branch(node, genesis, b"left", (old, new))
            right = await branch(node, genesis, b"right", (), (new, old))
            chain.set_best(left.hash)
            chain.set_best(right[1].hash)
            await chain.finalize(right[1].hash)
            assert await heard(client, name, 4) == [
                {"inBlock": shown(left)},
                {"retracted": shown(left)},
                {"inBlock": shown(right[1])},
                {"finalized": shown(right[1])},
            ]
            index = right[1].extrinsics.index(new)
            place = {"hash": shown(right[1]), "index": index}
            first, *rest = await heard(client, newer, 4)
            assert first["event"] == "bestChainBlockIncluded"
            assert first["block"]["hash"] == shown(left)
            assert rest == [
                {"event": "bestChainBlockIncluded", "block": None},
                {"event": "bestChainBlockIncluded", "block": place},
                {"event": "finalized", "block": place},
            ]

    drive(scenario)


def test_questions_by_height_are_answered_by_the_best_branch_and_the_archive_knows_all(
    drive: Drive,
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        chain = node.chain
        left = await branch(node, chain.genesis_hash, b"left", ())
        right = await branch(node, chain.genesis_hash, b"right", (), ())
        for best, other in ((left[0], right[0]), (right[0], left[0])):
            chain.set_best(best.hash)
            assert await node.call("chain_getBlockHash", 1) == shown(best)
            both = [shown(best), shown(other)]
            assert await node.call("archive_v1_hashByHeight", 1) == both
        assert await node.call("archive_v1_hashByHeight", 2) == [shown(right[1])]
        assert await node.call("chain_getBlockHash", 2) is None
        assert await node.call("archive_v1_body", shown(left[0])) is not None
        await chain.finalize(right[0].hash)
        assert await node.call("archive_v1_hashByHeight", 1) == [shown(right[0])]
        assert await node.call("archive_v1_body", shown(left[0])) is None
        assert await node.call("archive_v1_finalizedHeight") == 1

    drive(scenario)


def test_storage_subscribers_hear_what_the_new_branch_changes_back(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        chain = node.chain
        left = await branch(node, chain.genesis_hash, b"left", ())
        async with node.connect() as client:
            name = await client.call("state_subscribeStorage", [NOW])
            start = (await client.event(name))["changes"][0][1]
            chain.set_best(left[0].hash)
            changed = await client.event(name)
            assert changed["block"] == shown(left[0])
            assert changed["changes"][0][1] != start
            chain.set_best(chain.genesis_hash)
            back = await client.event(name)
            assert back["block"] == shown(chain.genesis_hash)
            assert back["changes"][0][1] == start

    drive(scenario)
