"""Jobs on clusters of real nodes: drawn, fetched from peers, computed, compared, settled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from genesis.devnet import EXECUTOR_BOND, devnet_executor, devnet_spec, validator_uri
from genesis.spec import load_spec
from node.client import Client
from node.devnet import cluster as clusters
from node.devnet import member
from node.devnet.cluster import Cluster
from node.devnet.ledger import Ledger
from node.devnet.state import Settings
from pallets.jobs.job import Job, JobState, Offence
from pallets.jobs.settlement import JOB_POT
from runtime.crypto.keys import KeyKind, Keypair
from runtime.shared.documents import DatanetVersion, Recipe, Train, Trained
from runtime.types.primitives import OPEN, AccountId
from tests.cluster.conftest import Devnet
from tests.story.support.steps import publish_rows, rows_of, send, until

CHEATING_EXECUTOR: Final = Path(__file__).parent / "support" / "cheating_executor.py"
WORKING: Final = Settings(block_time_ms=500, epoch_blocks=50, serve=False)
RECIPE: Final = Recipe(epochs=1, max_tokens=32, checkpoint_steps=2, rank=4, warmup_steps=1)
ROWS: Final = 48
OWNER: Final = Keypair.from_uri("//Bob", KeyKind.SR25519)

Bonds = dict[int, int]
"""The executors by node, with what they have bonded."""


def account(node: int) -> AccountId:
    return AccountId(Keypair.from_uri(validator_uri(node)).account)


@pytest.fixture
def workers(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> Callable[[Bonds], Cluster]:
    """Start four validators, of which some are executors with one thread each."""

    def up(bonds: Bonds) -> Cluster:
        config = load_spec("local").pallets
        assert config is not None, "presets are human"
        executors = [
            devnet_executor(config, validator_uri(node), bond) for node, bond in bonds.items()
        ]
        changes = {"executors": executors, "parameters": {"spare_executors": 0}}
        spec = partial(devnet_spec, overrides={"jobs": changes})
        monkeypatch.setattr(clusters, "devnet_spec", spec)
        monkeypatch.setenv("OPENLEDGER_THREADS", "1")
        return devnet(4, WORKING)

    return up


def submit_training(client: Client, recipe: Recipe = RECIPE) -> int:
    """Upload rows to one node, and have a model trained on them."""
    publish_rows(client, rows_of("json", "random", "shutil", "textwrap")[:ROWS], OWNER)
    base, version = client.entries("Models", "bases")[0][0], (DatanetVersion(0, 1),)
    rates = {"rate_in_planck": 1, "rate_out_planck": 1}
    called = {"name": "model", "base": base, "datanets": version}
    send(client, "Models", "create", owner=OWNER, **called, **rates)
    spec = Train(0, base, version, recipe)
    landed = send(client, "Jobs", "submit", owner=OWNER, spec=spec)
    [opened] = [r.event for r in landed.events if type(r.event).__name__ == "JobOpened"]
    return int(opened.job)  # type: ignore[attr-defined]


def job_at(client: Client, job: int) -> Job:
    found: Job = client.query("Jobs", "jobs", job, at=client.finalized_hash())
    return found


def wait_drawn(client: Client, job: int, nodes: Sequence[int]) -> list[int]:
    """Return the nodes whose executors were drawn first."""
    until(lambda: bool(job_at(client, job).slots), f"drawing for job {job}")
    drawn = [slot.executor for slot in job_at(client, job).slots]
    return [node for node in nodes if account(node) in drawn]


def wait_settled(client: Client, job: int) -> Job:
    until(lambda: job_at(client, job).is_final, f"the end of job {job}")
    ended = job_at(client, job)
    assert ended.state is JobState.Settled, ended
    return ended


def has_begun(cluster: Cluster, node: int, job: int, step: int = 1) -> bool:
    """Return whether a node's executor has done so many steps of a job."""
    with cluster.client(node) as client:
        reports = client.call("openledger_jobProgress", job)
    return bool(reports) and int(reports[-1]["step"]) >= step


def events_of_jobs(client: Client) -> list[Any]:
    """Return what pallet Jobs told in final blocks, in order."""
    final = client.header(client.finalized_hash()).number
    events = [record.event for number in range(1, final + 1) for record in client.events(number)]
    return [event for event in events if type(event).__qualname__.startswith("Jobs.")]


def named(events: Sequence[Any], name: str) -> list[Any]:
    return [event for event in events if type(event).__name__ == name]


def has_blob(cluster: Cluster, node: int, trained: Trained) -> bool:
    with cluster.client(node) as client:
        state = client.blobs.state(trained.adapter)
        return state is not None and state.is_complete


@pytest.mark.slow
def test_a_job_outlives_the_node_that_submitted_it(workers: Callable[[Bonds], Cluster]) -> None:
    cluster = workers(dict.fromkeys((1, 2, 3), EXECUTOR_BOND))
    with cluster.client(0) as submitter:
        job = submit_training(submitter)
        drawn = wait_drawn(submitter, job, cluster.nodes)
    assert len(drawn) == 2
    for node in drawn:
        until(partial(has_begun, cluster, node, job), f"a step at node {node}")

    cluster.kill(0)

    with cluster.client(1) as client:
        settled = wait_settled(client, job)
        assert settled.attempt == 0
        assert {slot.root for slot in settled.slots} == {settled.root}
        trained: Trained = client.query("Models", "records", 0).latest.trained
        assert not named(events_of_jobs(client), "ExecutorSlashed")
        assert settled.index_job is not None
        wait_settled(client, settled.index_job)
    # All three executors keep what the job made, whoever computed it.
    for node in (1, 2, 3):
        until(partial(has_blob, cluster, node, trained), f"the adapter at node {node}")
    cluster.start(0)
    Ledger(cluster).assert_one_chain()


@pytest.mark.slow
def test_an_executor_that_diverges_loses_its_bond(
    workers: Callable[[Bonds], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cheater, bond = 3, 100 * EXECUTOR_BOND
    # So heavy a bond is drawn in 999 of 1,000 jobs.
    cluster = workers({**dict.fromkeys((0, 1, 2), EXECUTOR_BOND), cheater: bond})
    cluster.stop(cheater)
    monkeypatch.setattr(member, "PROGRAM", (sys.executable, str(CHEATING_EXECUTOR)))
    cluster.start(cheater)
    with cluster.client(0) as client:
        job = submit_training(client)
        assert cheater in wait_drawn(client, job, cluster.nodes)
        settled = wait_settled(client, job)
        events = [event for event in events_of_jobs(client) if getattr(event, "job", job) == job]
        assert [len(event.executors) for event in named(events, "JobAssigned")] == [2, 1]
        roots = {event.executor: event.root for event in named(events, "ResultRevealed")}
        honest = {who for who, root in roots.items() if root == settled.root}
        assert len(roots) == 3
        assert honest == set(roots) - {account(cheater)}

        [slashed] = named(events, "ExecutorSlashed")
        assert (slashed.executor, slashed.offence) == (account(cheater), Offence.Diverged)
        assert slashed.amount == bond
        registry = dict(client.entries("Jobs", "registry"))
        assert registry[account(cheater)].bond == 0
        assert all(registry[who].bond == EXECUTOR_BOND for who in honest)
        final = client.finalized_hash()
        assert client.balance(JOB_POT, at=final).free >= bond // 5
        [paid] = named(events, "JobSettled")
        assert paid.paid == settled.escrow - settled.index_escrow, "no more than the price"
        print(f"slashed {slashed.amount // OPEN:,} OPEN, paid {paid.paid / 10**18:.4f} OPEN")


@pytest.mark.slow
def test_an_executor_that_is_killed_answers_with_the_same_root(
    workers: Callable[[Bonds], Cluster],
) -> None:
    cluster = workers(dict.fromkeys((1, 2, 3), EXECUTOR_BOND))
    with cluster.client(0) as client:
        job = submit_training(client)
        node = wait_drawn(client, job, cluster.nodes)[0]
        until(partial(has_begun, cluster, node, job, 2), "the second step")
        cluster.kill(node)
        cluster.start(node)
        settled = wait_settled(client, job)
        assert settled.attempt == 0
        assert {slot.root for slot in settled.slots} == {settled.root}
        assert account(node) in [slot.executor for slot in settled.slots]
        assert not named(events_of_jobs(client), "ExecutorSlashed")
