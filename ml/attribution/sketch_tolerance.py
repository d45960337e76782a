"""Whether sketches are the same gradients up to rounding.

Equal bytes would be too strict: a GPU and a CPU add the terms of a gradient in other orders, and
numbers next to the middle between two integers then round to the other one: between CPUs 15 of a
million did. One sketch may be off by more; but many that all are were turned on purpose, and a
small turn towards one contributor's rows moves a whole epoch, so several are held to a tighter
bound together.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SKETCH_UNITS_MAX: Final = 2
"""The largest difference of one number of a recomputed sketch."""

SKETCH_DISTANCE_PERCENT: Final = 1
"""The largest distance of one recomputed sketch, in percent of its norm."""

NUMBERS_PER_UNIT: Final = 2_000
"""Of so many numbers of several sketches one may be off by one unit (two units count as four)..."""
UNITS_MIN: Final = 4
"""...and so many more in all."""


class SketchComparison:
    """Compares sketches with recomputed ones, each and all together."""

    def __init__(self) -> None:
        self._square = 0
        """Of all differences, summed."""
        self._numbers = 0

    def agrees(self, claimed: bytes, recomputed: bytes) -> bool:
        """Return whether a sketch is the recomputed one up to rounding."""
        if not sketches_agree(claimed, recomputed)[0]:
            return False
        difference = _difference(claimed, recomputed)
        self._square += int(difference @ difference)
        self._numbers += len(difference)
        return True

    @property
    def agree_together(self) -> bool:
        """Return whether the sketches that agree differ together as little as rounding does."""
        return self._square <= UNITS_MIN + self._numbers // NUMBERS_PER_UNIT


def sketches_agree(claimed: bytes, recomputed: bytes) -> tuple[bool, str]:
    """Return whether two sketches are one gradient up to rounding, and how they differ."""
    if len(claimed) != len(recomputed):
        return False, f"{len(claimed)} numbers instead of {len(recomputed)}"
    difference, right = _difference(claimed, recomputed), _numbers(recomputed)
    units = int(np.max(np.abs(difference), initial=0))
    square, whole = int(difference @ difference), int(right @ right)
    near = square * 100 * 100 <= whole * SKETCH_DISTANCE_PERCENT**2
    changed = int(np.count_nonzero(difference))
    detail = f"{changed} of {len(right)} numbers differ, by at most {units}"
    return units <= SKETCH_UNITS_MAX and near, detail


def _difference(claimed: bytes, recomputed: bytes) -> npt.NDArray[np.int64]:
    return _numbers(claimed) - _numbers(recomputed)


def _numbers(sketch: bytes) -> npt.NDArray[np.int64]:
    return np.frombuffer(sketch, np.int8).astype(np.int64)
