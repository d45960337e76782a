"""Every method answers at least once, and garbage for any of them is answered by an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node.rpc.limits import Limits
from node.rpc.server import methods_for
from runtime.crypto.hashing import twox_128
from tests.node.rpc.support.node_under_test import (
    ACCOUNT_KEYS,
    ALICE,
    BOB,
    Client,
    Drive,
    Failed,
    NodeUnderTest,
)

LISTED = [
    "rpc.discover",
    "rpc_methods",
    "system_chain",
    "system_name",
    "system_version",
    "system_chainType",
    "system_properties",
    "system_health",
    "system_peers",
    "system_nodeRoles",
    "system_localPeerId",
    "system_localListenAddresses",
    "system_syncState",
    "system_accountNextIndex",
    "system_dryRun",
    "account_nextIndex",
    "chain_getHeader",
    "chain_getBlock",
    "chain_getBlockHash",
    "chain_getHead",
    "chain_getFinalizedHead",
    "chain_getFinalisedHead",
    "chain_subscribeNewHead",
    "chain_subscribeNewHeads",
    "chain_subscribeAllHeads",
    "chain_subscribeFinalizedHeads",
    "chain_subscribeFinalisedHeads",
    "chain_unsubscribeNewHead",
    "chain_unsubscribeNewHeads",
    "chain_unsubscribeAllHeads",
    "chain_unsubscribeFinalizedHeads",
    "chain_unsubscribeFinalisedHeads",
    "chain_getRuntimeVersion",
    "chain_subscribeRuntimeVersion",
    "chain_unsubscribeRuntimeVersion",
    "state_getMetadata",
    "state_getRuntimeVersion",
    "state_subscribeRuntimeVersion",
    "state_unsubscribeRuntimeVersion",
    "state_call",
    "state_callAt",
    "state_getStorage",
    "state_getStorageAt",
    "state_getStorageHash",
    "state_getStorageHashAt",
    "state_getStorageSize",
    "state_getStorageSizeAt",
    "state_getKeys",
    "state_getKeysPaged",
    "state_getKeysPagedAt",
    "state_queryStorage",
    "state_queryStorageAt",
    "state_subscribeStorage",
    "state_unsubscribeStorage",
    "state_getReadProof",
    "author_submitExtrinsic",
    "author_submitAndWatchExtrinsic",
    "author_unwatchExtrinsic",
    "author_pendingExtrinsics",
    "author_removeExtrinsic",
    "author_hasKey",
    "author_insertKey",
    "author_rotateKeys",
    "payment_queryInfo",
    "payment_queryFeeDetails",
    "chainSpec_v1_chainName",
    "chainSpec_v1_genesisHash",
    "chainSpec_v1_properties",
    "chainHead_v1_follow",
    "chainHead_v1_unfollow",
    "chainHead_v1_header",
    "chainHead_v1_body",
    "chainHead_v1_call",
    "chainHead_v1_storage",
    "chainHead_v1_unpin",
    "chainHead_v1_continue",
    "chainHead_v1_stopOperation",
    "archive_v1_genesisHash",
    "archive_v1_finalizedHeight",
    "archive_v1_hashByHeight",
    "archive_v1_header",
    "archive_v1_body",
    "archive_v1_call",
    "archive_v1_storage",
    "archive_v1_stopStorage",
    "archive_v1_storageDiff",
    "archive_v1_stopStorageDiff",
    "transactionWatch_v1_submitAndWatch",
    "transactionWatch_v1_unwatch",
    "transaction_v1_broadcast",
    "transaction_v1_stop",
    "engine_createBlock",
    "engine_finalizeBlock",
]

EVENTS = "0x" + (twox_128(b"System") + twox_128(b"Events")).hex()
NUMBER = "0x" + (twox_128(b"System") + twox_128(b"Number")).hex()
UNKNOWN = "0x" + "ab" * 32


def test_every_listed_method_exists(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        answer = await node.call("rpc_methods")
        assert set(LISTED) <= set(answer["methods"])
        assert answer["methods"] == sorted(answer["methods"])

    drive(scenario)


def test_the_node_tells_about_itself(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal(3)
        assert await node.call("system_name") == "node"
        assert await node.call("system_version") == "1.2.3"
        assert await node.call("system_chain") == node.chain.name
        assert await node.call("system_chainType") == "Development"
        assert (await node.call("system_properties"))["tokenSymbol"] == "OPEN"
        assert await node.call("system_health") == {
            "peers": 0,
            "isSyncing": False,
            "shouldHavePeers": False,
        }
        assert await node.call("system_peers") == []
        assert await node.call("system_nodeRoles") == ["Full"]
        assert await node.call("system_localPeerId") == ""
        assert await node.call("system_localListenAddresses") == []
        state = await node.call("system_syncState")
        assert state == {"startingBlock": 0, "currentBlock": 3, "highestBlock": 3}
        assert await node.call("chainSpec_v1_chainName") == node.chain.name
        genesis = "0x" + node.chain.genesis_hash.hex()
        assert await node.call("chainSpec_v1_genesisHash") == genesis
        assert (await node.call("chainSpec_v1_properties"))["tokenSymbol"] == "OPEN"

    drive(scenario)


def test_blocks_are_found_by_number_hash_and_list(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        best = "0x" + (await node.seal(3)).hex()
        genesis = "0x" + node.chain.genesis_hash.hex()
        call = node.call
        assert await call("chain_getBlockHash") == await call("chain_getHead") == best
        assert await call("chain_getBlockHash", None) == best
        assert await call("chain_getBlockHash", 0) == await call("chain_getBlockHash", "0x0")
        assert await call("chain_getBlockHash", [0, "0x3", 9]) == [genesis, best, None]
        assert await call("chain_getFinalizedHead") == best
        assert await call("chain_getFinalisedHead") == best
        header = await call("chain_getHeader")
        assert header == await call("chain_getHeader", best[2:])
        assert header["number"] == "0x3"
        block = await call("chain_getBlock", best)
        assert block["block"]["header"] == header
        assert len(block["block"]["extrinsics"]) == 1
        assert block["justifications"] is None
        assert await call("chain_getHeader", UNKNOWN) is None
        assert await call("chain_getBlock", UNKNOWN) is None

    drive(scenario)


def test_a_justification_comes_with_its_block(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        made = await node.build()
        await node.chain.finalize(made, b"proof")
        block = await node.call("chain_getBlock", "0x" + made.hex())
        assert block["justifications"] == [[list(b"SMPX"), list(b"proof")]]

    drive(scenario)


def test_storage_is_read_at_a_named_block(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        first, last = await node.seal(), await node.seal(2)
        at = "0x" + first.hex()
        call = node.call
        assert await call("state_getStorage", NUMBER) == "0x03000000"
        assert await call("state_getStorage", NUMBER, at) == "0x01000000"
        assert await call("state_getStorageAt", NUMBER[2:], at[2:]) == "0x01000000"
        assert await call("state_getStorageSize", NUMBER, at) == 4
        assert len(await call("state_getStorageHash", NUMBER)) == 66
        for suffix in ("", "Size", "Hash"):
            assert await call(f"state_getStorage{suffix}", "0x1234") is None
        changes = await call("state_queryStorageAt", [NUMBER, "0x1234"], at)
        assert changes == [{"block": at, "changes": [[NUMBER, "0x01000000"], ["0x1234", None]]}]
        history = await call("state_queryStorage", [NUMBER], at, "0x" + last.hex())
        assert [entry["changes"][0][1] for entry in history] == [
            "0x01000000",
            "0x02000000",
            "0x03000000",
        ]
        with pytest.raises(Failed) as failed:
            await call("state_queryStorage", [NUMBER], "0x" + last.hex(), at)
        assert failed.value.code == 4001

    drive(scenario)


def test_an_unknown_block_is_told_by_its_code(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        for method, params in (
            ("state_getStorage", [NUMBER]),
            ("state_call", ["Core_version", "0x"]),
            ("state_getMetadata", []),
            ("state_getRuntimeVersion", []),
            ("state_getReadProof", [[NUMBER]]),
        ):
            with pytest.raises(Failed) as failed:
                await node.call(method, *params, UNKNOWN)
            assert failed.value.code == 4003

    drive(scenario)


def test_keys_are_listed_page_by_page(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        whole = await node.call("state_getKeysPaged", ACCOUNT_KEYS, 1000)
        assert len(whole) > 5
        pages: list[str] = []
        while page := await node.call("state_getKeysPaged", ACCOUNT_KEYS, 4, *pages[-1:]):
            assert len(page) <= 4
            pages += page
        assert pages == whole == sorted(whole)
        with pytest.raises(Failed) as failed:
            await node.call("state_getKeysPaged", ACCOUNT_KEYS, 1001)
        assert failed.value.code == 4002

    drive(scenario)


def test_the_runtime_is_described_and_called(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        call = node.call
        metadata = await call("state_getMetadata")
        assert metadata.startswith("0x6d6574610e")
        wrapped = await call("state_call", "Metadata_metadata", "")
        assert wrapped.endswith(metadata[2:])
        version = await call("state_getRuntimeVersion")
        assert version == await call("chain_getRuntimeVersion")
        assert version["specName"] == "openledger"
        assert ["0x37e397fc7c91f5e4", 2] in version["apis"]
        nonce = await call(
            "state_call", "AccountNonceApi_account_nonce", "0x" + ALICE.account.hex()
        )
        assert nonce == "0x00000000"
        for name, data in (("Nothing_here", "0x"), ("Core_version", "0x00")):
            with pytest.raises(Failed) as failed:
                await call("state_call", name, data)
            assert failed.value.code == 4003

    drive(scenario)


def test_fees_are_quoted_at_the_named_block_and_charged_as_quoted(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        raw = node.transfer()
        info = await node.call("payment_queryInfo", "0x" + raw.hex())
        details = await node.call("payment_queryFeeDetails", "0x" + raw.hex())
        parts = sum(int(part, 16) for part in details["inclusionFee"].values())
        assert int(info["partialFee"]) == parts > 0
        assert info["class"] == "normal"
        before = node.balance(ALICE.account)
        await node.call("author_submitExtrinsic", "0x" + raw.hex())
        await node.seal()
        assert before - node.balance(ALICE.account) == parts + 5
        at = "0x" + node.chain.genesis_hash.hex()
        assert await node.call("payment_queryInfo", raw.hex(), at) == info
        with pytest.raises(Failed) as failed:
            await node.call("payment_queryInfo", "0x1234")
        assert failed.value.code == 1001

    drive(scenario)


def test_a_dry_run_tells_success_failure_and_refusal_and_changes_nothing(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        before = node.balance(BOB.account)
        assert await node.call("system_dryRun", node.transfer().hex()) == "0x0000"
        assert await node.call("system_dryRunAt", node.transfer().hex()) == "0x0000"
        too_much = node.transfer(value=10**30).hex()
        assert (await node.call("system_dryRun", too_much)).startswith("0x0001")
        assert (await node.call("system_dryRun", node.transfer(nonce=7).hex())) == "0x010002"
        assert node.balance(BOB.account) == before

    drive(scenario)


def test_a_dry_run_refuses_what_has_no_valid_signature(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        machine = node.chain.machine
        inherent = machine.extrinsics.inherent(machine.call("Timestamp", "set", now=1))
        unsigned = machine.extrinsics.inherent(machine.call("System", "remark", remark=b"x"))
        forged = bytearray(node.transfer())
        forged[40] ^= 1
        # Err(Invalid(MandatoryValidation)), Err(Unknown(NoUnsignedValidator)), ... BadProof
        assert await node.call("system_dryRun", inherent.hex()) == "0x010009"
        assert await node.call("system_dryRun", unsigned.hex()) == "0x010101"
        assert await node.call("system_dryRun", forged.hex()) == "0x010004"
        with pytest.raises(Failed) as failed:
            await node.call("system_dryRun", "0x1234")
        assert failed.value.code == 1001

    drive(scenario)


def test_the_quote_of_a_fee_has_the_shape_of_live_chains(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        info = await node.call("payment_queryInfo", node.transfer().hex())
        assert list(info) == ["weight", "class", "partialFee"]
        assert {name: type(value) for name, value in info["weight"].items()} == {
            "ref_time": int,
            "proof_size": int,
        }
        assert isinstance(info["partialFee"], str)

    drive(scenario)


def test_all_keys_with_a_prefix_are_listed_unless_they_are_too_many(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        genesis = "0x" + node.chain.genesis_hash.hex()
        await node.seal()
        accounts = await node.call("state_getKeys", ACCOUNT_KEYS)
        assert accounts == await node.call("state_getKeysPaged", ACCOUNT_KEYS, 100)
        assert await node.call("state_getKeys", ACCOUNT_KEYS, genesis) == accounts
        assert await node.call("state_getKeys", "0x1234") == []
        with pytest.raises(Failed) as failed:
            await node.call("state_getKeys", "0x")
        assert failed.value.code == 4002
        assert "state_getKeysPaged" in failed.value.message

    drive(scenario, Limits(keys_listed=30))


def test_the_next_index_counts_the_pool(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        address = "5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu"
        assert await node.call("system_accountNextIndex", address) == 0
        await node.call("author_submitExtrinsic", node.transfer().hex())
        assert await node.call("account_nextIndex", address) == 1
        assert await node.call("account_nextIndex", "0x" + ALICE.account.hex()) == 1

    drive(scenario)


async def _named(node: NodeUnderTest, method: str, **params: Any) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer: dict[str, Any] = (await node.post(request)).json()
    return answer


def test_parameters_are_taken_by_the_names_of_substrate(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        for name in ("startKey", "start_key"):
            answer = await _named(
                node, "state_getKeysPaged", prefix=ACCOUNT_KEYS, count=1, **{name: "0x"}
            )
            assert len(answer["result"]) == 1
        genesis = "0x" + node.chain.genesis_hash.hex()
        await node.seal()
        zero = await _named(node, "state_getStorage", key=NUMBER, hash=genesis)
        assert zero["result"] == await node.call("state_getStorage", NUMBER, genesis)
        assert zero != await _named(node, "state_getStorage", key=NUMBER)
        called = await _named(node, "state_call", name="Core_version", bytes="0x", hash=genesis)
        assert called["result"] == await node.call("state_call", "Core_version", "0x")

    drive(scenario)


@pytest.mark.parametrize("name", ["at", "block", "blockHash", "Hash", ""])
def test_a_misspelt_block_is_an_error_and_not_the_best_block(drive: Drive, name: str) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        genesis = "0x" + node.chain.genesis_hash.hex()
        answer = await _named(node, "state_getStorage", key=NUMBER, **{name: genesis})
        assert answer["error"]["code"] == -32602
        assert f"no parameter `{name}`" in answer["error"]["message"]

    drive(scenario)


def test_what_substrate_requires_has_no_default(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        for method, params in (("state_call", ["Core_version"]), ("state_getKeysPaged", ["0x"])):
            with pytest.raises(Failed) as failed:
                await node.call(method, *params)
            assert failed.value.code == -32602
            assert "is missing" in failed.value.message

    drive(scenario)


GARBAGE: list[Any] = [
    "garbage",
    "0xzz",
    "0x0",
    "\ud800",
    -1,
    2**70,
    1.5,
    True,
    {},
    {"key": 1},
    [],
    [[]],
    [{"key": "0xzz", "type": "value"}],
    ["x"],
    None,
    "0x" + "00" * 32,
    "5" * 48,
]


async def _throw_garbage(client: Client, method: str) -> int:
    errors = 0
    for first in GARBAGE:
        for params in ([first], [first] * 5, {"hash": first, "key": first}, first):
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            await client.socket.send_message(json.dumps(request))
            while True:
                answer = json.loads(await client.socket.get_message())
                if "method" not in answer:
                    break
            assert answer["id"] == 1
            if "error" in answer:
                errors += 1
                assert answer["error"]["code"] != -32603, (method, params)
    return errors


def test_garbage_for_any_method_is_answered_and_breaks_nothing(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        names = methods_for(node, Limits())
        async with node.connect() as client:
            for name in names:
                assert await _throw_garbage(client, name) > 0, name
        assert await node.call("system_name") == "node"

    drive(scenario)
