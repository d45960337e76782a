"""Names are resolved by the system, and wildcards become this machine's addresses."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from p2p.transport import name_resolution
from p2p.transport.multiaddress import parse_address
from p2p.transport.name_resolution import ENDPOINTS_MAX, reachable_at, resolve, unmapped
from p2p.transport.transport import DialError, peer_id_of

PEER = peer_id_of(bytes(range(32)))


def resolved(text: str) -> list[str]:
    return [str(address) for address in trio.run(resolve, parse_address(text))]


def found(*hosts: str) -> Sequence[Any]:
    """What the system's resolver answers."""
    return [
        (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 1))
        for host in hosts
    ]


def with_resolver(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> list[Any]:
    families: list[Any] = []

    async def answer(host: str, port: int, family: int, kind: int) -> Sequence[Any]:
        families.append(family)
        return found(*hosts)

    monkeypatch.setattr(trio.socket, "getaddrinfo", answer)
    return families


def test_a_name_of_the_hosts_file_is_found() -> None:
    """A DNS server knows no localhost; the system reads it in /etc/hosts."""
    assert resolved(f"/dns4/localhost/tcp/7/p2p/{PEER}") == [f"/ip4/127.0.0.1/tcp/7/p2p/{PEER}"]


def test_an_ip_address_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    families = with_resolver(monkeypatch)
    assert resolved("/ip6/::1/tcp/7") == ["/ip6/::1/tcp/7"]
    assert families == []


@pytest.mark.parametrize(
    ("protocol", "family"),
    [("dns", socket.AF_UNSPEC), ("dns4", socket.AF_INET), ("dns6", socket.AF_INET6)],
)
def test_each_protocol_asks_for_its_family(
    monkeypatch: pytest.MonkeyPatch, protocol: str, family: int
) -> None:
    families = with_resolver(monkeypatch, "192.0.2.1", "2001:db8::1", "192.0.2.1")
    # Each once, in the order of the system.
    assert resolved(f"/{protocol}/a/tcp/7") == ["/ip4/192.0.2.1/tcp/7", "/ip6/2001:db8::1/tcp/7"]
    assert families == [family]


def test_of_a_name_with_many_addresses_some_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with_resolver(monkeypatch, "fe80::1%eth0", *(f"192.0.2.{number}" for number in range(50)))
    assert len(resolved("/dns4/a/tcp/7")) == ENDPOINTS_MAX


def test_a_name_that_nobody_knows_is_an_error_with_the_reason() -> None:
    with pytest.raises(DialError, match=r"nosuch\.invalid .* is not known here: .*name server"):
        resolved("/dns4/nosuch.invalid/tcp/7")


@pytest.mark.parametrize("text", ["/ip4/127.0.0.1/tcp/7", "/ip6/2001:db8::1/tcp/7"])
def test_an_address_that_is_listened_on_is_reached_there(text: str) -> None:
    assert list(map(str, reachable_at(parse_address(text)))) == [text]


def interfaces(monkeypatch: pytest.MonkeyPatch, *hosts: str, dual: bool = True) -> None:
    addresses = list(map(ipaddress.ip_address, hosts))
    monkeypatch.setattr(name_resolution, "_interface_addresses", lambda: addresses)
    monkeypatch.setattr(name_resolution, "_is_dual_stack", lambda: dual)


def reached(text: str) -> list[str]:
    return [address.host for address in reachable_at(parse_address(text))]


def test_a_wildcard_is_reached_at_the_addresses_of_all_interfaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interfaces(monkeypatch, "127.0.0.1", "::1", "2001:db8::5", "192.0.2.5")
    assert reached("/ip4/0.0.0.0/tcp/7") == ["192.0.2.5"]
    assert reached("/ip6/::/tcp/7") == ["192.0.2.5", "2001:db8::5"]
    interfaces(monkeypatch, "127.0.0.1", "::1", "2001:db8::5", "192.0.2.5", dual=False)
    assert reached("/ip6/::/tcp/7") == ["2001:db8::5"]


def test_a_machine_without_a_network_is_reached_at_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interfaces(monkeypatch, "127.0.0.1", "::1")
    assert reached("/ip4/0.0.0.0/tcp/7") == ["127.0.0.1"]
    assert reached("/ip6/::/tcp/7") == ["127.0.0.1", "::1"]


def test_this_machine_has_an_address() -> None:
    hosts = reached("/ip4/0.0.0.0/tcp/7")
    assert hosts
    assert not any(ipaddress.ip_address(host).is_unspecified for host in hosts)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("::ffff:192.0.2.5", "192.0.2.5"), ("2001:db8::5", "2001:db8::5"), ("memory", "memory")],
)
def test_an_ipv4_address_on_an_ipv6_socket_is_shown_as_ipv4(host: str, expected: str) -> None:
    assert unmapped(host) == expected
