"""`openledger demo` passes its plan to the story, and shows the story's end as its document."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.demo import story
from node.demo.payouts import Earned
from node.demo.stage import PrintLine, StoryFailedError
from node.demo.story import Ending, Plan
from tests.node.commands.support.calling import OpenLedger

ENDING = Ending(
    rows=1_700,
    base_loss_micronats=3,
    adapter_loss_micronats=2,
    questions=4,
    receipts_verified=4,
    contributors=(Earned("Alice", "address", 900, 5),),
    commons_planck=6,
    issuance_is_conserved=True,
    seconds=7,
)


def test_the_options_are_the_plan_and_the_end_is_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[tuple[Plan, Path]] = []

    def run(plan: Plan, folder: Path, print_line: PrintLine) -> Ending:
        plans.append((plan, folder))
        print_line("1. A line of the story")
        return ENDING

    monkeypatch.setattr(story, "run_story", run)
    kept = tmp_path / "kept"
    words = ("--rows", "50", "--questions", "4", "--epochs", "2", "--seed", "3", "--nodes", "4")
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)("demo", *words, "--keep", str(kept), "--json")
    assert plans == [(Plan(rows=50, questions=4, epochs=2, seed=3, nodes=4), kept)]
    assert "A line of the story" in called.err
    assert called.exit_code == 0
    document = called.document
    assert document["contributors"] == [
        {"name": "Alice", "account": "address", "rows": 900, "earned": "5"}
    ]
    assert document["commons"] == "6"
    assert document["issuance_is_conserved"] is True


def test_a_story_that_fails_ends_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def run(plan: Plan, folder: Path, print_line: PrintLine) -> Ending:
        assert folder.is_dir()
        folders.append(folder)
        raise StoryFailedError("The epoch is not settled in time.")

    monkeypatch.setattr(story, "run_story", run)
    called = OpenLedger("ws://127.0.0.1:1", tmp_path)("demo", "--json")
    assert called.exit_code == 2
    assert "The epoch is not settled in time." in called.err
    assert not folders[0].exists(), "without --keep nothing stays"
