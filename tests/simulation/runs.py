"""Many seeds at once: worker processes, a summary, and the command that replays a failure."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final

from tests.simulation.forks import fork
from tests.simulation.mutants import MUTANTS
from tests.simulation.oracle import Violation
from tests.simulation.signing import cheap_signatures
from tests.simulation.simulate import Outcome, simulate

CHUNK: Final = 20
SIMULATIONS: Final[dict[str, Callable[[int], Outcome]]] = {"chaos": simulate, "fork": fork}


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that broke an invariant, and how to see it again."""

    seed: int
    simulation: str
    mutant: str | None
    invariant: str
    story: str

    @property
    def replay(self) -> str:
        """The command that runs only this seed."""
        parts = ["python -m tests.simulation", f"--seed {self.seed}"]
        if self.simulation != "chaos":
            parts.append(f"--simulation {self.simulation}")
        if self.mutant is not None:
            parts.append(f"--mutant {self.mutant}")
        return " ".join(parts)

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.invariant}: {self.story}\n  replay: {self.replay}"


@dataclass(slots=True)
class Summary:
    """What many seeds came to."""

    seeds: int = 0
    failures: list[Failure] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    healing_ms: int = 0
    """The longest time from GST until every honest node had its blocks."""
    processor_s: float = 0.0

    def add(self, other: Summary) -> None:
        """Add the seeds of another one."""
        self.seeds += other.seeds
        self.failures += other.failures
        self.counts += other.counts
        self.healing_ms = max(self.healing_ms, other.healing_ms)
        self.processor_s += other.processor_s

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in self.counts.most_common())
        return (
            f"{self.seeds} seeds, {len(self.failures)} violations, "
            f"{self.counts['forks']} forks, {self.counts['convicted']} convictions, "
            f"healed within {self.healing_ms / 1000:.1f} s of virtual time, "
            f"{self.seeds / max(self.processor_s, 0.001):.1f} seeds/s per core\n  {faults}"
        )


def run_seeds(
    seeds: Sequence[int], simulation: str = "chaos", mutant: str | None = None
) -> Summary:
    """Run seeds in this process, one after another."""
    summary = Summary()
    began = time.process_time()
    changed = nullcontext() if mutant is None else MUTANTS[mutant].changed()
    with cheap_signatures(), changed:
        for seed in seeds:
            summary.seeds += 1
            try:
                outcome = SIMULATIONS[simulation](seed)
            except Violation as error:
                summary.failures.append(
                    Failure(
                        seed=seed,
                        simulation=simulation,
                        mutant=mutant,
                        invariant=error.invariant,
                        story=error.story,
                    )
                )
                continue
            except Exception as error:  # noqa: BLE001 - any error is reported with its seed
                story = f"{type(error).__name__}: {error}"
                summary.failures.append(
                    Failure(
                        seed=seed,
                        simulation=simulation,
                        mutant=mutant,
                        invariant="no exception",
                        story=story,
                    )
                )
                continue
            summary.counts += outcome.counts
            summary.counts["steps"] += outcome.steps
            summary.counts["convicted"] += outcome.convicted
            summary.healing_ms = max(summary.healing_ms, outcome.healing_ms)
    summary.processor_s = time.process_time() - began
    return summary


def run_many(
    seeds: Sequence[int],
    simulation: str = "chaos",
    mutant: str | None = None,
    workers: int | None = None,
) -> Summary:
    """Run seeds on all cores."""
    count = workers or os.cpu_count() or 1
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    summary = Summary()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        for part in pool.map(run_seeds, chunks, [simulation] * len(chunks), [mutant] * len(chunks)):
            summary.add(part)
    return summary
