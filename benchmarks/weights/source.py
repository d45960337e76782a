"""The text of pallets/weights.py, written from what was measured.

The numbers are the measured ones times SAFETY, rounded up to whole microseconds of two digits.
Reads and writes are those that were counted, rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from benchmarks.weights.measuring import Fit, Usage, rounded_up

SAFETY: Final = 1.5
"""The margin for slower machines and for what no benchmark reaches."""

HEAD: Final = '''"""Weights of all calls and hooks: the one file from which pallets take theirs.

A call that always does the same has a constant; one whose work grows has a function of what it
grows with. `python -m benchmarks weights --write` measures them and writes this file: change the
benchmark, not the numbers.
"""

from __future__ import annotations

from typing import Final

from runtime.frame.pallet import weight
from runtime.types.primitives import Weight
'''


def source_of(fits: Sequence[Fit]) -> str:
    """Return the module for these weights; fits of one pallet stand together."""
    sections = []
    for pallet, group in groupby(fits, key=lambda fit: fit.benchmark.pallet):
        members = list(group)
        constants = [_constant(fit) for fit in members if not fit.benchmark.components]
        functions = [_function(fit) for fit in members if fit.benchmark.components]
        head = f"# {pallet}\n" + "".join(constants)
        sections.append("\n\n".join((head.rstrip("\n") + "\n", *functions)))
    return HEAD + "\n" + "\n\n".join(_spaced(sections))


def _spaced(sections: Iterable[str]) -> list[str]:
    return [section.rstrip("\n") + "\n" for section in sections]


def _constant(fit: Fit) -> str:
    return f"{fit.benchmark.weight_name}: Final = {_weight(fit.base)}\n"


def _function(fit: Fit) -> str:
    benchmark = fit.benchmark
    parameters = ", ".join(f"{name}: int" for name in benchmark.components)
    terms = [_weight(fit.base)]
    terms += [f"{_weight(slope)} * {name}" for name, slope in fit.slopes.items()]
    total = " + ".join(terms)
    if len(total) > 84:
        total = "(\n        " + "\n        + ".join(terms) + "\n    )"
    return (
        f"def {benchmark.weight_name}({parameters}) -> Weight:\n"
        f'    """{benchmark.summary}"""\n'
        f"    return {total}\n"
    )


def _weight(usage: Usage) -> str:
    # A slope of less than half a microsecond is noise or nothing; the base has its margin.
    slow = usage.microseconds * SAFETY
    microseconds = rounded_up(slow) if slow >= 0.5 else 0
    parts = [f"{microseconds:_}"]
    if usage.reads:
        parts.append(f"reads={math.ceil(usage.reads - 1e-9):_}")
    if usage.writes:
        parts.append(f"writes={math.ceil(usage.writes - 1e-9):_}")
    return f"weight({', '.join(parts)})"
