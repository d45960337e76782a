"""The benchmark of weights: it covers what pallets declare and writes a module for them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.weights.cases import BENCHMARKS
from benchmarks.weights.measuring import Fit, Usage, measure, rounded_up
from benchmarks.weights.source import SAFETY, source_of
from benchmarks.weights.stage import WeighingStage
from pallets import PALLETS, weights
from runtime.frame.pallet import READ_WEIGHT, WRITE_WEIGHT, weight
from runtime.types.primitives import Weight


def names_in(source: str) -> list[str]:
    names = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            names.append(statement.name)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.append(statement.target.id)
    return names


def benchmark(name: str):
    [found] = [each for each in BENCHMARKS if each.weight_name == name]
    return found


def test_every_weight_that_pallets_take_is_measured() -> None:
    source = Path(weights.__file__).read_text(encoding="utf-8")
    assert sorted(names_in(source)) == sorted(each.weight_name for each in BENCHMARKS)


def test_the_benchmarks_stand_in_the_order_of_the_runtime() -> None:
    order = [kind.__name__ for kind in PALLETS]
    measured = list(dict.fromkeys(each.pallet for each in BENCHMARKS))
    assert measured == [name for name in order if name in measured]


def test_reads_and_writes_are_those_of_the_overlay() -> None:
    fit = measure(WeighingStage(), benchmark("BALANCES_TRANSFER_KEEP_ALIVE"), 1)
    assert (fit.base.reads, fit.base.writes) == (2, 2)  # the records of both accounts


def test_a_component_has_the_slope_of_its_storage() -> None:
    fit = measure(WeighingStage(), benchmark("datanets_contribute"), 1)
    assert (fit.slopes["rows"].reads, fit.slopes["rows"].writes) == (1, 1)


def test_forgetting_an_era_writes_for_each_validator_and_each_slash() -> None:
    fit = measure(WeighingStage(), benchmark("staking_forget_era"), 1)
    # Overview, page, terms and claims of a validator.
    assert (fit.slopes["validators"].writes, fit.slopes["slashes"].writes) == (4, 1)


def test_the_written_module_has_the_measured_weights_with_a_margin() -> None:
    constant = Fit(benchmark("BALANCES_BURN"), Usage(20, 2, 1), {}, Usage(20, 2, 1))
    slopes = {"rows": Usage(2, 1, 1)}
    linear = Fit(benchmark("datanets_contribute"), Usage(20, 3, 4), slopes, Usage(20, 2, 1))
    made: dict[str, Weight] = {}
    exec(source_of([constant, linear]), made)
    assert SAFETY == 1.5
    assert made["BALANCES_BURN"] == weight(30, reads=2, writes=1)
    expected = weight(30, reads=3, writes=4) + (weight(3) + READ_WEIGHT + WRITE_WEIGHT) * 10
    assert made["datanets_contribute"](10) == expected


@pytest.mark.parametrize(
    ("microseconds", "shown"), [(0.2, 1), (9.1, 10), (47.3, 48), (128.0, 130), (2_511.0, 2_600)]
)
def test_microseconds_are_rounded_up_to_two_digits(microseconds: float, shown: int) -> None:
    assert rounded_up(microseconds) == shown


def test_rough_figures_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarks.main(["weights", "--write", "--quick"])
    assert "full effort" in capsys.readouterr().err
