"""The scenarios of hurt networks in virtual time: the functions that also run on processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.devnet.scenario import SCENARIOS, Network, Scenario
from tests.simulation.scenarios import SimulatedNetwork
from tests.simulation.signing import cheap_signatures


@pytest.fixture(autouse=True)
def signatures() -> Iterator[None]:
    with cheap_signatures():
        yield


@pytest.mark.parametrize("count", [4, 7])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_scenario_holds_in_virtual_time(scenario: Scenario, seed: int, count: int) -> None:
    network: Network = SimulatedNetwork(count, seed, epoch_blocks=5 if seed else 50)
    if count == 7 and scenario.__name__ == "two_of_four_die_and_come_back":
        pytest.skip("two of seven are no third")
    scenario(network)
