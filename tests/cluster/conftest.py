"""Clusters for tests: of stand-ins that start at once, and of real nodes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from node.devnet import member
from node.devnet.cluster import Cluster
from node.devnet.state import STATE_FILE, Settings

LOG_LINES_SHOWN: Final = 40
FAKE_NODE: Final = Path(__file__).parent / "support" / "fake_node.py"
FAST: Final = Settings(block_time_ms=200, epoch_blocks=50, executors=False, serve=False)

Devnet = Callable[..., Cluster]
"""Called with nodes=4 and settings=..., it starts a cluster and returns it."""

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed, so that its nodes' logs are shown."""
    report = yield
    if call.when == "call" and report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture
def devnet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Devnet]:
    """Start clusters that are taken down whatever happens; a failed test shows their logs."""
    clusters: list[Path] = []

    def up(nodes: int = 4, settings: Settings = FAST) -> Cluster:
        folder = tmp_path / f"devnet{len(clusters)}"
        clusters.append(folder)
        return Cluster.up(folder, folder.name, nodes, settings)

    yield up
    for folder in clusters:
        if (folder / STATE_FILE).exists():
            cluster = Cluster(folder)
            show_logs(cluster, request)
            for node in cluster.members:
                node.kill()


def show_logs(cluster: Cluster, request: pytest.FixtureRequest) -> None:
    """Print what the nodes of a failed test wrote last."""
    if not request.node.stash.get(_failed, False):
        return
    for node in cluster.members:
        print(f"\n---- node {node.number}: {node.condition}, log {node.process.log}")
        print("\n".join(node.process.log_lines(LOG_LINES_SHOWN)))


@pytest.fixture
def fake_devnet(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> Devnet:
    """Like `devnet`, of stand-ins for nodes that start at once and have no chain."""
    monkeypatch.setattr(member, "PROGRAM", (sys.executable, "-S", str(FAKE_NODE)))
    return devnet
