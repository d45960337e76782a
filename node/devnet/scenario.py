"""Scenarios of a disturbed network, for real processes and for a simulator in virtual time.

A scenario is a function of a `Network`. The nodes of a `Ledger` are processes of this machine
(node/devnet/ledger.py); a simulator implements the same methods in virtual time, where waiting
costs nothing. After each scenario no two nodes disagree about a final block, and nothing final is
lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NewType, Protocol

Receipt = NewType("Receipt", bytes)
"""Identifies a transaction that was submitted, to ask later whether it became final."""


class Network(Protocol):
    """Nodes that agree on a chain, and what may happen to them."""

    @property
    def nodes(self) -> Sequence[int]:
        """The numbers of all nodes."""
        ...

    def start(self, node: int) -> None:
        """Start a node that was killed or stopped, with what it had on disk."""

    def stop(self, node: int) -> None:
        """End a node in good order."""

    def kill(self, node: int) -> None:
        """End a node at any point; what it did not sync is lost."""

    def pause(self, node: int) -> None:
        """Freeze a node; it keeps its memory and its connections."""

    def resume(self, node: int) -> None:
        """Unfreeze a node; its clock has moved meanwhile."""

    def partition(self, *groups: Sequence[int]) -> object:
        """Connect nodes only within their own group."""

    def heal(self) -> None:
        """Connect all nodes with all others, without delay."""

    def latency(self, latency_ms: int) -> None:
        """Delay every message."""

    def submit(self, node: int) -> Receipt:
        """Submit a valid transaction to a node, and do not wait for it."""
        ...

    def is_final(self, receipt: Receipt, node: int) -> bool:
        """Return whether a transaction is in a block that this node holds to be final."""
        ...

    def finalized(self, node: int) -> int:
        """Return the height of a node's last final block."""
        ...

    def wait_final(
        self, height: int, nodes: Iterable[int] | None = None, seconds: float = 60.0
    ) -> None:
        """Wait until a height is final on nodes, by default on all that run.

        Raises AssertionError or NotFinalInTimeError when it is not within so many seconds.
        """

    def wait(self, seconds: float) -> None:
        """Let time pass."""

    def assert_one_chain(self) -> None:
        """Compare the final blocks of all running nodes at every height. Raises ForkError."""


Scenario = Callable[[Network], None]

MORE_BLOCKS: Final = 3
STALL_SECONDS: Final = 3.0


def go_on(network: Network, nodes: Sequence[int], blocks: int = MORE_BLOCKS) -> int:
    """Wait until some more blocks are final on nodes; return the height."""
    height = max(network.finalized(node) for node in nodes) + blocks
    network.wait_final(height, nodes)
    return height


def a_transaction_becomes_final_everywhere(network: Network) -> None:
    """Submit to one node, look at all."""
    receipt = network.submit(network.nodes[0])
    height = network.finalized(network.nodes[0])
    while not network.is_final(receipt, network.nodes[0]):
        height += 1
        network.wait_final(height)
    network.wait_final(max(network.finalized(node) for node in network.nodes))
    assert all(network.is_final(receipt, node) for node in network.nodes)
    network.assert_one_chain()


def one_of_four_dies_and_comes_back(network: Network) -> None:
    """The other three, a quorum, go on; the node catches up later."""
    *others, victim = network.nodes
    network.kill(victim)
    go_on(network, others)
    network.start(victim)
    go_on(network, network.nodes)
    network.assert_one_chain()


def two_of_four_die_and_come_back(network: Network) -> None:
    """Without a quorum nothing becomes final; with it everything goes on."""
    first, second, *others = network.nodes
    network.kill(first)
    network.kill(second)
    _assert_stalled(network, others)
    network.start(first)
    network.start(second)
    go_on(network, network.nodes)
    network.assert_one_chain()


def halves_are_cut_apart_and_heal(network: Network) -> None:
    """Neither half has a quorum, so neither decides anything that the other must take back."""
    middle = len(network.nodes) // 2
    network.partition(network.nodes[:middle], network.nodes[middle:])
    _assert_stalled(network, network.nodes)
    network.heal()
    go_on(network, network.nodes)
    network.assert_one_chain()


def one_is_paused_and_goes_on(network: Network) -> None:
    """A frozen node keeps its connections, so the others get no sign of its absence."""
    victim, *others = network.nodes
    network.pause(victim)
    go_on(network, others)
    network.resume(victim)
    go_on(network, network.nodes)
    network.assert_one_chain()


def all_stop_and_start_again(network: Network) -> None:
    """Final blocks survive when no node has them in memory any more."""
    height = go_on(network, network.nodes)
    for node in network.nodes:
        network.kill(node)
    for node in network.nodes:
        network.start(node)
    network.wait_final(height + MORE_BLOCKS)
    network.assert_one_chain()


def messages_are_slow(network: Network) -> None:
    """Delay costs time, never agreement."""
    network.latency(100)
    go_on(network, network.nodes)
    network.latency(0)
    go_on(network, network.nodes)
    network.assert_one_chain()


SCENARIOS: Final[Sequence[Scenario]] = (
    a_transaction_becomes_final_everywhere,
    one_of_four_dies_and_comes_back,
    two_of_four_die_and_come_back,
    halves_are_cut_apart_and_heal,
    one_is_paused_and_goes_on,
    all_stop_and_start_again,
    messages_are_slow,
)


def _assert_stalled(network: Network, nodes: Sequence[int]) -> None:
    """Assert that no more blocks become final.

    Blocks whose votes were under way may still do, so the heights are compared after a pause.
    """
    network.wait(STALL_SECONDS / 3)
    before = [network.finalized(node) for node in nodes]
    network.wait(STALL_SECONDS)
    assert [network.finalized(node) for node in nodes] == before, "decided without a quorum"
