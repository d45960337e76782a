"""The activity of one validator in one epoch, as far as its votes are verified here.

A vote costs a signature check, so only a sample is verified: one of each sort in a second. Any peer
can repeat an old vote, so only one of the validator's newest view shows that it is active.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from runtime.shared.finality import Kind, Vote

VERIFY_AGAIN_SECONDS: Final = 1.0
"""How often a validator's vote is verified to know that the validator is active."""
RECENT_VIEWS: Final = 10
"""Views of verified votes that are remembered."""
SKIPPING_VIEWS_MIN: Final = 4
"""Of fewer views nothing is concluded."""


@dataclass(slots=True)
class VoterActivity:
    """The verified votes of one validator; times are seconds on trio's clock."""

    view: int = 0
    """The highest view of a verified vote."""
    at_seconds: float = float("-inf")
    """When the last vote was verified."""
    _verified_at: dict[bool, float] = field(default_factory=dict)
    _is_for_block: dict[int, bool] = field(default_factory=dict)

    def is_news(self, vote: Vote, now: float) -> bool:
        """Return whether it is worth verifying a vote."""
        last = self._verified_at.get(_is_for_block(vote), float("-inf"))
        return vote.ballot.view >= self.view and now - last >= VERIFY_AGAIN_SECONDS

    def add(self, vote: Vote, now: float) -> None:
        """Add a verified vote."""
        view, is_for_block = int(vote.ballot.view), _is_for_block(vote)
        self.view, self.at_seconds = max(self.view, view), now
        self._verified_at[is_for_block] = now
        self._is_for_block[view] = is_for_block or self._is_for_block.get(view, False)
        while len(self._is_for_block) > RECENT_VIEWS:
            del self._is_for_block[min(self._is_for_block)]

    @property
    def is_skipping(self) -> bool:
        """Return whether it votes for no block in most of its recent views."""
        views = self._is_for_block
        return len(views) >= SKIPPING_VIEWS_MIN and 2 * sum(views.values()) < len(views)


def _is_for_block(vote: Vote) -> bool:
    return vote.ballot.kind != Kind.NULLIFY
