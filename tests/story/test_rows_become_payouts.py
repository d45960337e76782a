"""The demo's story on few rows, through a real node: from documentation to OPEN."""

from __future__ import annotations

from pathlib import Path

from node.demo.contributors import HONEST
from node.demo.story import Plan, run_story
from tests.story.support.chains import small_chain


def test_rows_become_a_model_answers_and_payouts(tmp_path: Path) -> None:
    plan = Plan(
        rows=240,
        questions=5,
        epochs=2,
        seed=7,
        noise_rows=24,
        copied_rows=10,
        chain=small_chain(tmp_path, rows_minimum=240),
    )
    said: list[str] = []

    ending = run_story(plan, tmp_path / "node", said.append)

    assert ending.rows == 264
    assert ending.adapter_loss_micronats < ending.base_loss_micronats
    assert ending.receipts_verified == ending.questions == 5
    assert ending.issuance_is_conserved
    by_name = {person.name.split()[0]: person for person in ending.contributors}
    shared = sum(person.earned_planck for person in ending.contributors) + ending.commons_planck
    assert shared > 0
    assert by_name["Mallory"].rows == by_name["Mallory"].earned_planck == 0
    assert by_name["Oscar"].rows == 24
    assert by_name["Oscar"].earned_planck * 5 <= shared
    assert all(by_name[name].rows == 60 for name in HONEST)
    text = "\n".join(said)
    assert "refused: Datanets.DuplicateRow" in text
    assert "exactly 1,000,000,000 OPEN" in text
