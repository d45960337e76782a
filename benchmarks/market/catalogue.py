"""All strategies by their names, in the order of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks.market.strategies import asking, cheating, executing, owning, serving
from benchmarks.market.strategies.strategy import HONEST, Strategy

STRATEGIES: Final[Mapping[str, Strategy]] = {
    strategy.name: strategy
    for strategy in (
        HONEST,
        *asking.STRATEGIES,
        *serving.STRATEGIES,
        *cheating.STRATEGIES,
        *owning.STRATEGIES,
        *executing.STRATEGIES,
    )
}
