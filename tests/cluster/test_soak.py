"""Four real nodes under load, of which one after the other is killed, frozen or cut off.

24 s with OPENLEDGER_SCALE=2, 30 minutes with 150; left out by default. OPENLEDGER_SEED chooses
another course.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from node.client import Client, ClientError, Finalized, Wait
from node.devnet.cluster import Cluster
from node.devnet.errors import DevnetError, NodeStateError
from node.devnet.ledger import AMOUNT, Ledger, issuance_gap, new_account, sender_of, transfer
from node.devnet.report import Probe
from node.devnet.scenario import go_on
from node.devnet.state import SPEC_FILE, node_folder
from runtime.types.primitives import AccountId
from tests.cluster.conftest import FAST, Devnet
from tests.cluster.support.conservation import check_every_block

SECONDS: Final = 12.0
SECONDS_MAX: Final = 1_800.0
CALM_SECONDS: Final = (1.0, 3.0)
HURT_SECONDS: Final = (1.0, 6.0)
WAIT_SECONDS: Final = 30.0
ACCOUNTS_PER_NODE: Final = 1_000_000


@dataclass
class Load:
    """Transfers through one node, one after the other, and what was told to be final of them."""

    cluster: Cluster
    node: int
    ended: threading.Event
    final: list[Finalized] = field(default_factory=list)
    paid: list[int] = field(default_factory=list)
    unknown: int = 0
    """Transfers whose end was not heard, as their node was hurt."""

    def run(self) -> None:
        number = self.node * ACCOUNTS_PER_NODE
        while not self.ended.is_set():
            try:
                with Client(self.cluster.url(self.node), timeout_s=5.0) as client:
                    while not self.ended.is_set():
                        number += 1
                        self._send(client, number)
            except NodeStateError:
                self.ended.wait(0.2)  # it is down
            except ClientError:
                self.unknown += 1

    def _send(self, client: Client, number: int) -> None:
        call = transfer(client, new_account(number))
        signed = client.sign(call, sender_of(self.node))
        landed = client.submit(signed, Wait.FINAL, wait_s=WAIT_SECONDS)
        assert isinstance(landed, Finalized)
        if landed.error is None:
            self.final.append(landed)
            self.paid.append(number)


def hurt(cluster: Cluster, source: random.Random) -> str:
    """Do something to one node, and undo it after a while. The others are a quorum."""
    victim = source.choice(cluster.nodes)
    others = [node for node in cluster.nodes if node != victim]
    what = source.choice(("kill", "pause", "cut off", "stop"))
    if what == "kill":
        cluster.kill(victim)
    elif what == "pause":
        cluster.pause(victim)
    elif what == "stop":
        cluster.stop(victim)
    else:
        cluster.partition([victim], others)
    time.sleep(source.uniform(*HURT_SECONDS))
    if what == "pause":
        cluster.resume(victim)
    elif what == "cut off":
        cluster.heal()
    else:
        cluster.start(victim)
    return f"{what} {victim}"


def resources(cluster: Cluster) -> dict[int, tuple[int, int, int]]:
    """Process id, resident memory in MiB and open files of each node."""
    found = {}
    for member in cluster.members:
        pid = member.process.pid
        assert pid is not None, "all run"
        words = Path(f"/proc/{pid}/statm").read_text().split()
        memory = int(words[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
        found[member.number] = (pid, memory, len(os.listdir(f"/proc/{pid}/fd")))
    return found


@pytest.fixture
def cluster(devnet: Devnet) -> Cluster:
    return devnet(4, FAST)


@pytest.mark.slow
def test_a_hurt_network_neither_forks_nor_forgets(cluster: Cluster, scale: int) -> None:
    seed = int(os.environ.get("OPENLEDGER_SEED", "1"))
    print(f"replay: OPENLEDGER_SEED={seed} OPENLEDGER_SCALE={scale} pytest {Path(__file__).name}")
    source, network = random.Random(seed), Ledger(cluster)
    first, began = resources(cluster), time.monotonic()
    loads, gaps, deeds = _run(cluster, source, began + min(SECONDS * scale, SECONDS_MAX))
    height = go_on(network, cluster.nodes)
    network.assert_one_chain()
    final = [landed for load in loads for landed in load.final]
    print(f"{time.monotonic() - began:.0f} s: {', '.join(deeds)}")
    print(f"height {height}, {len(final)} transfers final, {sum(load.unknown for load in loads)} "
          "not heard of")  # fmt: skip
    print(f"process, MiB, files: first {first}, last {resources(cluster)}")
    assert final, "nothing became final"
    assert gaps, "no block was looked at"
    assert set(gaps) == {0}, gaps
    for node in cluster.nodes:
        with Probe(cluster.url(node), timeout_s=WAIT_SECONDS) as probe:
            found = probe.block_hashes([landed.block_number for landed in final])
            assert found == [f"0x{landed.block_hash.hex()}" for landed in final]
    accounts = [AccountId(new_account(number)) for load in loads for number in load.paid]
    for node in cluster.nodes:
        with cluster.client(node) as client:
            infos = client.query_many("System", "account", accounts, at=client.finalized_hash())
            assert {info.data.free for info in infos} == {AMOUNT}

    cluster.stop(0)
    database = node_folder(cluster.folder, 0) / "chains" / "devnet-4" / "db"
    checked = check_every_block(cluster.folder / SPEC_FILE, database)
    print(f"no token came or went in any of {checked} blocks")


def _run(
    cluster: Cluster, source: random.Random, deadline: float
) -> tuple[list[Load], list[int], list[str]]:
    ended = threading.Event()
    loads = [Load(Cluster(cluster.folder), node, ended) for node in cluster.nodes]
    threads = [threading.Thread(target=load.run) for load in loads]
    for thread in threads:
        thread.start()
    gaps: list[int] = []
    deeds: list[str] = []
    try:
        while time.monotonic() < deadline:
            time.sleep(source.uniform(*CALM_SECONDS))
            deeds.append(hurt(cluster, source))
            with cluster.client(source.choice(cluster.nodes)) as client:
                gaps.append(issuance_gap(client, client.finalized_hash()))
    except DevnetError as error:
        pytest.fail(f"after {', '.join(deeds)}: {error}")
    finally:
        ended.set()
        for thread in threads:
            thread.join(2 * WAIT_SECONDS)
    return loads, gaps, deeds
