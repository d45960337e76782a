"""The simulated market: the rules of the chain leave no liar above zero, and slash nobody honest.

Two seeds of every strategy by default; OPENLEDGER_SCALE=10 makes 20.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.market import __main__ as market
from benchmarks.market import outcome
from benchmarks.market.catalogue import STRATEGIES
from benchmarks.market.outcome import MarketBrokenError, run_world
from benchmarks.market.strategies.strategy import CLIQUE, SCORING, UNSEEN
from benchmarks.market.tally import Tally, differences, tally
from benchmarks.market.terms import CHALLENGE_BLOCKS, DOWN_BLOCKS_MAX, REVEAL_BLOCKS, TEXT_BLOCKS
from benchmarks.market.world import World

SEEDS = 2 * int(os.environ.get("OPENLEDGER_SCALE", "1"))
MARKED = (SCORING, CLIQUE, UNSEEN)


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    """Give the sums of some seeds of every strategy."""
    return tally(range(SEEDS), tuple(STRATEGIES), workers=1)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_gains_nothing_or_has_a_mark(tallies: dict[str, Tally], name: str) -> None:
    row = tallies[name]
    assert row.seeds == SEEDS
    assert STRATEGIES[name].mark in ("", *MARKED)
    assert row.is_within_goal, f"mean gain {row.mean(row.gain)} OPEN"


def test_nobody_is_slashed_who_keeps_to_the_rules(tallies: dict[str, Tally]) -> None:
    slashed = {name for name, row in tallies.items() if row.honest_slashes}
    assert {name for name in slashed if STRATEGIES[name].mark != CLIQUE} == set()
    assert {name for name, row in tallies.items() if row.downtimes} == set()


def test_every_liar_but_the_rows_of_scores_has_lied(tallies: dict[str, Tally]) -> None:
    honest = {name for name, row in tallies.items() if not row.lies}
    assert honest <= {
        "honest",
        "splitter",
        "row copier",
        "looks at nothing",
        "clique against servers",
    }


def test_the_market_as_a_whole_pays_what_is_burned_and_computed() -> None:
    for seed in range(SEEDS):
        gains = run_world(seed, "honest")
        assert gains.burned_planck > 0
        assert sum(gains.gains.values()) < 0  # pots, the burned and the cost of computing


def test_a_world_is_the_same_for_the_same_seed() -> None:
    assert differences(3, ["wrong text 20 %"]) == differences(3, ["wrong text 20 %"])
    assert differences(3, ["wrong text 20 %"]) != differences(4, ["wrong text 20 %"])


def test_outages_are_shorter_than_every_window() -> None:
    assert min(TEXT_BLOCKS, CHALLENGE_BLOCKS, REVEAL_BLOCKS) > DOWN_BLOCKS_MAX


def test_a_broken_rule_names_the_seed_and_the_command_that_replays_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(World):
        def pass_block(self) -> None:
            raise AssertionError("a rule is broken")

    monkeypatch.setattr(outcome, "World", Broken)
    with pytest.raises(MarketBrokenError, match="--first 7 --seeds 1 --strategy 'closer'"):
        run_world(7, "closer")


def test_the_command_prints_the_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "market.json"
    arguments = ["--seeds", "1", "--workers", "1", "--strategy", "closer", "--json", str(file)]
    assert market.main(arguments) == 0
    assert "closer" in capsys.readouterr().out
    [row] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert (row["strategy"], row["gain"], row["honest_slashes"]) == ("closer", 0, 0)
