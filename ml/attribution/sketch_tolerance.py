"""Whether two sketches are one gradient up to rounding."""

from __future__ import annotations

from typing import Final

import numpy as np

SKETCH_UNITS_MAX: Final = 2
"""The largest difference of one number of a recomputed sketch."""

SKETCH_DISTANCE_PERCENT: Final = 1
"""The largest distance of a recomputed sketch, in percent of its norm."""


def sketches_agree(claimed: bytes, recomputed: bytes) -> tuple[bool, str]:
    """Return whether two sketches are one gradient up to rounding, and how they differ.

    Equal bytes would be too strict: a GPU and a CPU add the terms of a gradient in other orders.
    """
    if len(claimed) != len(recomputed):
        return False, f"{len(claimed)} numbers instead of {len(recomputed)}"
    left = np.frombuffer(claimed, np.int8).astype(np.int64)
    right = np.frombuffer(recomputed, np.int8).astype(np.int64)
    difference = left - right
    units = int(np.max(np.abs(difference), initial=0))
    square, whole = int(difference @ difference), int(right @ right)
    near = square * 100 * 100 <= whole * SKETCH_DISTANCE_PERCENT**2
    changed = int(np.count_nonzero(difference))
    detail = f"{changed} of {len(left)} numbers differ, by at most {units}"
    return units <= SKETCH_UNITS_MAX and near, detail
