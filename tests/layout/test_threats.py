"""docs/threats.md: each row names a test that exists, and no attack is missing there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "threats.md"
ATTACKS = REPOSITORY / "tests" / "attacks"
LINK = re.compile(r"\[(test_\w+)\]\((\.\./tests/[\w/]+\.py)\)")


def functions_of(path: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_each_row_names_a_test_that_exists() -> None:
    links = LINK.findall(PAGE.read_text(encoding="utf-8"))
    assert links
    for name, file in links:
        assert name in functions_of((PAGE.parent / file).resolve()), f"{file} has no {name}"


def test_each_row_of_a_table_of_threats_has_a_link() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    threats = [row for row in rows if row.count("|") == 5 and not row.startswith("| what it")]
    assert len(threats) > 50
    assert [row for row in threats if not LINK.search(row)] == []


def test_every_attack_stands_on_the_page() -> None:
    linked = {name for name, _ in LINK.findall(PAGE.read_text(encoding="utf-8"))}
    attacks = {name for path in sorted(ATTACKS.glob("test_*.py")) for name in functions_of(path)}
    assert attacks - linked == set()


def test_there_is_one_file_for_each_actor() -> None:
    actors = {path.stem.removeprefix("test_") for path in ATTACKS.glob("test_*.py")}
    assert actors == {
        "askers",
        "contributors",
        "curators",
        "executors",
        "servers",
        "strangers",
    }
