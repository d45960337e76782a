"""chainHead_v1_*: what a follower is told, and the operations on pinned blocks."""

from __future__ import annotations

from typing import Any

import pytest

from node.rpc.limits import Limits
from runtime.crypto.hashing import twox_128
from runtime.trie.proof import verify
from tests.node.rpc.support.node_under_test import Client, Drive, Failed, NodeUnderTest

NUMBER = "0x" + (twox_128(b"System") + twox_128(b"Number")).hex()
ACCOUNTS = "0x" + (twox_128(b"System") + twox_128(b"Account")).hex()


async def _follow(client: Client, with_runtime: bool = True) -> tuple[str, dict[str, Any]]:
    name = await client.call("chainHead_v1_follow", with_runtime)
    first = await client.event(name)
    assert first["event"] == "initialized"
    return name, first


async def _done(client: Client, name: str, operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of an operation, chain events left out."""
    assert operation["result"] == "started"
    events = []
    while True:
        event = await client.event(name)
        if event.get("operationId") == operation["operationId"]:
            events.append(event)
            if event["event"] not in ("operationStorageItems",):
                return events


def test_a_follower_is_told_new_best_and_final_in_order(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal(2)
        async with node.connect() as client:
            name, first = await _follow(client)
            assert len(first["finalizedBlockHashes"]) == 3
            assert first["finalizedBlockHashes"][-1] == "0x" + node.chain.finalized.hash.hex()
            spec = first["finalizedBlockRuntime"]["spec"]
            assert spec["apis"]["0x37e397fc7c91f5e4"] == 2
            best = await client.event(name)
            assert best["bestBlockHash"] == first["finalizedBlockHashes"][-1]
            block = "0x" + (await node.seal()).hex()
            assert await client.event(name) == {
                "event": "newBlock",
                "blockHash": block,
                "parentBlockHash": first["finalizedBlockHashes"][-1],
                "newRuntime": None,
            }
            changed = {"event": "bestBlockChanged", "bestBlockHash": block}
            assert await client.event(name) == changed
            assert await client.event(name) == {
                "event": "finalized",
                "finalizedBlockHashes": [block],
                "prunedBlockHashes": [],
            }
            assert await client.call("chainHead_v1_unfollow", name) is None
            assert await client.call("chainHead_v1_header", name, block) is None

    drive(scenario)


def test_unfinalized_blocks_are_told_at_the_start_and_without_runtime(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        blocks = [await node.build() for _ in range(3)]
        async with node.connect() as client:
            name, first = await _follow(client, with_runtime=False)
            assert "finalizedBlockRuntime" not in first
            events = [await client.event(name) for _ in range(4)]
            assert [event.get("blockHash") for event in events[:3]] == [
                "0x" + block.hex() for block in blocks
            ]
            assert "newRuntime" not in events[0]
            assert events[3]["bestBlockHash"] == "0x" + blocks[-1].hex()
            await node.chain.finalize(blocks[1])
            final = await client.event(name)
            assert final["finalizedBlockHashes"] == ["0x" + blocks[0].hex()]
            hash_ = "0x" + blocks[0].hex()
            with pytest.raises(Failed) as failed:
                await client.call("chainHead_v1_call", name, hash_, "Core_version", "0x")
            assert failed.value.code == -32802

    drive(scenario)


def test_operations_answer_about_pinned_blocks(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal()
        async with node.connect() as client:
            name, first = await _follow(client)
            block = first["finalizedBlockHashes"][-1]
            header = await client.call("chainHead_v1_header", name, block)
            assert header == await node.call("archive_v1_header", block)
            body = await client.call("chainHead_v1_body", name, block)
            [done] = await _done(client, name, body)
            assert done["event"] == "operationBodyDone"
            assert len(done["value"]) == 1
            call = await client.call(
                "chainHead_v1_call", name, block, "Metadata_metadata_versions", "0x"
            )
            [done] = await _done(client, name, call)
            assert done["output"] == "0x080e0000000f000000"
            call = await client.call("chainHead_v1_call", name, block, "Nothing_here", "0x")
            [done] = await _done(client, name, call)
            assert done["event"] == "operationError"

    drive(scenario)


def test_storage_is_told_by_value_hash_descendants_and_merkle_value(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal()
        async with node.connect() as client:
            name, first = await _follow(client)
            block = first["finalizedBlockHashes"][-1]
            items = [
                {"key": NUMBER, "type": "value"},
                {"key": NUMBER, "type": "hash"},
                {"key": "0x1234", "type": "value"},
                {"key": ACCOUNTS, "type": "descendantsValues"},
                {"key": "0x", "type": "closestDescendantMerkleValue"},
                {"key": "0x3a636f6465", "type": "hash"},
            ]
            started = await client.call("chainHead_v1_storage", name, block, items, None)
            assert started["discardedItems"] == 0
            events = await _done(client, name, started)
            assert events[-1]["event"] == "operationStorageDone"
            found = [item for event in events[:-1] for item in event["items"]]
            assert found[0] == {"key": NUMBER, "value": "0x01000000"}
            assert len(found[1]["hash"]) == 66
            accounts = await node.call("state_getKeysPaged", ACCOUNTS, 1000)
            assert [item["key"] for item in found[2:-2]] == accounts
            root = node.chain.best.state_root
            assert found[-2]["closestDescendantMerkleValue"] == "0x" + root.hex()
            assert found[-1]["key"] == "0x3a636f6465"
            for bad in ([{"key": NUMBER}], [{"key": NUMBER, "type": "x"}], [7], "0x"):
                with pytest.raises(Failed) as failed:
                    await client.call("chainHead_v1_storage", name, block, bad, None)
                assert failed.value.code == -32602
            with pytest.raises(Failed):
                await client.call("chainHead_v1_storage", name, block, items, "0x12")

    drive(scenario)


def test_many_descendants_wait_for_a_continue_between_pages(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.rpc.storage_queries.PAGE_ITEMS_MAX", 5)

    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name, first = await _follow(client)
            block = first["finalizedBlockHashes"][-1]
            items = [{"key": ACCOUNTS, "type": "descendantsValues"}]
            started = await client.call("chainHead_v1_storage", name, block, items, None)
            operation = started["operationId"]
            keys: list[str] = []
            while (events := await _done(client, name, started))[-1][
                "event"
            ] == "operationWaitingForContinue":
                keys += [item["key"] for event in events[:-1] for item in event["items"]]
                assert await client.call("chainHead_v1_continue", name, operation) is None
            keys += [item["key"] for event in events[:-1] for item in event["items"]]
            assert keys == await node.call("state_getKeysPaged", ACCOUNTS, 1000)
            again = await client.call("chainHead_v1_storage", name, block, items, None)
            await _done(client, name, again)
            stopped = again["operationId"]
            assert await client.call("chainHead_v1_stopOperation", name, stopped) is None
            assert await client.call("chainHead_v1_continue", name, stopped) is None

    drive(scenario)


def test_a_continue_that_nobody_waits_for_is_an_error(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name, first = await _follow(client)
            block = first["finalizedBlockHashes"][-1]
            items = [{"key": ACCOUNTS, "type": "value"}]
            batch = await client.batch(
                ("chainHead_v1_storage", [name, block, items]),
                ("chainHead_v1_continue", [name, "0"]),
            )
            assert batch[0]["result"]["result"] == "started"
            assert batch[1]["error"]["code"] == -32803

    drive(scenario)


def test_unpinning_is_all_or_nothing(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal(2)
        async with node.connect() as client:
            name, first = await _follow(client)
            one, two, three = first["finalizedBlockHashes"]
            unknown = "0x" + "ab" * 32
            for given, code in (
                ([one, unknown], -32801),
                ([one, one], -32804),
                (unknown, -32801),
                ("0x12", -32602),
            ):
                with pytest.raises(Failed) as failed:
                    await client.call("chainHead_v1_unpin", name, given)
                assert failed.value.code == code
            assert await client.call("chainHead_v1_header", name, one)
            assert await client.call("chainHead_v1_unpin", name, [one, two]) is None
            assert await client.call("chainHead_v1_unpin", name, three) is None
            for method in ("header", "body"):
                with pytest.raises(Failed) as failed:
                    await client.call(f"chainHead_v1_{method}", name, one)
                assert failed.value.code == -32801
            assert await client.call("chainHead_v1_unpin", "nobody", one) is None

    drive(scenario)


def test_who_pins_too_many_final_blocks_is_stopped(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name, _ = await _follow(client)
            await node.seal(6)
            while (event := await client.event(name))["event"] != "stop":
                assert event["event"] in ("newBlock", "bestBlockChanged", "finalized")
            answer = await client.call("chainHead_v1_body", name, "0x" + "00" * 32)
            assert answer == {"result": "limitReached"}

    drive(scenario, Limits(pinned_finalized_blocks=4))


def test_follows_and_operations_are_bounded(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name, first = await _follow(client)
            await _follow(client)
            with pytest.raises(Failed) as failed:
                await client.call("chainHead_v1_follow", True)
            assert failed.value.code == -32800
            block = first["finalizedBlockHashes"][-1]
            items = [{"key": ACCOUNTS, "type": "value"}] * 3
            started = await client.call("chainHead_v1_storage", name, block, items)
            assert (started["result"], started["discardedItems"]) == ("started", 1)
            await _done(client, name, started)
            answers = await client.batch(
                *[("chainHead_v1_body", [name, block])] * 2,
                ("chainHead_v1_storage", [name, block, items]),
                ("chainHead_v1_body", [name, block]),
            )
            results = [answer["result"]["result"] for answer in answers]
            assert results == ["started", "started", "limitReached", "limitReached"]

    drive(scenario, Limits(follows_per_connection=2, operations_per_follow=2))


def test_a_follow_is_of_its_connection_alone(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client, node.connect() as other:
            name, first = await _follow(client)
            block = first["finalizedBlockHashes"][-1]
            assert await other.call("chainHead_v1_header", name, block) is None
            assert await other.call("chainHead_v1_unfollow", name) is None
            assert await client.call("chainHead_v1_header", name, block)

    drive(scenario)


def test_a_read_proof_proves_values_and_absence(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal()
        answer = await node.call("state_getReadProof", [NUMBER, "0x1234"])
        assert answer["at"] == await node.call("chain_getBlockHash")
        proof = [bytes.fromhex(entry[2:]) for entry in answer["proof"]]
        root = node.chain.best.state_root
        assert verify(root, proof, bytes.fromhex(NUMBER[2:])) == bytes((1, 0, 0, 0))
        assert verify(root, proof, bytes.fromhex("1234")) is None

    drive(scenario)
