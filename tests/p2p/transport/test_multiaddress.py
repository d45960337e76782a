"""Addresses of nodes as texts: only what can be dialled or listened on is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.transport.multiaddress import (
    NodeAddress,
    listen_address,
    parse_address,
    parse_dialable_address,
    parse_peer_address,
)
from p2p.transport.transport import AddressError, peer_id_of

PEER = peer_id_of(bytes(range(32)))


@pytest.mark.parametrize(
    "text",
    [
        f"/ip4/203.0.113.5/tcp/30333/p2p/{PEER}",
        f"/ip6/2001:db8::1/tcp/1/p2p/{PEER}",
        f"/dns4/node.example.org/tcp/65535/p2p/{PEER}",
        f"/dns6/node.example.org/tcp/30333/p2p/{PEER}",
        f"/dns/my_container/tcp/30333/p2p/{PEER}",
        f"/dns/my-node-1/tcp/30333/p2p/{PEER}",
        f"/dns/7.example./tcp/30333/p2p/{PEER}",
    ],
)
def test_an_address_of_each_kind_is_read_and_written_alike(text: str) -> None:
    address = parse_peer_address(text)
    assert str(address) == text
    assert address.peer == PEER
    assert address.is_name == text.startswith("/dns")


MALFORMED = [
    ("", "does not begin with /"),
    ("hello", "does not begin with /"),
    ("203.0.113.5:30333", "does not begin with /"),
    ("/", "begins with /, not with a host"),
    (f"/p2p/{PEER}", "begins with /p2p, not with a host"),
    ("/ip4/203.0.113.5", "not followed by /tcp/"),
    (f"/ip4/203.0.113.5/udp/30333/quic-v1/p2p/{PEER}", "not followed by /tcp/"),
    (f"/ip4/256.0.0.1/tcp/30333/p2p/{PEER}", "'256.0.0.1' is no host of /ip4"),
    (f"/ip4/node.example.org/tcp/30333/p2p/{PEER}", "is no host of /ip4"),
    (f"/ip4/2001:db8::1/tcp/30333/p2p/{PEER}", "is no host of /ip4"),
    (f"/ip6/fe80::1%eth0/tcp/30333/p2p/{PEER}", "is no host of /ip6"),
    (f"/dns4/a b/tcp/30333/p2p/{PEER}", "'a b' is no host of /dns4"),
    (f"/dns4//tcp/30333/p2p/{PEER}", "'' is no host of /dns4"),
    (f"/dns4/-a/tcp/30333/p2p/{PEER}", "'-a' is no host of /dns4"),
    (f"/dns/a.b-.c/tcp/30333/p2p/{PEER}", "'a.b-.c' is no host of /dns"),
    (f"/dns4/1.2.3.4/tcp/30333/p2p/{PEER}", "'1.2.3.4' is no host of /dns4"),
    (f"/dns/7/tcp/30333/p2p/{PEER}", "'7' is no host of /dns"),
    (f"/ip4/203.0.113.5/tcp/65536/p2p/{PEER}", "'65536' is no port"),
    (f"/ip4/203.0.113.5/tcp/-1/p2p/{PEER}", "'-1' is no port"),
    (f"/ip4/203.0.113.5/tcp/ /p2p/{PEER}", "' ' is no port"),
    (f"/ip4/203.0.113.5/tcp/{'9' * 5000}/p2p/{PEER}", "is no port"),
    ("/ip4/203.0.113.5/tcp/30333/p2p/", "'' is no peer id"),
    ("/ip4/203.0.113.5/tcp/30333/p2p", "'' is no peer id"),
    (f"/ip4/203.0.113.5/tcp/30333/p2p/{PEER[:-1]}", "is no peer id"),
    (f"/ip4/203.0.113.5/tcp/30333/p2p/{PEER} ", "is no peer id"),
    ("/ip4/203.0.113.5/tcp/30333/p2p/0OIl", "is no peer id"),
    (f"/ip4/203.0.113.5/tcp/30333/ws/p2p/{PEER}", "after the port comes /p2p/"),
    (f"/ip4/203.0.113.5/tcp/30333/p2p/{PEER}/p2p-circuit", "after the port comes /p2p/"),
    (f"/ip4/203.0.113.5/tcp/30333,/ip4/203.0.113.6/tcp/30333/p2p/{PEER}", "is no port"),
]


@pytest.mark.parametrize(("text", "reason"), MALFORMED)
def test_a_malformed_address_is_refused_with_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as error:
        parse_peer_address(text)
    assert reason in str(error.value)
    assert "Write /ip4/HOST/tcp/PORT/p2p/PEER_ID" in str(error.value)


def test_a_peer_is_dialled_by_its_id_alone() -> None:
    assert parse_address("/ip4/203.0.113.5/tcp/30333").peer is None
    with pytest.raises(AddressError, match="does not end in /p2p/ and a peer id"):
        parse_peer_address("/ip4/203.0.113.5/tcp/30333")


def test_port_0_is_listened_on_and_never_dialled() -> None:
    assert parse_address("/ip4/127.0.0.1/tcp/0").port == 0
    with pytest.raises(AddressError, match="port 0"):
        parse_peer_address(f"/ip4/127.0.0.1/tcp/0/p2p/{PEER}")


@pytest.mark.parametrize("host", ["/ip4/0.0.0.0", "/ip6/::", "/ip6/0:0:0:0:0:0:0:0"])
def test_all_interfaces_are_listened_on_and_never_dialled(host: str) -> None:
    assert parse_address(f"{host}/tcp/1").port == 1
    for parse in (parse_dialable_address, parse_peer_address):
        with pytest.raises(AddressError, match="all interfaces"):
            parse(f"{host}/tcp/1/p2p/{PEER}")


@given(st.text() | st.text(alphabet="/ip46dnstcp2.:0159aZ_-%"))
def test_any_text_is_an_address_that_writes_itself_or_is_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "/ip4/127.0.0.1/tcp/30333"),
        ("0.0.0.0", "/ip4/0.0.0.0/tcp/30333"),
        ("::", "/ip6/::/tcp/30333"),
        ("[::1]", "/ip6/::1/tcp/30333"),
        ("localhost", "/dns/localhost/tcp/30333"),
    ],
)
def test_a_host_to_listen_on_is_an_ip_address_or_a_name(host: str, expected: str) -> None:
    assert str(listen_address(host, 30_333)) == expected
    assert parse_address(expected) == listen_address(host, 30_333)


@pytest.mark.parametrize("host", ["", "a b", "a..b", "[localhost]", "127.0.0.1:80", "/ip4/x"])
def test_what_is_neither_is_refused(host: str) -> None:
    with pytest.raises(AddressError, match="no IPv4 address, IPv6 address or host name"):
        listen_address(host, 0)


def test_an_address_without_a_peer_has_no_p2p_part() -> None:
    assert str(NodeAddress("ip6", "::1", 7)) == "/ip6/::1/tcp/7"
