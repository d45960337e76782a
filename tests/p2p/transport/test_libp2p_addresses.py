"""Real hosts listen and dial by IPv4, IPv6 and name, and say why they cannot."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio

from p2p.transport.libp2p_addresses import failure_reason
from p2p.transport.libp2p_host import Libp2pTransport
from p2p.transport.transport import (
    AddressError,
    DialError,
    TransportError,
    TransportSettings,
    peer_id_of,
)
from tests.p2p.support.recorder import NodeUnderTest, Recorder, running

SETTINGS = TransportSettings(dial_limit_s=3.0)
ANYWHERE = "/ip4/127.0.0.1/tcp/0"
NOBODY = peer_id_of(bytes(32))
Enter = Callable[..., Awaitable[NodeUnderTest]]
needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="Python has no IPv6 here")


def with_nodes(scenario: Callable[[Enter], Awaitable[None]]) -> None:
    async def start(stack: AsyncExitStack, number: int, *listen: str) -> NodeUnderTest:
        transport = Libp2pTransport(bytes([number]) * 32, listen or [ANYWHERE], SETTINGS)
        return await stack.enter_async_context(running(transport))

    async def main() -> None:
        with trio.fail_after(60):
            async with AsyncExitStack() as stack:
                await scenario(partial(start, stack))

    trio.run(main)


def place(node: NodeUnderTest) -> list[str]:
    """The words of where a node listens: protocol, host, tcp, port."""
    return node.address.split("/")[1:5]


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        (ANYWHERE, "127.0.0.1"),
        pytest.param("/ip6/::1/tcp/0", "::1", marks=needs_ipv6),
        ("/dns4/localhost/tcp/0", "127.0.0.1"),
    ],
)
def test_nodes_meet_over_each_kind_of_address(listen: str, host: str) -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2, listen)
        assert place(other)[1] == host
        await one.meet(other)
        assert one.heard.came[0][1] == other.address

    with_nodes(scenario)


@pytest.mark.parametrize("name", ["/dns4/localhost", "/dns/localhost"])
def test_a_node_is_dialled_by_a_name_of_the_hosts_file(name: str) -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        address = f"{name}/tcp/{place(other)[3]}/p2p/{other.peer}"
        assert await one.transport.dial(address) == other.peer

    with_nodes(scenario)


def test_a_name_with_several_addresses_is_tried_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(host: str, port: int, family: int, kind: int) -> object:
        return [(socket.AF_INET, kind, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]

    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        address = f"/dns4/two.example/tcp/{place(other)[3]}/p2p/{other.peer}"
        with monkeypatch.context() as patched:
            patched.setattr(trio.socket, "getaddrinfo", answer)
            assert await one.transport.dial(address) == other.peer

    with_nodes(scenario)


@needs_ipv6
def test_a_node_that_listens_everywhere_says_where_it_is_reached() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2, "/ip6/::/tcp/0")
        assert not any("/::/" in address for address in other.transport.addresses)
        await one.meet(other)
        # An IPv4 peer on an IPv6 socket is shown by its IPv4 address.
        direct = f"/ip4/127.0.0.1/tcp/{place(other)[3]}/p2p/{other.peer}"
        third = await node(3)
        await third.transport.dial(direct)
        await other.heard.wait_until(lambda heard: third.peer in heard.here)
        address = next(address for peer, address, _ in other.heard.came if peer == third.peer)
        assert address.startswith("/ip4/127.0.0.1/")

    with_nodes(scenario)


async def refusal(node: NodeUnderTest, address: str) -> str:
    with pytest.raises(DialError) as error:
        await node.transport.dial(address)
    return str(error.value)


def test_a_dial_that_fails_says_why() -> None:
    async def scenario(node: Enter) -> None:
        one, other = await node(1), await node(2)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        closed = f"/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}"
        assert "connection refused" in await refusal(one, closed)
        wrong = other.address.replace(other.peer, NOBODY)
        assert "another peer id answers there" in await refusal(one, wrong)
        unknown = f"/dns4/nosuch.invalid/tcp/1/p2p/{NOBODY}"
        assert "is not known here" in await refusal(one, unknown)
        named = f"/dns4/localhost/tcp/{port}/p2p/{NOBODY}"
        assert "last tried: 127.0.0.1): connection refused" in await refusal(one, named)

    with_nodes(scenario)


def test_a_port_of_another_program_is_told_from_a_node() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async def scenario(node: Enter) -> None:
        one = await node(1)
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, hang_up, listeners)
            port = listeners[0].socket.getsockname()[1]
            said = await refusal(one, f"/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}")
            nursery.cancel_scope.cancel()
        assert "hung up during the handshake" in said or "node listens on this port" in said

    with_nodes(scenario)


def test_the_reason_is_the_innermost_error() -> None:
    inner = ExceptionGroup("", [OSError(113, "No route to host")])
    outer = RuntimeError("failed to upgrade")
    outer.__cause__ = inner
    assert failure_reason(outer) == "No route to host. Check the address and the network."


def listening_fault(listen: str) -> str:
    async def main() -> None:
        transport = Libp2pTransport(bytes([1]) * 32, [listen], SETTINGS)
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(transport.run, Recorder()))
            nursery.cancel_scope.cancel()

    with pytest.RaisesGroup(TransportError, allow_unwrapped=True) as error:
        trio.run(main)
    cause: BaseException = error.value
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    assert isinstance(cause, AddressError)
    return str(cause)


def test_what_cannot_be_listened_on_is_refused_with_the_reason() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        assert "Address already in use" in listening_fault(f"/ip4/127.0.0.1/tcp/{port}")
    assert "Cannot assign requested address" in listening_fault("/ip4/192.0.2.1/tcp/0")
    assert "nosuch.invalid" in listening_fault("/dns/nosuch.invalid/tcp/0")
