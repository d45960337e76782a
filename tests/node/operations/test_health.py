"""Health as metrics: a gauge for each kind of problem, and one for none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.operations.health import HealthCollector, Problem, ProblemKind
from node.operations.metrics import Metrics


@dataclass
class Patient:
    found: Sequence[Problem] = ()
    free_bytes: int = 7_000

    def problems(self) -> Sequence[Problem]:
        return self.found


def test_every_kind_of_problem_has_its_gauge() -> None:
    patient, metrics = Patient(), Metrics()
    metrics.watch(HealthCollector(patient))
    text = metrics.text().decode()
    assert "openledger_health_ready_status 1.0" in text
    assert "openledger_disk_free_bytes 7000.0" in text
    for kind in ProblemKind:
        assert f'openledger_health_problem_status{{problem="{kind}"}} 0.0' in text
        patient.found = (Problem(kind, "It is broken."),)
        broken = metrics.text().decode()
        assert f'openledger_health_problem_status{{problem="{kind}"}} 1.0' in broken
        assert "openledger_health_ready_status 0.0" in broken
        patient.found = ()
