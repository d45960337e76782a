"""The demo's story on four validators, and what every one of them can prove of it afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from typing import Final

import pytest

from genesis.devnet import devnet_spec
from ml.attribution.index import shard_list
from node.client import Client
from node.demo.questions import SERVER
from node.demo.story import Plan, run_story_at
from node.devnet import cluster as clusters
from node.devnet.member import command_environment
from node.devnet.state import Settings
from runtime.crypto import ss58
from tests.cluster.conftest import Devnet
from tests.story.support.steps import until

SERVING: Final = Settings(block_time_ms=500)
PLAN: Final = Plan(rows=240, questions=3, epochs=2, seed=7, noise_rows=24, copied_rows=10, nodes=4)


@pytest.mark.slow
def test_any_node_shows_receipts_that_verify(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"attribution": {"parameters": {"rows_minimum": 240}}}
    monkeypatch.setattr(clusters, "devnet_spec", partial(devnet_spec, overrides=overrides))
    monkeypatch.setenv("OPENLEDGER_THREADS", "1")
    cluster = devnet(4, SERVING)
    ending = run_story_at(cluster.url(0), PLAN, print, time.monotonic())
    assert ending.issuance_is_conserved
    assert ending.receipts_verified == PLAN.questions

    for node in cluster.nodes:
        with Client(cluster.url(node)) as client:
            until(partial(has_all, client), f"receipts and files at node {node}")
        words = ["verify", "--model", "pydoc", "--server", "//Alice", "--epoch", "0", "--json"]
        done = subprocess.run(
            [sys.executable, "-c", "from cli import main; main()", *words],
            capture_output=True,
            text=True,
            check=False,
            env=command_environment(cluster.url(node)),
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["holds"]
        assert len(document["receipts"]) == PLAN.questions
        passed = [receipt["passed"] for receipt in document["receipts"]]
        print(f"node {node}: {passed} steps hold")


def has_all(client: Client) -> bool:
    """Return whether a node has all receipts, and what the model's training and its index made."""
    listed = client.call("openledger_receipts", 0, ss58.encode(SERVER), 0)
    training = client.query("Models", "records", 0).latest
    indexed = client.query("Attribution", "indexed", training.index_job).indexed
    blobs = [training.trained.adapter, training.trained.moments, indexed.phi, indexed.psi]
    listing = client.blobs.state(indexed.span_shards)
    if listing is None or not listing.is_complete:
        return False
    blobs += shard_list(client.blobs.download(indexed.span_shards))
    states = [client.blobs.state(blob) for blob in blobs]
    is_complete = all(state is not None and state.is_complete for state in states)
    return is_complete and len(listed) == PLAN.questions
