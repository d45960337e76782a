"""The addresses of nodes, as texts: /ip4/HOST/tcp/PORT/p2p/PEER_ID.

In the place of ip4 stand ip6 with an IPv6 address, or dns, dns4 and dns6 with a host name. Only
these forms are accepted, because this node speaks TCP alone. Nothing is resolved or connected
here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from p2p.transport.transport import AddressError, PeerId, is_peer_id

HOST_PROTOCOLS: Final = ("ip4", "ip6", "dns", "dns4", "dns6")
PEER_FORM: Final = "/ip4/HOST/tcp/PORT/p2p/PEER_ID"
OTHER_HOSTS: Final = "(for ip4 also ip6, dns, dns4 or dns6)"
PORT_LIMIT: Final = 1 << 16
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
# The last label is no number: the system would read 1.2.3.4, and even 7, as an IP address.
_HOST_NAME: Final = re.compile(rf"({_LABEL}\.)*(?![0-9]+\.?$){_LABEL}\.?")
_HOST_NAME_LENGTH_MAX: Final = 253


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node listens: a host by `protocol`, a TCP port, and its peer id where it is known."""

    protocol: str
    host: str
    port: int
    peer: PeerId | None = None

    @property
    def is_name(self) -> bool:
        """Return whether the host is a name, which has to be resolved."""
        return self.protocol.startswith("dns")

    def __str__(self) -> str:
        """Return the multiaddress."""
        text = f"/{self.protocol}/{self.host}/tcp/{self.port}"
        return text if self.peer is None else f"{text}/p2p/{self.peer}"


def parse_address(text: str) -> NodeAddress:
    """Parse a multiaddress with or without a peer id. Raises AddressError."""
    words = text.split("/")
    reason = _fault_of(text, words)
    if reason:
        raise AddressError(
            f"{text!r} is not the address of a node: {reason}. Write {PEER_FORM} {OTHER_HOSTS}."
        )
    peer = PeerId(words[6]) if len(words) == 7 else None
    return NodeAddress(words[1], words[2], int(words[4]), peer)


def parse_dialable_address(text: str) -> NodeAddress:
    """Parse a multiaddress that others can dial. Raises AddressError."""
    address = parse_address(text)
    if address.port == 0:
        raise AddressError(f"{text} has the port 0, which nothing can be dialled at. Name another.")
    if not address.is_name and ipaddress.ip_address(address.host).is_unspecified:
        raise AddressError(
            f"{text} means all interfaces of a machine and not one machine, so nothing can be "
            "dialled at it. Name an address of the node's own."
        )
    return address


def parse_peer_address(text: str) -> NodeAddress:
    """Parse a multiaddress that a peer can be dialled at. Raises AddressError."""
    address = parse_dialable_address(text)
    if address.peer is None:
        raise AddressError(
            f"{text} does not end in /p2p/ and a peer id, so whoever answers could not be told "
            "from an impostor. Add it; the other node's log has it (network-started peer=...)."
        )
    return address


def listen_address(host: str, port: int) -> NodeAddress:
    """Return the address to listen on: an IPv4 or IPv6 address, or a name. Raises AddressError."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        version = ipaddress.ip_address(bare).version
    except ValueError:
        if bare != host or not _is_host_name(host):
            raise AddressError(
                f"{host!r} is no IPv4 address, IPv6 address or host name of this machine. "
                "Write 0.0.0.0 or :: for all interfaces."
            ) from None
        return NodeAddress("dns", host, port)
    return NodeAddress(f"ip{version}", bare, port)


def _fault_of(text: str, words: list[str]) -> str:
    """Return what is wrong with an address; empty where nothing is."""
    if not text.startswith("/"):
        return "it does not begin with /"
    if words[1] not in HOST_PROTOCOLS:
        return f"it begins with /{words[1]}, not with a host"
    if len(words) < 5 or words[3] != "tcp":
        return "the host is not followed by /tcp/ and a port"
    if not _is_host(words[1], words[2]):
        return f"{words[2]!r} is no host of /{words[1]}"
    if not (words[4].isascii() and words[4].isdigit() and int(words[4][:6]) < PORT_LIMIT):
        return f"{words[4]!r} is no port"
    if len(words) == 5:
        return ""
    if words[5] != "p2p" or len(words) > 7:
        return f"after the port comes /p2p/ and a peer id, not /{'/'.join(words[5:])}"
    if len(words) < 7 or not is_peer_id(words[6]):
        return f"{'/'.join(words[6:])!r} is no peer id (12D3KooW...)"
    return ""


def _is_host(protocol: str, host: str) -> bool:
    if protocol.startswith("dns"):
        return _is_host_name(host)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # A scope (fe80::1%eth0) has no form in /ip6, and means something on one machine only.
    return protocol == f"ip{address.version}" and "%" not in host


def _is_host_name(host: str) -> bool:
    """Return whether a text can be a host name; underscores occur in container networks."""
    return len(host) <= _HOST_NAME_LENGTH_MAX and _HOST_NAME.fullmatch(host) is not None
