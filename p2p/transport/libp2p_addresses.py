"""What libp2p listens on and dials: IP addresses, resolved here, with the system's own reasons.

The library would ask a DNS server for names, and would say of every failure that an upgrade or a
stream failed.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from multiaddr import Multiaddr

from p2p.transport.multiaddress import NodeAddress, parse_address
from p2p.transport.name_resolution import reachable_at, resolve
from p2p.transport.transport import AddressError, DialError

if TYPE_CHECKING:
    from libp2p.network.swarm import Swarm


async def listening_endpoints(listen: Sequence[NodeAddress]) -> Sequence[Sequence[NodeAddress]]:
    """Resolve what is to be listened on, one group for each. Raises AddressError."""
    try:
        return [await resolve(address) for address in listen]
    except DialError as error:
        raise AddressError(f"Cannot listen: {error}") from error


def check_listening(swarm: Swarm, wanted: Sequence[Sequence[NodeAddress]]) -> None:
    """Check that each address is listened on, a name at one at least. Raises AddressError."""
    for endpoints in wanted:
        if not any(str(Multiaddr(str(place))) in swarm.listeners for place in endpoints):
            texts = ", ".join(map(str, endpoints))
            raise AddressError(
                f"Cannot listen on {texts}: {_binding_fault(endpoints[0])}. "
                "Choose another port or another address."
            )


def dialable_addresses(swarm: Swarm, own: ID) -> Sequence[str]:
    """Return where others reach what is listened on, with this node's peer id."""
    listening = [
        parse_address(str(address))
        for listener in swarm.listeners.values()
        for address in listener.get_addrs()
    ]
    found = [f"{place}/p2p/{own}" for address in listening for place in reachable_at(address)]
    return tuple(dict.fromkeys(found))


async def dial_endpoints(swarm: Swarm, target: NodeAddress, limit_s: float) -> SwarmConn:
    """Dial the IP addresses of a target in turn, within one limit. Raises DialError."""
    assert target.peer is not None, target
    peer_id = ID.from_base58(target.peer)
    deadline = trio.current_time() + limit_s
    with trio.move_on_at(deadline):
        endpoints = await resolve(target)
        for left in range(len(endpoints), 0, -1):
            endpoint = endpoints[-left]
            now = trio.current_time()
            with trio.move_on_at(now + (deadline - now) / left):
                try:
                    link = await swarm.dial_addr(Multiaddr(str(endpoint)), peer_id)
                except Exception as error:
                    if left > 1:
                        continue
                    reason = failure_reason(error)
                    raise DialError(
                        f"Nobody could be reached at {_places(target, endpoint)}: {reason}"
                    ) from error
                assert isinstance(link, SwarmConn)
                return link
    raise DialError(
        f"{target} did not answer in time. Check that the node runs, and that no firewall drops "
        "what comes to its port."
    )


def failure_reason(error: BaseException) -> str:
    """Return why a dial failed, from the error that the library wrapped last of all."""
    root = _root_of(error)
    if isinstance(root, PeerIDMismatchesPubkey):
        return "a node with another peer id answers there. Correct the peer id."
    if isinstance(root, ConnectionRefusedError):
        return "connection refused. Check that the node runs and listens on this address."
    if isinstance(root, ConnectionError):
        return "it hung up during the handshake. Check that the port is a node's p2p port."
    if isinstance(root, OSError) and root.strerror:
        return f"{root.strerror}. Check the address and the network."
    return f"{root}. Check that a node listens on this port."


def _root_of(error: BaseException) -> BaseException:
    """Return the innermost cause; of several attempts at once, the last."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            return error


def _places(target: NodeAddress, endpoint: NodeAddress) -> str:
    return f"{target} (last tried: {endpoint.host})" if target.is_name else str(target)


def _binding_fault(endpoint: NodeAddress) -> str:
    """Return why an address cannot be bound: the library keeps the reason to its log."""
    family = socket.AF_INET6 if endpoint.protocol == "ip6" else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
            probe.listen(1)
        except OSError as error:
            return error.strerror or str(error)
    return "it was in use, or this machine has no such address family"
