"""A new file appears whole and durable, or not at all, on file systems of every kind."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from node.storage.new_file import new_file


@pytest.fixture(params=[None, errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on a file system with hard links, or one that refuses them in one of the ways."""
    if request.param is not None:

        def refuse(source: Path, target: Path) -> None:
            raise OSError(request.param, "no hard links", str(source), None, str(target))

        monkeypatch.setattr(os, "link", refuse)
    return tmp_path


def test_a_file_appears_whole_with_its_mode(folder: Path) -> None:
    path = folder / "file"
    with new_file(path, 0o600) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [path]


def test_nothing_is_overwritten(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError), new_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(folder.iterdir()) == [path]


def test_a_body_that_fails_leaves_no_file(folder: Path) -> None:
    with pytest.raises(TypeError), new_file(folder / "file") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert list(folder.iterdir()) == []


def test_a_rename_that_fails_leaves_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError(errno.EPERM, "refused")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), new_file(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_another_refusal_of_a_link_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="full"), new_file(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == []
