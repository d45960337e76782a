"""A strategy: who lies, how, and which mark its row has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from runtime.shared.documents import ContributorAggregate

if TYPE_CHECKING:
    from benchmarks.market.parties import Party
    from benchmarks.market.world import World

MakeParty = Callable[["World", str], "Party"]
MakeRows = Callable[["World"], tuple[ContributorAggregate, ...]]

SCORING: Final = "scoring"
"""The mark of rows whose gain the rule of scores decides."""
CLIQUE: Final = "clique limit"
"""The mark of rows in which executors may hold all places of a job."""
UNSEEN: Final = "unseen work"
"""The mark of rows whose lie shows only where somebody else lies too."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way of lying. `coalition` are the parties whose gain counts as the liar's; `parties`
    replaces the honest behaviour of some; `rows` replaces the rows of contributors. The gain is
    counted against the world of the same seed with the strategy `against`, which is the honest one
    unless others lie in it too. `false_percent` is the share of false receipts where chance makes
    them false, `expected_found` the chance with which another lie is found out, where there is a
    formula for it."""

    name: str
    sentence: str
    coalition: tuple[str, ...] = ()
    parties: Mapping[str, MakeParty] = field(default_factory=dict)
    rows: MakeRows | None = None
    mark: str = ""
    false_percent: int | None = None
    expected_found: float | None = None
    against: str = "honest"


HONEST: Final = Strategy("honest", "Everybody keeps to the rules.")
