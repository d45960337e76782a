"""Variables of the environment: which of those that begin with OPENLEDGER_ mean nothing.

A misspelt variable would be silently ignored, and a node would run with a default instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

PREFIX: Final = "OPENLEDGER_"
COMMAND_VARIABLES: Final = frozenset(
    PREFIX + name for name in ("URL", "KEYS", "FROM", "PASSWORD_FILE", "DEVNET", "DEVNETS")
)
"""What commands read; all others are settings of a node (node/operations/config.py)."""
DEVELOPER_VARIABLES: Final = frozenset(PREFIX + name for name in ("SCALE", "SEED", "VENV"))
"""What make.py and the tests read."""


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A variable that nothing reads, and the one that is probably meant."""

    name: str
    meant: str | None

    def __str__(self) -> str:
        """Return the sentence that warns of it."""
        meant = f" Did you mean {self.meant}?" if self.meant else ""
        return f"The variable {self.name} has no effect: there is no such setting.{meant}"


def candidates(environment: Iterable[str]) -> list[str]:
    """Return the variables that are a node's settings, or nothing."""
    known = COMMAND_VARIABLES | DEVELOPER_VARIABLES
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def unknown_variables(
    environment: Mapping[str, str], settings: Iterable[str]
) -> Iterator[UnknownVariable]:
    """Yield the variables that are neither a setting of a node nor read by a command."""
    known = {PREFIX + name.upper() for name in settings}
    for name in candidates(environment):
        if name not in known:
            # Without the prefix, which all share and which makes everything similar.
            words = sorted(other.removeprefix(PREFIX) for other in known | COMMAND_VARIABLES)
            close = get_close_matches(name.removeprefix(PREFIX), words, n=1)
            yield UnknownVariable(name, PREFIX + close[0] if close else None)
