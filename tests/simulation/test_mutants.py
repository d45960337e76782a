"""Every engine that is broken on purpose breaks an invariant: the simulator would see the fault."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.runs import run_seeds


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_engine_is_caught(name: str) -> None:
    mutant = MUTANTS[name]
    summary = run_seeds(mutant.seeds, mutant.simulation, name)
    assert summary.failures, f"nothing shows that {mutant.story}"
    assert {failure.invariant for failure in summary.failures} <= set(mutant.invariants)
    assert f"--mutant {name}" in summary.failures[0].replay


@pytest.mark.parametrize("name", MUTANTS)
def test_the_sound_engine_survives_the_seeds_that_catch_broken_ones(name: str) -> None:
    mutant = MUTANTS[name]
    assert mutant.seeds
    assert not run_seeds(mutant.seeds, mutant.simulation).failures
