"""The network service against peers that keep no rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from p2p.protocols.addresses import encode_records, sign_record
from p2p.protocols.status import AGENT_LENGTH_MAX, encode_status
from p2p.protocols.transactions import encode_batch, topic_of
from p2p.service.service import Fault, Service
from p2p.service.settings import INVALID_RATE
from p2p.transport.transport import Channel, PeerGoneError, PeerId, RequestError
from p2p.transport.wire import SIZE_MAX, MessageKind, RequestKind, encode
from runtime.crypto.keys import Keypair
from tests.p2p.support.cluster import (
    GENESIS,
    OTHER_GENESIS,
    Node,
    World,
    names,
    play,
    seed_of,
    until,
)
from tests.p2p.support.stranger import Stranger, stranger_in


def votes_waiting(service: Service) -> int:
    """Count what the node can take now."""
    count = 0
    while True:
        try:
            service.consensus.receive_nowait()
        except trio.WouldBlock:
            return count
        count += 1


async def is_banned(stranger: Stranger, service: Service) -> bool:
    """Return whether a node hangs up on a stranger that does everything right."""
    await until(lambda: not stranger.is_connected)
    await stranger.shake_hands(service)
    await trio.sleep(0.5)
    return not stranger.is_connected


def test_a_peer_of_another_chain_is_refused_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        alien = await world.start(5, first, genesis_hash=OTHER_GENESIS)
        await trio.sleep(60)
        assert not alien.peers()
        assert names(first) == {second.peer_id}
        lines = [
            record.getMessage()
            for record in caplog.records
            if "peer-refused" in record.getMessage()
        ]
        # Whoever reads the other's status first refuses it; the other only sees it leave.
        assert len(lines) == 1
        assert "genesis block" in lines[0]

    caplog.set_level("INFO", "p2p")
    play(scenario)


def test_a_peer_of_another_version_is_refused() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        stranger = await stranger_in(world, 5)
        await stranger.visit(first)
        status = replace(Node().status(), version=99)
        await stranger.say(
            first, Channel.CONTROL, encode(MessageKind.STATUS, encode_status(status))
        )
        await until(lambda: not stranger.is_connected)
        assert not first.peers()

    play(scenario)


@pytest.mark.parametrize(
    ("channel", "frame"),
    [
        (Channel.CONTROL, b"garbage"),
        (Channel.CONSENSUS, b""),
        (Channel.CONSENSUS, bytes(SIZE_MAX[MessageKind.PROPOSAL] + 100)),
        (Channel.CONTROL, encode(MessageKind.VOTE, b"a vote on the wrong channel")),
        (Channel.CONTROL, encode(MessageKind.TRANSACTIONS, b"gossip on a channel")),
        (Channel.CONTROL, encode(MessageKind.STATUS, b"no status")),
        (Channel.CONTROL, encode(MessageKind.ADDRESSES, b"\xff no records")),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else str(value),
)
def test_a_peer_that_sends_nonsense_is_banned_for_a_while(channel: Channel, frame: bytes) -> None:
    async def scenario(world: World) -> None:
        first = await world.start(0, ban_s=30.0)
        stranger = await stranger_in(world, 5)
        await stranger.shake_hands(first)
        assert names(first) == {stranger.transport.peer_id}
        await stranger.say(first, channel, *[frame] * 5)
        assert await is_banned(stranger, first)
        await trio.sleep(31)
        assert not await is_banned(stranger, first)

    play(scenario)


def test_nothing_is_taken_before_the_handshake() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        stranger = await stranger_in(world, 5)
        await stranger.visit(first)
        message = encode(MessageKind.TRANSACTIONS, encode_batch((b"early",)))
        await stranger.transport.publish(topic_of(GENESIS), message)
        with pytest.raises(RequestError):
            await stranger.transport.request(first.peer_id, encode(RequestKind.BODY, b"hash"))
        await stranger.vote(first, b"early")
        await until(lambda: not stranger.is_connected, 1)
        assert votes_waiting(first) == 0
        assert first.counters.transactions_received == 0
        assert not first.peers()

    play(scenario)


def test_a_peer_that_speaks_early_again_and_again_is_banned() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        stranger = await stranger_in(world, 5)
        for _ in range(12):
            await stranger.visit(first)
            await stranger.vote(first, b"early")
            await trio.sleep(0.1)
        assert await is_banned(stranger, first)

    play(scenario)


def test_a_peer_that_does_not_shake_hands_is_left() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        stranger = await stranger_in(world, 5)
        await stranger.visit(first)
        await until(lambda: not stranger.is_connected, 15)

    play(scenario)


def test_a_replayed_vote_is_taken_once() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        stranger = await stranger_in(world, 5)
        await stranger.shake_hands(first)
        await stranger.vote(first, *[b"again"] * 50)
        assert (await first.consensus.receive()).body == b"again"
        await trio.sleep(0.5)
        assert votes_waiting(first) == 0

    play(scenario)


def test_a_flooding_peer_does_not_delay_the_votes_of_an_honest_one() -> None:
    async def scenario(world: World) -> None:
        first, honest = await world.mesh(2)
        flooder = await stranger_in(world, 5)
        await flooder.shake_hands(first)
        await flooder.vote(first, *(b"flood %d" % number for number in range(3000)))
        await trio.sleep(0.1)
        honest.broadcast(MessageKind.VOTE, b"honest")
        await trio.sleep(0.1)
        bodies = [(await first.consensus.receive()).body for _ in range(4)]
        assert b"honest" in bodies
        # What of the flood did not fit the flooder's own queue is lost, and nothing else.
        assert first.counters.consensus_lost > 1900

    play(scenario)


def test_a_flooding_peer_is_banned() -> None:
    async def scenario(world: World) -> None:
        first, honest = await world.mesh(2)
        flooder = await stranger_in(world, 5)
        await flooder.shake_hands(first)
        await flooder.vote(first, *(b"flood %d" % number for number in range(6000)))
        assert await is_banned(flooder, first)
        assert names(first) == {honest.peer_id}
        assert first.counters.frames_flooded >= 100

    play(scenario)


def test_a_flood_of_statuses_is_a_flood() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        flooder = await stranger_in(world, 5)
        await flooder.shake_hands(first)
        frame = encode(MessageKind.STATUS, encode_status(Node().status()))
        await flooder.say(first, Channel.CONTROL, *[frame] * 300)
        assert await is_banned(flooder, first)

    play(scenario)


def test_a_flood_of_requests_is_refused_and_banned() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        flooder = await stranger_in(world, 5)
        await flooder.shake_hands(first)
        refused = 0

        async def ask() -> None:
            nonlocal refused
            try:
                await flooder.transport.request(first.peer_id, b"garbage")
            except (RequestError, PeerGoneError):
                refused += 1

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert refused == 50
        assert await is_banned(flooder, first)

    play(scenario)


def test_garbage_in_gossip_goes_no_further() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        stranger = await stranger_in(world, 5)
        await stranger.shake_hands(first)
        for message in (b"garbage", encode(MessageKind.VOTE, b"yes"), b""):
            await stranger.transport.publish(topic_of(GENESIS), message)
        await until(lambda: not stranger.is_connected)
        assert second.counters.gossip_refused == 0
        assert names(first) == {second.peer_id}

    play(scenario)


def test_gossip_of_a_peer_that_costs_too_much_in_vain_is_dropped_for_a_while() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        stranger = await stranger_in(world, 5)
        await stranger.shake_hands(first)
        name = stranger.transport.peer_id
        first.charge_invalid(name, INVALID_RATE.burst)
        lost = encode(MessageKind.TRANSACTIONS, encode_batch((b"dropped",)))
        await stranger.transport.publish(topic_of(GENESIS), lost)
        await until(lambda: first.counters.gossip_refused == 1)
        assert second.counters.transactions_received == 0
        assert name in names(first)
        await trio.sleep(8)
        taken = encode(MessageKind.TRANSACTIONS, encode_batch((b"taken",)))
        await stranger.transport.publish(topic_of(GENESIS), taken)
        await until(lambda: first.counters.transactions_received == 1)

    play(scenario)


def test_a_neighbour_that_owes_is_heard_and_not_relayed() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        stranger = await stranger_in(world, 5)
        await stranger.shake_hands(first)
        first.charge_invalid(stranger.transport.peer_id, INVALID_RATE.burst / 4)
        message = encode(MessageKind.TRANSACTIONS, encode_batch((b"one",)))
        await stranger.transport.publish(topic_of(GENESIS), message)
        await until(lambda: first.counters.transactions_received == 1)
        await trio.sleep(1)
        assert second.counters.transactions_received == 0

    play(scenario)


def test_a_forged_address_record_is_refused() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        stranger = await stranger_in(world, 5)
        await stranger.shake_hands(first)
        victim = Keypair.from_seed(seed_of(9))
        address = f"/memory/1/p2p/{world.transport(9).peer_id}"
        forged = replace(sign_record(victim, 1, [address]), sequence=2)
        frame = encode(MessageKind.ADDRESSES, encode_records([forged]))
        await stranger.say(first, Channel.CONTROL, frame)
        await trio.sleep(0.5)
        assert first.peers()[0].score <= -Fault.BAD_RECORD.cost + 1
        assert first.counters.dials == 0

    play(scenario)


def test_a_node_that_finds_a_body_bad_may_ban_its_sender() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        for _ in range(4):
            first.penalize(second.peer_id, Fault.BAD_MESSAGE, "its signature is not valid")
        await until(lambda: not first.peers())
        await trio.sleep(100)
        assert not first.peers()
        await until(lambda: len(first.peers()) == 1, 400)

    play(scenario)


def test_faults_are_forgiven_in_time() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.mesh(2)
        for _ in range(10):
            first.penalize(second.peer_id, Fault.BAD_MESSAGE, "its signature is not valid")
            await trio.sleep(Fault.BAD_MESSAGE.cost)
        assert names(first) == {second.peer_id}

    play(scenario)


def test_a_fault_of_somebody_unknown_is_noted() -> None:
    async def scenario(world: World) -> None:
        (first,) = await world.mesh(1)
        first.penalize(PeerId("nobody"), Fault.WRONG_CHAIN, "it left")
        assert first.counters.peers_banned == 1

    play(scenario)


def test_an_agent_too_long_to_say_ends_the_start() -> None:
    async def scenario(world: World) -> None:
        node = Node()
        node.now = replace(node.now, agent="a" * (AGENT_LENGTH_MAX + 1))
        with pytest.raises(AssertionError):
            Service(lambda: world.transport(1), node)

    play(scenario)
