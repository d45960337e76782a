"""`make.py`: which Pythons it takes, and when it makes its environment anew."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import make
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_a_python_that_the_packages_are_made_for_is_taken(version: tuple[int, int]) -> None:
    make.check_python(version)


@pytest.mark.parametrize(
    ("version", "reason"),
    [((3, 10), "too old"), ((2, 7), "too old"), ((3, 14), "coincurve"), ((4, 0), "coincurve")],
)
def test_another_python_is_refused_with_the_reason_and_what_to_do(
    version: tuple[int, int], reason: str
) -> None:
    with pytest.raises(SystemExit, match=reason) as error:
        make.check_python(version)
    assert "Python 3.11, 3.12 or 3.13 is needed" in str(error.value)


def test_the_package_is_for_the_same_pythons() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest, newest = make.OLDEST, make.NEWEST
    assert project["requires-python"] == f">=3.{oldest[1]},<3.{newest[1] + 1}"
    readme = (REPOSITORY / "README.md").read_text()
    assert "Python 3.11, 3.12 or 3.13" in readme


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Install into a real environment without packages, and return what was done."""
    environment = tmp_path / "environment"
    monkeypatch.setattr(make, "ENVIRONMENT", environment)
    monkeypatch.setattr(make, "BIN", environment / "bin")
    monkeypatch.setattr(make, "STAMP", environment / "installed")
    done: list[str] = []
    create = make.venv.create

    def create_bare(path: Path, *, with_pip: bool, clear: bool) -> None:
        done.append("cleared" if clear else "made")
        create(path, with_pip=False, clear=clear)

    monkeypatch.setattr(make.venv, "create", create_bare)
    monkeypatch.setattr(make, "run", lambda *command: done.append("pip"))

    def install() -> list[str]:
        done.clear()
        make.install("dev")
        return list(done)

    return install


def test_an_environment_is_made_once(installed: Callable[[], list[str]]) -> None:
    assert installed() == ["made", "pip"]
    assert installed() == []


def test_an_environment_of_another_python_is_made_anew(
    installed: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed()
    rest = make.ENVIRONMENT / "of the former Python"
    rest.touch()
    version: Any = (3, 11, 0) if sys.version_info[:2] != (3, 11) else (3, 12, 0)
    with monkeypatch.context() as other:
        other.setattr(make.sys, "version_info", version)
        assert installed() == ["cleared", "pip"]
        assert not rest.exists()
        assert installed() == []
    assert installed() == ["cleared", "pip"]


def test_an_unknown_command_prints_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "make.py", "dance"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 1
    assert "make.py test" in done.stderr
