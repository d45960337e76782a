"""A running node and a way to call the command line against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.operations.config import Sealing
from tests.node.commands.support.calling import OpenLedger
from tests.node.support.live_node import LiveNode, live_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="module")
def sleeping_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node that never makes a block."""
    with live_node(tmp_path_factory.mktemp("sleeping"), Sealing.MANUAL) as running:
        yield running


@pytest.fixture
def openledger(node: LiveNode, tmp_path: Path) -> OpenLedger:
    return OpenLedger(node.rpc_url, tmp_path / "keys")
