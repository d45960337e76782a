"""Engines together, in virtual time: they agree, they go on, they come back."""

from __future__ import annotations

import pytest

from consensus.messages import Certificate, Proposal
from runtime.finality import Kind
from tests.consensus.network import LATENCY_MS, Network

WEIGHTS = [(1,), (1, 1, 1, 1), (1,) * 7, (5, 3, 2, 1, 1)]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_blocks_come_every_two_delays_and_are_final_after_three(weights: tuple[int, ...]) -> None:
    network = Network(weights)
    latency = LATENCY_MS if len(weights) > 1 else 0
    network.start()
    network.run(20 * LATENCY_MS * 2 + LATENCY_MS, lambda: network.heights()[0] >= 20)
    times = [time for time, _ in network.nodes[0].commits[:20]]
    assert network.heights()[0] >= 19
    proposed = [2 * latency * height for height in range(len(times))]
    assert [time - start for time, start in zip(times, proposed, strict=True)] == [
        3 * latency
    ] * len(times)
    network.assert_agreement()
    assert not network.accusations()
    assert all(Kind.NULLIFY != ballot.kind for node in network.nodes for ballot in node.signed)
