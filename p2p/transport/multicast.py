"""Discovery of peers on the local network by multicast DNS, as libp2p specifies it.

A node announces one service of its chain whose TXT record has its addresses, and browses for the
same service. Source: libp2p/specs, discovery/mdns.md; the chain is in the name of the service, so
that nodes of other chains on the same network are never dialled.

Rules:
- Announcements are not signed: at most ADDRESSES_MAX addresses of the announced peer are passed on,
  and the transport lets nobody in who cannot prove the peer id.
- The library has its own threads; what it finds is handed to trio's thread. Nothing here waits for
  the library on the event loop.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import trio
from zeroconf import Error as ZeroconfError
from zeroconf import (
    InterfaceChoice,
    IPVersion,
    NotRunningException,
    ServiceBrowser,
    ServiceInfo,
    ServiceStateChange,
    Zeroconf,
)

from p2p.transport.multiaddress import parse_peer_address
from p2p.transport.transport import AddressError, PeerId
from runtime.types.primitives import Hash

ADDRESSES_MAX: Final = 8
"""Addresses of one announcement that are sent and read."""
TXT_LENGTH_MAX: Final = 255
"""Of one entry in a TXT record, its key included."""
ANSWER_LIMIT_MS: Final = 3_000
"""How long an announced node is asked for its addresses."""
LOOPBACK: Final = "127.0.0.1"
_KEY: Final = "dnsaddr"

logger = logging.getLogger(__name__)


class MulticastDiscovery:
    """Finds the nodes of one chain on the local network."""

    def __init__(self, genesis_hash: Hash) -> None:
        # The standard allows a name 15 letters.
        self._service = f"_p2p-{genesis_hash.hex()[:8]}._udp.local."

    async def run(
        self,
        own: PeerId,
        addresses: Sequence[str],
        found: Callable[[PeerId, Sequence[str]], None],
    ) -> None:
        """Announce these addresses, and call `found` for other nodes, until cancelled.

        Raises OSError where the machine has no multicast.
        """
        # A random name, as the specification wants it: a peer id would be too long.
        name = f"{secrets.token_hex(16)}.{self._service}"
        token = trio.lowlevel.current_trio_token()

        def on_change(
            zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
        ) -> None:
            """Read one announcement, in the browser's thread."""
            if state_change is ServiceStateChange.Removed or name == own_name:
                return
            try:
                info = zeroconf.get_service_info(service_type, name, ANSWER_LIMIT_MS)
            except (ZeroconfError, NotRunningException):
                return
            if info is None:
                return
            for peer, texts in announced_peers(info.properties).items():
                try:
                    token.run_sync_soon(found, peer, texts)
                except trio.RunFinishedError:
                    return

        own_name = name
        zeroconf = await trio.to_thread.run_sync(_open, addresses)
        try:
            info = _announcement(self._service, name, addresses)
            await trio.to_thread.run_sync(zeroconf.register_service, info)
            ServiceBrowser(zeroconf, self._service, handlers=[on_change])
            logger.info("local-discovery-started service=%s", self._service)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                # Says goodbye first, so that others forget this node at once.
                await trio.to_thread.run_sync(zeroconf.close)


def announced_peers(properties: dict[bytes, bytes | None]) -> dict[PeerId, list[str]]:
    """Return the well-formed addresses in a TXT record, by the peer that they end in."""
    peers: dict[PeerId, list[str]] = {}
    for key, value in sorted(properties.items())[:ADDRESSES_MAX]:
        if not key.startswith(_KEY.encode()) or value is None:
            continue
        try:
            address = parse_peer_address(value.decode("ascii"))
        except (AddressError, UnicodeDecodeError) as error:
            logger.debug("announcement-refused reason=%r", str(error))
            continue
        assert address.peer is not None
        peers.setdefault(address.peer, []).append(str(address))
    return peers


def _open(addresses: Sequence[str]) -> Zeroconf:
    """Open multicast on loopback alone for a node that listens only there, else everywhere.

    Over IPv4, by which addresses of both kinds are announced: on loopback IPv6 has no multicast.
    """
    hosts = [ipaddress.ip_address(parse_peer_address(address).host) for address in addresses]
    if hosts and all(host.is_loopback for host in hosts):
        return Zeroconf(interfaces=[LOOPBACK])
    return Zeroconf(interfaces=InterfaceChoice.Default, ip_version=IPVersion.V4Only)


def _announcement(service: str, name: str, addresses: Sequence[str]) -> ServiceInfo:
    fitting = [text for text in addresses if len(text) + len(_KEY) + 2 <= TXT_LENGTH_MAX]
    keys = [_KEY, *(f"{_KEY}{number}" for number in range(2, ADDRESSES_MAX + 1))]
    parsed = [parse_peer_address(text) for text in fitting[:ADDRESSES_MAX]]
    return ServiceInfo(
        service,
        name,
        port=parsed[0].port if parsed else 0,
        properties=dict(zip(keys, map(str, parsed), strict=False)),
        server=f"{name.partition('.')[0]}.local.",
        parsed_addresses=[address.host for address in parsed],
    )
