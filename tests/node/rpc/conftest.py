"""The fixture that drives a node through its server."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from node.rpc.limits import Limits
from tests.node.rpc.node_under_test import Drive, Scenario, run


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    """Run an async function over a node with its server; everything ends when it returns."""

    def start(scenario: Scenario, limits: Limits = Limits(), host: str = "127.0.0.1") -> None:  # noqa: B008
        trio.run(partial(run, scenario, tmp_path, limits, host))

    return start
