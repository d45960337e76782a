"""Turns on the event loop that clients share, counted in rounds of the loop and not by a clock."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio

from node.rpc import blocks
from node.rpc.limits import Limits
from node.rpc.session import Session
from node.rpc.shares import Shares
from runtime.crypto.hashing import twox_128
from runtime.crypto.keys import Keypair
from runtime.frame.extrinsic import Additional, Envelope, Extra, Extrinsic, ExtrinsicCodec
from runtime.metadata.apis import call_api
from runtime.types.era import IMMORTAL
from tests.node.rpc.support.node_under_test import ALICE, Drive, Failed, NodeUnderTest

NUMBER = "0x" + (twox_128(b"System") + twox_128(b"Number")).hex()


class Rounds:
    """Counts rounds of the event loop, in each of which the tasks that vote get their turn."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.count = 0
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1


def test_one_piece_of_work_is_done_in_each_round_however_many_clients_ask() -> None:
    async def main() -> None:
        shares = Shares(Limits())
        done = 0

        async def client() -> None:
            nonlocal done
            for _ in range(5):
                async with shares.turn:
                    done += 1

        async with trio.open_nursery() as nursery:
            rounds = Rounds(nursery)
            async with trio.open_nursery() as clients:
                for _ in range(200):
                    clients.start_soon(client)
            assert done == 1_000
            assert rounds.count >= done - 1
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_values_of_many_keys_and_blocks_are_read_in_many_turns_and_are_bounded(
    drive: Drive,
) -> None:
    limits = Limits(keys_per_turn=8, values_per_query=600)

    async def scenario(node: NodeUnderTest) -> None:
        first = "0x" + (await node.seal()).hex()
        await node.seal(9)
        keys = [NUMBER, *(f"0x{number:04x}" for number in range(59))]
        rounds = Rounds(node.nursery)
        changes = await node.call("state_queryStorage", keys, first)
        assert len(changes) == 10
        assert rounds.count >= 10 * 60 // 8
        with pytest.raises(Failed, match="61 keys at 10 blocks"):
            await node.call("state_queryStorage", [*keys, "0xff"], first)

    drive(scenario, limits)


def test_a_difference_in_which_nothing_changed_gives_turns_to_others(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        block = "0x" + (await node.seal()).hex()
        items = [{"key": f"0x{number:06x}", "returnType": "hash"} for number in range(900)]
        async with node.connect() as client:
            rounds = Rounds(node.nursery)
            name = await client.call("archive_v1_storageDiff", block, items)
            assert await client.event(name) == {"event": "storageDiffDone"}
            assert rounds.count >= 900

    drive(scenario)


def test_subscriptions_of_one_address_are_bounded_over_all_its_connections(drive: Drive) -> None:
    limits = Limits(subscriptions_per_peer=3)

    async def scenario(node: NodeUnderTest) -> None:
        async with node.connect() as first, node.connect() as second:
            name = await first.call("chain_subscribeNewHeads")
            for _ in range(2):
                await second.call("chain_subscribeNewHeads")
            for client in (first, second):
                with pytest.raises(Failed, match="as many subscriptions"):
                    await client.call("chain_subscribeNewHeads")
            assert await first.call("chain_unsubscribeNewHeads", name)
            await first.call("system_name")
            await second.call("chain_subscribeNewHeads")
        # Those of connections that are gone count no more.
        with trio.fail_after(10):
            async with node.connect() as third:
                taken = 0
                while taken < 3:
                    try:
                        await third.call("chain_subscribeNewHeads")
                        taken += 1
                    except Failed:
                        await trio.lowlevel.checkpoint()

    drive(scenario, limits)


def test_all_subscriptions_together_are_bounded() -> None:
    shares = Shares(Limits(subscriptions=5, subscriptions_per_peer=4))
    assert [shares.take_subscription("one") for _ in range(5)] == [True] * 4 + [False]
    assert [shares.take_subscription("two") for _ in range(2)] == [True, False]
    shares.give_back_subscription("one")
    assert shares.take_subscription("two")


def batch_of_remarks(node: NodeUnderTest, pair: Keypair, count: int) -> str:
    machine, genesis = node.chain.machine, node.chain.genesis_hash
    remark = machine.call("System", "remark", remark=b"")
    call = machine.call("Utility", "batch", calls=(remark,) * count)
    version = machine.version
    additional = Additional(version.spec_version, version.transaction_version, genesis, genesis)
    return "0x" + machine.extrinsics.sign(call, pair, Extra(IMMORTAL, 0, 0), additional).hex()


def test_a_big_extrinsic_is_decoded_once_and_off_the_event_loop(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, decoded = ExtrinsicCodec.decode_call, []

    def decode_call(self: ExtrinsicCodec, envelope: Envelope) -> Extrinsic:
        with pytest.raises(RuntimeError):
            trio.lowlevel.current_task()
        decoded.append(envelope.hash)
        return original(self, envelope)

    async def scenario(node: NodeUnderTest) -> None:
        # More calls than a batch may have, which dispatch says and no decoder.
        raw = batch_of_remarks(node, ALICE, 3_000)
        monkeypatch.setattr(ExtrinsicCodec, "decode_call", decode_call)
        info = await node.call("payment_queryInfo", raw)
        assert int(info["partialFee"]) > 0
        assert len(decoded) == 1
        fee: Any = await node.call("payment_queryFeeDetails", raw)
        assert fee["inclusionFee"]["lenFee"] != "0x0"
        assert (await node.call("system_dryRun", raw)).startswith("0x0001")
        size = (len(raw) // 2 - 1).to_bytes(4, "little").hex()
        name = "TransactionPaymentApi_query_info"
        assert len(await node.call("state_call", name, raw + size)) > 2
        assert len(decoded) == 4
        await node.call("author_submitExtrinsic", raw)
        assert len(decoded) == 5
        with pytest.raises(Failed) as failed:
            await node.call("payment_queryInfo", raw + "00")
        assert failed.value.message == "Extrinsic has invalid format"

    drive(scenario)


def test_a_session_without_a_server_shares_with_nobody() -> None:
    async def main() -> None:
        sessions = [Session(Limits(), "test", is_local=False) for _ in range(2)]
        assert sessions[0].shares is not sessions[1].shares

    trio.run(main)


def test_a_list_that_takes_long_holds_up_neither_the_loop_nor_the_next_question(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any) -> bytes:
        time.sleep(0.2)
        return call_api(*arguments)

    monkeypatch.setattr(blocks, "call_api", slow)

    async def scenario(node: NodeUnderTest) -> None:
        rounds = Rounds(node.nursery)
        await node.call("state_call", "Core_version", "0x")
        assert rounds.count > 100, "votes go on meanwhile"

    drive(scenario)
