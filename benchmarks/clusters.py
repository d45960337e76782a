"""Real nodes on this machine for a row: a devnet in a temporary folder, watched by subscriptions.

The watcher lives in the process of the row, so its clock is the one that the nodes' blocks carry.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import urllib.request
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.figures import CannotRunError
from node.client.client import Client
from node.client.transport_websocket import WaitEndedError
from node.devnet.cluster import Cluster
from node.devnet.errors import DevnetError
from node.devnet.state import Settings

EPOCH_BLOCKS: Final = 50
BLOCK_TIME_MS: Final = 1_000
LISTEN_SECONDS: Final = 0.2
PING_METRIC: Final = "openledger_network_ping_seconds{"
DURABLE_WRITES: Final = 30
DURABLE_BYTES: Final = 200
CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Heads:
    """The times at which one node reported heights as final, by the clock of this process."""

    heights: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def record_final(self, height: int, now: float) -> None:
        """Record the time of a height; every height below it is final by then as well."""
        if not self.heights or height > self.heights[-1]:
            self.heights.append(height)
            self.seconds.append(now)

    def final_at(self, height: int) -> float | None:
        """Return the time at which a height was final, None if it was before or after the watch."""
        if not self.heights or height <= self.heights[0]:
            return None  # final before the watch began
        place = bisect_left(self.heights, height)
        return self.seconds[place] if place < len(self.seconds) else None


@contextmanager
def opened_cluster(nodes: int) -> Iterator[Cluster]:
    """Start validators that propose a block as soon as there is work. Raises CannotRunError."""
    settings = Settings(
        block_time_ms=BLOCK_TIME_MS,
        instant=True,
        epoch_blocks=EPOCH_BLOCKS,
        executors=False,
        serve=False,
    )
    with tempfile.TemporaryDirectory(prefix="benchmark-") as parent:
        folder = Path(parent) / "devnet"
        try:
            cluster = Cluster.up(folder, "benchmark", nodes, settings)
        except DevnetError as error:
            cause = str(error).partition("\n")[0]
            raise CannotRunError(
                f"A devnet of {nodes} nodes does not come up here: {cause}"
            ) from error
        try:
            yield cluster
        finally:
            for member in cluster.members:
                member.kill()


@contextmanager
def watched(cluster: Cluster) -> Iterator[Sequence[Heads]]:
    """Follow the final heads of all nodes within the body, each from a thread of its own."""
    watched_heads = [Heads() for _ in cluster.nodes]
    is_over = threading.Event()

    def follow(node: int) -> None:
        with cluster.client(node) as client, client.new_blocks() as heads:
            while not is_over.is_set():
                try:
                    header = heads.next(time.monotonic() + LISTEN_SECONDS)
                except WaitEndedError:
                    continue
                watched_heads[node].record_final(int(header["number"], 16), time.time())

    threads = [threading.Thread(target=follow, args=(node,)) for node in cluster.nodes]
    for thread in threads:
        thread.start()
    try:
        while not all(heads.heights for heads in watched_heads):
            time.sleep(LISTEN_SECONDS / 10)
        yield watched_heads
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def proposed_at(client: Client, height: int) -> float:
    """Return the time in a block, in seconds: its author set it just before it began to build."""
    (now_ms,) = client.block(height).extrinsics[0].call.arguments
    assert isinstance(now_ms, int), "the first extrinsic of a block sets its time"
    return now_ms / 1_000


def cpu_seconds(cluster: Cluster) -> float:
    """Return the CPU time that all nodes have used so far."""
    total = 0
    for member in cluster.members:
        stat = Path(f"/proc/{member.process.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rpartition(")")[2].split()[11:13]
        total += int(user) + int(system)
    return total / CLOCK_TICKS


def pings(cluster: Cluster) -> list[float]:
    """Return the last round trip between each two nodes, in seconds, as the nodes measured it."""
    seconds: list[float] = []
    for node in cluster.running():
        url = cluster.url(node).replace("ws://", "http://") + "/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            lines = response.read().decode().splitlines()
        seconds += [float(line.split()[-1]) for line in lines if line.startswith(PING_METRIC)]
    return seconds


def durable_write_seconds(count: int = DURABLE_WRITES) -> float:
    """Return the median time of appending to a file until it is on disk; votes wait for it."""
    seconds: list[float] = []
    with tempfile.NamedTemporaryFile(prefix="benchmark-", buffering=0) as file:
        for _ in range(count):
            started = time.perf_counter()
            file.write(bytes(DURABLE_BYTES))
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return percentile(seconds, 0.5)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least this part of all values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(part * len(ranked)))]
