"""The result of a row: figures with their comparison, or the reason why it cannot run."""

from __future__ import annotations

import enum
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


class CannotRunError(Exception):
    """A row cannot be measured here; the message has the reason and the remedy."""


class Effort(enum.StrEnum):
    """The amount of work of a row. Figures that are not FULL are marked in BENCHMARKS.md."""

    FULL = "full"
    QUICK = "quick"
    SMOKE = "smoke"

    def pick(self, full: T, quick: T, smoke: T) -> T:
        """Return the argument for this effort."""
        return {Effort.FULL: full, Effort.QUICK: quick, Effort.SMOKE: smoke}[self]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured line. `ratio` is how many times better ours is, unless `at_most` is set.

    With `at_most`, `goal` bounds from above: the ratio where there is one, else `ours`.
    """

    what: str
    ours: float
    unit: str
    other: str = ""
    theirs: float | None = None
    ratio: float | None = None
    goal: float | None = None
    at_most: bool = False

    @property
    def is_met(self) -> bool | None:
        """Return whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        measured = self.ours if self.ratio is None else self.ratio
        return measured <= self.goal if self.at_most else measured >= self.goal


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the table after its run: figures, or a reason for having none."""

    name: str
    work: str
    command: str
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""
    files: Mapping[Path, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Measured:
    """The return value of a row's function; `--write` writes the texts of `files`."""

    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)


Run = Callable[[Effort], Measured]


def faster(
    what: str,
    ours: float,
    unit: str,
    other: str,
    theirs: float,
    goal: float | None = None,
    ratio: float | None = None,
) -> Figure:
    """Return the figure of two costs; the ratio is how many times less ours is.

    It is that of the two costs unless `ratio` was measured turn by turn.
    """
    return Figure(
        what,
        ours=ours,
        unit=unit,
        other=other,
        theirs=theirs,
        ratio=ratio or theirs / ours,
        goal=goal,
    )


def comparison(module: str, distribution: str, others: tuple[str, ...] = ()) -> ModuleType:
    """Import a package that serves as comparison. Raises CannotRunError where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        names = " ".join((distribution, *others))
        raise CannotRunError(
            f"The comparison package {distribution} cannot be imported ({error}). "
            f"Install it: pip install {names} (constraints.txt says which versions fit)."
        ) from error


def version_of(*distributions: str) -> str:
    """Return name and version of the first of these distributions that is installed."""
    for name in distributions:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return distributions[0]
