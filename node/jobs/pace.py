"""The pace of an executor: can a job still be finished in time, and how long would another take.

Sans-IO, in blocks and not in seconds: what counts is the block of the deadline. A rate is believed
after it was measured for some blocks, and a job is given up only when twice the time that is left
would not suffice; near its deadline it is given up in any case, for silence is slashed.

Steps are compared within one scale. A settlement reports two, the receipts that it checks and then
the answers that it looks at; each is measured anew, and says nothing about the other.
"""

from __future__ import annotations

from typing import Final

REPORT_BLOCKS: Final = 20
"""So many blocks before the commit phase ends an executor reports in any case."""
REPORT_PARTS: Final = 4
"""It keeps at most this part of a short commit phase for the report."""
MEASURED_BLOCKS: Final = 10
"""A rate over fewer blocks says nothing."""
DOUBT: Final = 2
"""How many times the time that is left must not suffice."""


class Pace:
    """The pace of one job: the steps of its present scale that it has done, by block."""

    def __init__(self) -> None:
        """Start without a report."""
        self._first: tuple[int, int] | None = None
        self._last = (0, 0)
        self._steps = 0
        self.scales = 0
        """How many scales it has reported on."""

    def record(self, height: int, step: int, steps: int) -> None:
        """Note that so many of the steps are done at a height; other steps are another scale."""
        if self._first is None or steps != self._steps or step < self._last[1]:
            self._first = height, step
            self.scales += 1
        self._last, self._steps = (height, step), steps

    @property
    def began(self) -> int | None:
        """The height of the first report on the present scale; None before any."""
        return None if self._first is None else self._first[0]

    def blocks_needed(self, height: int) -> int | None:
        """Return how many more blocks the rest takes; None while nothing is measured."""
        if self._first is None or height < self._first[0] + MEASURED_BLOCKS:
            return None
        blocks, done = height - self._first[0], self._last[1] - self._first[1]
        rest = max(0, self._steps - self._last[1])
        # A job that stands still counts as one that does its next step now.
        return -(-rest * blocks // max(1, done))


class Speed:
    """Units of work for each block, measured on the jobs of one kind that were computed here."""

    def __init__(self) -> None:
        """Start without a measurement."""
        self._units = self._blocks = 0

    def record(self, units: int, blocks: int) -> None:
        """Note that a job of so many units took so many blocks; short ones say nothing."""
        if blocks >= MEASURED_BLOCKS:
            self._units, self._blocks = self._units + units, self._blocks + blocks

    def blocks_for(self, units: int) -> int:
        """Return how many blocks so much work takes, rounded up; 0 while nothing is measured."""
        return -(-units * self._blocks // self._units) if self._units else 0

    def is_too_slow(self, units: int, blocks_left: int, busy_blocks: int = 0) -> bool:
        """Return whether work cannot be done in that time by who is busy with other work first;
        False while nothing is measured."""
        if not self._units:
            return False
        return busy_blocks + self.blocks_for(units) > DOUBT * max(0, blocks_left)


def last_block(began: int, deadline: int) -> int:
    """Return the block at which a job must have an answer, if only that there is none."""
    return deadline - min(REPORT_BLOCKS, max(1, (deadline - began) // REPORT_PARTS))


def is_hopeless(height: int, last: int, pace: Pace | None) -> bool:
    """Return whether a job must be given up at a height, whose answer is due at block `last`."""
    if height >= last:
        return True
    needed = None if pace is None else pace.blocks_needed(height)
    return needed is not None and needed > DOUBT * (last - height)
