"""The version names the commit: in a checkout, in a wheel, and after pip's own clone."""

from __future__ import annotations

import os
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from node.operations import version as module
from node.operations.version import _of_checkout, _of_installation, commit, full_version, version


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ("git", "-C", str(folder), *identity, *words), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_checkout_names_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "tag", "v9")
    head = git(tmp_path, "rev-parse", "HEAD")[: module.COMMIT_DIGITS]
    assert _of_checkout(tmp_path) == head
    index = (tmp_path / ".git" / "index").read_bytes()
    os.utime(tmp_path / "file", (0, 0))
    assert _of_checkout(tmp_path) == head
    assert (tmp_path / ".git" / "index").read_bytes() == index, "asking writes nothing"
    (tmp_path / "file").write_text("two")
    assert _of_checkout(tmp_path) == f"{head}-dirty"
    inner = tmp_path / "site-packages"
    inner.mkdir()
    assert _of_checkout(inner) == "", "an installation is not the repository around it"


def test_an_installation_from_git_names_the_commit_that_pip_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = '{"url": "https://host/x", "vcs_info": {"vcs": "git", "commit_id": "%s"}}' % ("ab" * 20)
    for text, expected in ((noted, "ab" * 6), ("{}", ""), (None, ""), ("[", "")):
        found = SimpleNamespace(read_text=lambda name, text=text: text)
        monkeypatch.setattr(metadata, "distribution", lambda name, found=found: found)
        assert _of_installation() == expected


def test_the_full_version_is_version_and_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_version().startswith(version())
    monkeypatch.setattr(module, "commit", lambda: "")
    assert full_version() == version()
    assert commit is not module.commit
