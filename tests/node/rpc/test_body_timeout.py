"""A body that comes byte by byte ends with 408 on every route, not on JSON-RPC alone."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from ml.api.app import create_app
from node.operations.metrics import Metrics
from node.rpc.blob_routes import blob_routes
from node.rpc.feedback_routes import feedback_routes
from node.rpc.limits import Limits
from node.rpc.server import Server
from node.storage.blob_store import BlobStore
from node.storage.receipt_store import ReceiptStore
from tests.ml.api.support.echo import EchoService
from tests.node.rpc.support.node_under_test import Drive, NodeUnderTest

BLOB = "00" * 32
ROUTES = [
    ("POST", "/"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/feedback"),
    ("PUT", f"/blobs/{BLOB}"),
    ("PUT", f"/blobs/{BLOB}/0"),
]
PATIENCE_SECONDS = 0.2


async def _trickle(app: Any, method: str, path: str) -> list[dict[str, Any]]:
    """Send a body of which a byte comes now and then; return what the application sent."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await trio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": [(b"host", b"127.0.0.1")],
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_body_that_trickles_in_ends_with_408_on_every_route(
    method: str, path: str, drive: Drive, tmp_path: Path
) -> None:
    receipts = ReceiptStore(tmp_path / "receipts.sqlite")

    async def scenario(node: NodeUnderTest) -> None:
        routes = [
            *blob_routes(BlobStore(tmp_path / "blobs")),
            *feedback_routes(receipts),
            *create_app(EchoService()).routes,
        ]
        limits = Limits(request_timeout_s=PATIENCE_SECONDS)
        server = Server(cast(Any, node), limits, Metrics(), node.endpoint)
        with trio.fail_after(20):
            sent = await _trickle(server.app(routes), method, path)
        assert sent[0]["status"] == 408
        assert (b"connection", b"close") in sent[0]["headers"]

    with closing(receipts):
        drive(scenario)
