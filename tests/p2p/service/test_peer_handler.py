"""What strangers say counts less than what configured peers say: keys in use, gossip in vain."""

from __future__ import annotations

from typing import Any, cast

import trio
import trio.testing

from p2p.protocols.address_book import AddressBook
from p2p.service.peer_handler import REFUSED_RECENTLY_SECONDS, PeerHandler
from p2p.service.session_table import SessionTable
from p2p.service.settings import INVALID_RATE, NetworkSettings
from p2p.transport.transport import PeerId, peer_id_of
from runtime.crypto.keys import Keypair
from runtime.types.primitives import Hash
from tests.p2p.support.cluster import seed_of

OWN, BOOTNODE, STRANGER = (
    peer_id_of(Keypair.from_seed(seed_of(number)).account) for number in (0, 1, 2)
)


def made() -> PeerHandler:
    book = AddressBook(OWN, [f"/ip4/127.0.0.1/tcp/1/p2p/{BOOTNODE}"], lambda: 0.5)
    sessions = SessionTable(Hash(bytes(32)), book, NetworkSettings())
    return PeerHandler(cast(Any, None), book, sessions)


def seconds_refused(by: PeerId, for_s: float, then_silent_s: float = 0.0) -> float:
    """Let a peer refuse a node again and again; return what the node makes of it."""

    async def scenario() -> float:
        handler = made()
        until = trio.current_time() + for_s
        while trio.current_time() < until:
            handler.identity_in_use(by)
            await trio.sleep(1)
        await trio.sleep(then_silent_s)
        return handler.seconds_refused()

    return trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_bootnode_that_refuses_the_key_of_a_node_without_peers_is_heard() -> None:
    assert seconds_refused(BOOTNODE, for_s=30) == 30


def test_a_stranger_cannot_say_that_the_key_of_a_node_is_in_use() -> None:
    assert seconds_refused(STRANGER, for_s=300) == 0


def test_a_refusal_of_long_ago_is_forgotten() -> None:
    assert seconds_refused(BOOTNODE, for_s=30, then_silent_s=REFUSED_RECENTLY_SECONDS) == 0


def test_a_refusal_after_a_long_pause_counts_from_its_own_time() -> None:
    async def scenario() -> None:
        handler = made()
        handler.identity_in_use(BOOTNODE)
        await trio.sleep(10 * REFUSED_RECENTLY_SECONDS)
        handler.identity_in_use(BOOTNODE)
        assert handler.seconds_refused() == 0

    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_peer_that_the_operator_named_may_relay_more_that_is_invalid_than_a_stranger() -> None:
    async def scenario() -> None:
        handler, now = made(), trio.current_time()
        for peer in (BOOTNODE, STRANGER):
            handler.charge_invalid(peer, INVALID_RATE.burst)
        assert handler._invalid.part_owed(STRANGER, now) >= 1
        assert handler._invalid.part_owed(BOOTNODE, now) < 0.2

    trio.run(scenario)
