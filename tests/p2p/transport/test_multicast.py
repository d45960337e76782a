"""Nodes of one chain find each other on the local network, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from p2p.transport.multicast import ADDRESSES_MAX, MulticastDiscovery, announced_peers
from p2p.transport.transport import PeerId, peer_id_of
from runtime.types.primitives import Hash

ONE, OTHER, STRANGER = (peer_id_of(bytes([number]) * 32) for number in (1, 2, 3))
CHAIN, OTHER_CHAIN = Hash(bytes([7]) * 32), Hash(bytes([8]) * 32)
LIMIT_SECONDS = 30.0


def address(peer: PeerId, port: int = 4000) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"


def test_nodes_of_one_chain_find_each_other() -> None:
    found: dict[PeerId, dict[PeerId, Sequence[str]]] = {ONE: {}, OTHER: {}, STRANGER: {}}

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for chain, peer in ((CHAIN, ONE), (CHAIN, OTHER), (OTHER_CHAIN, STRANGER)):
                run: Any = MulticastDiscovery(chain).run
                nursery.start_soon(run, peer, [address(peer)], found[peer].__setitem__)
            with trio.move_on_after(LIMIT_SECONDS):
                while not (OTHER in found[ONE] and ONE in found[OTHER]):
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except* OSError as group:
        pytest.skip(f"no multicast on this machine: {group.exceptions[0]}")
    assert found == {
        ONE: {OTHER: [address(OTHER)]},
        OTHER: {ONE: [address(ONE)]},
        STRANGER: {},
    }


@pytest.mark.parametrize("host", ["/ip4/127.0.0.1", "/ip6/::1", "/ip6/2001:db8::1"])
def test_a_node_without_peers_around_it_says_nothing_and_stops(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with trio.move_on_after(2.0):
            addresses = [f"{host}/tcp/4000/p2p/{ONE}"]
            await MulticastDiscovery(CHAIN).run(ONE, addresses, lambda *_: None)

    try:
        trio.run(main)
    except OSError as error:
        pytest.skip(f"no multicast on this machine: {error}")
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_an_announcement_has_the_addresses_of_its_peer() -> None:
    properties = {
        b"dnsaddr": address(ONE).encode(),
        b"dnsaddr2": address(ONE, 4001).encode(),
        b"dnsaddr3": f"/dns4/node.local/tcp/1/p2p/{OTHER}".encode(),
    }
    assert announced_peers(properties) == {
        ONE: [address(ONE), address(ONE, 4001)],
        OTHER: [f"/dns4/node.local/tcp/1/p2p/{OTHER}"],
    }


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {b"dnsaddr": None},
        {b"dnsaddr": b""},
        {b"dnsaddr": b"\xff\xfe"},
        {b"dnsaddr": b"/ip4/127.0.0.1/tcp/4000"},
        {b"dnsaddr": b"/ip4/127.0.0.1/udp/4000/quic-v1/p2p/" + ONE.encode()},
        {b"other": address(ONE).encode()},
    ],
)
def test_what_a_stranger_announces_wrongly_is_dropped(properties: dict[bytes, Any]) -> None:
    assert announced_peers(properties) == {}


def test_of_a_long_announcement_some_addresses_are_read() -> None:
    many = {b"dnsaddr%d" % n: address(ONE, 4000 + n).encode() for n in range(1, 100)}
    assert len(announced_peers(many)[ONE]) == ADDRESSES_MAX
