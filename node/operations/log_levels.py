"""Log levels: one for this program's modules, and others for single modules: `info,p2p=debug`.

Libraries log from `warning` on unless one is named (`info,libp2p=debug`): at `debug` their lines
would be nine of ten.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from runtime.errors import ExitCode, OpenLedgerError

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
FOREIGN_LEVELS: Final = {"warn": "warning", "trace": "debug", "fatal": "critical"}
"""Other programs' words for the same."""
OWN_PACKAGES: Final = ("node", "consensus", "p2p", "ml", "genesis", "pallets", "runtime")
"""The packages of this program, whose names begin the names of their loggers."""


class LogLevelError(OpenLedgerError, ValueError):
    """A text does not say log levels; the message says what is wrong and what is expected."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class LogLevels:
    """The level of this program's modules, and those of single loggers, in capitals."""

    own: str
    by_logger: Mapping[str, str]


def parse_log_levels(text: str) -> LogLevels:
    """Parse `LEVEL`, `MODULE=LEVEL` or several, parted by commas. Raises LogLevelError."""
    own = ""
    by_logger: dict[str, str] = {}
    for word in (word.strip() for word in text.split(",")):
        module, separator, level = (part.strip() for part in word.rpartition("="))
        if level.lower() not in LEVELS:
            meant = FOREIGN_LEVELS.get(level.lower())
            hint = f"Did you mean {meant}? " if meant else "" if level else "Leave out the comma. "
            raise LogLevelError(
                f"{level!r} is no log level. {hint}Write one of {', '.join(LEVELS)}, "
                "or for single modules info,p2p.service=debug."
            )
        if separator:
            _check_module(module)
            by_logger[module] = level.upper()
        elif own:
            raise LogLevelError(f"{text!r} has two levels for all modules. Write one.")
        else:
            own = level.upper()
    return LogLevels(own or "INFO", by_logger)


def _check_module(name: str) -> None:
    """Refuse a module that does not exist, of which no line would ever come."""
    package = name.partition(".")[0]
    # A library is looked up by its first name alone: looking deeper would import it.
    wanted = name if package in OWN_PACKAGES else package
    try:
        is_known = importlib.util.find_spec(wanted) is not None
    except (ImportError, ValueError):
        is_known = False
    if not is_known:
        raise LogLevelError(
            f"There is no module {name!r} to log. Each log line names its module after the level, "
            "like node.authoring.author or p2p.service.dialer; a package stands for all below it."
        )
