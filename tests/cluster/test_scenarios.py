"""The scenarios of hurt networks on four real nodes, which all of these tests share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from node.client import Finalized, Wait
from node.devnet.cluster import Cluster
from node.devnet.ledger import Ledger, issuance_gap, new_account, sender_of, transfer
from node.devnet.member import Condition
from node.devnet.scenario import (
    SCENARIOS,
    Scenario,
    all_stop_and_start_again,
    go_on,
    messages_are_slow,
    two_of_four_die_and_come_back,
)
from tests.cluster.conftest import FAST, show_logs
from tests.node.commands.support.calling import OpenLedger

TRANSFERS: Final = 12
FINAL_SECONDS_MEDIAN_MAX: Final = 3.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("four") / "devnet"
    cluster = Cluster.up(folder, "four", 4, FAST)
    yield cluster
    for member in cluster.members:
        member.kill()


@pytest.fixture
def network(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """The network, whole before each test."""
    cluster.heal()
    for member in cluster.members:
        if member.condition is Condition.PAUSED:
            cluster.resume(member.number)
        elif member.condition is not Condition.RUNNING:
            cluster.start(member.number)
    go_on(Ledger(cluster), cluster.nodes)
    yield Ledger(cluster)
    show_logs(cluster, request)


SLOW: Final = (all_stop_and_start_again, messages_are_slow, two_of_four_die_and_come_back)
"""Others of these tests do much the same by the way."""


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(
            scenario,
            id=scenario.__name__,
            marks=[pytest.mark.slow] if scenario in SLOW else [],
        )
        for scenario in SCENARIOS
    ],
)
def test_the_network_survives(network: Ledger, scenario: Scenario) -> None:
    scenario(network)


def test_transfers_become_final_soon(network: Ledger) -> None:
    seconds = []
    with network.cluster.client(0) as client:
        for number in range(TRANSFERS):
            call = transfer(client, new_account(1_000 + number))
            began = time.monotonic()
            landed = client.submit(client.sign(call, sender_of(0)), Wait.FINAL)
            seconds.append(time.monotonic() - began)
            assert isinstance(landed, Finalized)
            assert landed.error is None
    median = statistics.median(seconds)
    print(f"transfer to final: p50 {median:.3f} s, most {max(seconds):.3f} s")
    assert median < FINAL_SECONDS_MEDIAN_MAX
    network.assert_one_chain()


def test_status_names_the_power_that_finality_lacks(network: Ledger, tmp_path: Path) -> None:
    cluster = network.cluster
    cluster.kill(2)
    cluster.kill(3)
    openledger = OpenLedger(cluster.url(0), tmp_path)

    def sentence() -> str:
        return openledger("status", "--explain").out

    deadline = time.monotonic() + 30
    while "200,000 OPEN" not in (status := sentence()):
        assert time.monotonic() < deadline, status
    cluster.start(2)
    cluster.start(3)
    go_on(network, cluster.nodes)
    deadline = time.monotonic() + 30
    while "All validators vote" not in (status := sentence()):
        assert time.monotonic() < deadline, status


@pytest.mark.slow
def test_a_node_without_a_stake_follows_the_chain(network: Ledger) -> None:
    cluster = network.cluster
    node = cluster.add()
    try:
        go_on(network, cluster.nodes)
        network.assert_one_chain()
    finally:
        cluster.remove(node)


@pytest.mark.slow
def test_a_save_is_a_way_back(network: Ledger, tmp_path: Path) -> None:
    cluster = network.cluster
    saved = go_on(network, cluster.nodes)
    cluster.save(tmp_path / "save")
    later = go_on(network, cluster.nodes, blocks=12)
    Cluster.load(tmp_path / "save", cluster.folder, cluster.name)
    cluster.reload()
    assert saved <= network.finalized(0) < later
    go_on(network, cluster.nodes)
    network.assert_one_chain()


@pytest.mark.slow
def test_hurried_blocks_are_real(network: Ledger) -> None:
    done = network.cluster.advance(30)
    print(f"30 blocks in {done.seconds:.2f} s")
    network.assert_one_chain()
    with network.cluster.client(0) as client:
        assert issuance_gap(client, client.finalized_hash()) == 0
