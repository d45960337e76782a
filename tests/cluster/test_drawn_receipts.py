"""Drawn receipts on real processes: a forger is convicted in time, an honest server never is."""

from __future__ import annotations

import math
import random
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from genesis.devnet import EXECUTOR_BOND, devnet_executor, devnet_spec, validator_uri
from genesis.spec import load_spec
from node.client import Client, RequestRefusedError
from node.devnet import cluster as clusters
from node.devnet import member
from node.devnet.cluster import Cluster
from node.devnet.state import Settings
from pallets.attribution.records import EpochState
from runtime.crypto.keys import Keypair
from runtime.types.primitives import OPEN, AccountId
from tests.cluster.conftest import Devnet
from tests.cluster.support.serving import (
    ASKER_ID,
    MODEL,
    Customer,
    epoch_of,
    has_ended,
    publish_model,
)
from tests.story.support.steps import until

FORGING_SERVER: Final = Path(__file__).parent / "support" / "forging_server.py"
SERVING: Final = Settings(block_time_ms=400, epoch_blocks=100)
SERVER, ROWS, FORGE_EVERY, RECEIPTS, DRAWS = 3, 48, 20, 20, 12
QUESTIONS_PER_EPOCH: Final = 2


def account(node: int) -> AccountId:
    return AccountId(Keypair.from_uri(validator_uri(node)).account)


@pytest.fixture
def cluster(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Four validators: three of them executors, the last one a server."""
    config = load_spec("local").pallets
    assert config is not None, "presets are human"
    executors = [
        devnet_executor(config, validator_uri(node), EXECUTOR_BOND) for node in range(SERVER)
    ]
    overrides: dict[str, Any] = {
        "jobs": {"executors": executors, "parameters": {"spare_executors": 0}},
        "attribution": {"parameters": {"rows_minimum": ROWS // 2, "draws": DRAWS}},
    }
    monkeypatch.setattr(clusters, "devnet_spec", partial(devnet_spec, overrides=overrides))
    monkeypatch.setenv("OPENLEDGER_THREADS", "1")
    return devnet(4, SERVING)


def close_epoch(client: Client) -> int:
    """Let the server close its epoch; returns its number once it has ended."""
    number = int(client.call("openledger_closeEpoch", MODEL))
    until(partial(has_ended, client, account(SERVER), number), f"the end of epoch {number}")
    return number


def is_closing(client: Client, number: int) -> bool:
    """Let the server close an epoch unless it is closed; returns whether it is on its way."""
    if epoch_of(client, account(SERVER), number) is not None:
        return True
    try:
        return int(client.call("openledger_closeEpoch", MODEL)) == number
    except RequestRefusedError:
        return False


def events_of(client: Client, name: str) -> list[Any]:
    """Return what final blocks told by this name, in order."""
    final = client.header(client.finalized_hash()).number
    records = [record for number in range(1, final + 1) for record in client.events(number)]
    return [record.event for record in records if type(record.event).__name__ == name]


@pytest.mark.slow
def test_a_server_that_forges_one_receipt_of_twenty_is_convicted_in_the_time_of_the_formula(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # It survives an epoch with a chance of at most (1 - 1/20)^12, and so many with one of 1,000.
    survival = (1 - 1 / FORGE_EVERY) ** DRAWS
    epochs_max = math.ceil(math.log(1e-3) / math.log(survival))
    server = account(SERVER)
    with cluster.client(0) as client:
        publish_model(client, ROWS)
        bond = client.api("InferenceApi_server", server).bond_planck
    cluster.stop(SERVER)
    monkeypatch.setattr(member, "PROGRAM", (sys.executable, str(FORGING_SERVER)))
    monkeypatch.setenv("FORGE_EVERY", str(FORGE_EVERY))
    cluster.start(SERVER)
    with cluster.client(SERVER) as client:
        customer = Customer(client, server, tmp_path)
        for number in range(epochs_max):
            customer.ask_all(client, [f"json.loads, part {at}" for at in range(RECEIPTS)])
            before = client.balance(ASKER_ID, at=client.finalized_hash())
            assert close_epoch(client) == number
            epoch = epoch_of(client, server, number)
            assert epoch is not None
            if epoch.state is EpochState.Convicted:
                break
            assert epoch.receipts == RECEIPTS
        else:
            pytest.fail(f"not convicted in {epochs_max} epochs")
        [convicted], [slashed] = (
            events_of(client, "EpochConvicted"),
            events_of(client, "ServerSlashed"),
        )
        after = client.balance(ASKER_ID, at=client.finalized_hash())
        left = client.api("InferenceApi_server", server).bond_planck
        commons = client.api("AttributionApi_common_pool", MODEL)
        assert not events_of(client, "ExecutorSlashed")
    assert convicted.slashed_planck == slashed.amount == bond - left >= epoch.fees_planck
    assert convicted.commons_planck == epoch.pool_planck <= commons
    assert slashed.repaid > 0
    paid_to_deposit = (before.free + before.reserved, after.free + after.reserved)
    assert paid_to_deposit[1] >= paid_to_deposit[0] - epoch.fees_planck + slashed.repaid
    print(f"convicted in epoch {number} of at most {epochs_max}, {slashed.amount / OPEN:.4f} OPEN")


@pytest.mark.slow
def test_an_honest_server_with_crashes_and_restarts_is_never_slashed(
    cluster: Cluster, tmp_path: Path, scale: int
) -> None:
    epochs, draws = 20 * scale, random.Random(scale)
    server = account(SERVER)
    with cluster.client(0) as client:
        publish_model(client, ROWS)
        bond = client.api("InferenceApi_server", server).bond_planck
        customer = Customer(client, server, tmp_path)
    settled = 0
    for number in range(epochs):
        with cluster.client(SERVER) as client:
            questions = [f"random.shuffle, part {number}.{at}" for at in range(QUESTIONS_PER_EPOCH)]
            customer.ask_all(client, questions)
            assert int(client.call("openledger_closeEpoch", MODEL)) == number
        if draws.random() < 0.25:
            cluster.kill(SERVER)
            cluster.start(SERVER)
            with cluster.client(SERVER) as client:  # the operator asks again what was cut off
                until(partial(is_closing, client, number), f"closing epoch {number} again")
        with cluster.client(0) as client:
            until(partial(has_ended, client, server, number), f"the end of epoch {number}", 300)
            epoch = epoch_of(client, server, number)
        assert epoch is not None
        assert epoch.state is EpochState.Settled, f"epoch {number}: {epoch}"
        settled += epoch.receipts
    with cluster.client(0) as client:
        assert client.api("InferenceApi_server", server).bond_planck == bond
        assert not events_of(client, "ServerSlashed")
        assert not events_of(client, "ExecutorSlashed")
    print(f"{epochs} epochs, {settled} receipts, nobody slashed")
