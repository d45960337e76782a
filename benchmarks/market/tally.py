"""The sums over all seeds of what a strategy did, against the honest world of the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import sqrt
from multiprocessing import get_context
from typing import Final

from benchmarks.market.catalogue import STRATEGIES
from benchmarks.market.outcome import Outcome, run_world
from runtime.types.primitives import OPEN

SEEDS_PER_TASK: Final = 4
BURNED: Final = "burned"


@dataclass(frozen=True, slots=True)
class Difference:
    """What a strategy changed in one world, in planck: the coalition's gain, absolutely and against
    the honest world, and the gains of all others by group, `burned` among them."""

    name: str
    gain_planck: int
    absolute_planck: int
    others: dict[str, int]
    lies: int
    expected: float | None
    found: int
    honest_slashes: int
    downtimes: int


@dataclass(slots=True)
class Tally:
    """The sums of one strategy; amounts in planck."""

    name: str
    seeds: int = 0
    gain: int = 0
    squares: int = 0
    absolute: int = 0
    others: Counter[str] = field(default_factory=Counter)
    lies: int = 0
    expected: float = 0.0
    found: int = 0
    honest_slashes: int = 0
    downtimes: int = 0

    def add(self, difference: Difference) -> None:
        """Add one world."""
        self.seeds += 1
        self.gain += difference.gain_planck
        self.squares += difference.gain_planck**2
        self.absolute += difference.absolute_planck
        for group, planck in difference.others.items():
            self.others[group] += planck
        self.lies += difference.lies
        self.expected += difference.expected or 0.0
        self.found += min(difference.found, difference.lies)
        self.honest_slashes += difference.honest_slashes
        self.downtimes += difference.downtimes

    def mean(self, planck: int) -> float:
        """Return a sum as mean over the seeds, in OPEN."""
        return planck / OPEN / max(1, self.seeds)

    @property
    def standard_error(self) -> float:
        """The standard error of the mean gain, in OPEN."""
        if self.seeds < 2:
            return 0.0
        variance = (self.squares - self.gain**2 / self.seeds) / (self.seeds - 1)
        return sqrt(max(0.0, variance) / self.seeds) / OPEN

    @property
    def found_share(self) -> float | None:
        """The share of lies that were found out; None where nobody lied."""
        return self.found / self.lies if self.lies else None

    @property
    def expected_share(self) -> float | None:
        """The share that was to be found out by the formula; None where there is none."""
        strategy = STRATEGIES[self.name]
        if strategy.false_percent is not None and self.lies:
            return self.expected / self.lies
        return strategy.expected_found

    @property
    def is_within_goal(self) -> bool:
        """Whether the liar gained nothing, or its row has a mark; and nobody honest was slashed."""
        strategy = STRATEGIES[self.name]
        return (self.gain <= 0 or bool(strategy.mark)) and (
            self.honest_slashes == 0 or bool(strategy.mark)
        )


def differences(seed: int, names: Sequence[str]) -> list[Difference]:
    """Run a seed's worlds of some strategies. Raises MarketBrokenError."""
    outcomes: dict[str, Outcome] = {}
    found = []
    for name in names:
        strategy = STRATEGIES[name]
        for needed in (strategy.against, name):
            if needed not in outcomes:
                outcomes[needed] = run_world(seed, needed)
        own, against = outcomes[name], outcomes[strategy.against]
        coalition = strategy.coalition
        absolute = own.gain_of(coalition)
        before = against.by_group(coalition)
        others = {group: gain - before[group] for group, gain in own.by_group(coalition).items()}
        others[BURNED] = own.burned_planck - against.burned_planck
        difference = Difference(
            name=name,
            gain_planck=absolute - against.gain_of(coalition),
            absolute_planck=absolute,
            others=others,
            lies=own.lies,
            expected=own.expected,
            found=own.found,
            honest_slashes=own.honest_slashes,
            downtimes=own.downtimes,
        )
        found.append(difference)
    return found


def tally(seeds: Sequence[int], names: Sequence[str], workers: int) -> dict[str, Tally]:
    """Run all seeds of some strategies. Raises MarketBrokenError."""
    tallies = {name: Tally(name) for name in names}
    for difference in _all_differences(seeds, names, workers):
        tallies[difference.name].add(difference)
    return tallies


def _all_differences(
    seeds: Sequence[int], names: Sequence[str], workers: int
) -> Iterator[Difference]:
    if workers <= 1:
        for seed in seeds:
            yield from differences(seed, names)
        return
    tasks = [seeds[at : at + SEEDS_PER_TASK] for at in range(0, len(seeds), SEEDS_PER_TASK)]
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for found in pool.map(_differences_of, tasks, [tuple(names)] * len(tasks)):
            yield from found


def _differences_of(seeds: Iterable[int], names: Sequence[str]) -> list[Difference]:
    return [difference for seed in seeds for difference in differences(seed, names)]
