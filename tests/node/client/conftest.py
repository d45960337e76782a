"""A node and a client of it by WebSocket and by HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.client import Client
from tests.node.support.live_node import LiveNode, live_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(params=["ws", "http"])
def client(node: LiveNode, request: pytest.FixtureRequest) -> Iterator[Client]:
    url = node.rpc_url if request.param == "ws" else node.http_url
    with Client(url) as connected:
        yield connected
