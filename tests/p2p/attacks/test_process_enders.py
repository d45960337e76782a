"""What ended the process, or left it deaf, in libp2p as it comes: defects 1 to 5.

Each attack runs twice: on a node with all patches, which goes on serving, and on one without the
patch, which does not. The second shows that the attack is one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import pytest
import trio
from libp2p.host.exceptions import StreamFailure
from libp2p.network.exceptions import SwarmException
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.yamux.yamux import Yamux

from tests.p2p.attacks.support.attacker import MESHSUB, Attacker, attacking, victim
from tests.p2p.attacks.support.victim import SLOTS

Attack = Callable[[Attacker], Awaitable[None]]


async def send_undecodable_gossip(attacker: Attacker) -> None:
    stream = await attacker.stream(MESHSUB)
    await stream.write(b"\x0a" + b"\xff" * 10)


async def send_message_with_a_bad_key(attacker: Attacker) -> None:
    message = attacker.signed(b"x")
    message.from_id, message.key = b"\x12\x03abc", b"no key"
    await attacker.gossip(rpc_pb2.RPC(publish=[message]))


async def send_message_with_a_bad_author(attacker: Attacker) -> None:
    message = attacker.signed(b"x")
    message.from_id, message.key = b"", b"\x08\x63\x12\x00"
    await attacker.gossip(rpc_pb2.RPC(publish=[message]))


async def send_what_the_validator_raises_at(attacker: Attacker) -> None:
    await attacker.gossip(rpc_pb2.RPC(publish=[attacker.signed(b"raise")]))


async def open_a_stream_whose_handler_raises(attacker: Attacker) -> None:
    with contextlib.suppress(StreamFailure):
        await attacker.stream("/raise/1")


ATTACKS = [
    (send_undecodable_gossip, "contain-streams"),
    (send_message_with_a_bad_key, "contain-messages"),
    (send_message_with_a_bad_author, "contain-messages"),
    (send_what_the_validator_raises_at, "contain-messages"),
    (open_a_stream_whose_handler_raises, "contain-streams"),
]


@pytest.mark.parametrize(
    ("attack", "patch"), ATTACKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_an_attacked_node_goes_on_serving(attack: Attack, patch: str) -> None:
    async def scenario() -> None:
        with victim() as target:
            async with attacking(target.address) as attacker:
                await attack(attacker)
                await attack(attacker)
                assert await target.is_serving()
            assert target.process.poll() is None

    trio.run(scenario)


@pytest.mark.parametrize(
    ("attack", "patch"), ATTACKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_attack_ends_a_node_without_the_patch(attack: Attack, patch: str) -> None:
    async def scenario() -> None:
        with victim(patch) as target:
            async with attacking(target.address) as attacker:
                await attack(attacker)
                assert await target.ended()

    trio.run(scenario)


@pytest.mark.parametrize("is_patched", [True, False])
def test_connections_that_come_and_go_leave_a_patched_node_hearing(is_patched: bool) -> None:
    async def scenario() -> None:
        with victim(*([] if is_patched else ["return-inbound-slots"])) as target:
            for _ in range(2 * SLOTS):
                try:
                    async with attacking(target.address) as attacker:
                        assert isinstance(attacker.connection.muxed_conn, Yamux)
                        await attacker.connection.muxed_conn.secured_conn.close()
                except* SwarmException:
                    assert not is_patched
            assert await target.is_serving() == is_patched

    trio.run(scenario)
