"""The health of a node: whether it is ready to serve, and the problems that keep it from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.operations.metrics import PREFIX


class ProblemKind(StrEnum):
    """What can be wrong; also the label of its metric."""

    DISK = "disk"
    """No room to write, or the disk refuses."""
    DATABASE = "database"
    """What is stored is damaged, or a write failed."""
    SEALING = "sealing"
    """A solo author makes no blocks."""
    SIGNING = "signing"
    """A validator's votes are not signed."""
    FINALITY = "finality"
    """No block becomes final."""
    SYNC = "sync"
    """The node is behind its peers."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong now, in a sentence for the operator."""

    kind: ProblemKind
    sentence: str


class Health(Protocol):
    """The problems of a node, looked for whenever somebody asks."""

    @property
    def free_bytes(self) -> int: ...
    def problems(self) -> Sequence[Problem]: ...


class HealthCollector(Collector):
    """Health as gauges, read whenever metrics are asked for."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        found = {problem.kind for problem in self._health.problems()}
        yield GaugeMetricFamily(
            f"{PREFIX}_health_ready_status", "1 where /health says ready.", value=int(not found)
        )
        problems = GaugeMetricFamily(
            f"{PREFIX}_health_problem_status", "1 for each problem there is.", labels=["problem"]
        )
        for kind in ProblemKind:
            problems.add_metric([kind.value], int(kind in found))
        yield problems
        yield GaugeMetricFamily(
            f"{PREFIX}_disk_free_bytes",
            "Space that the node can still use on the disk of its data folder.",
            value=self._health.free_bytes,
        )
