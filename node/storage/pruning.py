"""Pruning: deletes the history of the state that is no longer kept."""

from __future__ import annotations

from typing import Final

from node.storage.state_history import CommitPlan

PRUNED_PER_BLOCK_MAX: Final = 16


def prune(plan: CommitPlan, *, head: int, oldest: int, history_blocks: int | None) -> int:
    """Delete the history that is no longer kept; returns the oldest state that remains.

    `history_blocks` is None in an archive, which keeps everything.
    """
    if history_blocks is None:
        return oldest
    # A folder that was an archive catches up over many blocks instead of in one giant batch.
    target = min(head - history_blocks, oldest + PRUNED_PER_BLOCK_MAX)
    for height in range(oldest + 1, target + 1):
        plan.forget(height)
    return max(oldest, target)
