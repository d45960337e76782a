"""Consensus: the engine's CPU time alone, and the finality of real nodes over libp2p."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Final

from nacl.bindings import crypto_sign_open

from benchmarks.clusters import (
    cpu_seconds,
    durable_write_seconds,
    opened_cluster,
    percentile,
    pings,
    proposed_at,
    watched,
)
from benchmarks.engines import GENESIS, ROOT, EngineNetwork, signatures_to_verify
from benchmarks.figures import CannotRunError, Effort, Figure, Measured, faster
from benchmarks.timing import Samples, cpu_clock, median_ratio, medians
from node.devnet.cluster import Cluster
from runtime.crypto.keys import Keypair
from runtime.shared.finality import Ballot, Kind, payload

WORK: Final = (
    "the engine alone in virtual time beside the signatures that it must verify; local node "
    "processes over libp2p from a block's time stamp to a subscriber's notice that it is final"
)
GOAL_MS: Final = 100.0
MILLISECONDS: Final = 1e3
VERIFIED_AT_ONCE: Final = 200
DELAYS: Final = 3
"""Finality takes three message delays: proposal, NOTARIZE, FINALIZE."""
PACED_BLOCKS: Final = 3
LAST_NOTICE_SECONDS: Final = 0.2
PING_ROUNDS: Final = 3
PING_SECONDS: Final = 2.1
"""Nodes ping each other every 2 s."""


def run(effort: Effort) -> Measured:
    """Measure the engine at three sizes, then clusters of real nodes."""
    figures: list[Figure] = []
    notes: list[str] = []
    for nodes in effort.pick((4, 16, 64), (4, 16, 64), (4,)):
        figures.append(_engine(nodes, effort))
    for nodes in effort.pick((4, 16), (4,), (4,)):
        try:
            with opened_cluster(nodes) as cluster:
                measured = _cluster(cluster, effort)
        except CannotRunError as reason:
            notes.append(f"n = {nodes}: {reason}")
        else:
            figures += measured.figures
            notes += measured.notes
    return Measured(tuple(figures), tuple(notes))


def _engine(nodes: int, effort: Effort) -> Figure:
    """Compare a height's steps with verifying the votes of two quorums, in turns."""
    heights, repeats = effort.pick((max(2, 400 // nodes), 7), (max(2, 80 // nodes), 3), (2, 1))
    network = EngineNetwork(nodes)
    network.run(2)
    ballot = Ballot(0, 1, int(Kind.NOTARIZE), ROOT)
    pair = Keypair.from_seed(b"%032d" % 0)
    message = payload(GENESIS, ballot)
    signed = pair.sign(message) + message
    samples: Samples = {"step": [], "verify": []}
    for _ in range(repeats):
        before = network.step_seconds
        network.run(heights)
        samples["step"].append((network.step_seconds - before) / heights / nodes)
        started = cpu_clock()
        for _ in range(VERIFIED_AT_ONCE):
            crypto_sign_open(signed, pair.account)
        verify_seconds = (cpu_clock() - started) / VERIFIED_AT_ONCE
        samples["verify"].append(verify_seconds * signatures_to_verify(nodes))
    cost = medians(samples)
    return faster(
        f"engine alone, n = {nodes}: a height",
        ours=cost["step"] * MILLISECONDS,
        unit="ms",
        other=f"{signatures_to_verify(nodes)} ed25519 verify",
        theirs=cost["verify"] * MILLISECONDS,
        ratio=median_ratio(samples, "step", "verify"),
    )


def _cluster(cluster: Cluster, effort: Effort) -> Measured:
    """Measure real nodes: blocks one after the other without pause, and blocks far apart."""
    nodes = len(cluster.nodes)
    blocks, rounds = effort.pick((200, PING_ROUNDS), (60, 1), (5, 1))
    one_way_ms = _one_way(cluster, rounds) * MILLISECONDS
    durable_ms = durable_write_seconds() * MILLISECONDS
    limit = DELAYS * one_way_ms
    paced = _paced_delays(cluster, effort)
    with watched(cluster) as heads:
        cpu = cpu_seconds(cluster)
        advance = cluster.advance(blocks)
        cpu = (cpu_seconds(cluster) - cpu) / blocks / nodes
        # The first block was under way already.
        seen = range(advance.from_height + 2, advance.to_height + 1)
        began = heads[0].final_at(seen[0])
        ended = heads[0].final_at(seen[-1])
        with cluster.client(0) as client:
            proposed = {height: proposed_at(client, height) for height in seen}
        delays_ms = [
            (final - proposed[height]) * MILLISECONDS
            for node in heads
            for height in seen
            if (final := node.final_at(height)) is not None
        ]
    assert began is not None, "the watch began before"
    assert ended is not None, "the watch ended after"
    where = f"n = {nodes}"
    return Measured(
        (
            Figure(f"{where}: heights without pause", (len(seen) - 1) / (ended - began), "/s"),
            *_delay_figures(delays_ms, paced, limit, goal=GOAL_MS if nodes == 4 else None),
            Figure("  CPU for a height and node", cpu * MILLISECONDS, "ms"),
        ),
        (
            f"{where}: {len(seen)} blocks, {len(delays_ms)} notices of {nodes} nodes; one way "
            f"between two of them {one_way_ms:.2f} ms, half of a ping while they were idle; a "
            f"durable write, of which each block waits for several, {durable_ms:.2f} ms",
        ),
    )


def _delay_figures(
    delays_ms: Sequence[float], paced_ms: Sequence[float], limit_ms: float, *, goal: float | None
) -> tuple[Figure, ...]:
    """Return the delays without pause and at one block a second, beside the limit of messages."""
    half, most = percentile(delays_ms, 0.5), percentile(delays_ms, 0.99)

    def beside_limit(name: str, ours: float, ratio: float | None) -> Figure:
        other = f"{DELAYS} message delays"
        return Figure(name, ours=ours, unit="ms", other=other, theirs=limit_ms, ratio=ratio)

    return (
        Figure("  propose to final, p50", ours=half, unit="ms", goal=goal, at_most=True),
        beside_limit("  the same beside its limit", half, limit_ms / half),
        beside_limit("  propose to final, p99", most, limit_ms / most),
        beside_limit("  one block a second, p50", percentile(paced_ms, 0.5), None),
        Figure("  one block a second, slowest", max(paced_ms), "ms"),
    )


def _one_way(cluster: Cluster, rounds: int) -> float:
    """Return half of the median ping between two idle nodes, in seconds."""
    round_trips: list[float] = []
    deadline = time.monotonic() + 60.0
    while len(round_trips) < rounds * len(cluster.nodes) and time.monotonic() < deadline:
        time.sleep(PING_SECONDS if round_trips else PING_SECONDS / 4)
        round_trips += pings(cluster)
    return statistics.median(round_trips) / 2


def _paced_delays(cluster: Cluster, effort: Effort) -> list[float]:
    """Return the delays to finality in ms of blocks that are proposed one by one."""
    blocks = effort.pick(10 * PACED_BLOCKS, 2 * PACED_BLOCKS, PACED_BLOCKS)
    with watched(cluster) as heads:
        first = heads[0].heights[-1] + 1
        cluster.wait_final(first + blocks)
        time.sleep(LAST_NOTICE_SECONDS)
        with cluster.client(0) as client:
            return [
                (final - proposed_at(client, height)) * MILLISECONDS
                for height in range(first, first + blocks)
                for node in heads
                if (final := node.final_at(height)) is not None
            ]
