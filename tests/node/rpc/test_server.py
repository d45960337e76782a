"""Over the wire: HTTP, WebSocket, batches, sizes, health, metrics, CORS and local callers."""

from __future__ import annotations

import json
import logging

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed

from node.rpc.connections import ListenError, ServerEndpoint, is_loopback
from node.rpc.limits import Limits
from node.rpc.server import serve
from tests.node.rpc.support.node_under_test import ALICE, Drive, Failed, NodeUnderTest


def test_http_and_websocket_share_one_port_that_the_system_chose(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        assert node.endpoint.port
        async with node.connect() as client:
            assert await client.call("system_chain") == await node.call("system_chain")

    drive(scenario)


def test_a_taken_port_is_told_with_what_to_do(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        with pytest.raises(ListenError, match="Choose another port"):
            await serve(node, "127.0.0.1", node.endpoint.port)

    drive(scenario)


def test_a_batch_is_answered_by_one_array_without_notifications(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        batch = [
            {"jsonrpc": "2.0", "id": 1, "method": "system_name"},
            {"jsonrpc": "2.0", "method": "system_name"},
            {"jsonrpc": "2.0", "id": "two", "method": "nonsense"},
            7,
        ]
        answers = (await node.post(batch)).json()
        assert [answer["id"] for answer in answers] == [1, "two", None]
        async with node.connect() as client:
            await client.socket.send_message(json.dumps(batch))
            assert json.loads(await client.socket.get_message()) == answers

    drive(scenario)


def test_a_batch_that_is_too_long_gets_one_error(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": "system_name"}
        answer = (await node.post([call] * 10_000)).json()
        assert answer["error"]["code"] == -32010

    drive(scenario)


def test_a_request_of_notifications_alone_gets_no_content(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        response = await node.post([{"jsonrpc": "2.0", "method": "system_name"}])
        assert (response.status_code, response.content) == (204, b"")

    drive(scenario)


def test_a_request_that_is_too_big_is_refused_and_the_next_is_answered(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        response = await node.post(b" " * 5_000)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == -32007
        async with node.connect() as client:
            await client.socket.send_message(" " * 5_000)
            with pytest.raises(ConnectionClosed) as closed:
                await client.socket.get_message()
            assert closed.value.reason.code == 1009
        assert await node.call("system_name") == "node"

    drive(scenario, Limits(request_bytes=4_096))


def test_an_answer_that_is_too_big_becomes_an_error(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        with pytest.raises(Failed) as failed:
            await node.call("state_getMetadata")
        assert failed.value.code == -32008
        call = {"jsonrpc": "2.0", "id": 1, "method": "chain_getBlock"}
        answer = (await node.post([call] * 20)).json()
        assert answer["error"]["code"] == -32008

    drive(scenario, Limits(response_bytes=2_000))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 60_000, b'{"id":NaN}', b'"text"', b"9" * 6_000]
)
def test_garbage_is_answered_by_an_error_with_the_id_null(drive: Drive, body: bytes) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        answer = (await node.post(body)).json()
        assert answer["id"] is None
        assert answer["error"]["code"] in (-32700, -32600)

    drive(scenario)


def test_a_browser_preflight_is_answered(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        headers = {
            "Origin": "https://apps.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.options(node.http_url, headers=headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"
        assert "POST" in response.headers["access-control-allow-methods"]
        assert "content-type" in response.headers["access-control-allow-headers"]

    drive(scenario)


def test_health_and_metrics_are_served_beside(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        await node.seal(2)
        await node.call("system_name")
        async with httpx.AsyncClient(trust_env=False, base_url=node.http_url) as client:
            health = (await client.get("/health")).json()
            metrics = (await client.get("/metrics")).text
        assert (health["status"], health["bestBlock"], health["finalizedBlock"]) == ("ok", 2, 2)
        assert 'openledger_rpc_calls_total{method="system_name"} 1.0' in metrics
        assert 'openledger_chain_height_blocks{status="best"} 2.0' in metrics

    drive(scenario)


LOCAL = ("author_rotateKeys", "engine_createBlock", "author_removeExtrinsic")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "rebound.example:9944"},
        {"X-Forwarded-For": "127.0.0.1"},
    ],
)
def test_a_page_or_a_proxy_never_reaches_local_methods(
    drive: Drive, headers: dict[str, str]
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        for method in LOCAL:
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [True, True]}
            answer = (await node.post(request, headers=headers)).json()
            assert answer["error"]["code"] == -32601
        request = {"jsonrpc": "2.0", "id": 1, "method": "system_name"}
        assert (await node.post(request, headers=headers)).json()["result"] == "node"
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        if "Host" not in headers:
            async with node.connect(extra_headers=extra) as client:
                with pytest.raises(Failed):
                    await client.call("author_rotateKeys")

    drive(scenario)


def test_local_methods_are_for_servers_on_loopback_alone(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        with pytest.raises(Failed) as failed:
            await node.call("author_rotateKeys")
        assert failed.value.code == -32601
        assert await node.call("system_name") == "node"

    drive(scenario, host="0.0.0.0")


def test_local_methods_answer_a_program_on_this_machine(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        public = "0x" + ALICE.account.hex()
        assert await node.call("author_hasKey", public, "aura") is False
        assert await node.call("author_insertKey", "aura", "//Alice", public) is None
        assert await node.call("author_hasKey", public, "aura") is True
        assert await node.call("author_rotateKeys") == "0x" + "00" * 32
        with pytest.raises(Failed) as failed:
            await node.call("author_insertKey", "aura", "//Bob", public)
        assert failed.value.code == 1020
        made = await node.call("engine_createBlock", True, True, None)
        assert made["hash"] == await node.call("chain_getBlockHash")
        assert await node.call("engine_finalizeBlock", made["hash"]) is True
        with pytest.raises(Failed):
            await node.call("engine_createBlock", True, True, made["hash"])

    drive(scenario)


def test_a_failing_method_is_an_internal_error_without_details(
    drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        def fail(account: bytes) -> int:
            raise ZeroDivisionError("secret detail")

        node.pool.next_nonce = fail  # type: ignore[method-assign]
        with pytest.raises(Failed) as failed:
            await node.call("account_nextIndex", "0x" + "11" * 32)
        assert failed.value.code == -32603
        assert "secret" not in failed.value.message
        assert await node.call("system_name") == "node"

    with caplog.at_level(logging.ERROR):
        drive(scenario)
    assert "call-failed method=account_nextIndex" in caplog.text


def test_loopback_is_known_by_address() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("127.9.9.9")
    assert is_loopback("::1")
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("localhost.example")
    assert ServerEndpoint("::1", 5).url == "ws://[::1]:5"


def test_stopping_the_server_cuts_its_clients(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(_serve_again, node)
            node.endpoint = endpoint
            async with node.connect() as client:
                await client.call("chain_subscribeNewHeads")
                nursery.cancel_scope.cancel()

    drive(scenario)


async def _serve_again(
    node: NodeUnderTest, task_status: trio.TaskStatus[ServerEndpoint] = trio.TASK_STATUS_IGNORED
) -> None:
    await serve(node, "127.0.0.1", 0, task_status=task_status)


PREFLIGHT = {
    "Origin": "https://polkadot.js.org",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
    "Access-Control-Request-Private-Network": "true",
}


def test_a_page_on_the_web_may_reach_a_node_on_this_machine(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.options(node.http_url, headers=PREFLIGHT)
        assert response.status_code == 200
        assert response.headers["access-control-allow-private-network"] == "true"

    drive(scenario)


def test_a_node_that_listens_beyond_this_machine_gives_no_page_leave_for_a_private_network(
    drive: Drive,
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.options(node.http_url, headers=PREFLIGHT)
        assert "access-control-allow-private-network" not in response.headers

    drive(scenario, host="0.0.0.0")


@pytest.mark.parametrize("path", ["nope", "health/", "v1/nope", "blobs", "rpc", "//"])
@pytest.mark.parametrize("http_method", ["GET", "POST", "PUT"])
def test_an_unknown_path_is_answered_by_404_and_a_sentence(
    drive: Drive, path: str, http_method: str
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.request(http_method, node.http_url + path, content=b"{}")
        assert response.status_code == 404
        assert "check the address" in response.json()["error"]["message"]

    drive(scenario)


def test_a_websocket_on_an_unknown_path_is_answered_by_404(drive: Drive) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(node.http_url + "nope", headers=headers)
        assert response.status_code == 404
        assert "JSON-RPC is on /" in response.json()["error"]["message"]

    drive(scenario)
