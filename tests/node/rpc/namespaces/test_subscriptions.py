"""What subscribers are told: heads, storage, versions, and what becomes of transactions."""

from __future__ import annotations

import json

import pytest
import trio

from node.rpc.limits import Limits
from runtime.crypto.hashing import twox_128
from tests.node.rpc.support.node_under_test import ALICE, Drive, Failed, NodeUnderTest

NUMBER = "0x" + (twox_128(b"System") + twox_128(b"Number")).hex()
ACCOUNTS = "0x" + (twox_128(b"System") + twox_128(b"Account")).hex()


def test_heads_come_in_order_and_end_with_the_subscription(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            ids = {}
            for kind in ("NewHead", "AllHead", "FinalizedHead"):
                ids[kind] = await client.call(f"chain_subscribe{kind}s")
                assert isinstance(ids[kind], str)
            await node.seal(3)
            for name in ids.values():
                assert [int((await client.event(name))["number"], 16) for _ in range(4)] == [
                    0,
                    1,
                    2,
                    3,
                ]
            for kind, name in ids.items():
                assert await client.call(f"chain_unsubscribe{kind}s", name) is True
                assert await client.call(f"chain_unsubscribe{kind}s", name) is False
            await node.seal()
            await client.call("system_name")
            assert client.arrived == []

    drive(scenario)


def test_the_answer_comes_before_the_first_notification(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        methods = ("chain_subscribeNewHeads", "state_subscribeRuntimeVersion")
        batch = [
            {"jsonrpc": "2.0", "id": number, "method": method}
            for number, method in enumerate(methods)
        ]
        async with node.connect() as client:
            await client.socket.send_message(json.dumps(batch))
            answers = json.loads(await client.socket.get_message())
            assert len(answers) == len(methods)
            for answer in answers:
                await client.event(answer["result"])

    drive(scenario)


def test_forks_reach_those_who_want_all_heads_alone(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        fork = await node.chain.build((), (node.author._timestamp(),), ())
        other = await node.chain.build((), (node.author._timestamp(),), ())
        async with node.connect() as client:
            everything = await client.call("chain_subscribeAllHeads")
            best = await client.call("chain_subscribeNewHeads")
            node.chain.extend(fork)
            node.chain.extend(other)
            child = await node.build()
            seen = [await client.event(everything) for _ in range(3 + (fork.hash != other.hash))]
            assert seen[-1] == await client.call("chain_getHeader", child.hex())
            numbers = [int((await client.event(best))["number"], 16) for _ in range(3)]
            assert numbers == [0, 1, 2]

    drive(scenario)


def test_storage_subscribers_hear_of_what_changed(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name = await client.call("state_subscribeStorage", [NUMBER, "0x1234"])
            first = await client.event(name)
            assert first["changes"][1] == ["0x1234", None]
            block = await node.seal()
            change = await client.event(name)
            expected = {"block": "0x" + block.hex(), "changes": [[NUMBER, "0x01000000"]]}
            assert change == expected
            assert await client.call("state_unsubscribeStorage", name) is True

    drive(scenario)


def test_the_runtime_version_is_told_at_once(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name = await client.call("chain_subscribeRuntimeVersion")
            assert await client.event(name) == await client.call("state_getRuntimeVersion")
            assert await client.call("state_unsubscribeRuntimeVersion", name) is True

    drive(scenario)


def test_a_watched_transaction_is_followed_to_finality(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        raw = "0x" + node.transfer().hex()
        async with node.connect() as client:
            name = await client.call("author_submitAndWatchExtrinsic", raw)
            assert await client.event(name) == "ready"
            assert await client.call("author_pendingExtrinsics") == [raw]
            block = "0x" + (await node.seal()).hex()
            assert await client.event(name) == {"inBlock": block}
            assert await client.event(name) == {"finalized": block}
            assert await client.call("author_unwatchExtrinsic", name) is False

    drive(scenario)


def test_an_unwatched_transaction_stays_in_the_pool(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            name = await client.call("author_submitAndWatchExtrinsic", node.transfer().hex())
            assert await client.call("author_unwatchExtrinsic", name) is True
            assert len(node.pool) == 1

    drive(scenario)


def test_a_refused_transaction_is_told_with_code_and_data(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        raw = node.transfer().hex()
        await node.call("author_submitExtrinsic", raw)
        async with node.connect() as client:
            for method in ("author_submitExtrinsic", "author_submitAndWatchExtrinsic"):
                for given, code in (
                    ("0x00", 1001),
                    (raw, 1013),
                    (raw[:80] + ("00" if raw[80:82] != "00" else "01") + raw[82:], 1010),
                ):
                    with pytest.raises(Failed) as failed:
                        await client.call(method, given)
                    assert failed.value.code in (code, 1012)
            await node.seal()
            with pytest.raises(Failed) as failed:
                await client.call("author_submitExtrinsic", node.transfer(nonce=0, value=6).hex())
            assert (failed.value.code, failed.value.data) == (1010, "Transaction is outdated")

    drive(scenario)


def test_a_transaction_is_removed_by_hash_or_by_itself(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        first = await node.call("author_submitExtrinsic", node.transfer().hex())
        raw = node.transfer().hex()
        second = await node.call("author_submitExtrinsic", raw)
        entries = [{"extrinsic": raw}, {"hash": first}, {"hash": "0x" + "00" * 32}]
        assert await node.call("author_removeExtrinsic", entries) == [second, first]
        assert len(node.pool) == 0

    drive(scenario)


def test_transaction_watch_tells_events_of_the_new_interface(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            raw = node.transfer().hex()
            name = await client.call("transactionWatch_v1_submitAndWatch", raw)
            assert await client.event(name) == {"event": "validated"}
            place = {"hash": "0x" + (await node.seal()).hex(), "index": 1}
            included = await client.event(name)
            assert included == {"event": "bestChainBlockIncluded", "block": place}
            assert await client.event(name) == {"event": "finalized", "block": place}
            with pytest.raises(Failed):
                await client.call("transactionWatch_v1_unwatch", name)
            bad = await client.call("transactionWatch_v1_submitAndWatch", "0x1234")
            assert (await client.event(bad))["event"] == "invalid"
            again = await client.call("transactionWatch_v1_submitAndWatch", node.transfer().hex())
            assert await client.call("transactionWatch_v1_unwatch", again) is None
            with trio.fail_after(20):
                while len(node.pool) != 1:
                    await trio.sleep(0.01)

    drive(scenario)


def test_a_broadcast_offers_a_transaction_until_it_is_stopped(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as client:
            first = await client.call("transaction_v1_broadcast", node.transfer().hex())
            with trio.fail_after(10):
                while not len(node.pool):  # it is checked in a thread
                    await client.call("system_name")
            await node.seal()
            assert node.chain.nonce(ALICE.account) == 1
            silent = await client.call("transaction_v1_broadcast", "0x1234")
            assert isinstance(silent, str)
            assert await client.call("transaction_v1_broadcast", "0x1234") is None
            assert await client.call("transaction_v1_stop", first) is None
            with pytest.raises(Failed):
                await client.call("transaction_v1_stop", first)

    drive(scenario, Limits(broadcasts_per_connection=2))


def test_subscriptions_are_for_websockets_and_bounded(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        for method, params in (
            ("chain_subscribeNewHeads", []),
            ("author_submitAndWatchExtrinsic", ["0x00"]),
        ):
            with pytest.raises(Failed) as failed:
                await node.call(method, *params)
            assert failed.value.code == -32601
        async with node.connect() as client:
            await client.call("chain_subscribeNewHeads")
            await client.call("chain_subscribeNewHeads")
            with pytest.raises(Failed) as failed:
                await client.call("chain_subscribeNewHeads")
            assert failed.value.code == -32006
            with pytest.raises(Failed) as failed:
                await client.call("author_submitAndWatchExtrinsic", node.transfer().hex())
            assert failed.value.code == -32006

    drive(scenario, Limits(subscriptions_per_connection=2))


def test_the_archive_tells_blocks_and_storage(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        block = "0x" + (await node.seal(2)).hex()
        call = node.call
        genesis = "0x" + node.chain.genesis_hash.hex()
        assert await call("archive_v1_genesisHash") == genesis
        assert await call("archive_v1_finalizedHeight") == 2
        assert await call("archive_v1_hashByHeight", 2) == [block]
        assert await call("archive_v1_hashByHeight", 9) == []
        assert (await call("archive_v1_header", block))[2:66] == node.chain.best.parent_hash.hex()
        assert len(await call("archive_v1_body", block)) == 1
        for method in ("header", "body"):
            assert await call(f"archive_v1_{method}", "0x" + "ab" * 32) is None
        made = await call("archive_v1_call", block, "Metadata_metadata_versions", "0x")
        assert made == {"success": True, "value": "0x080e0000000f000000"}
        assert not (await call("archive_v1_call", block, "Nothing_here", "0x"))["success"]
        assert await call("archive_v1_call", "0x" + "ab" * 32, "Core_version", "0x") is None
        async with node.connect() as client:
            items = [
                {"key": NUMBER, "type": "value"},
                {"key": ACCOUNTS, "type": "descendantsHashes"},
            ]
            name = await client.call("archive_v1_storage", block, items, None)
            first = await client.event(name)
            assert first == {"event": "storage", "key": NUMBER, "value": "0x02000000"}
            events = []
            while (event := await client.event(name))["event"] == "storage":
                events.append(event)
            assert [entry["key"] for entry in events] == await call(
                "state_getKeysPaged", ACCOUNTS, 1000
            )
            assert event == {"event": "storageDone"}
            lost = await client.call("archive_v1_storage", "0x" + "ab" * 32, items)
            assert (await client.event(lost))["event"] == "storageError"
            assert await client.call("archive_v1_stopStorage", lost) is None

    drive(scenario)
