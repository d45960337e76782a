"""The fixture that drives a node through its server."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from pathlib import Path

import pytest
import trio

from genesis.spec import ChainSpec, load_spec
from node.chain import chain
from node.rpc.limits import Limits
from pallets import compose
from runtime.frame.machine import Machine
from tests.node.rpc.support.node_under_test import Drive, Scenario, run


@pytest.fixture(scope="session")
def machines() -> tuple[Machine, Machine]:
    """Two composed runtimes: composing takes longer than most tests, and they keep no state."""
    return compose(), compose()


@pytest.fixture(scope="session")
def dev_spec() -> ChainSpec:
    """The chain for development, its storage written out."""
    return load_spec("dev").raw()


@pytest.fixture
def drive(
    tmp_path: Path,
    machines: tuple[Machine, Machine],
    dev_spec: ChainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> Drive:
    """Run an async function over a node with its server; everything ends when it returns."""
    supply = cycle(machines)
    monkeypatch.setattr(chain, "compose", lambda: next(supply))

    def start(scenario: Scenario, limits: Limits = Limits(), host: str = "127.0.0.1") -> None:  # noqa: B008
        trio.run(partial(run, scenario, tmp_path, dev_spec, limits, host))

    return start
