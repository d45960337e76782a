"""What is measured: one benchmark for each weight, declared as FRAME's `#[benchmark]` are.

    BALANCES = Benchmarks("Balances")

    @BALANCES.constant
    def balances_burn(stage: WeighingStage) -> Work: ...  # weights.BALANCES_BURN

    @DATANETS.linear(rows=(1, 1_024))
    def datanets_contribute(stage: WeighingStage, rows: int) -> Work:
        # weights.datanets_contribute(rows)
        "Return the weight of Datanets.contribute."

The function prepares the state in which the work costs most, and returns the work. A component is
what the cost of the work grows with; its range is from the least to the greatest number measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.weights.stage import WeighingStage

Work = Callable[[], object]
Prepare = Callable[..., Work]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One weight: how its worst case is prepared, and the ranges of its components."""

    pallet: str
    name: str
    summary: str
    prepare: Prepare
    components: Mapping[str, Range]

    @property
    def title(self) -> str:
        """What the table calls it: the pallet and the name of the call or hook."""
        return f"{self.pallet}.{self.name.removeprefix(f'{self.pallet.lower()}_')}"

    @property
    def weight_name(self) -> str:
        """The name in pallets/weights.py: upper case for a constant, lower case for a function."""
        return self.name if self.components else self.name.upper()

    @property
    def corners(self) -> tuple[Mapping[str, int], ...]:
        """The components at which it is measured: all at their least, then each at its most."""
        least = {name: low for name, (low, _) in self.components.items()}
        return (least, *({**least, name: high} for name, (_, high) in self.components.items()))

    @property
    def most(self) -> Mapping[str, int]:
        """All components at their most."""
        return {name: high for name, (_, high) in self.components.items()}


@dataclass(slots=True)
class Benchmarks:
    """The benchmarks of one pallet, in the order of their declaration."""

    pallet: str
    declared: list[Benchmark] = field(default_factory=list)

    def constant(self, prepare: Callable[[WeighingStage], Work]) -> Callable[[WeighingStage], Work]:
        """Declare the benchmark of a weight that is always the same."""
        self._declare(prepare, {})
        return prepare

    def linear(self, **components: Range) -> Callable[[Prepare], Prepare]:
        """Declare the benchmark of a weight that grows with components."""

        def declare(prepare: Prepare) -> Prepare:
            self._declare(prepare, components)
            return prepare

        return declare

    def _declare(self, prepare: Prepare, components: Mapping[str, Range]) -> None:
        name = prepare.__name__
        summary = (prepare.__doc__ or "").strip()
        assert summary or not components, f"{name}: a function of pallets/weights.py has a sentence"
        self.declared.append(Benchmark(self.pallet, name, summary, prepare, components))
