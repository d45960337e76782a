"""A network in virtual time: scenarios of node/devnet/scenario.py run on it as on processes.

Waiting moves the clock of the simulation and costs nothing; everything else is what happens to the
nodes of every simulation, and the oracle judges these as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import Final

from node.devnet.scenario import Receipt
from tests.simulation.ledger import Ledger
from tests.simulation.node import Death, Node
from tests.simulation.oracle import Oracle
from tests.simulation.world import Habits, LinkConditions, World

LATENCY_MS: Final = 5
PACE_MS: Final = 100


class SimulatedNetwork:
    """Validators of equal weight that agree on a chain. A `node.devnet.scenario.Network`."""

    def __init__(self, count: int = 4, seed: int = 0, epoch_blocks: int = 20) -> None:
        members = tuple((one, 1) for one in range(count))
        ledger = Ledger([members], epoch_blocks)
        self.world = World(ledger, Oracle(ledger, frozenset(), may_fork=False), Random(seed))
        self.world.habits = Habits(pace_ms=PACE_MS)
        self.latency(0)
        for identity in range(count):
            self.world.add(Node(self.world, identity))
        for node in self.world.nodes:
            node.boot()
        self._submitted = 0

    @property
    def nodes(self) -> Sequence[int]:
        """The numbers of all nodes."""
        return range(len(self.world.nodes))

    def start(self, node: int) -> None:
        """Start a node with what it had on disk."""
        if not self.world.nodes[node].is_up:
            self.world.nodes[node].boot()

    def stop(self, node: int) -> None:
        """End a node in good order: none of its messages is under way."""
        self.world.nodes[node].crash()

    def kill(self, node: int) -> None:
        """End a node in the middle of its next write, or now."""
        victim = self.world.nodes[node]
        victim.death = Death.WRITING
        self.world.run(self.world.now + self.world.rng.randrange(PACE_MS), lambda: not victim.is_up)
        if victim.is_up:
            victim.crash()

    def pause(self, node: int) -> None:
        """Freeze a node."""
        self.world.nodes[node].pause()

    def resume(self, node: int) -> None:
        """Let a frozen node go on, with a clock that has moved."""
        self.world.nodes[node].resume()

    def partition(self, *groups: Sequence[int]) -> None:
        """Connect nodes only within their own group."""
        self.world.groups = {node: at for at, group in enumerate(groups) for node in group}

    def heal(self) -> None:
        """Connect all nodes again, without delay."""
        self.world.groups = None
        self.latency(0)

    def latency(self, latency_ms: int) -> None:
        """Delay every message."""
        self.world.conditions = LinkConditions(low_ms=LATENCY_MS + latency_ms, span_ms=3)

    def submit(self, node: int) -> Receipt:
        """Give a node a transaction, which gossip brings to those that are connected."""
        self._submitted += 1
        transaction = b"transaction %d" % self._submitted
        origin = self.world.nodes[node]
        for other in self.world.nodes:
            if other is origin or self.world.connected(origin, other):
                other.transactions[transaction] = None
        return Receipt(transaction)

    def is_final(self, receipt: Receipt, node: int) -> bool:
        """Return whether a transaction is in a block that this node holds to be final."""
        return receipt in self.world.nodes[node].library.included

    def finalized(self, node: int) -> int:
        """Return the height of a node's last final block."""
        return self.world.nodes[node].height

    def wait_final(
        self, height: int, nodes: Iterable[int] | None = None, seconds: float = 60.0
    ) -> None:
        """Wait until a height is final on nodes, by default on all that run."""
        running = [node.identity for node in self.world.nodes if node.is_up and not node.is_paused]
        wanted = list(running if nodes is None else nodes)
        is_there = self.world.run(
            self.world.now + int(seconds * 1000),
            lambda: all(self.finalized(node) >= height for node in wanted),
        )
        heights = {node: self.finalized(node) for node in wanted}
        assert is_there, f"height {height} is not final within {seconds} s, but {heights}"

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run(self.world.now + int(seconds * 1000))

    def assert_one_chain(self) -> None:
        """Compare the final blocks of all running nodes at every height."""
        chains = sorted((node.library.finals for node in self.world.nodes if node.is_up), key=len)
        for shorter, longer in pairwise(chains):
            assert longer[: len(shorter)] == shorter, "two nodes have two chains"
        for node in self.world.nodes:
            self.world.oracle.check_follower(node)
