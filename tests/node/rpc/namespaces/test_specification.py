"""The JSON-RPC interface specification, on which subxt, papi and smoldot's clients are built.

node/rpc/SPECIFICATION.md lists its methods with what was checked of each, and where.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from node.rpc.limits import Limits
from node.rpc.server import methods_for
from runtime.crypto.hashing import twox_128
from tests.node.rpc.support.node_under_test import (
    ACCOUNT_KEYS,
    ALICE,
    Client,
    Drive,
    Failed,
    NodeUnderTest,
)

ROOT = Path(__file__).resolve().parents[4]
DOCUMENT = ROOT / "node" / "rpc" / "SPECIFICATION.md"
GROUPS = ("archive_v1", "chainHead_v1", "chainSpec_v1", "transactionWatch_v1", "transaction_v1")
NUMBER = "0x" + (twox_128(b"System") + twox_128(b"Number")).hex()
UNKNOWN = "0x" + "ab" * 32
OPERATIONS_GUARANTEED = 16
BROADCASTS_GUARANTEED = 4
FOLLOWS_GUARANTEED = 2


async def follow(client: Client) -> tuple[str, str]:
    """Return a follow and the hash of the final block."""
    name = await client.call("chainHead_v1_follow", True)
    first = await client.event(name)
    return name, first["finalizedBlockHashes"][-1]


async def ended(client: Client, name: str, operation: str) -> dict[str, Any]:
    """Return the next event of an operation, items left out."""
    while True:
        event: dict[str, Any] = await client.event(name)
        if event.get("operationId") == operation and event["event"] != "operationStorageItems":
            return event


def test_the_document_lists_every_method_of_the_specification_and_tests_that_exist(
    drive: Drive,
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        rows = re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
        answered = {name for name in methods_for(node, Limits()) if name.startswith(GROUPS)}
        assert {name for name, _ in rows} == answered | {"rpc_methods"}
        for name, tests in rows:
            for path, test in re.findall(r"\[[^]]+\]\(([^)#]+)\) `(test_\w+)`", tests):
                text = (DOCUMENT.parent / path).resolve().read_text()
                assert f"def {test}(" in text, (name, test)

    drive(scenario)


def test_an_operation_goes_on_when_its_block_is_unpinned(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.rpc.storage_queries.PAGE_ITEMS_MAX", 5)

    async def scenario(node: NodeUnderTest) -> None:
        await node.seal()
        async with node.connect() as client:
            name, block = await follow(client)
            items = [{"key": ACCOUNT_KEYS, "type": "descendantsValues"}]
            started = await client.call("chainHead_v1_storage", name, block, items, None)
            operation = started["operationId"]
            waiting = await ended(client, name, operation)
            assert waiting["event"] == "operationWaitingForContinue"
            assert await client.call("chainHead_v1_unpin", name, block) is None
            while waiting["event"] == "operationWaitingForContinue":
                await client.call("chainHead_v1_continue", name, operation)
                waiting = await ended(client, name, operation)
            assert waiting["event"] == "operationStorageDone"

    drive(scenario)


def test_the_guaranteed_numbers_of_follows_operations_and_broadcasts_are_accepted(
    drive: Drive,
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            follows = [await follow(client) for _ in range(FOLLOWS_GUARANTEED)]
            name, block = follows[0]
            call = ("chainHead_v1_body", [name, block])
            answers = await client.batch(*[call] * OPERATIONS_GUARANTEED)
            assert {answer["result"]["result"] for answer in answers} == {"started"}
            for _ in range(BROADCASTS_GUARANTEED):
                assert await client.call("transaction_v1_broadcast", "0x00") is not None

    drive(scenario)


def test_what_concerns_an_ended_follow_has_no_effect(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name, block = await follow(client)
            operation = (await client.call("chainHead_v1_body", name, block))["operationId"]
            await ended(client, name, operation)
            assert await client.call("chainHead_v1_stopOperation", name, operation) is None
            assert await client.call("chainHead_v1_continue", name, "nope") is None
            assert await client.call("chainHead_v1_unfollow", name) is None
            for method, params in (
                ("unfollow", []),
                ("header", [block]),
                ("unpin", [block]),
                ("continue", [operation]),
                ("stopOperation", [operation]),
            ):
                assert await client.call(f"chainHead_v1_{method}", name, *params) is None
            for method, params in (
                ("body", [block]),
                ("call", [block, "Core_version", "0x"]),
                ("storage", [block, [{"key": NUMBER, "type": "value"}], None]),
            ):
                answer = await client.call(f"chainHead_v1_{method}", name, *params)
                assert answer == {"result": "limitReached"}

    drive(scenario)


def test_unfinalized_and_best_blocks_are_asked_like_final_ones(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        block = "0x" + (await node.build()).hex()
        async with node.connect() as client:
            name, _ = await follow(client)
            assert (await client.event(name))["blockHash"] == block
            items = [{"key": NUMBER, "type": "value"}]
            started = await client.call("chainHead_v1_storage", name, block, items, None)
            while (event := await client.event(name))["event"] != "operationStorageItems":
                pass
            assert event["items"] == [{"key": NUMBER, "value": "0x01000000"}]
            done = await ended(client, name, started["operationId"])
            assert done["event"] == "operationStorageDone"
            account = "0x" + ALICE.account.hex()
            params = [name, block, "AccountNonceApi_account_nonce", account]
            started = await client.call("chainHead_v1_call", *params)
            done = await ended(client, name, started["operationId"])
            assert (done["event"], done["output"]) == ("operationCallDone", "0x00000000")

    drive(scenario)


def test_the_archive_answers_null_of_unknown_blocks_and_says_why_a_call_failed(
    drive: Drive,
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        block = "0x" + (await node.seal()).hex()
        genesis = await node.call("archive_v1_genesisHash")
        assert await node.call("archive_v1_hashByHeight", 0) == [genesis]
        assert await node.call("archive_v1_hashByHeight", 99) == []
        assert await node.call("archive_v1_finalizedHeight") == 1
        for method, params in (("header", []), ("body", []), ("call", ["Core_version", "0x"])):
            assert await node.call(f"archive_v1_{method}", UNKNOWN, *params) is None
        good = await node.call("archive_v1_call", block, "Core_version", "0x")
        assert good == {"success": True, "value": good["value"]}
        bad = await node.call("archive_v1_call", block, "Nope_nope", "0x")
        assert (bad["success"], set(bad)) == (False, {"success", "error"})
        async with node.connect() as client:
            items = [{"key": NUMBER, "type": "value"}]
            name = await client.call("archive_v1_storage", UNKNOWN, items, None)
            assert (await client.event(name))["event"] == "storageError"
            assert await client.call("archive_v1_stopStorage", name) is None

    drive(scenario)


def test_a_page_of_the_archive_starts_after_the_start_key(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        keys = await node.call("state_getKeys", ACCOUNT_KEYS)
        genesis = await node.call("archive_v1_genesisHash")
        item = {"key": ACCOUNT_KEYS, "type": "descendantsHashes", "paginationStartKey": keys[3]}
        async with node.connect() as client:
            name = await client.call("archive_v1_storage", genesis, [item], None)
            found = []
            while (event := await client.event(name))["event"] == "storage":
                assert set(event) == {"event", "key", "hash"}
                found.append(event["key"])
            assert event == {"event": "storageDone"}
            assert found == keys[4:]

    drive(scenario)


def test_a_watched_transaction_ends_with_one_last_event(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            with pytest.raises(Failed) as failed:
                await client.call("transactionWatch_v1_submitAndWatch", "no hex")
            assert failed.value.code == -32602
            bad = bytearray(node.transfer())
            bad[40] ^= 1
            for raw in ("0x1234", "0x" + bad.hex(), "0x" + node.transfer(value=10**30).hex()):
                name = await client.call("transactionWatch_v1_submitAndWatch", raw)
                events = [await client.event(name)]
                while events[-1]["event"] in ("validated", "bestChainBlockIncluded"):
                    await node.seal()
                    events.append(await client.event(name))
                assert events[-1]["event"] in ("invalid", "finalized")
                with pytest.raises(Failed):
                    await client.call("transactionWatch_v1_unwatch", name)
            assert client.arrived == []

    drive(scenario)
