"""Nodes that join a running network of real ones, and eras that pass."""

from __future__ import annotations

from typing import Final

import pytest

from node.devnet.cluster import Cluster
from node.devnet.ledger import Ledger, height_of_era, issuance_gap
from node.devnet.scenario import go_on
from node.devnet.state import Settings
from runtime.crypto.keys import Keypair
from tests.cluster.conftest import Devnet

SHORT_EPOCHS: Final = Settings(block_time_ms=200, epoch_blocks=5, executors=False, serve=False)
ERAS: Final = 2

pytestmark = pytest.mark.slow


def advance_eras(cluster: Cluster, eras: int) -> None:
    with cluster.client(0) as client:
        blocks = height_of_era(client, eras) - cluster.finalized(0)
    cluster.advance(blocks)


def test_a_fifth_node_becomes_a_validator(devnet: Devnet) -> None:
    cluster = devnet(4, SHORT_EPOCHS)
    node = cluster.add(validator=True)
    newcomer = Keypair.from_uri(cluster.state.node(node).account).account
    advance_eras(cluster, ERAS)
    with cluster.client(node) as client:
        final = client.finalized_hash()
        accounts = {
            authority.account
            for authority in client.query("Session", "authorities", at=final).authorities
        }
        assert newcomer in accounts
        assert len(accounts) == 5
        assert issuance_gap(client, final) == 0
    network = Ledger(cluster)
    # Four of five are more than two thirds, so the newcomer's vote is needed without one of them.
    cluster.kill(0)
    go_on(network, cluster.running())
    network.assert_one_chain()


@pytest.mark.parametrize("sync", ["fast", "full"])
def test_a_late_node_catches_up(devnet: Devnet, sync: str) -> None:
    cluster = devnet(4, SHORT_EPOCHS)
    cluster.advance(40)
    node = cluster.add(sync=sync)
    network = Ledger(cluster)
    network.wait_final(network.finalized(0), [node])
    go_on(network, cluster.nodes)
    network.assert_one_chain()
