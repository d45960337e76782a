"""Host names into IP addresses, and wildcards into the addresses of this machine's interfaces.

Names are resolved by the system, so that /etc/hosts and the resolvers of container networks count,
which the DNS client of libp2p does not read.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import ifaddr
import trio

from p2p.transport.multiaddress import NodeAddress
from p2p.transport.transport import DialError

ENDPOINTS_MAX: Final = 8
"""IP addresses of one name that are used."""
_FAMILIES: Final = {
    "dns": socket.AF_UNSPEC,
    "dns4": socket.AF_INET,
    "dns6": socket.AF_INET6,
}


async def resolve(address: NodeAddress) -> Sequence[NodeAddress]:
    """Return the same port and peer by IP address, in the system's order. Raises DialError."""
    if not address.is_name:
        return (address,)
    family = _FAMILIES[address.protocol]
    try:
        found = await trio.socket.getaddrinfo(
            address.host, address.port, family, socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DialError(
            f"The name {address.host} of {address} is not known here: {reason}. "
            "Check the spelling, /etc/hosts and the name server."
        ) from error
    hosts = dict.fromkeys(str(entry[4][0]) for entry in found)
    usable = [host for host in hosts if "%" not in host][:ENDPOINTS_MAX]
    return tuple(_with_ip(address, host) for host in usable)


def reachable_at(address: NodeAddress) -> Sequence[NodeAddress]:
    """Return where others reach a listening address: a wildcard is all interfaces.

    Loopback addresses count only on a machine that has no other; link-local ones never do, since
    they mean something on one cable only.
    """
    ip = ipaddress.ip_address(address.host)
    if not ip.is_unspecified:
        return (address,)
    hosts = [
        host
        for host in _interface_addresses()
        if host.version == ip.version or (ip.version == 6 and _is_dual_stack())
    ]
    outward = [host for host in hosts if not host.is_loopback]
    # IPv4 first: most peers have it, and an address that fails costs its reader a dial.
    chosen = sorted(outward or hosts, key=lambda host: host.version)
    return tuple(_with_ip(address, str(host)) for host in chosen)


def unmapped(host: str) -> str:
    """Return an IPv4 address that a dual-stack socket shows as ::ffff:1.2.3.4; others stay."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def _with_ip(address: NodeAddress, host: str) -> NodeAddress:
    version = ipaddress.ip_address(host).version
    return replace(address, protocol=f"ip{version}", host=host)


def _interface_addresses() -> Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    texts = [
        entry.ip if isinstance(entry.ip, str) else entry.ip[0]
        for adapter in ifaddr.get_adapters()
        for entry in adapter.ips
    ]
    found = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
    return [host for host in dict.fromkeys(found) if not host.is_link_local]


def _is_dual_stack() -> bool:
    """Return whether an IPv6 socket takes IPv4 connections as well."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            return probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
    except OSError:
        return False
