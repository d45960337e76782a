"""Pruning: how far a commit prunes, and that an archive keeps everything."""

from __future__ import annotations

from typing import Any, cast

import pytest

from node.storage.pruning import PRUNED_PER_BLOCK_MAX, prune


class FakePlan:
    """Remembers the heights that are forgotten."""

    def __init__(self) -> None:
        self.heights: list[int] = []

    def forget(self, height: int) -> None:
        self.heights.append(height)


@pytest.mark.parametrize(
    ("head", "oldest", "history_blocks", "remaining"),
    [
        (10, 0, None, 0),
        (10, 0, 10, 0),
        (3, 2, 5, 2),
        (11, 0, 10, 1),
        (500, 0, 10, PRUNED_PER_BLOCK_MAX),
    ],
)
def test_a_commit_prunes_up_to_the_history_and_its_limit(
    head: int, oldest: int, history_blocks: int | None, remaining: int
) -> None:
    plan = FakePlan()
    kept = prune(cast(Any, plan), head=head, oldest=oldest, history_blocks=history_blocks)
    assert kept == remaining
    assert plan.heights == list(range(oldest + 1, remaining + 1))
