"""Log levels as texts: of all modules, and of single ones."""

from __future__ import annotations

import tomllib

import pytest

from node.operations.log_levels import OWN_PACKAGES, LogLevelError, LogLevels, parse_log_levels
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debug", LogLevels("DEBUG", {})),
        (" Warning ", LogLevels("WARNING", {})),
        ("p2p=debug", LogLevels("INFO", {"p2p": "DEBUG"})),
        (
            "error, p2p.service=debug,node.chain.chain = info",
            LogLevels("ERROR", {"p2p.service": "DEBUG", "node.chain.chain": "INFO"}),
        ),
        ("info,libp2p.transport=debug", LogLevels("INFO", {"libp2p.transport": "DEBUG"})),
    ],
)
def test_a_level_may_have_modules_beside_it(text: str, expected: LogLevels) -> None:
    assert parse_log_levels(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is no log level"),
        ("loud", "'loud' is no log level"),
        ("info,", "'' is no log level"),
        ("p2p=", "'' is no log level"),
        ("p2p=loud", "'loud' is no log level"),
        ("info,debug", "two levels for all modules"),
        ("p2p.servise=debug", r"no module 'p2p\.servise'"),
        ("node.chain.chain.deeper=debug", "no module"),
        ("nosuchlibrary=debug", "no module 'nosuchlibrary'"),
        ("=debug", "no module ''"),
        ("..=debug", "no module"),
    ],
)
def test_what_would_log_nothing_is_refused(text: str, reason: str) -> None:
    with pytest.raises(LogLevelError, match=reason):
        parse_log_levels(text)


def test_the_own_packages_are_those_of_the_floors() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert set(OWN_PACKAGES) == set(settings["tool"]["importlinter"]["root_packages"])
