"""Leaders: who proposes in which view of an epoch, by weight and without randomness of its own.

Smooth weighted round robin (nginx, commit 52327e0): each turn every authority earns its weight,
the richest leads and pays the total. Ties go to the authority that the epoch's seed puts first.
Consensus asks it whose turn it is; the pallet Authorship asks it whose turn was missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from runtime.crypto.hashing import blake2b_256
from runtime.shared.finality import AuthoritySet

VIEWS_MAX: Final = 1 << 20
"""Views of one epoch: weeks of them, whatever an attacker claims."""


class ViewError(ValueError):
    """There is no such view in an epoch."""


class LeaderSchedule:
    """The leaders of views 1, 2, 3, ... of one epoch, as indices into its set."""

    def __init__(self, weights: Sequence[int], seed: bytes) -> None:
        if not weights or any(weight <= 0 for weight in weights):
            raise ValueError("a schedule needs authorities, each of a positive weight")
        self._weights = tuple(weights)
        self._total = sum(weights)
        self._credits = [0] * len(weights)
        # Indices in the order in which ties are won.
        self._order = sorted(
            range(len(weights)), key=lambda index: blake2b_256(seed + index.to_bytes(4, "little"))
        )
        self._leaders: list[int] = []

    def leader(self, view: int) -> int:
        """Return the index of a view's leader. Raises ViewError outside 1..VIEWS_MAX."""
        if not 1 <= view <= VIEWS_MAX:
            raise ViewError(f"view {view} is not in 1..{VIEWS_MAX}")
        while len(self._leaders) < view:
            self._leaders.append(self._turn())
        return self._leaders[view - 1]

    def _turn(self) -> int:
        held = self._credits
        for index, weight in enumerate(self._weights):
            held[index] += weight
        chosen = max(self._order, key=held.__getitem__)  # the first of equals in that order
        held[chosen] -= self._total
        return chosen


@lru_cache(maxsize=8)
def schedule_of(authorities: AuthoritySet) -> LeaderSchedule:
    """Return the schedule of an epoch; cached, for it is a pure function of the set."""
    return LeaderSchedule(
        [authority.weight for authority in authorities.authorities], authorities.seed
    )
