"""Two sketches of one gradient agree; another's does not, nor one that is turned a little."""

import numpy as np

from ml.attribution.sketch_tolerance import SketchComparison, sketches_agree

SOURCE = np.random.default_rng(3)
SKETCH = SOURCE.integers(-60, 61, 4096, np.int8)


def test_rounding_is_tolerated():
    near = SKETCH.copy()
    near[::500] += 1
    assert sketches_agree(SKETCH.tobytes(), near.tobytes())[0]
    assert sketches_agree(SKETCH.tobytes(), SKETCH.tobytes())[0]
    assert sketches_agree(bytes(16), bytes(16))[0]


def test_many_small_differences_or_one_large_are_not():
    turned, pushed = SKETCH.copy(), SKETCH.copy()
    turned[::2] += 2
    pushed[0] += 3
    for other in (turned, pushed, -SKETCH):
        assert not sketches_agree(SKETCH.tobytes(), other.tobytes())[0]


def test_sketches_of_two_sizes_never_agree():
    assert not sketches_agree(bytes(16), bytes(17))[0]


def turned_by(numbers: int) -> bytes:
    turned = SKETCH.copy()
    turned[:numbers] += 1
    return turned.tobytes()


def test_many_sketches_that_are_turned_a_little_do_not_agree_together():
    comparison = SketchComparison()
    for _ in range(32):
        assert comparison.agrees(turned_by(10), SKETCH.tobytes())
    assert not comparison.agree_together


def test_many_sketches_that_round_a_little_otherwise_agree_together():
    comparison = SketchComparison()
    assert comparison.agree_together
    for _ in range(32):
        assert comparison.agrees(turned_by(2), SKETCH.tobytes())
    assert comparison.agree_together


def test_a_sketch_that_does_not_agree_is_no_part_of_what_agrees_together():
    comparison = SketchComparison()
    assert not comparison.agrees(turned_by(2_000), SKETCH.tobytes())
    assert comparison.agree_together
