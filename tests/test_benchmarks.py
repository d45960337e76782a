"""The benchmarks: every row runs at its least effort, and the table says what it cannot measure."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from benchmarks import __main__ as benchmarks
from benchmarks.figures import CannotRunError, Effort, Figure, Outcome, comparison, faster
from benchmarks.machine import describe_machine
from benchmarks.table import number, print_table, to_json
from benchmarks.timing import interleaved, median_ratio
from tests.conftest import REPOSITORY

WITH_NODES = ("consensus", "cluster_transfers")
"""Rows that start nodes: too slow for here; the tests of clusters start nodes the same way."""
IN_PROCESS = [name for name in benchmarks.ROWS if name not in ("training", *WITH_NODES)]


def printed(*outcomes: Outcome) -> str:
    console = Console(file=io.StringIO(), width=benchmarks.TABLE_COLUMNS)
    print_table(console, describe_machine(), outcomes)
    return console.file.getvalue()


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_row_yields_positive_figures_or_a_reason(name):
    outcome = benchmarks.measure(name, Effort.SMOKE)
    assert outcome.reason or outcome.figures
    # Lying brings less than nothing.
    assert name == "market" or all(figure.ours > 0 for figure in outcome.figures)
    assert outcome.command == f"python -m benchmarks {name} --smoke"
    assert not outcome.reason, outcome.reason


def test_the_training_row_runs_in_a_process_of_its_own(tmp_path):
    # transformers' Trainer warns and sets global state; no other test shall see it.
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks", "training", "--smoke", "--json", str(report)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    (row,) = json.loads(report.read_text())["rows"]
    speed, equal = row["figures"]
    assert speed["ratio"] > 0
    assert f"of {equal['ours']}" == equal["unit"]


def test_a_row_whose_module_is_missing_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "benchmarks.rows.codec", None)
    outcome = benchmarks.measure("codec", Effort.SMOKE)
    assert outcome.reason.startswith("A package is missing")
    assert "not measured" in printed(outcome)


def test_a_missing_comparison_package_is_named_with_the_remedy():
    with pytest.raises(CannotRunError, match=r"pip install no-such-package another"):
        comparison("no_such_package", "no-such-package", ("another",))


def test_without_py_evm_transfers_are_measured_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "eth.chains.base", None)
    outcome = benchmarks.measure("transfers", Effort.SMOKE)
    assert outcome.figures
    assert any("py-evm is not compared" in note for note in outcome.notes)


def test_a_ratio_says_how_many_times_less_ours_costs():
    figure = faster("work", 2.0, "us", "other", 10.0, goal=5.0)
    assert figure.ratio == 5.0
    assert figure.is_met
    assert not faster("work", 2.0, "us", "other", 9.0, goal=5.0).is_met


def test_a_bound_from_above_is_met_below_it():
    assert Figure("settle", 4.0, "s", goal=5.0, at_most=True).is_met
    assert not Figure("growth", 1.0, "us", "small", 0.5, 2.0, 1.5, at_most=True).is_met
    assert Figure("plain", 4.0, "s").is_met is None


def test_contenders_take_turns_and_the_warm_up_is_not_counted():
    order = []
    costs = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert {name: len(turns) for name, turns in costs.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_taken_turn_by_turn():
    disturbed = {"ours": [1.0, 2.0, 1.0], "theirs": [5.0, 10.0, 5.0]}
    assert median_ratio(disturbed, "ours", "theirs") == 5.0


def test_the_table_names_machine_versions_commit_and_command():
    outcome = Outcome(
        "codec", "words", "python -m benchmarks codec", (Figure("encode", 0.5, "us", goal=1.0),)
    )
    text = printed(outcome)
    machine = describe_machine()
    for part in (machine.commit, machine.processor, machine.python, "$ python -m benchmarks codec"):
        assert part in text
    assert "MISSED" in text


def test_the_json_holds_what_the_table_shows():
    outcome = Outcome("codec", "words", "command", (Figure("encode", 0.5, "us"),), ("a note",))
    report = json.loads(to_json(describe_machine(), [outcome]))
    assert report["machine"]["cores"] > 0
    assert report["rows"][0]["figures"][0]["ours"] == 0.5
    assert report["rows"][0]["notes"] == ["a note"]


def test_numbers_keep_three_digits():
    assert [number(value) for value in (0.01234, 1.234, 12.34, 1234.5)] == [
        "0.0123",
        "1.23",
        "12.3",
        "1,234",
    ]


def test_an_unknown_row_is_refused_with_the_names_of_all(capsys):
    with pytest.raises(SystemExit):
        benchmarks.main(["nothing"])
    assert "transfers" in capsys.readouterr().err
