"""archive_v1: storage differences over a connection, between blocks of a real chain."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.crypto.hashing import twox_128
from tests.node.rpc.support.node_under_test import (
    ACCOUNT_KEYS,
    BOB,
    Client,
    Drive,
    Failed,
    NodeUnderTest,
)

NUMBER = "0x" + (twox_128(b"System") + twox_128(b"Number")).hex()


async def difference(client: Client, *params: Any) -> list[dict[str, Any]]:
    """Return all events of a storage difference."""
    subscription = await client.call("archive_v1_storageDiff", *params)
    events = [await client.event(subscription)]
    while events[-1]["event"] == "storageDiff":
        events.append(await client.event(subscription))
    return events


def test_a_block_differs_from_its_parent_by_what_it_wrote(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        node.pool.submit(node.transfer())
        block = "0x" + (await node.seal()).hex()
        async with node.connect() as client:
            by_value = [{"key": ACCOUNT_KEYS, "returnType": "value"}]
            *changes, last = await difference(client, block, by_value)
            assert last == {"event": "storageDiffDone"}
            assert any(change["key"].endswith(BOB.account.hex()) for change in changes)
            for change in changes:
                assert change["type"] in ("added", "modified")
                now = await client.call("state_getStorage", change["key"], block)
                assert change["value"] == now
            by_hash = [{"key": ACCOUNT_KEYS, "returnType": "hash"}]
            *hashes, _ = await difference(client, block, by_hash)
            assert [change["key"] for change in hashes] == [change["key"] for change in changes]
            for change in hashes:
                assert change["hash"] == await client.call(
                    "state_getStorageHash", change["key"], block
                )

    drive(scenario)


def test_without_items_the_whole_state_is_compared_with_any_ancestor(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        genesis = "0x" + node.chain.genesis_hash.hex()
        await node.seal(3)
        # Final states and unfinalized ones, in one walk.
        block = "0x" + (await node.build()).hex()
        async with node.connect() as client:
            *changes, last = await difference(client, block, None, genesis)
            assert last == {"event": "storageDiffDone"}
            keys = [change["key"] for change in changes]
            assert keys == sorted(set(keys))
            before = set(await client.call("state_getKeys", "0x", genesis))
            after = set(await client.call("state_getKeys", "0x", block))
            kinds = {change["key"]: change["type"] for change in changes}
            assert {key for key, kind in kinds.items() if kind == "added"} == after - before
            assert {key for key, kind in kinds.items() if kind == "deleted"} == before - after
            for key in before & after:
                values = [await client.call("state_getStorage", key, at) for at in (genesis, block)]
                assert (values[0] != values[1]) == (key in kinds)
            assert NUMBER in keys

    drive(scenario)


def test_a_difference_that_cannot_be_made_ends_with_the_reason(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        genesis = "0x" + node.chain.genesis_hash.hex()
        block = "0x" + (await node.seal()).hex()
        later = "0x" + (await node.seal()).hex()
        async with node.connect() as client:
            for params, reason in (
                (["0x" + "ab" * 32], "UnknownBlock"),
                ([genesis], "no parent"),
                ([block, None, later], "no ancestor"),
                ([block, None, block], "no ancestor"),
            ):
                [event] = await difference(client, *params)
                assert event["event"] == "storageDiffError"
                assert reason in event["error"]
            with pytest.raises(Failed) as failed:
                await client.call("archive_v1_storageDiff", block, [{"returnType": "all"}])
            assert failed.value.code == -32602
            assert await client.call("archive_v1_stopStorageDiff", "nope") is None

    drive(scenario)
